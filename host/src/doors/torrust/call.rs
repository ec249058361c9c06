//! Calls.

use hyper::StatusCode;
use karuta_bittorrent::InfoHash;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::super::Way;
use super::Answer;
use super::wish::read_key;
use crate::entry::Entry;

/// What the paths of all calls begin with.
pub const PATH: &str = "/api/v1/";
/// How many torrents a page has, unless the call says so, and at most.
const PAGE: usize = 4000;
const LONGEST_PAGE: usize = 10_000;

/// What is called for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    Edit(Edit),
    Look(Look),
}

/// A change of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    Whitelist(Way, InfoHash),
    /// The body says which key.
    AddKey,
    /// A new key, for so many seconds.
    NewKey(u64),
    DeleteKey(Entry),
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// Whether a list has been read anew. Lists are followed anyway.
    Reload(List),
    Torrent(InfoHash),
    Torrents(Asked),
    Stats,
}

/// One of the lists that sites edit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    Whitelist,
    Keys,
}

/// Which torrents are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A page of all, by info-hash.
    Page {
        offset: usize,
        limit: usize,
    },
    These(Vec<InfoHash>),
}

impl Call {
    /// Reads a call, whose path begins with [`PATH`].
    ///
    /// # Errors
    ///
    /// What is answered to one that is not understood.
    pub fn read(method: &str, path: &str, query: &str) -> Result<Self, Answer> {
        let method = if method == "HEAD" { "GET" } else { method };
        let parts: Vec<_> = path.strip_prefix(PATH).unwrap_or_default().split('/').collect();
        let edit = |edit| Ok(Self::Edit(edit));
        let look = |look| Ok(Self::Look(look));
        match (&*parts, method) {
            (["whitelist", "reload"], "GET") => look(Look::Reload(List::Whitelist)),
            (["whitelist", hash], "POST") => edit(Edit::Whitelist(Way::Add, info_hash(hash)?)),
            (["whitelist", hash], "DELETE") => edit(Edit::Whitelist(Way::Delete, info_hash(hash)?)),
            (["keys", "reload"], "GET") => look(Look::Reload(List::Keys)),
            (["keys"], "POST") => edit(Edit::AddKey),
            (["key", seconds], "POST") => edit(Edit::NewKey(seconds.parse().map_err(|_| {
                Answer::wrong(format!("Invalid URL: Cannot parse `{seconds}` to a `u64`"))
            })?)),
            (["key", key], "DELETE") => edit(Edit::DeleteKey(key_of_path(key)?)),
            (["torrent", hash], "GET") => look(Look::Torrent(info_hash(hash)?)),
            (["torrents"], "GET") => look(Look::Torrents(asked(query)?)),
            (["stats"], "GET") => look(Look::Stats),
            (
                ["whitelist" | "key" | "torrent", _]
                | ["keys", "reload"]
                | ["keys" | "torrents" | "stats"],
                _,
            ) => Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, String::new())),
            _ => Err(Answer::text(StatusCode::NOT_FOUND, String::new())),
        }
    }
}

impl Edit {
    /// Returns the path without what is changed, which may be secret.
    pub fn path(&self) -> &'static str {
        match self {
            Self::Whitelist(..) => "/api/v1/whitelist/",
            Self::AddKey => "/api/v1/keys",
            Self::NewKey(_) | Self::DeleteKey(_) => "/api/v1/key/",
        }
    }
}

fn info_hash(text: &str) -> Result<InfoHash, Answer> {
    let hash = (text.len() == 40).then(|| InfoHash::from_hex(text)).flatten();
    hash.ok_or_else(|| {
        Answer::wrong(format!(
            "Invalid URL: invalid infohash param: string \"{text}\", expected a 40 character long string"
        ))
    })
}

fn key_of_path(text: &str) -> Result<Entry, Answer> {
    let decoded = percent_decode_str(text).decode_utf8();
    let key = decoded.ok().and_then(|key| read_key(&key).ok());
    key.ok_or_else(|| Answer::wrong(format!("Invalid auth key id param \"{text}\"")))
}

fn asked(query: &str) -> Result<Asked, Answer> {
    let (mut offset, mut limit, mut these) = (0, PAGE, Vec::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = || {
            value.parse::<u32>().map(|number| number as usize).map_err(|error| {
                Answer::wrong(format!("Failed to deserialize query string: {key}: {error}"))
            })
        };
        match &*key {
            "offset" if !value.is_empty() => offset = number()?,
            "limit" if !value.is_empty() => limit = number()?,
            "info_hash" => these.push(info_hash(&value)?),
            _ => {}
        }
    }
    if !these.is_empty() {
        return Ok(Asked::These(these));
    }
    if limit > LONGEST_PAGE {
        return Err(Answer::wrong(format!("limit: expected at most {LONGEST_PAGE}")));
    }
    Ok(Asked::Page { offset, limit })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(call: &str) -> Result<Call, (u16, String)> {
        let (method, target) = call.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Call::read(method, &format!("{PATH}{path}"), query)
            .map_err(|answer| (answer.status.as_u16(), answer.body))
    }

    #[test]
    fn calls_of_sites_are_read() {
        let (a, hash) = ("aA".repeat(20), InfoHash([0xaa; 20]));
        let (edit, look) = (Call::Edit, Call::Look);
        let page = |offset, limit| look(Look::Torrents(Asked::Page { offset, limit }));
        let key = |text: &str| read_key(text).unwrap();
        for (call, expected) in [
            (format!("POST whitelist/{a}"), edit(Edit::Whitelist(Way::Add, hash))),
            (format!("DELETE whitelist/{a}?token=x"), edit(Edit::Whitelist(Way::Delete, hash))),
            ("GET whitelist/reload".into(), look(Look::Reload(List::Whitelist))),
            ("GET keys/reload".into(), look(Look::Reload(List::Keys))),
            ("POST keys".into(), edit(Edit::AddKey)),
            ("POST key/7257600".into(), edit(Edit::NewKey(7_257_600))),
            ("DELETE key/a%2Db".into(), edit(Edit::DeleteKey(key("a-b")))),
            ("DELETE key/120".into(), edit(Edit::DeleteKey(key("120")))),
            (format!("GET torrent/{a}"), look(Look::Torrent(hash))),
            ("GET torrents?token=x".into(), page(0, PAGE)),
            ("GET torrents?offset=&limit=".into(), page(0, PAGE)),
            ("HEAD torrents?offset=7&limit=2".into(), page(7, 2)),
            (
                format!("GET torrents?info_hash={a}&limit=9&info_hash={a}"),
                look(Look::Torrents(Asked::These(vec![hash, hash]))),
            ),
            ("GET stats".into(), look(Look::Stats)),
        ] {
            assert_eq!(read(&call), Ok(expected), "{call}");
        }
    }

    #[test]
    fn others_are_refused_as_by_torrust_tracker() {
        let hash = |text: &str| {
            format!(
                "Invalid URL: invalid infohash param: string \"{text}\", expected a 40 character long string"
            )
        };
        let v2 = "a".repeat(64);
        for (call, status, body) in [
            ("POST whitelist/INVALID", 400, hash("INVALID")),
            (&*format!("GET torrent/{v2}"), 400, hash(&v2)),
            ("GET torrents?info_hash=1", 400, hash("1")),
            ("POST key/-1", 400, "Invalid URL: Cannot parse `-1` to a `u64`".into()),
            ("DELETE key/", 400, "Invalid auth key id param \"\"".into()),
            ("DELETE key/%0a", 400, "Invalid auth key id param \"%0a\"".into()),
            (
                "GET torrents?offset=x",
                400,
                "Failed to deserialize query string: offset: invalid digit found in string".into(),
            ),
            ("GET torrents?limit=10001", 400, "limit: expected at most 10000".into()),
            ("PUT keys", 405, String::new()),
            ("GET key/120", 405, String::new()),
            ("GET peers", 404, String::new()),
            ("GET torrents/", 404, String::new()),
        ] {
            assert_eq!(read(call), Err((status, body)), "{call}");
        }
    }

    proptest! {
        #[test]
        fn no_call_panics(
            method in "GET|POST|DELETE|HEAD",
            path in "/api/v1/(whitelist|keys?|torrents?|stats)?(/[ -~]{0,44})?",
            query in "((offset|limit|info_hash)=[ -~]{0,44}&?){0,3}",
        ) {
            let _ = Call::read(&method, &path, &query);
        }
    }
}
