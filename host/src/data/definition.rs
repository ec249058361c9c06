//! The definition of a data source in the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::{DataFormat, EditMode, Secret};
use crate::fetch::Shown;
use crate::text::Escaped;

/// How often a URL is fetched by default, and how long that may take.
pub const EVERY: Duration = Duration::from_mins(5);
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The definition of a source. A source with another definition is another source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    pub policy: Arc<str>,
    /// Unique within the policy.
    pub name: Arc<str>,
    pub origin: Origin,
    pub format: DataFormat,
    /// In bytes.
    pub max_size: u64,
    /// Whether it is an error if there is no data at the start.
    pub required: bool,
    pub edits: EditMode,
}

/// Where the data comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File(PathBuf),
    Url(Remote),
    Query(Query),
    /// The name of a list that is only edited, and shared by all sources that name it.
    Site(Arc<str>),
}

impl Origin {
    /// Returns the key of the configuration that names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Url(_) => "url",
            Self::Query(_) => "query",
            Self::Site(_) => "site",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Url(remote) => write!(f, "{}", Shown(&remote.url)),
            Self::Query(query) => write!(f, "{}", Escaped(&query.sql)),
            Self::Site(name) => f.write_str(name),
        }
    }
}

/// A URL, and how it is fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    pub url: Url,
    pub pace: Pace,
    /// By name.
    pub headers: BTreeMap<String, Secret>,
    /// Whether redirects may lead to another machine without TLS.
    pub insecure: bool,
}

/// A `SELECT` in a site's database, and how it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    pub sql: String,
    /// The URL of the database.
    pub database: Secret,
    pub pace: Pace,
}

/// How often data is fetched, and for how long it is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    pub every: Duration,
    /// For a whole fetch.
    pub timeout: Duration,
    /// How long after its fetch the data is valid.
    pub max_age: Option<Duration>,
}
