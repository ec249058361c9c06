//! Changes of members, torrents and tokens, as lines of JSON.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::records::STATUSES;

/// A change. What it does not name stays as it is; what does not exist yet is added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Member(MemberChange),
    Torrent(TorrentChange),
    Token(TokenChange),
}

/// A change of a member. A new one needs a passkey.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberChange {
    #[serde(rename = "member", deserialize_with = "id")]
    pub id: u64,
    #[serde(default, deserialize_with = "passkey")]
    pub passkey: Option<String>,
    pub enabled: Option<bool>,
    pub leech: Option<bool>,
    pub visible: Option<bool>,
    pub immune: Option<bool>,
    pub freeleech: Option<bool>,
    pub double_upload: Option<bool>,
    pub group: Option<u32>,
    /// `Some(None)`, `null` in JSON: any number.
    #[serde(default, deserialize_with = "given")]
    pub slots: Option<Option<u32>>,
    /// The credited bytes, for one who comes from another tracker.
    #[serde(default, deserialize_with = "amount")]
    pub uploaded: Option<u64>,
    #[serde(default, deserialize_with = "amount")]
    pub downloaded: Option<u64>,
}

/// A change of a torrent. A new one needs an info-hash.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TorrentChange {
    #[serde(rename = "torrent", deserialize_with = "id")]
    pub id: u64,
    /// Of version 1; or of version 2, of which clients announce the first 20 bytes.
    #[serde(default, deserialize_with = "hash")]
    pub info_hash: Option<[u8; 20]>,
    /// The other one of a hybrid torrent.
    #[serde(default, deserialize_with = "hash")]
    pub info_hash_v2: Option<[u8; 20]>,
    #[serde(default, deserialize_with = "status")]
    pub status: Option<u8>,
    pub deleted: Option<bool>,
    pub featured: Option<bool>,
    pub reason: Option<u32>,
    pub upload_percent: Option<u16>,
    pub download_percent: Option<u16>,
    /// Finished downloads, for one that comes from another tracker.
    #[serde(default, deserialize_with = "amount")]
    pub completed: Option<u64>,
}

/// Gives or takes a member's token for a torrent, which makes its downloads free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenChange {
    /// Whether the member has it from now on.
    #[serde(rename = "token")]
    pub exists: bool,
    #[serde(deserialize_with = "id")]
    pub member: u64,
    #[serde(deserialize_with = "id")]
    pub torrent: u64,
}

/// The fewest and the most bytes of a passkey.
const PASSKEY: std::ops::RangeInclusive<usize> = 16..=64;
/// SQLite's numbers are signed.
const MOST: u64 = i64::MAX as u64;

impl Change {
    /// Parses a line: an object with `member`, with `torrent`, or with `token` and both.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let has = |key| value.get(key).is_some();
        let read = if has("token") {
            serde_json::from_value(value).map(Self::Token)
        } else if has("torrent") {
            serde_json::from_value(value).map(Self::Torrent)
        } else if has("member") {
            serde_json::from_value(value).map(Self::Member)
        } else {
            return Err("expected an object with `member`, `torrent` or `token`".to_owned());
        };
        read.map_err(|error| error.to_string())
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let id = u64::deserialize(deserializer)?;
    let fits = (1..=MOST).contains(&id);
    fits.then_some(id).ok_or_else(|| wrong(&format!("the id {id}"), &format!("1 to {MOST}")))
}

fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let amount = u64::deserialize(deserializer)?;
    let fits = amount <= MOST;
    let amount = fits.then_some(amount);
    amount.map(Some).ok_or_else(|| wrong("the number", &format!("at most {MOST}")))
}

/// Tells `null` from what is not given.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let status = u8::deserialize(deserializer)?;
    let known = (status <= STATUSES).then_some(status);
    known
        .map(Some)
        .ok_or_else(|| wrong(&format!("the status {status}"), &format!("0 to {STATUSES}")))
}

fn passkey<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let passkey = String::deserialize(deserializer)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match PASSKEY.contains(&passkey.len()) && passkey.bytes().all(plain) {
        true => Ok(Some(passkey)),
        false => Err(wrong("the passkey", "16 to 64 letters, digits, - and _")),
    }
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 20]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = match text.len() {
        40 | 64 => hex::decode(&text).ok(),
        _ => None,
    };
    let hash = parsed.and_then(|bytes| bytes.first_chunk().copied());
    hash.map(Some).ok_or_else(|| wrong("the info-hash", "40 or 64 hexadecimal digits"))
}

fn wrong<E: serde::de::Error>(found: &str, expected: &str) -> E {
    E::custom(format!("{found} is wrong, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_names_what_it_changes() {
        let parse = |line| Change::parse(line).unwrap();
        let member = MemberChange {
            id: 7,
            passkey: Some("0123456789abcdef".to_owned()),
            leech: Some(false),
            slots: Some(None),
            ..MemberChange::default()
        };
        let line = r#"{"member": 7, "passkey": "0123456789abcdef", "leech": false, "slots": null}"#;
        assert_eq!(parse(line), Change::Member(member));
        let line = format!(r#"{{"torrent": 1, "info_hash": "{}ff"}}"#, "00".repeat(31));
        let torrent = TorrentChange { id: 1, info_hash: Some([0; 20]), ..TorrentChange::default() };
        assert_eq!(parse(&line), Change::Torrent(torrent));
        let token = TokenChange { exists: false, member: 1, torrent: 2 };
        assert_eq!(parse(r#"{"token": false, "member": 1, "torrent": 2}"#), Change::Token(token));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line: String, key in "member|torrent|token", value: u64) {
            let _ = Change::parse(&line);
            let _ = Change::parse(&format!("{{\"{key}\": {value}, \"passkey\": \"{line}\"}}"));
            let _ = Change::parse(&format!("{{\"{key}\": {value}, \"info_hash\": \"{line}\"}}"));
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let table = [
            ("7", "expected an object with `member`, `torrent` or `token`"),
            ("{}", "expected an object with `member`, `torrent` or `token`"),
            ("{", "EOF while parsing"),
            (r#"{"member": 0}"#, "the id 0 is wrong, expected 1 to 9223372036854775807"),
            (r#"{"member": -1}"#, "invalid value: integer `-1`, expected u64"),
            (r#"{"member": 1, "leach": true}"#, "unknown field `leach`"),
            (
                r#"{"member": 1, "passkey": "short"}"#,
                "the passkey is wrong, expected 16 to 64 letters, digits, - and _",
            ),
            (r#"{"member": 1, "passkey": "0123456789abcde/"}"#, "the passkey is wrong"),
            (r#"{"member": 1, "uploaded": 9223372036854775808}"#, "the number is wrong"),
            (r#"{"torrent": 1, "status": 4}"#, "the status 4 is wrong, expected 0 to 3"),
            (r#"{"torrent": 1, "info_hash": "00"}"#, "expected 40 or 64 hexadecimal digits"),
            (r#"{"token": true, "member": 1}"#, "missing field `torrent`"),
            (r#"{"torrent": 1, "upload_percent": 65536}"#, "expected u16"),
        ];
        for (line, expected) in table {
            let error = Change::parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
