//! Differences, as they are shown and sent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of difference.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// `outcome`, `decided_by`, `reason` or `interval`.
    pub what: String,
    pub count: u64,
    pub before: Side,
    pub after: Side,
    /// The most frequent clients, networks, beginnings of peer ids, and torrents.
    pub clients: Vec<Counted>,
    pub networks: Vec<Counted>,
    pub agents: Vec<Counted>,
    pub torrents: Vec<Counted>,
    pub example: Option<Example>,
}

/// What becomes of requests.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    pub outcome: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decided_by: String,
}

/// How often something is there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    pub name: String,
    pub count: u64,
}

/// A request that becomes something else.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Example {
    pub time: String,
    pub transport: String,
    pub action: String,
    pub client: String,
    pub info_hash: String,
    pub agent: String,
    /// Those that were told, of an announce.
    pub intervals: [[u32; 2]; 2],
    pub reasons: [String; 2],
    /// What each policy says now, in the order of the calls.
    pub policies: Vec<Said>,
}

/// What a policy says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    pub policy: String,
    pub verdict: String,
    pub remembered: bool,
    /// It is in shadow mode, and not obeyed.
    pub shadow: bool,
}

/// A policy that may say something else each time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unrepeatable {
    pub policy: String,
    pub reason: String,
}

impl Side {
    pub(super) fn of(outcome: &str, decided_by: &str) -> Self {
        Self { outcome: outcome.to_owned(), decided_by: decided_by.to_owned() }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.outcome)?;
        match &*self.decided_by {
            "" => Ok(()),
            policy => write!(f, " by {policy}"),
        }
    }
}

/// Writes what becomes of how many requests, such as `188 ok → rejected by clients`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, count, before, after, .. } = self;
        match &**what {
            "reason" => write!(f, "{count} {after} with another reason"),
            "interval" => write!(f, "{count} {after} with another interval"),
            _ => write!(f, "{count} {before} → {after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_in_a_few_words() {
        let said = |what: &str, before, after| {
            Change { what: what.into(), count: 3, before, after, ..Change::default() }.to_string()
        };
        let (ok, by_a, by_b) =
            (Side::of("ok", ""), Side::of("rejected", "a"), Side::of("rejected", "b"));
        assert_eq!(said("outcome", ok.clone(), by_a.clone()), "3 ok → rejected by a");
        assert_eq!(said("decided_by", by_a.clone(), by_b), "3 rejected by a → rejected by b");
        assert_eq!(said("reason", by_a.clone(), by_a), "3 rejected by a with another reason");
        assert_eq!(said("interval", ok.clone(), ok), "3 ok with another interval");
    }
}
