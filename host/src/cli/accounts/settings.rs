//! What can be set of a member, of a group and of a torrent.

use clap::Args;
use serde_json::{Map, Value, json};

#[derive(Args)]
pub struct MemberSettings {
    /// Whether it may download.
    #[arg(long, value_name = "BOOL")]
    leech: Option<bool>,
    /// Whether its addresses may be written down.
    #[arg(long, value_name = "BOOL")]
    visible: Option<bool>,
    /// For policies that warn or ban: whether this one is left alone.
    #[arg(long, value_name = "BOOL")]
    immune: Option<bool>,
    /// Whether its downloads are not counted.
    #[arg(long, value_name = "BOOL")]
    freeleech: Option<bool>,
    /// Whether its uploads count at least twice.
    #[arg(long, value_name = "BOOL")]
    double_upload: Option<bool>,
    /// A number that policies give a meaning.
    #[arg(long)]
    group: Option<u32>,
    /// The most torrents that it may download at a time, or `none`.
    #[arg(long, value_parser = slots)]
    slots: Option<Slots>,
}

/// How many torrents a member may download at a time; `None`: any number.
#[derive(Clone, Copy)]
struct Slots(Option<u32>);

#[derive(Args)]
pub struct GroupSettings {
    /// Whether its members are not banned.
    #[arg(long, value_name = "BOOL")]
    enabled: Option<bool>,
    /// For policies that warn or ban: whether these members are left alone.
    #[arg(long, value_name = "BOOL")]
    immune: Option<bool>,
    /// Whether their downloads are not counted.
    #[arg(long, value_name = "BOOL")]
    freeleech: Option<bool>,
    /// Whether their uploads count at least twice.
    #[arg(long, value_name = "BOOL")]
    double_upload: Option<bool>,
    /// The most torrents that each of them may download at a time, or `none`; for those with no
    /// number of their own.
    #[arg(long, value_parser = slots)]
    slots: Option<Slots>,
}

#[derive(Args)]
pub struct TorrentSettings {
    /// 40 or 64 hexadecimal digits.
    #[arg(long, value_name = "HASH")]
    info_hash: Option<String>,
    /// The other one of a hybrid torrent.
    #[arg(long, value_name = "HASH")]
    info_hash_v2: Option<String>,
    /// What moderation says: 0 pending, 1 approved, 2 rejected, 3 postponed.
    #[arg(long)]
    status: Option<u8>,
    #[arg(long, value_name = "BOOL")]
    deleted: Option<bool>,
    /// Why it was deleted: a number that policies give a meaning.
    #[arg(long)]
    reason: Option<u32>,
    /// Whether uploads count at least twice, and downloads not at all.
    #[arg(long, value_name = "BOOL")]
    featured: Option<bool>,
    /// How much of an upload is credited.
    #[arg(long, value_name = "PERCENT")]
    upload_percent: Option<u16>,
    /// How much of a download is counted; 0 is freeleech.
    #[arg(long, value_name = "PERCENT")]
    download_percent: Option<u16>,
}

impl MemberSettings {
    /// Returns a change of a member; without a passkey if it is null.
    pub fn of(self, id: u64, passkey: Value) -> Value {
        let Self { leech, visible, immune, freeleech, double_upload, group, slots } = self;
        let mut wish = without_nulls([
            ("member", json!(id)),
            ("passkey", passkey),
            ("leech", json!(leech)),
            ("visible", json!(visible)),
            ("immune", json!(immune)),
            ("freeleech", json!(freeleech)),
            ("double_upload", json!(double_upload)),
            ("group", json!(group)),
        ]);
        if let Some(Slots(slots)) = slots {
            wish.insert("slots".to_owned(), json!(slots));
        }
        Value::Object(wish)
    }
}

impl GroupSettings {
    /// Returns a change of a group, with only its id if nothing is set.
    pub fn of(self, id: u32) -> Map<String, Value> {
        let Self { enabled, immune, freeleech, double_upload, slots } = self;
        let mut wish = without_nulls([
            ("group", json!(id)),
            ("enabled", json!(enabled)),
            ("immune", json!(immune)),
            ("freeleech", json!(freeleech)),
            ("double_upload", json!(double_upload)),
        ]);
        if let Some(Slots(slots)) = slots {
            wish.insert("slots".to_owned(), json!(slots));
        }
        wish
    }
}

impl TorrentSettings {
    /// Returns a change of a torrent, with only its id if nothing is set.
    pub fn of(self, id: u64) -> Map<String, Value> {
        let Self {
            info_hash,
            info_hash_v2,
            status,
            deleted,
            reason,
            featured,
            upload_percent,
            download_percent,
        } = self;
        without_nulls([
            ("torrent", json!(id)),
            ("info_hash", json!(info_hash)),
            ("info_hash_v2", json!(info_hash_v2)),
            ("status", json!(status)),
            ("deleted", json!(deleted)),
            ("reason", json!(reason)),
            ("featured", json!(featured)),
            ("upload_percent", json!(upload_percent)),
            ("download_percent", json!(download_percent)),
        ])
    }
}

fn without_nulls<const N: usize>(wishes: [(&str, Value); N]) -> Map<String, Value> {
    let wishes = wishes.into_iter().filter(|(_, value)| !value.is_null());
    wishes.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn slots(text: &str) -> Result<Slots, String> {
    match text {
        "none" => Ok(Slots(None)),
        number => match number.parse() {
            Ok(number) => Ok(Slots(Some(number))),
            Err(_) => Err("expected a number, or none".to_owned()),
        },
    }
}
