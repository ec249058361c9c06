//! Changes of a list.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::{Fault, PATH, Place};
use crate::admin::Admin;
use crate::admin::reply::Changed;
use crate::admin::request::{Request, Unread, object};
use crate::config::{DataFormat, parse_duration};
use crate::data::{DataSource, Folded};
use crate::edits::{Change, Done, Edits, Outcome, Refused};
use crate::entry::{Entry, Key};

/// The largest body of a change, in bytes, and the most entries.
const BODY: usize = 16 << 20;
const ENTRIES: usize = 100_000;
/// The longest note in bytes.
const NOTE: usize = 1000;

/// A wish to change a list, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
    ttl: Option<String>,
    if_version: Option<u64>,
    note: Option<String>,
}

/// What has been done.
#[derive(Serialize)]
struct Report {
    version: u64,
    added: usize,
    removed: usize,
    unchanged: usize,
    entries: usize,
}

/// Changes a list, or writes its edits into its file.
pub async fn change(admin: &Admin, request: Request) -> Changed {
    let who = caller(&request);
    let place = match Place::of(admin, request.head.uri.path()) {
        Ok(place) => place,
        Err(fault) => return refused(None, &fault),
    };
    let done = match &*place.rest {
        "" => edit(&place, request, who).await,
        "fold" => fold(&place).await,
        _ => Err(Fault::unknown("expected nothing more, or `fold`")),
    };
    done.unwrap_or_else(|fault| refused(Some(&place), &fault))
}

/// Ends all edits of a list.
pub async fn withdraw(admin: &Admin, request: Request) -> Changed {
    let who = caller(&request);
    let place = match Place::of(admin, request.head.uri.path()) {
        Ok(place) => place,
        Err(fault) => return refused(None, &fault),
    };
    let done = match &*place.rest {
        "edits" => order(&place, |edits, done| edits.withdraw(who, done)).await,
        _ => Err(Fault::unknown("expected `edits`")),
    };
    done.unwrap_or_else(|fault| refused(Some(&place), &fault))
}

fn caller(request: &Request) -> Arc<str> {
    request.caller.to_string().into()
}

/// Answers with a fault, which is audited with the name of the list.
fn refused(place: Option<&Place>, fault: &Fault) -> Changed {
    let name = place.map(|place| place.name() + ": ").unwrap_or_default();
    Changed { reply: fault.reply(), result: format!("{name}refused: {}", fault.detail) }
}

async fn edit(place: &Place, request: Request, who: Arc<str>) -> Result<Changed, Fault> {
    place.editable()?;
    let body = request.body(BODY).await.map_err(|unread| match unread {
        Unread::TooLarge => {
            let detail = format!("expected at most {} MiB", BODY >> 20);
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        }
        Unread::Late => Fault::new(StatusCode::REQUEST_TIMEOUT, "body", unread.to_string()),
        Unread::Broken(_) => Fault::new(StatusCode::BAD_REQUEST, "body", unread.to_string()),
    })?;
    apply(place, body, who).await
}

/// Changes the list of a name (`POLICY/DATA`), as the body of a request wishes.
pub async fn change_by_name(admin: &Admin, name: &str, body: Bytes, who: Arc<str>) -> Changed {
    let place = match Place::of(admin, &format!("{PATH}{name}")) {
        Ok(place) => place,
        Err(fault) => return refused(None, &fault),
    };
    let done = apply(&place, body, who).await;
    done.unwrap_or_else(|fault| refused(Some(&place), &fault))
}

/// Writes the edits of the list of a name (`POLICY/DATA`) into its file.
pub async fn fold_by_name(admin: &Admin, name: &str) -> Changed {
    let place = match Place::of(admin, &format!("{PATH}{name}")) {
        Ok(place) => place,
        Err(fault) => return refused(None, &fault),
    };
    fold(&place).await.unwrap_or_else(|fault| refused(Some(&place), &fault))
}

async fn apply(place: &Place, body: Bytes, who: Arc<str>) -> Result<Changed, Fault> {
    let format = place.source.definition().format;
    let read = spawn_blocking(move || read(&body, format, who));
    let change = read.await.map_err(|_| Fault::stopping())??;
    order(place, |edits, done| edits.change(change, done)).await
}

/// Has something done with the edits of a list, and waits until it is on the disk.
async fn order(place: &Place, order: impl FnOnce(&Edits, Done)) -> Result<Changed, Fault> {
    place.editable()?;
    let Some(edits) = place.source.edits() else { return Err(Fault::stopping()) };
    let (reply, result) = oneshot::channel();
    order(edits, Box::new(move |done| drop(reply.send(done))));
    match result.await.map_err(|_| Fault::stopping())? {
        Ok(outcome) => Ok(report(place, outcome)),
        Err(Refused::Version(version)) => Err(Fault {
            version: Some(version),
            ..Fault::new(
                StatusCode::CONFLICT,
                "version",
                format!("the list has version {version} by now"),
            )
        }),
        Err(Refused::Unwritten(reason)) => {
            Err(Fault::new(StatusCode::INSUFFICIENT_STORAGE, "journal", reason))
        }
    }
}

fn report(place: &Place, outcome: Outcome) -> Changed {
    let Outcome { version, added, removed, unchanged } = outcome;
    let entries = place.source.entries();
    let name = place.name();
    let result = format!("{name}: added {added}, removed {removed}, version {version}");
    Changed::json(StatusCode::OK, &Report { version, added, removed, unchanged, entries }, result)
}

async fn fold(place: &Place) -> Result<Changed, Fault> {
    place.editable()?;
    let source = place.source.clone();
    let folded = spawn_blocking(move || DataSource::fold(&source)).await;
    let Folded { edits, left } = folded
        .map_err(|_| Fault::stopping())?
        .map_err(|reason| Fault::new(StatusCode::CONFLICT, "file", reason))?;
    let result = format!("{}: wrote {edits} edits into the file", place.name());
    let report = serde_json::json!({ "edits": edits, "left": left });
    Ok(Changed::json(StatusCode::OK, &report, result))
}

/// Reads a wish, all of it or nothing.
fn read(body: &[u8], format: DataFormat, who: Arc<str>) -> Result<Change, Fault> {
    let wrong = |detail: String| Fault::new(StatusCode::BAD_REQUEST, "body", detail);
    let wish = object(body).map_err(wrong)?;
    let Wish { add, remove, ttl, if_version, note } = wish;
    if add.len() + remove.len() > ENTRIES {
        let detail = format!("expected at most {ENTRIES} entries");
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
    }
    let of_term = |text: String| {
        let term = parse_duration(&text).filter(|term| !term.is_zero());
        term.ok_or_else(|| wrong("ttl: expected a duration such as 30d".to_owned()))
    };
    let ttl = ttl.map(of_term).transpose()?;
    if note.as_ref().is_some_and(|note| note.len() > NOTE) {
        return Err(wrong(format!("note: expected at most {NOTE} bytes")));
    }
    let add = entries(&add, "add", format)?;
    let remove: Vec<Key> =
        entries(&remove, "remove", format)?.into_iter().map(|entry| entry.key).collect();
    let added: HashSet<&Key> = add.iter().map(|entry| &entry.key).collect();
    if let Some(index) = remove.iter().position(|key| added.contains(key)) {
        return Err(Fault {
            list: Some("remove"),
            index: Some(index),
            ..Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "both", "it is in `add`, too")
        });
    }
    Ok(Change { add, remove, ttl, if_version, who, note: note.map(Arc::from) })
}

fn entries(texts: &[String], list: &'static str, format: DataFormat) -> Result<Vec<Entry>, Fault> {
    let read = |(index, text): (usize, &String)| {
        Entry::read(format, text).map_err(|reason| Fault {
            list: Some(list),
            index: Some(index),
            ..Fault::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "entry",
                format!("{list}[{index}]: {reason}"),
            )
        })
    };
    texts.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_or_refused_as_a_whole() {
        let a = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
        let read = |body: &str| read(body.as_bytes(), DataFormat::InfoHashes, "me".into());
        let body = format!(r#"{{"add": ["{}"], "ttl": "1d", "if_version": 7}}"#, a.to_uppercase());
        let change = read(&body).unwrap_or_else(|fault| panic!("{}", fault.detail));
        assert_eq!(change.add[0].to_string(), a);
        assert_eq!((change.if_version, change.ttl.unwrap().as_secs()), (Some(7), 86_400));
        for (body, status, detail) in [
            (r#"{"add": ["x"]}"#.to_owned(), 422, "add[0]: `x`, expected 40 hexadecimal"),
            (format!(r#"{{"add": ["{a}"], "remove": ["{a}"]}}"#), 422, "it is in `add`, too"),
            (r#"{"ttl": "0s"}"#.to_owned(), 400, "ttl: expected a duration"),
            (r#"{"ttl": 30}"#.to_owned(), 400, "invalid type"),
            (r#"{"note": "NOTE"}"#.replace("NOTE", &"x".repeat(1001)), 400, "note: expected"),
            (r#"{"delete": []}"#.to_owned(), 400, "unknown field `delete`"),
            ("{".to_owned(), 400, "EOF"),
            ("[[], []]".to_owned(), 400, "expected an object, found an array"),
            (
                format!(r#"{{"add": [{}""]}}"#, "\"\",".repeat(ENTRIES)),
                413,
                "at most 100000 entries",
            ),
        ] {
            let fault = read(&body).err().expect(detail);
            assert_eq!(fault.status.as_u16(), status, "{detail}");
            assert!(fault.detail.contains(detail), "{}", fault.detail);
        }
    }
}
