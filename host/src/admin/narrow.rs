//! What questions about requests are narrowed down to, as operators write it.

use ipnet::IpNet;
use karuta_bittorrent::InfoHash;
use serde::{Deserialize, Serialize};

use crate::metrics::Outcome;
use crate::text;

/// The names of outcomes.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "outcome: expected one of ok, rejected, dropped, or a list of them")]
pub enum Outcomes {
    One(String),
    Any(Vec<String>),
}

/// Reads an address or a range.
pub fn network(from: &str) -> Result<IpNet, String> {
    let expected = "from: expected an address or a range such as 198.51.100.0/24";
    text::network(from).ok_or(expected.to_owned())
}

/// Reads an info-hash.
pub fn info_hash(digits: &str) -> Result<InfoHash, String> {
    InfoHash::from_hex(digits).ok_or("info_hash: expected 40 hexadecimal digits".to_owned())
}

/// Reads the names of outcomes; without any, all are meant.
pub fn outcomes(named: Option<Outcomes>) -> Result<Vec<Outcome>, String> {
    let known = [Outcome::Ok, Outcome::Rejected, Outcome::Dropped];
    let expected = || "outcome: expected some of ok, rejected, dropped".to_owned();
    let find = |name: String| {
        known.into_iter().find(|outcome| outcome.name() == name).ok_or_else(expected)
    };
    match named {
        None => Ok(known.to_vec()),
        Some(Outcomes::One(name)) => Ok(vec![find(name)?]),
        Some(Outcomes::Any(names)) if names.is_empty() => Err(expected()),
        Some(Outcomes::Any(names)) => names.into_iter().map(find).collect(),
    }
}
