//! `/api/import`: enters torrents that another tracker, or this one, wrote.

use clap::ValueEnum;
use hyper::StatusCode;
use karuta_swarm::{Piece, Restored, Store};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::reply::Changed;
use super::request::Request;
use super::{Admin, give_way};
use crate::import::{Format, LONGEST};

/// What was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Lines that were read.
    pub torrents: u64,
    /// Lines that were not.
    pub skipped: u64,
    pub peers: ImportedPeers,
}

/// What became of the peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImportedPeers {
    pub entered: u64,
    /// They have been silent for longer than `tracker.peer_lifetime`.
    pub expired: u64,
    /// A limit leaves no room for them.
    pub refused: u64,
}

/// How many lines are read, or pieces entered, before others have a turn.
const AT_ONCE: usize = 64;

/// Enters the lines of the body, all or none.
pub async fn import(admin: &Admin, request: Request) -> Changed {
    let (format, skips) = match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(reason) => return Changed::line(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(_turn) = admin.swarms.imports.try_acquire() else {
        return Changed::line(StatusCode::TOO_MANY_REQUESTS, "another import is under way");
    };
    let body = match request.bytes(LONGEST).await {
        Ok(body) => body,
        Err(reply) => return Changed { reply, result: "the body cannot be read".to_owned() },
    };
    let clock = admin.swarms.clock();
    let (mut imported, mut pieces) = (Imported::default(), Vec::new());
    for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match format.read(line, clock.unix_seconds, &mut pieces) {
            Ok(()) => imported.torrents += 1,
            Err(_) if skips => imported.skipped += 1,
            Err(reason) => {
                let reason = format!("line {}: {reason}; nothing was imported", at + 1);
                return Changed::line(StatusCode::UNPROCESSABLE_ENTITY, &reason);
            }
        }
        if at % AT_ONCE == AT_ONCE - 1 {
            give_way().await;
        }
    }
    drop(body);
    let restored = enter(&*admin.swarms.store, &pieces, clock.now).await;
    let Restored { entered, expired, refused } = restored;
    imported.peers = ImportedPeers { entered, expired, refused };
    let result = format!("{} torrents, {entered} peers", imported.torrents);
    Changed::json(StatusCode::OK, &imported, result)
}

async fn enter(store: &impl Store, pieces: &[Piece], now: karuta_swarm::Seconds) -> Restored {
    let mut restored = Restored::default();
    for some in pieces.chunks(AT_ONCE) {
        for piece in some {
            restored += store.restore(piece, now);
        }
        give_way().await;
    }
    restored
}

/// Returns the format, and whether lines that cannot be read are skipped.
fn wanted(query: &str) -> Result<(Format, bool), String> {
    let (mut format, mut skips) = (None, false);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*key, &*value) {
            ("format", name) => format = Format::from_str(name, false).ok(),
            ("skip_bad", "0") => skips = false,
            ("skip_bad", "1") => skips = true,
            ("skip_bad", _) => return Err("skip_bad: expected 0 or 1".to_owned()),
            _ => return Err(format!("unknown parameter `{key}`")),
        }
    }
    let names: Vec<_> = Format::value_variants().iter().map(|format| format.name()).collect();
    let format = format.ok_or_else(|| format!("format: expected one of {}", names.join(", ")))?;
    Ok((format, skips))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused() {
        assert_eq!(wanted("format=txtp&skip_bad=1"), Ok((Format::Txtp, true)));
        assert_eq!(wanted("format=ndjson"), Ok((Format::Ndjson, false)));
        for query in ["", "format=ben", "format=txtp&skip_bad=yes", "format=txtp&all=1"] {
            assert!(wanted(query).is_err(), "{query}");
        }
    }
}
