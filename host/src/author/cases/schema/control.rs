//! Calls of a control instance, and the HTTP answers it gets.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::{Announce, Verdict};

/// How announces ended, or that the last batch is offered again.
#[derive(Clone, Debug)]
pub enum Observe {
    Again,
    Batch(Vec<Outcome>),
}

/// How an announce ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Its `attributes` are those that the policies left.
    #[serde(default)]
    pub announce: Announce,
    #[serde(default)]
    pub verdict: Verdict,
    pub decided_by: Option<String>,
}

/// A tick at the current time of the clock.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tick {}

/// The answer of a URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Why there is no answer.
    pub error: Option<String>,
}

impl Default for Reply {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), body: String::new(), error: None }
    }
}

impl<'de> Deserialize<'de> for Observe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Observe;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of outcomes or `again`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Observe, E> {
                match text {
                    "again" => Ok(Observe::Again),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Observe, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Observe::Batch)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
