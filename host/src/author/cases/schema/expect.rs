//! What a file of cases expects from a call.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::de::{self, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::Place;

/// The expected result of a call: a verdict alone, or a mapping. Missing keys are not compared.
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
    /// Upload and download, in percent.
    pub credit: Wanted<[u32; 2]>,
    pub hide_peer: Wanted<bool>,
    pub remember: Wanted<Remember>,
    /// Parts of log lines, `LEVEL: TEXT`, in order.
    pub logs: Wanted<Vec<String>>,
    pub keyvalues: BTreeMap<String, Option<String>>,
    /// Part of the error of a failed call.
    pub error: Wanted<String>,
    pub ranking: Wanted<Vec<SocketAddr>>,
    /// By name.
    pub published: Wanted<BTreeMap<String, String>>,
    /// All requests, in order.
    pub requests: Wanted<Vec<Request>>,
}

/// An HTTP request; missing keys are not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Place>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Part of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The expected value of a field.
#[derive(Clone, Debug, Default)]
pub enum Wanted<T> {
    /// The key is missing.
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
        // With its own keys, so that serde derives the parser.
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
            credit: Wanted<[u32; 2]>,
            hide_peer: Wanted<bool>,
            remember: Wanted<Remember>,
            logs: Wanted<Vec<String>>,
            keyvalues: BTreeMap<String, Option<String>>,
            error: Wanted<String>,
            ranking: Wanted<Vec<SocketAddr>>,
            published: Wanted<BTreeMap<String, String>>,
            requests: Wanted<Vec<Request>>,
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

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    #[default]
    Next,
    Accept,
    Reject,
    Drop,
}

/// For which requests a verdict may be remembered, and for how many seconds.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Remember {
    pub scope: Vec<Part>,
    pub seconds: u64,
}

/// The parts of a request that a remembered verdict depends on, in the order of the contract.
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

/// A locality label: a number, or hexadecimal digits after `0x`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
                f.write_str("a number, or hexadecimal digits after 0x")
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
