//! Changes of members, groups, torrents and tokens, as lines of JSON.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::records::{Group, Member, STATUSES, Torrent};

/// A change. What it does not name stays as it is; what does not exist yet is added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Member(MemberChange),
    Group(GroupChange),
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

/// A change of a group, which is there as soon as a member is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupChange {
    /// The number of its members' `group`.
    #[serde(rename = "group")]
    pub id: u32,
    pub enabled: Option<bool>,
    pub immune: Option<bool>,
    pub freeleech: Option<bool>,
    pub double_upload: Option<bool>,
    /// `Some(None)`, `null` in JSON: any number.
    #[serde(default, deserialize_with = "given")]
    pub slots: Option<Option<u32>>,
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
/// What precedes, in an error, what a value should be. Before it there may be the value.
const EXPECTED: &str = ", expected ";

impl Change {
    /// Parses a line: an object with `member`, with `torrent`, with `token` and both, or else with
    /// `group`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without a value of it: one may be a passkey.
    pub fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if value.is_object()
            && let Ok(Repeated(Some(key))) = serde_json::from_str(line)
        {
            return Err(format!("`{key}` is there twice"));
        }
        let has = |key| value.get(key).is_some();
        if has("token") {
            read(value).map(Self::Token)
        } else if has("torrent") {
            read(value).map(Self::Torrent)
        } else if has("member") {
            read(value).map(Self::Member)
        } else if has("group") {
            read(value).map(Self::Group)
        } else {
            Err("expected an object with `member`, `group`, `torrent` or `token`".to_owned())
        }
    }
}

/// The first key of an object that is there before, which a `Value` does not tell.
struct Repeated(Option<String>);

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Repeated;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Repeated, A::Error> {
        let (mut known, mut repeated) = (HashSet::new(), None);
        while let Some((key, IgnoredAny)) = object.next_entry::<String, _>()? {
            if let Some(key) = known.replace(key) {
                repeated.get_or_insert(key);
            }
        }
        Ok(Repeated(repeated))
    }
}

/// Returns whether a member or a torrent can have this id.
#[must_use]
pub fn is_id(id: u64) -> bool {
    (1..=MOST).contains(&id)
}

/// Returns whether a member can have this passkey: 16 to 64 letters, digits, `-` and `_`.
#[must_use]
pub fn is_passkey(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    PASSKEY.contains(&text.len()) && text.bytes().all(is_plain)
}

/// Says who is changed, and how, but for passkeys.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (kind, id, how) = match self {
            Self::Member(change) => ("member", change.id, change.how()),
            Self::Group(change) => ("group", change.id.into(), change.how()),
            Self::Torrent(change) => ("torrent", change.id, change.how()),
            Self::Token(TokenChange { exists, member, torrent }) => {
                let how = if *exists { "token" } else { "no token" };
                ("member", *member, vec![format!("{how} for torrent {torrent}")])
            }
        };
        let how = if how.is_empty() { "nothing".to_owned() } else { how.join(", ") };
        write!(f, "{kind} {id}: {how}")
    }
}

impl MemberChange {
    /// Returns what a record becomes.
    pub(crate) fn onto(&self, record: Member) -> Member {
        Member {
            enabled: self.enabled.unwrap_or(record.enabled),
            leech: self.leech.unwrap_or(record.leech),
            visible: self.visible.unwrap_or(record.visible),
            immune: self.immune.unwrap_or(record.immune),
            freeleech: self.freeleech.unwrap_or(record.freeleech),
            double_upload: self.double_upload.unwrap_or(record.double_upload),
            group: self.group.unwrap_or(record.group),
            slots: self.slots.unwrap_or(record.slots),
            ..record
        }
    }

    fn how(&self) -> Vec<String> {
        let told = [
            self.passkey.as_ref().map(|_| "passkey".to_owned()),
            banned(self.enabled),
            told("leech", self.leech),
            told("visible", self.visible),
            told("immune", self.immune),
            told("freeleech", self.freeleech),
            told("double_upload", self.double_upload),
            told("group", self.group),
            slots(self.slots),
            told("uploaded", self.uploaded),
            told("downloaded", self.downloaded),
        ];
        told.into_iter().flatten().collect()
    }
}

impl GroupChange {
    /// Returns what becomes of a group that is no longer there: whoever is still in it is banned.
    #[must_use]
    pub fn gone(id: u32) -> Self {
        let (no, slots) = (Some(false), Some(None));
        Self { id, enabled: no, immune: no, freeleech: no, double_upload: no, slots }
    }

    /// Returns what a record becomes.
    pub(crate) fn onto(&self, record: Group) -> Group {
        Group {
            enabled: self.enabled.unwrap_or(record.enabled),
            immune: self.immune.unwrap_or(record.immune),
            freeleech: self.freeleech.unwrap_or(record.freeleech),
            double_upload: self.double_upload.unwrap_or(record.double_upload),
            slots: self.slots.unwrap_or(record.slots),
        }
    }

    fn how(&self) -> Vec<String> {
        let told = [
            banned(self.enabled),
            told("immune", self.immune),
            told("freeleech", self.freeleech),
            told("double_upload", self.double_upload),
            slots(self.slots),
        ];
        told.into_iter().flatten().collect()
    }
}

impl TorrentChange {
    /// Returns what a record becomes.
    pub(crate) fn onto(&self, record: Torrent) -> Torrent {
        Torrent {
            status: self.status.unwrap_or(record.status),
            deleted: self.deleted.unwrap_or(record.deleted),
            featured: self.featured.unwrap_or(record.featured),
            reason: self.reason.unwrap_or(record.reason),
            upload_percent: self.upload_percent.unwrap_or(record.upload_percent),
            download_percent: self.download_percent.unwrap_or(record.download_percent),
            ..record
        }
    }

    fn how(&self) -> Vec<String> {
        let told = [
            told("info_hash", self.info_hash.map(hex::encode)),
            told("info_hash_v2", self.info_hash_v2.map(hex::encode)),
            told("status", self.status),
            told("deleted", self.deleted),
            told("featured", self.featured),
            told("reason", self.reason),
            told("upload_percent", self.upload_percent),
            told("download_percent", self.download_percent),
            told("completed", self.completed),
        ];
        told.into_iter().flatten().collect()
    }
}

fn told(key: &str, value: Option<impl fmt::Display>) -> Option<String> {
    value.map(|value| format!("{key} {value}"))
}

fn banned(enabled: Option<bool>) -> Option<String> {
    enabled.map(|enabled| if enabled { "unban" } else { "ban" }.to_owned())
}

fn slots(slots: Option<Option<u32>>) -> Option<String> {
    let slots = slots.map(|slots| slots.map_or("none".to_owned(), |most| most.to_string()));
    told("slots", slots)
}

/// Reads an object. What is wrong is said by its key.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let said = match T::deserialize(&value) {
        Ok(read) => return Ok(read),
        Err(error) => error.to_string(),
    };
    // These have no values.
    if said.starts_with("unknown field") || said.starts_with("missing field") {
        return Err(said);
    }
    // Keys are read one after the other: the first with which it fails in this way is wrong.
    let mut so_far = Value::Object(Map::new());
    let mut keys = value.as_object().into_iter().flatten();
    let is_wrong = |(key, value): &(&String, &Value)| {
        so_far[key.as_str()] = Value::clone(value);
        T::deserialize(&so_far).err().is_some_and(|error| error.to_string() == said)
    };
    let key = keys.find(is_wrong).map(|(key, _)| key.as_str());
    let (_, expected) = said.rsplit_once(EXPECTED).unwrap_or(("", "something else"));
    Err(format!("`{}` is wrong, expected {expected}", key.unwrap_or_default()))
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let id = u64::deserialize(deserializer)?;
    is_id(id).then_some(id).ok_or_else(|| wrong(&format!("1 to {MOST}")))
}

fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let amount = u64::deserialize(deserializer)?;
    let fits = amount <= MOST;
    let amount = fits.then_some(amount);
    amount.map(Some).ok_or_else(|| wrong(&format!("at most {MOST}")))
}

/// Tells `null` from what is not given.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let status = u8::deserialize(deserializer)?;
    let known = (status <= STATUSES).then_some(status);
    known.map(Some).ok_or_else(|| wrong(&format!("0 to {STATUSES}")))
}

fn passkey<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let passkey = String::deserialize(deserializer)?;
    match is_passkey(&passkey) {
        true => Ok(Some(passkey)),
        false => Err(wrong("16 to 64 letters, digits, - and _")),
    }
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 20]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = match text.len() {
        40 | 64 => hex::decode(&text).ok(),
        _ => None,
    };
    let hash = parsed.and_then(|bytes| bytes.first_chunk().copied());
    hash.map(Some).ok_or_else(|| wrong("40 or 64 hexadecimal digits"))
}

fn wrong<E: serde::de::Error>(expected: &str) -> E {
    E::custom(format!("wrong{EXPECTED}{expected}"))
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
        let group = GroupChange { id: 5, enabled: Some(false), ..GroupChange::default() };
        assert_eq!(parse(r#"{"group": 5, "enabled": false}"#), Change::Group(group));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line: String, key in "member|group|torrent|token", value: u64) {
            let _ = Change::parse(&line);
            let _ = Change::parse(&format!("{{\"{key}\": {value}, \"passkey\": \"{line}\"}}"));
            let _ = Change::parse(&format!("{{\"{key}\": {value}, \"info_hash\": \"{line}\"}}"));
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let table = [
            ("7", "expected an object with `member`, `group`, `torrent` or `token`"),
            ("{}", "expected an object with `member`, `group`, `torrent` or `token`"),
            (r#"{"group": 1, "leech": true}"#, "unknown field `leech`"),
            (r#"{"member": 1, "leech": true, "leech": false}"#, "`leech` is there twice"),
            (r#"{"group": -1}"#, "`group` is wrong, expected u32"),
            ("{", "EOF while parsing"),
            (r#"{"member": 0}"#, "`member` is wrong, expected 1 to 9223372036854775807"),
            (r#"{"member": -1}"#, "`member` is wrong, expected u64"),
            (r#"{"member": 1, "leach": true}"#, "unknown field `leach`"),
            (
                r#"{"member": 1, "passkey": "short"}"#,
                "`passkey` is wrong, expected 16 to 64 letters, digits, - and _",
            ),
            (r#"{"member": 1, "passkey": "0123456789abcde/"}"#, "`passkey` is wrong"),
            (r#"{"member": "0123456789abcdef"}"#, "`member` is wrong, expected u64"),
            (r#"{"member": 1, "leech": ", expected 0123456789abcdef"}"#, "expected a boolean"),
            (r#"{"group": 1, "member": 1, "visible": "0123456789abcdef"}"#, "`visible` is wrong"),
            (
                r#"{"member": 1, "uploaded": 9223372036854775808}"#,
                "`uploaded` is wrong, expected at most",
            ),
            (r#"{"torrent": 1, "status": 4}"#, "`status` is wrong, expected 0 to 3"),
            (r#"{"torrent": 1, "info_hash": "00"}"#, "expected 40 or 64 hexadecimal digits"),
            (r#"{"token": true, "member": 1}"#, "missing field `torrent`"),
            (r#"{"torrent": 1, "upload_percent": 65536}"#, "expected u16"),
        ];
        for (line, expected) in table {
            let error = Change::parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("0123456789abcde"), "{line}: {error}");
        }
    }

    #[test]
    fn a_change_is_told_without_a_passkey() {
        let table = [
            (r#"{"member": 2, "enabled": false}"#, "member 2: ban"),
            (
                r#"{"member": 2, "passkey": "0123456789abcdef", "leech": true, "slots": null}"#,
                "member 2: passkey, leech true, slots none",
            ),
            (r#"{"torrent": 3, "deleted": true}"#, "torrent 3: deleted true"),
            (
                r#"{"group": 5, "enabled": false, "immune": true, "slots": 2}"#,
                "group 5: ban, immune true, slots 2",
            ),
            (r#"{"token": false, "member": 2, "torrent": 3}"#, "member 2: no token for torrent 3"),
        ];
        for (line, expected) in table {
            assert_eq!(Change::parse(line).unwrap().to_string(), expected);
        }
    }
}
