//! Changes that a site asks for.

use karuta_accounts::{is_id, is_passkey};
use karuta_bittorrent::InfoHash;

use super::query::Query;
use super::target::Target;
use crate::doors;
use crate::entry::{Entry, Key};

/// A change. Members are named by their passkeys, and torrents by their info-hashes; the ones that
/// nobody can have are left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Update {
    AddUser {
        id: u64,
        passkey: String,
        visible: bool,
    },
    SetUser {
        passkey: String,
        leech: bool,
        visible: bool,
    },
    ChangePasskey {
        old: String,
        new: String,
    },
    RemoveUsers(Vec<String>),
    AddTorrent {
        id: u64,
        info_hash: InfoHash,
        price: Price,
    },
    SetTorrents {
        info_hashes: Vec<InfoHash>,
        price: Price,
    },
    DeleteTorrent {
        info_hash: InfoHash,
        reason: u32,
    },
    Token {
        exists: bool,
        info_hash: InfoHash,
        member: u64,
    },
    /// Of the beginnings of peer ids that are let in.
    Whitelist {
        add: Option<Entry>,
        remove: Option<Key>,
    },
    /// Seconds.
    Interval(u32),
    Info(InfoHash),
    /// What it is about is nothing that there can be.
    Nothing,
    /// It has no meaning here.
    Unknown,
}

/// What a download from a torrent costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Price {
    Normal,
    /// Downloads are not counted.
    Free,
    /// Nothing is counted.
    Neutral,
}

/// The bytes of each passkey in `passkeys`.
const PASSKEY: usize = 32;
/// The bytes of an info-hash.
const HASH: usize = 20;

/// The actions that have a meaning here.
const ACTIONS: [&str; 17] = [
    "add_user",
    "update_user",
    "change_passkey",
    "remove_user",
    "remove_users",
    "add_torrent",
    "update_torrent",
    "update_torrents",
    "delete_torrent",
    "add_token",
    "remove_token",
    "add_whitelist",
    "remove_whitelist",
    "edit_whitelist",
    "update_announce_interval",
    "info_torrent",
    UNKNOWN,
];
const UNKNOWN: &str = "unknown";

impl Target<'_> {
    /// Returns the action of a change; `unknown` if it has no meaning here.
    #[must_use]
    pub fn action(&self) -> &'static str {
        let said = self.query.text("action");
        ACTIONS.into_iter().find(|known| *known == said).unwrap_or(UNKNOWN)
    }

    /// Reads a change.
    ///
    /// # Errors
    ///
    /// Why there cannot be what it wants to add. What it wants to change or remove need not be.
    pub fn update(&self) -> Result<Update, &'static str> {
        let query = self.query;
        Ok(match self.action() {
            "add_user" => Update::AddUser {
                id: id(query, "id")?,
                passkey: passkey(query, "passkey")?,
                visible: query.boolean("visible"),
            },
            "update_user" => Update::SetUser {
                passkey: query.text("passkey"),
                leech: query.boolean("can_leech"),
                visible: query.boolean("visible"),
            },
            "change_passkey" => Update::ChangePasskey {
                old: query.text("oldpasskey"),
                new: passkey(query, "newpasskey")?,
            },
            "remove_user" => Update::RemoveUsers(vec![query.text("passkey")]),
            "remove_users" => {
                let all = query.bytes("passkeys").unwrap_or_default();
                let one = |one: &[u8]| String::from_utf8(one.to_vec()).ok();
                Update::RemoveUsers(all.chunks_exact(PASSKEY).filter_map(one).collect())
            }
            "add_torrent" => Update::AddTorrent {
                id: id(query, "id")?,
                info_hash: hash(query).ok_or("info_hash: expected 20 bytes")?,
                price: Price::read(query)?,
            },
            "update_torrent" => Update::SetTorrents {
                info_hashes: hash(query).into_iter().collect(),
                price: Price::read(query)?,
            },
            "update_torrents" => {
                let all = query.bytes("info_hashes").unwrap_or_default();
                let (all, _) = all.as_chunks::<HASH>();
                let info_hashes = all.iter().copied().map(InfoHash).collect();
                Update::SetTorrents { info_hashes, price: Price::read(query)? }
            }
            "delete_torrent" => hash(query).map_or(Update::Nothing, |info_hash| {
                // 0 is none in the books; it is -1 to the site, whose first one is 0.
                let reason = query.number("reason").and_then(|reason: u32| reason.checked_add(1));
                Update::DeleteTorrent { info_hash, reason: reason.unwrap_or(0) }
            }),
            action @ ("add_token" | "remove_token") => {
                match (hash(query), query.number("userid")) {
                    (Some(info_hash), Some(member)) => {
                        Update::Token { exists: action == "add_token", info_hash, member }
                    }
                    _ => Update::Nothing,
                }
            }
            "add_whitelist" => {
                Update::Whitelist { add: Some(prefix(query, "peer_id")?), remove: None }
            }
            "remove_whitelist" => Update::Whitelist { add: None, remove: key(query, "peer_id") },
            "edit_whitelist" => Update::Whitelist {
                add: Some(prefix(query, "new_peer_id")?),
                remove: key(query, "old_peer_id"),
            },
            "update_announce_interval" => Update::Interval(
                query
                    .number("new_announce_interval")
                    .ok_or("new_announce_interval: expected seconds")?,
            ),
            "info_torrent" => hash(query).map_or(Update::Nothing, Update::Info),
            _ => Update::Unknown,
        })
    }
}

impl Price {
    /// Reads `freetorrent`, which is 0 where it is absent.
    fn read(query: Query) -> Result<Self, &'static str> {
        match query.bytes("freetorrent").as_deref() {
            None | Some(b"0") => Ok(Self::Normal),
            Some(b"1") => Ok(Self::Free),
            Some(b"2") => Ok(Self::Neutral),
            Some(_) => Err("freetorrent: expected 0, 1 or 2"),
        }
    }

    /// Returns the number that stands for it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Free => 1,
            Self::Neutral => 2,
        }
    }

    /// Returns how much of an upload and of a download is counted, in percent.
    #[must_use]
    pub fn percent(self) -> (u16, u16) {
        match self {
            Self::Normal => (100, 100),
            Self::Free => (100, 0),
            Self::Neutral => (0, 0),
        }
    }
}

fn id(query: Query, name: &str) -> Result<u64, &'static str> {
    query.number(name).filter(|id| is_id(*id)).ok_or("id: expected a number, 1 or more")
}

fn passkey(query: Query, name: &str) -> Result<String, &'static str> {
    let passkey = query.text(name);
    let fits = is_passkey(&passkey);
    fits.then_some(passkey).ok_or("passkey: expected 16 to 64 letters, digits, - and _")
}

fn hash(query: Query) -> Option<InfoHash> {
    let bytes = query.bytes("info_hash")?;
    Some(InfoHash(bytes.try_into().ok()?))
}

/// Reads the beginning of a peer id that is to be listed.
fn prefix(query: Query, name: &str) -> Result<Entry, &'static str> {
    doors::prefix(&query.text(name)).ok_or("peer_id: expected 1 to 20 bytes of text")
}

fn key(query: Query, name: &str) -> Option<Key> {
    Some(query.text(name)).filter(|text| !text.is_empty()).map(|text| Key::Text(text.into()))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    const PASSKEY: &str = "0123456789abcdef0123456789ABCDEF";

    fn read(query: &str) -> Result<Update, &'static str> {
        let path = format!("/{PASSKEY}/update");
        Target::read(&path, Some(query)).unwrap().update()
    }

    fn escaped(byte: u8) -> String {
        [byte; 20].iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02X}");
            text
        })
    }

    #[test]
    fn each_call_is_read() {
        let (passkey, hash) = (PASSKEY.to_owned(), InfoHash([0xab; 20]));
        let (escaped, other) = (escaped(0xab), escaped(0));
        let text = |text: &str| Key::Text(text.into());
        let entry = |name: &str| Some(Entry { key: text(name), value: 0 });
        let table = [
            (
                format!("action=add_user&id=7&passkey={PASSKEY}&visible=0"),
                Update::AddUser { id: 7, passkey: passkey.clone(), visible: false },
            ),
            (
                format!("action=add_user&id=7&passkey={PASSKEY}"),
                Update::AddUser { id: 7, passkey: passkey.clone(), visible: true },
            ),
            (
                format!("action=update_user&passkey={PASSKEY}&can_leech=0&visible=1"),
                Update::SetUser { passkey: passkey.clone(), leech: false, visible: true },
            ),
            (
                format!("action=update_user&passkey={PASSKEY}"),
                Update::SetUser { passkey: passkey.clone(), leech: true, visible: true },
            ),
            (
                format!("action=change_passkey&oldpasskey=x&newpasskey={PASSKEY}"),
                Update::ChangePasskey { old: "x".to_owned(), new: passkey.clone() },
            ),
            (
                format!("action=remove_user&passkey={PASSKEY}"),
                Update::RemoveUsers(vec![passkey.clone()]),
            ),
            (
                format!("action=remove_users&passkeys={PASSKEY}{PASSKEY}half"),
                Update::RemoveUsers(vec![passkey.clone(), passkey]),
            ),
            (
                format!("action=add_torrent&id=5&info_hash={escaped}&freetorrent=1"),
                Update::AddTorrent { id: 5, info_hash: hash, price: Price::Free },
            ),
            (
                format!("action=update_torrent&info_hash={escaped}&freetorrent=2"),
                Update::SetTorrents { info_hashes: vec![hash], price: Price::Neutral },
            ),
            (
                format!("action=update_torrents&info_hashes={escaped}{other}x&freetorrent=0"),
                Update::SetTorrents {
                    info_hashes: vec![hash, InfoHash([0; 20])],
                    price: Price::Normal,
                },
            ),
            (
                format!("action=delete_torrent&info_hash={escaped}&id=5&reason=1"),
                Update::DeleteTorrent { info_hash: hash, reason: 2 },
            ),
            (
                format!("action=delete_torrent&info_hash={escaped}&reason=-1"),
                Update::DeleteTorrent { info_hash: hash, reason: 0 },
            ),
            (
                format!("action=add_token&info_hash={escaped}&userid=7"),
                Update::Token { exists: true, info_hash: hash, member: 7 },
            ),
            (
                format!("action=remove_token&info_hash={escaped}&userid=7"),
                Update::Token { exists: false, info_hash: hash, member: 7 },
            ),
            (
                "action=add_whitelist&peer_id=-TR3".to_owned(),
                Update::Whitelist { add: entry("-TR3"), remove: None },
            ),
            (
                "action=remove_whitelist&peer_id=-TR3".to_owned(),
                Update::Whitelist { add: None, remove: Some(text("-TR3")) },
            ),
            (
                "action=edit_whitelist&old_peer_id=-TR3&new_peer_id=-TR4".to_owned(),
                Update::Whitelist { add: entry("-TR4"), remove: Some(text("-TR3")) },
            ),
            (
                "action=update_announce_interval&new_announce_interval=1800".to_owned(),
                Update::Interval(1800),
            ),
            (format!("action=info_torrent&info_hash={escaped}"), Update::Info(hash)),
            (format!("action=trace_user&passkey={PASSKEY}&trace=1"), Update::Unknown),
            ("action=unknown".to_owned(), Update::Unknown),
            (String::new(), Update::Unknown),
        ];
        for (query, expected) in table {
            assert_eq!(read(&query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_there_cannot_be_is_not_added_and_need_not_be_found() {
        let hash = escaped(1);
        let nothing = Ok(Update::Nothing);
        for (query, expected) in [
            (
                format!("action=add_user&id=0&passkey={PASSKEY}"),
                Err("id: expected a number, 1 or more"),
            ),
            (
                format!("action=add_user&id=x&passkey={PASSKEY}"),
                Err("id: expected a number, 1 or more"),
            ),
            (
                "action=add_user&id=9223372036854775808&passkey=x".to_owned(),
                Err("id: expected a number, 1 or more"),
            ),
            (
                "action=add_user&id=1&passkey=short".to_owned(),
                Err("passkey: expected 16 to 64 letters, digits, - and _"),
            ),
            (
                format!("action=change_passkey&oldpasskey={PASSKEY}"),
                Err("passkey: expected 16 to 64 letters, digits, - and _"),
            ),
            ("action=add_torrent&id=1&info_hash=x".to_owned(), Err("info_hash: expected 20 bytes")),
            (
                format!("action=add_torrent&id=1&info_hash={hash}x"),
                Err("info_hash: expected 20 bytes"),
            ),
            (
                format!("action=add_torrent&id=1&info_hash={hash}&freetorrent=3"),
                Err("freetorrent: expected 0, 1 or 2"),
            ),
            (
                "action=add_whitelist&peer_id=".to_owned(),
                Err("peer_id: expected 1 to 20 bytes of text"),
            ),
            (
                "action=add_whitelist&peer_id=%ff".to_owned(),
                Err("peer_id: expected 1 to 20 bytes of text"),
            ),
            (
                "action=add_whitelist&peer_id=123456789012345678901".to_owned(),
                Err("peer_id: expected 1 to 20 bytes of text"),
            ),
            (
                "action=update_announce_interval&new_announce_interval=-1".to_owned(),
                Err("new_announce_interval: expected seconds"),
            ),
            ("action=delete_torrent&info_hash=x".to_owned(), nothing.clone()),
            (format!("action=add_token&info_hash={hash}&userid=x"), nothing.clone()),
            ("action=remove_token".to_owned(), nothing.clone()),
            ("action=info_torrent".to_owned(), nothing),
            ("action=remove_users&passkeys=short".to_owned(), Ok(Update::RemoveUsers(Vec::new()))),
        ] {
            assert_eq!(read(&query), expected, "{query}");
        }
    }

    #[test]
    fn what_a_torrent_costs_is_told_by_percents_too() {
        for price in [Price::Normal, Price::Free, Price::Neutral] {
            let query = format!("freetorrent={}", price.number());
            assert_eq!(Price::read(Query(&query)), Ok(price));
        }
        assert_eq!(Price::Free.percent(), (100, 0));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(
            action in prop::sample::select(&ACTIONS[..]), query: String, value in "[ -~]*",
        ) {
            let _ = read(&query);
            for name in ["passkey", "passkeys", "info_hash", "info_hashes", "peer_id", "id"] {
                let _ = read(&format!("action={action}&id=1&{name}={value}"));
            }
        }
    }
}
