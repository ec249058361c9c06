//! `/api/lists`: the lists of policies, and edits of them.

mod change;
mod read;

use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;

use super::Admin;
use super::reply::{Reply, json};
use super::request::Request;
use crate::config::{DataFormat, EditMode};
use crate::data::{DataSource, Definition, Origin};

pub use self::change::{change, change_by_name, fold_by_name, withdraw};
pub use self::read::{Found, info_hash, look, read};

/// The path of all lists, and what precedes the policy and the name of one.
pub const ALL: &str = "/api/lists";
pub const PATH: &str = "/api/lists/";

/// Why a list cannot be edited although `edits` is on.
pub const NO_JOURNAL: &str = "there is no `state_dir` for the journal";

/// A list, as the overview shows it.
#[derive(Serialize)]
struct Shown<'a> {
    policy: &'a str,
    data: &'a str,
    format: &'static str,
    /// `file`, `url`, `query` or `site`.
    origin: &'static str,
    /// 0: there is no data yet.
    version: u64,
    entries: usize,
    age_seconds: Option<u64>,
    /// Edits that the file or the URL does not say; `None`: the list cannot be edited.
    edits: Option<usize>,
    /// New versions that were refused.
    errors: u64,
    /// Why the last new version was refused, or why the journal of the edits cannot be written.
    error: Option<String>,
}

/// A list that can be edited.
pub struct Editable {
    /// `POLICY/DATA`.
    pub name: String,
    pub is_of_torrents: bool,
    /// Edits that the file or the URL does not say.
    pub edits: usize,
    /// The file that edits can be written into; `None`: the list is at a URL.
    pub file: Option<String>,
}

/// Why a request was not granted.
#[derive(Serialize)]
struct Fault {
    #[serde(skip)]
    status: StatusCode,
    error: &'static str,
    detail: String,
    /// That the list has.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// Where the wrong entry is: in `add` or `remove`, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

/// A list that a path names, and what follows its name.
struct Place {
    source: Arc<DataSource>,
    rest: String,
}

/// Finds a list.
///
/// # Errors
///
/// Why there is none.
pub fn find(admin: &Admin, policy: &str, data: &str) -> Result<Arc<DataSource>, &'static str> {
    let policies = admin.policies.lock();
    let policy = policies.iter().find(|known| known.name == policy);
    let policy = policy.ok_or("there is no such policy")?;
    match policy.data.iter().find(|source| *source.definition().name == *data) {
        Some(source) if source.is_raw() => Err("it is raw data, not a list"),
        Some(source) => Ok(source.clone()),
        None => Err("the policy has no such data"),
    }
}

/// Answers with all lists.
pub fn all(admin: &Admin, _: &Request) -> Reply {
    let policies = admin.policies.lock();
    let sources = policies.iter().flat_map(|policy| policy.data.iter());
    let lists = sources.filter(|source| !source.is_raw()).map(|source| Shown::of(source));
    json(StatusCode::OK, &lists.collect::<Vec<_>>())
}

/// Returns the lists that can be edited.
pub fn editable(admin: &Admin) -> Vec<Editable> {
    let policies = admin.policies.lock();
    let sources = policies.iter().flat_map(|policy| policy.data.iter());
    let editable = sources.filter(|source| source.edits().is_some());
    editable.map(|source| Editable::of(source)).collect()
}

impl Editable {
    fn of(source: &DataSource) -> Self {
        let Definition { policy, name, origin, format, .. } = source.definition();
        Self {
            name: format!("{policy}/{name}"),
            is_of_torrents: *format == DataFormat::InfoHashes,
            edits: source.edit_count().unwrap_or_default(),
            file: match origin {
                Origin::File(path) => Some(path.display().to_string()),
                Origin::Url(_) | Origin::Query(_) | Origin::Site(_) => None,
            },
        }
    }
}

impl<'a> Shown<'a> {
    fn of(source: &'a DataSource) -> Self {
        let Definition { policy, name, origin, format, .. } = source.definition();
        let edits = source.edits();
        Self {
            policy,
            data: name,
            format: format.name(),
            origin: origin.kind(),
            version: source.number(),
            entries: source.entries(),
            age_seconds: source.age().map(|age| age.as_secs()),
            edits: source.edit_count(),
            errors: source.errors(),
            error: source.news().error.or_else(|| edits?.error()),
        }
    }
}

impl Fault {
    fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error, detail: detail.into(), version: None, list: None, index: None }
    }

    fn unknown(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", detail)
    }

    fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", super::reply::STOPPING)
    }

    fn reply(&self) -> Reply {
        json(self.status, self)
    }
}

impl Place {
    /// Finds the list that a path names: `/api/lists/POLICY/DATA`, with more behind it.
    fn of(admin: &Admin, path: &str) -> Result<Self, Fault> {
        let mut parts = path.strip_prefix(PATH).unwrap_or_default().splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        let (policy, data, rest) = (next(), next(), next());
        let source = find(admin, policy, data).map_err(Fault::unknown)?;
        Ok(Self { source, rest: rest.to_owned() })
    }

    /// Returns the name of the list.
    fn name(&self) -> String {
        let Definition { policy, name, .. } = self.source.definition();
        format!("{policy}/{name}")
    }

    /// Checks that the list can be edited.
    fn editable(&self) -> Result<(), Fault> {
        match self.source.edits() {
            Some(_) => Ok(()),
            None if self.source.definition().edits == EditMode::Off => {
                Err(Fault::new(StatusCode::CONFLICT, "off", "`edits` is off for this list"))
            }
            None => Err(Fault::new(StatusCode::INSUFFICIENT_STORAGE, "journal", NO_JOURNAL)),
        }
    }
}
