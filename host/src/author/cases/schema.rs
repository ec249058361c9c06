//! The keys of a file of cases.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::bittorrent::{InfoHash, PeerId};
use crate::config::{self, CredentialRule, DataFormat, PolicyLimits};

/// What all cases have in common, and the cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default = "empty")]
    pub config: serde_json::Value,
    #[serde(default)]
    pub credential: Vec<CredentialRule>,
    #[serde(default)]
    pub data: BTreeMap<String, Source>,
    #[serde(default)]
    pub keyvalues: BTreeMap<String, String>,
    #[serde(default)]
    pub clock: Clock,
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub limits: PolicyLimits,
    #[serde(default)]
    pub swarms: BTreeMap<Hash, Counts>,
    pub cases: Vec<Case>,
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// One instance, and what it is asked. What it brings of its own takes the place of the file's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub config: Option<serde_json::Value>,
    pub credential: Option<Vec<CredentialRule>>,
    pub data: Option<BTreeMap<String, Source>>,
    pub keyvalues: Option<BTreeMap<String, String>>,
    pub clock: Option<Clock>,
    pub seed: Option<u64>,
    pub limits: Option<PolicyLimits>,
    pub swarms: Option<BTreeMap<Hash, Counts>>,
    /// A text that stands in the error with which `init`, or the data, is refused.
    pub refused: Option<String>,
    pub announce: Option<Announce>,
    pub scrape: Option<Scrape>,
    pub expect: Option<Expect>,
    #[serde(default)]
    pub calls: Vec<Call>,
}

/// One of several calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// How far the clock moves on before it.
    #[serde(default, deserialize_with = "config::duration")]
    pub after: Duration,
    /// New versions of data sources.
    #[serde(default)]
    pub data: BTreeMap<String, Version>,
    /// A text that stands in the error with which the plugin refuses the data.
    pub refused: Option<String>,
    pub announce: Option<Announce>,
    pub scrape: Option<Scrape>,
    pub expect: Option<Expect>,
}

/// A data source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub format: DataFormat,
    pub lines: Option<Vec<String>>,
    pub text: Option<String>,
    /// Relative to the file of cases.
    pub file: Option<PathBuf>,
}

/// What a data source says from now on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Version {
    pub lines: Option<Vec<String>>,
    pub text: Option<String>,
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counts {
    pub seeders: u32,
    pub leechers: u32,
    pub completed: u32,
}

/// An announce; what is not said is that of a leecher at 192.0.2.1.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    pub info_hash: Hash,
    pub peer_id: Id,
    pub address: IpAddr,
    /// Who asks, where that is not `address`.
    pub client_address: Option<IpAddr>,
    pub port: u16,
    pub event: config::Event,
    pub transport: config::Transport,
    pub left: Option<u64>,
    pub uploaded: u64,
    pub downloaded: u64,
    pub num_want: u32,
    pub proxied: bool,
    pub overridden: bool,
    pub query: BTreeMap<String, String>,
    pub path: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    /// What policies before this one left.
    pub attributes: BTreeMap<String, String>,
    /// What the answer would say so far, in seconds.
    pub interval: u32,
    pub min_interval: u32,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            info_hash: Hash::default(),
            peer_id: Id::default(),
            address: Ipv4Addr::new(192, 0, 2, 1).into(),
            client_address: None,
            port: 6881,
            event: config::Event::None,
            transport: config::Transport::Http,
            left: Some(1),
            uploaded: 0,
            downloaded: 0,
            num_want: 50,
            proxied: false,
            overridden: false,
            query: BTreeMap::new(),
            path: BTreeMap::new(),
            headers: BTreeMap::new(),
            attributes: BTreeMap::new(),
            interval: 1800,
            min_interval: 900,
        }
    }
}

/// One info-hash of a scrape.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrape {
    pub info_hash: Hash,
    pub address: IpAddr,
    pub transport: config::Transport,
    pub query: BTreeMap<String, String>,
    pub path: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
}

impl Default for Scrape {
    fn default() -> Self {
        let Announce { info_hash, address, transport, .. } = Announce::default();
        Self {
            info_hash,
            address,
            transport,
            query: BTreeMap::new(),
            path: BTreeMap::new(),
            headers: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }
}

/// What must come of a call: a verdict alone, or a mapping. What is not named is not compared.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    pub verdict: Wanted<Verdict>,
    pub failure: Wanted<String>,
    pub retry_in: Wanted<Retry>,
    pub warning: Wanted<String>,
    pub interval: Wanted<u32>,
    pub min_interval: Wanted<u32>,
    pub num_want: Wanted<u32>,
    pub peers_first: Wanted<Vec<SocketAddr>>,
    pub peers_mixed: Wanted<Vec<SocketAddr>>,
    pub label: Wanted<Label>,
    pub attributes: Wanted<BTreeMap<String, String>>,
    pub hidden: Wanted<bool>,
    pub remember: Wanted<Remember>,
    /// Each stands in a line of the log, `LEVEL: TEXT`, one behind the other.
    pub logs: Wanted<Vec<String>>,
    pub keyvalues: BTreeMap<String, Option<String>>,
    /// Stands in the text of a call that fails.
    pub error: Wanted<String>,
}

/// The value that a field must have.
#[derive(Clone, Debug, Default)]
pub enum Wanted<T> {
    /// The key is not there.
    #[default]
    Any,
    /// The key is null.
    Nothing,
    Is(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Wanted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Nothing, Self::Is))
    }
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Its own keys, so that serde derives how they are read.
        #[derive(Deserialize)]
        #[serde(remote = "Expect", default = "Expect::default", deny_unknown_fields)]
        struct Keys {
            verdict: Wanted<Verdict>,
            failure: Wanted<String>,
            retry_in: Wanted<Retry>,
            warning: Wanted<String>,
            interval: Wanted<u32>,
            min_interval: Wanted<u32>,
            num_want: Wanted<u32>,
            peers_first: Wanted<Vec<SocketAddr>>,
            peers_mixed: Wanted<Vec<SocketAddr>>,
            label: Wanted<Label>,
            attributes: Wanted<BTreeMap<String, String>>,
            hidden: Wanted<bool>,
            remember: Wanted<Remember>,
            logs: Wanted<Vec<String>>,
            keyvalues: BTreeMap<String, Option<String>>,
            error: Wanted<String>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Expect;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a verdict or a mapping")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expect, E> {
                let verdict = Verdict::deserialize(text.into_deserializer())?;
                Ok(Expect { verdict: Wanted::Is(verdict), ..Expect::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expect, A::Error> {
                Keys::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Next,
    Accept,
    Reject,
    Drop,
}

/// For which requests, and how many seconds, a verdict may be remembered.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Remember {
    pub scope: Vec<Part>,
    pub seconds: u64,
}

/// What of a request a remembered verdict depends on, in the order of the contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    InfoHash,
    Address,
    Client,
    Credential,
    Event,
    Transport,
    PeerId,
    Port,
    Role,
}

/// Minutes, or never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Retry {
    Minutes(u32),
    #[serde(serialize_with = "never")]
    Never,
}

fn never<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("never")
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Retry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("minutes or `never`")
            }
            fn visit_u64<E: de::Error>(self, minutes: u64) -> Result<Retry, E> {
                let minutes = u32::try_from(minutes);
                minutes.map(Retry::Minutes).map_err(|_| E::custom("too many minutes"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Retry, E> {
                match text {
                    "never" => Ok(Retry::Never),
                    _ => Err(E::custom(format!("`{text}`, expected minutes or `never`"))),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A locality label: a number, or hexadecimal digits behind `0x`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(pub u64);

impl Serialize for Label {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Label;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or hexadecimal digits behind 0x")
            }
            fn visit_u64<E: de::Error>(self, label: u64) -> Result<Label, E> {
                Ok(Label(label))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                let digits = text.strip_prefix("0x");
                let label = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
                label.map(Label).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// 40 hexadecimal digits; the default is that of the text `karuta-test-torrent-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Hash(pub InfoHash);

impl Default for Hash {
    fn default() -> Self {
        Self(InfoHash(*b"karuta-test-torrent-"))
    }
}

impl TryFrom<String> for Hash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let hash = InfoHash::from_hex(&text).map(Self);
        hash.ok_or_else(|| format!("invalid info-hash `{text}`, expected 40 hexadecimal digits"))
    }
}

/// 40 hexadecimal digits, or a text of at most 20 bytes, which is filled up with zeros (`0`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(pub PeerId);

impl Default for Id {
    fn default() -> Self {
        Self(PeerId(*b"-KA0100-000000000000"))
    }
}

impl TryFrom<String> for Id {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if let Some(InfoHash(bytes)) = InfoHash::from_hex(&text) {
            return Ok(Self(PeerId(bytes)));
        }
        let mut id = [b'0'; 20];
        let place = id.get_mut(..text.len()).ok_or_else(|| {
            format!("invalid peer id `{text}`, expected at most 20 bytes, or 40 hexadecimal digits")
        })?;
        place.copy_from_slice(text.as_bytes());
        Ok(Self(PeerId(id)))
    }
}

/// A time in UTC, since 1970; the default is the first moment of 2026.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Clock(pub Duration);

impl Default for Clock {
    fn default() -> Self {
        Self(Duration::from_secs(1_767_225_600))
    }
}

impl TryFrom<String> for Clock {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse_time(&text).map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(|| {
            format!("invalid time `{text}`, expected one of UTC such as 2026-01-31T22:30:00Z")
        })
    }
}

fn parse_time(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, mark: char| -> Option<Vec<u64>> {
        let number = |part: &str| {
            (part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        text.split(mark).map(number).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let time = numbers(time, ':')?;
    let (hour, minute, second) = match time[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if !(1970..=9999).contains(&year) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let at = usize::try_from(month).ok()?.checked_sub(1)?;
    let valid = (1..=*months.get(at)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    // Leap years before this one.
    let leaps = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let days = (year - 1970) * 365 + leaps(year) - leaps(1970)
        + months[..at].iter().sum::<u64>()
        + day.checked_sub(1)?;
    valid.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2000-03-01T00:00Z", 951_868_800),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse_time(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-13-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+01:00",
            "1969-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
