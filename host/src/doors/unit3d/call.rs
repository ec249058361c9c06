//! What a call wants to be changed, as its body says.

use karuta_accounts::{is_id, is_passkey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::Answer;
use crate::doors::prefix;
use crate::entry::Entry;

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    PutUser {
        id: u64,
        group: u32,
        /// The one that it has from now on.
        passkey: String,
        leech: bool,
        donor: bool,
    },
    DeleteUser(u64),
    PutTorrent {
        id: u64,
        info_hash: [u8; 20],
        status: u8,
        deleted: bool,
        completed: u64,
        upload_percent: u16,
        download_percent: u16,
    },
    DeleteTorrent(u64),
    PutGroup {
        id: u32,
        /// Whether its members are not banned.
        enabled: bool,
        slots: Option<u32>,
        immune: bool,
        freeleech: bool,
        double_upload: bool,
    },
    DeleteGroup(u32),
    /// The beginning of a peer id; `None`: it is that of none.
    Agent {
        adds: bool,
        entry: Option<Entry>,
    },
    Token {
        adds: bool,
        member: u64,
        torrent: u64,
    },
    PersonalFreeleech {
        adds: bool,
        member: u64,
    },
    Featured {
        adds: bool,
        torrent: u64,
    },
}

/// The names of groups whose members may do nothing.
const BANNED: [&str; 3] = ["banned", "validating", "disabled"];
const NO_OBJECT: &str = "expected a JSON object";
/// The highest status of a torrent.
const STATUSES: u8 = 3;

#[derive(Deserialize)]
struct User {
    #[serde(deserialize_with = "id")]
    id: u64,
    group_id: u32,
    #[serde(deserialize_with = "passkey")]
    passkey: String,
    #[serde(default, deserialize_with = "new_passkey")]
    new_passkey: Option<String>,
    can_download: bool,
    /// Earlier UNIT3Ds do not say.
    #[serde(default)]
    is_donor: bool,
    #[serde(default)]
    is_lifetime: bool,
}

#[derive(Deserialize)]
struct Torrent {
    #[serde(deserialize_with = "id")]
    id: u64,
    #[serde(deserialize_with = "status")]
    status: u8,
    #[serde(deserialize_with = "info_hash")]
    info_hash: [u8; 20],
    is_deleted: bool,
    times_completed: u32,
    download_factor: u16,
    upload_factor: u16,
}

#[derive(Deserialize)]
struct Group {
    id: u32,
    slug: String,
    download_slots: Option<u32>,
    is_immune: bool,
    is_freeleech: bool,
    is_double_upload: bool,
}

/// Whom or what a call removes. What else it says is not needed.
#[derive(Deserialize)]
struct Id {
    #[serde(deserialize_with = "id")]
    id: u64,
}

#[derive(Deserialize)]
struct GroupId {
    id: u32,
}

#[derive(Deserialize)]
struct Agent {
    peer_id_prefix: String,
}

#[derive(Deserialize)]
struct Token {
    #[serde(deserialize_with = "id")]
    user_id: u64,
    #[serde(deserialize_with = "id")]
    torrent_id: u64,
}

#[derive(Deserialize)]
struct UserId {
    #[serde(deserialize_with = "id")]
    user_id: u64,
}

#[derive(Deserialize)]
struct TorrentId {
    #[serde(deserialize_with = "id")]
    torrent_id: u64,
}

impl Call {
    /// Reads the body of a call that adds, changes or removes something. Keys that are not known are
    /// left aside, as a later UNIT3D may have more.
    ///
    /// # Errors
    ///
    /// The answer that says what is wrong, without a value: one may be a passkey.
    pub fn read(what: &str, adds: bool, body: &[u8]) -> Result<Self, Answer> {
        Ok(match (what, adds) {
            ("users", true) => {
                let read: User = object(body)?;
                Self::PutUser {
                    id: read.id,
                    group: read.group_id,
                    passkey: read.new_passkey.unwrap_or(read.passkey),
                    leech: read.can_download,
                    donor: read.is_donor || read.is_lifetime,
                }
            }
            ("users", false) => Self::DeleteUser(object::<Id>(body)?.id),
            ("torrents", true) => {
                let read: Torrent = object(body)?;
                Self::PutTorrent {
                    id: read.id,
                    info_hash: read.info_hash,
                    status: read.status,
                    deleted: read.is_deleted,
                    completed: read.times_completed.into(),
                    upload_percent: read.upload_factor,
                    download_percent: read.download_factor,
                }
            }
            ("torrents", false) => Self::DeleteTorrent(object::<Id>(body)?.id),
            ("groups", true) => {
                let read: Group = object(body)?;
                Self::PutGroup {
                    id: read.id,
                    enabled: !BANNED.contains(&&*read.slug),
                    slots: read.download_slots,
                    immune: read.is_immune,
                    freeleech: read.is_freeleech,
                    double_upload: read.is_double_upload,
                }
            }
            ("groups", false) => Self::DeleteGroup(object::<GroupId>(body)?.id),
            ("blacklisted-agents", adds) => {
                let read: Agent = object(body)?;
                Self::Agent { adds, entry: prefix(&read.peer_id_prefix) }
            }
            ("freeleech-tokens", adds) => {
                let Token { user_id: member, torrent_id: torrent } = object(body)?;
                Self::Token { adds, member, torrent }
            }
            ("personal-freeleech", adds) => {
                Self::PersonalFreeleech { adds, member: object::<UserId>(body)?.user_id }
            }
            (_, adds) => Self::Featured { adds, torrent: object::<TorrentId>(body)?.torrent_id },
        })
    }
}

/// Reads an object. What is wrong is said by its key.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Answer::wrong(NO_OBJECT));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (key, said) = (error.path().to_string(), error.inner().to_string());
        if !error.inner().is_data() {
            return Answer::wrong(NO_OBJECT);
        }
        match said.starts_with("missing field") {
            // It names a key, and no value.
            true => Answer::wrong(&said),
            false => Answer::wrong(&format!("`{}` is wrong", key.escape_default())),
        }
    })?;
    json.end().map_err(|_| Answer::wrong(NO_OBJECT))?;
    Ok(read)
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    checked(deserializer, |id| is_id(*id))
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    checked(deserializer, |status| *status <= STATUSES)
}

fn passkey<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |passkey: &String| is_passkey(passkey))
}

fn new_passkey<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |passkey: &Option<String>| passkey.as_deref().is_none_or(is_passkey))
}

fn info_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 20], D::Error> {
    let mut hash = [0; 20];
    let digits = String::deserialize(deserializer)?;
    hex::decode_to_slice(digits, &mut hash).map_err(serde::de::Error::custom)?;
    Ok(hash)
}

fn checked<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    fits: impl Fn(&T) -> bool,
) -> Result<T, D::Error> {
    let value = T::deserialize(deserializer)?;
    match fits(&value) {
        true => Ok(value),
        false => Err(serde::de::Error::custom("wrong")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::DataFormat;

    const PASSKEY: &str = "1c2cc1a0a3bd0e6fc2a94e6bb7f0a1d5";
    const NEW: &str = "5fb0cc0e8a2d4913c1a90e7d66b84f25";

    fn refused(what: &str, body: &str) -> String {
        Call::read(what, true, body.as_bytes()).unwrap_err().body
    }

    #[test]
    fn bodies_are_those_that_unit3d_sends() {
        let user = format!(
            r#"{{"id":7,"group_id":3,"passkey":"{PASSKEY}","can_download":true,"num_seeding":0,"num_leeching":1,"is_donor":false,"is_lifetime":false}}"#
        );
        let put = |passkey: &str, donor| Call::PutUser {
            id: 7,
            group: 3,
            passkey: passkey.to_owned(),
            leech: true,
            donor,
        };
        let donor = user.replace("\"is_lifetime\":false", "\"is_lifetime\":true");
        let renewed = user.replace("\"can_", &format!("\"new_passkey\":\"{NEW}\",\"can_"));
        let torrent = format!(
            r#"{{"id":12,"status":1,"info_hash":"{}","is_deleted":false,"seeders":1,"leechers":2,"times_completed":3,"download_factor":0,"upload_factor":200}}"#,
            "aa".repeat(20)
        );
        let group = r#"{"id":5,"slug":"user","download_slots":null,"is_immune":true,"is_freeleech":false,"is_double_upload":true}"#;
        let put_group = Call::PutGroup {
            id: 5,
            enabled: true,
            slots: None,
            immune: true,
            freeleech: false,
            double_upload: true,
        };
        let entry = |text: &str| Entry::read(DataFormat::Strings, text).ok();
        for (what, adds, body, expected) in [
            ("users", true, &*user, put(PASSKEY, false)),
            ("users", true, &donor, put(PASSKEY, true)),
            ("users", true, &renewed, put(NEW, false)),
            ("users", false, &format!(r#"{{"id":7,"passkey":"{PASSKEY}"}}"#), Call::DeleteUser(7)),
            (
                "torrents",
                true,
                &torrent,
                Call::PutTorrent {
                    id: 12,
                    info_hash: [0xaa; 20],
                    status: 1,
                    deleted: false,
                    completed: 3,
                    upload_percent: 200,
                    download_percent: 0,
                },
            ),
            ("torrents", false, r#"{"id":12,"info_hash":"aa"}"#, Call::DeleteTorrent(12)),
            ("groups", true, group, put_group),
            ("groups", false, r#"{"id":5}"#, Call::DeleteGroup(5)),
            (
                "blacklisted-agents",
                true,
                r#"{"peer_id_prefix":"-XL"}"#,
                Call::Agent { adds: true, entry: entry("-XL") },
            ),
            (
                "blacklisted-agents",
                false,
                r#"{"peer_id_prefix":"A name of a client"}"#,
                Call::Agent { adds: false, entry: entry("A name of a client") },
            ),
            (
                "freeleech-tokens",
                true,
                r#"{"user_id":7,"torrent_id":12}"#,
                Call::Token { adds: true, member: 7, torrent: 12 },
            ),
            (
                "personal-freeleech",
                false,
                r#"{"user_id":7}"#,
                Call::PersonalFreeleech { adds: false, member: 7 },
            ),
            (
                "featured-torrents",
                true,
                r#"{"torrent_id":12}"#,
                Call::Featured { adds: true, torrent: 12 },
            ),
        ] {
            assert_eq!(Call::read(what, adds, body.as_bytes()), Ok(expected), "{what}: {body}");
        }
    }

    #[test]
    fn the_members_of_some_groups_may_do_nothing() {
        for (slug, expected) in [
            ("banned", false),
            ("validating", false),
            ("disabled", false),
            ("Banned", true),
            ("owner", true),
        ] {
            let body = format!(
                r#"{{"id":1,"slug":"{slug}","download_slots":2,"is_immune":false,"is_freeleech":true,"is_double_upload":false}}"#
            );
            let Ok(Call::PutGroup { enabled, slots, freeleech, .. }) =
                Call::read("groups", true, body.as_bytes())
            else {
                panic!("{body}")
            };
            assert_eq!((enabled, slots, freeleech), (expected, Some(2), true), "{slug}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_its_key_and_without_its_value() {
        for (what, body, expected) in [
            ("users", "", "expected a JSON object"),
            ("users", "[]", "expected a JSON object"),
            ("users", "{", "expected a JSON object"),
            ("users", "{} x", "missing field `id` at line 1 column 2"),
            ("groups", r#"{"id": -1}"#, "`id` is wrong"),
            ("users", r#"{"id": 0}"#, "`id` is wrong"),
            ("users", r#"{"id": 1, "passkey": "secret"}"#, "`passkey` is wrong"),
            ("users", r#"{"id": "1"}"#, "`id` is wrong"),
            ("torrents", r#"{"id": 1, "status": 4}"#, "`status` is wrong"),
            ("torrents", r#"{"id": 1, "info_hash": "zz"}"#, "`info_hash` is wrong"),
            ("torrents", r#"{"id": 1, "upload_factor": 70000}"#, "`upload_factor` is wrong"),
            ("freeleech-tokens", r#"{"user_id": 1}"#, "missing field `torrent_id`"),
        ] {
            let said = refused(what, body);
            assert!(said.contains(expected), "{body}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_name_that_begins_no_peer_id_is_nobody_s() {
        for name in ["", "a name of a client that is too long", " spaced "] {
            let body = serde_json::json!({ "peer_id_prefix": name }).to_string();
            let read = Call::read("blacklisted-agents", true, body.as_bytes());
            assert_eq!(read, Ok(Call::Agent { adds: true, entry: None }), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(
            what in "users|torrents|groups|blacklisted-agents|freeleech-tokens|featured-torrents",
            body: Vec<u8>, key in "id|passkey|info_hash|user_id|peer_id_prefix", value in "[ -~]*",
        ) {
            for adds in [false, true] {
                let _ = Call::read(&what, adds, &body);
                let text = serde_json::json!({ "id": 1, &key: value }).to_string();
                let _ = Call::read(&what, adds, text.as_bytes());
            }
        }
    }
}
