//! Looks at a list.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use karuta_bittorrent::InfoHash;
use serde::Serialize;
use tokio::task::spawn_blocking;
use url::form_urlencoded;

use super::{Fault, PATH, Place};
use crate::admin::Admin;
use crate::admin::exporting::Exporting;
use crate::admin::reply::{Reply, json, written};
use crate::admin::request::Request;
use crate::edits::Edit;
use crate::entry::{Entry, Key};

/// Whether an entry is listed, and who says so.
#[derive(Serialize)]
pub struct Found {
    pub listed: bool,
    /// What lists it, if that is another entry: the range around an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// `file`, `edit`, or `expired`: an edit that has ended; `None`: nobody.
    pub by: Option<&'static str>,
    #[serde(flatten)]
    pub edit: Option<About>,
}

/// What is known of an edit.
#[derive(Serialize)]
pub struct About {
    /// Milliseconds since 1970.
    pub since: u64,
    /// When it ends by itself, in milliseconds since 1970.
    pub until: Option<u64>,
    pub who: String,
    pub note: Option<String>,
}

/// An edit in the list of all.
#[derive(Serialize)]
struct Listed {
    entry: String,
    /// `add` or `remove`.
    change: &'static str,
    #[serde(flatten)]
    about: About,
}

/// The SHA-256 of a list.
#[derive(Serialize)]
struct Digest {
    /// Over the entries in order, each with a line break.
    sha256: String,
    entries: usize,
    version: u64,
}

/// How many edits are written at a time.
const PART: usize = 500;

/// Answers with a list, with its edits, or with what it says about one entry.
pub async fn read(admin: &Admin, request: Request) -> Reply {
    let uri = &request.head.uri;
    let place = match Place::of(admin, uri.path()) {
        Ok(place) => place,
        Err(fault) => return fault.reply(),
    };
    let answer = match (&*place.rest, asked(uri.query().unwrap_or_default())) {
        (_, Err(fault)) => Err(fault),
        ("", Ok(Some(text))) => contains(&place, &text),
        ("", Ok(None)) => Ok(all(&place)),
        ("edits", Ok(None)) => edits(&place).await,
        ("digest", Ok(None)) => digest(&place).await,
        _ => Err(Fault::unknown("expected nothing more, or `edits` or `digest`")),
    };
    answer.unwrap_or_else(|fault| fault.reply())
}

/// Reads which entry is asked for; `None`: all.
fn asked(query: &str) -> Result<Option<String>, Fault> {
    let mut asked = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "contains" => asked = Some(value.into_owned()),
            _ => {
                let detail = format!("unknown parameter `{key}`");
                return Err(Fault::new(StatusCode::BAD_REQUEST, "query", detail));
            }
        }
    }
    Ok(asked)
}

/// Says whether the list of a name (`POLICY/DATA`) has an entry.
///
/// # Errors
///
/// There is no such list, or it cannot have such an entry.
pub fn look(admin: &Admin, name: &str, text: &str) -> Result<Found, String> {
    let place = Place::of(admin, &format!("{PATH}{name}"));
    place.and_then(|place| find(&place, text)).map_err(|fault| fault.detail)
}

/// Returns the info-hash that an entry of the list of a name (`POLICY/DATA`) stands for; `None`: it is no
/// list of torrents, or cannot have such an entry.
pub fn info_hash(admin: &Admin, name: &str, text: &str) -> Option<InfoHash> {
    let place = Place::of(admin, &format!("{PATH}{name}")).ok()?;
    match Entry::read(place.source.definition().format, text).ok()?.key {
        Key::InfoHash(hash) => Some(InfoHash(hash)),
        Key::Range(_) | Key::Text(_) => None,
    }
}

fn contains(place: &Place, text: &str) -> Result<Reply, Fault> {
    find(place, text).map(|found| json(StatusCode::OK, &found))
}

fn find(place: &Place, text: &str) -> Result<Found, Fault> {
    let entry = Entry::read(place.source.definition().format, text).map_err(|reason| {
        Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "entry", format!("contains: {reason}"))
    })?;
    let found = place.source.find(&entry.key);
    let other = found.as_ref().filter(|found| found.key != entry.key || found.value > 0);
    let key = found.as_ref().map_or(&entry.key, |found| &found.key);
    let edits = place.source.edits();
    let edit = edits.and_then(|edits| edits.edit(key));
    let ended = || edits.and_then(|edits| edits.ended(key));
    let (by, edit) = match (found.is_some(), edit) {
        (_, Some(edit)) => (Some("edit"), Some(edit)),
        (true, None) => (Some("file"), None),
        (false, None) => {
            let ended = ended();
            (ended.is_some().then_some("expired"), ended)
        }
    };
    Ok(Found {
        listed: found.is_some(),
        entry: other.map(Entry::to_string),
        by,
        edit: edit.map(About::of),
    })
}

/// Answers with all entries, each on a line.
fn all(place: &Place) -> Reply {
    let mut walk = place.source.walk();
    stream("text/plain; charset=utf-8", move |part| walk.next(part))
}

/// Answers with all edits, in the order of their entries.
async fn edits(place: &Place) -> Result<Reply, Fault> {
    place.editable()?;
    let source = place.source.clone();
    // There may be a million of them.
    let all = spawn_blocking(move || {
        let mut all = source.edits().map(|edits| edits.all()).unwrap_or_default();
        all.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        all
    });
    let mut edits = all.await.map_err(|_| Fault::stopping())?;
    let mut before = "[";
    let parts = move |part: &mut Vec<u8>| {
        for _ in 0..PART {
            let Some((key, edit)) = edits.pop() else { break };
            part.extend_from_slice(before.as_bytes());
            before = ",\n";
            // Writing into memory does not fail.
            let _ = serde_json::to_writer(&mut *part, &Listed::of(key, edit));
        }
        if edits.is_empty() {
            part.extend_from_slice(if before == "[" { b"[]\n" } else { b"]\n" });
        }
        !edits.is_empty()
    };
    Ok(stream("application/json", parts))
}

fn stream(kind: &'static str, parts: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static) -> Reply {
    let mut reply = Response::new(written(Exporting::new(parts, false, None)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

async fn digest(place: &Place) -> Result<Reply, Fault> {
    let version = place.source.number();
    let walk = place.source.walk();
    let digest = spawn_blocking(move || walk.digest()).await;
    let (sum, entries) = digest.map_err(|_| Fault::stopping())?;
    Ok(json(StatusCode::OK, &Digest { sha256: hex::encode(sum), entries, version }))
}

impl About {
    fn of(edit: Edit) -> Self {
        let Edit { since, until, who, note, .. } = edit;
        Self { since, until, who: who.to_string(), note: note.map(|note| note.to_string()) }
    }
}

impl Listed {
    fn of(key: Key, edit: Edit) -> Self {
        let (entry, change) = match edit.says {
            Some(value) => (Entry { key, value }.to_string(), "add"),
            None => (key.to_string(), "remove"),
        };
        Self { entry, change, about: About::of(edit) }
    }
}
