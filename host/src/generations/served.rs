//! What is known of a generation that has served.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A generation that has served, as it is kept in a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Served {
    /// Of the file.
    pub format: u32,
    pub generation: u64,
    /// When it began to serve, in seconds since 1970.
    pub time: u64,
    pub by: String,
    pub action: Action,
    /// The generation that it is again.
    pub again: Option<u64>,
    /// What it changed of the one before; empty at a start.
    pub changes: String,
    #[serde(flatten)]
    pub content: Content,
    pub policies: Vec<ServedPolicy>,
    /// The version of Karuta.
    pub karuta: String,
}

/// How a generation came to serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Start,
    Reload,
    /// A reload that takes itself back unless it is confirmed.
    Try,
    /// The end of such a reload.
    #[serde(rename = "taken back")]
    TakenBack,
    Rollback,
}

/// What tells a configuration and its plugins from others: their SHA-256, in lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Content {
    /// Of the text of the configuration.
    pub sha256: String,
    /// By policy; one that cannot be read is left out.
    pub plugins: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServedPolicy {
    pub name: String,
    /// The file that the configuration names.
    pub plugin: PathBuf,
    /// As they were when the generation began to serve.
    pub data: Vec<ServedData>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServedData {
    pub name: String,
    /// 0: there was none.
    pub version: u64,
    pub entries: usize,
}

/// The format of the files, which says what their readers must know.
pub const FORMAT: u32 = 1;

/// How many of the last generations are kept.
const LAST: usize = 20;
/// A generation that has served for longer is kept for `LONG_AGO`, in seconds.
const LONG: u64 = 3600;
const LONG_AGO: u64 = 30 * 24 * 3600;

impl Action {
    /// Returns the name in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Try => "try",
            Self::TakenBack => "taken back",
            Self::Rollback => "rollback",
        }
    }
}

impl Content {
    /// Returns a digest of all of it, in lower-case hexadecimal digits.
    pub fn digest(&self) -> String {
        let mut sum = Sha256::new_with_prefix("karuta generation ");
        sum.update(&self.sha256);
        for (policy, digest) in &self.plugins {
            // Neither a name nor a digest contains a space.
            sum.update(format!(" {policy} {digest}"));
        }
        hex::encode(sum.finalize())
    }

    /// Returns whether all of them are digests: they name files.
    pub fn is_sound(&self) -> bool {
        let is_digest = |text: &String| hex::decode_to_slice(text, &mut [0; 32]).is_ok();
        is_digest(&self.sha256) && self.plugins.values().all(is_digest)
    }

    /// Returns whether this is `other`, as far as its plugins can be read.
    pub fn seems(&self, other: &Self) -> bool {
        let is_same = |(policy, digest)| other.plugins.get(policy) == Some(digest);
        self.sha256 == other.sha256 && self.plugins.iter().all(is_same)
    }
}

/// Returns which generations need not be kept any more: of those that began to serve at these times, in
/// seconds since 1970, in their order.
pub fn outdated(all: &[(u64, u64)], now: u64) -> Vec<u64> {
    let ends = all.iter().skip(1).map(|(_, time)| *time).chain([now]);
    let outdated = all.iter().zip(ends).enumerate().filter(|(at, ((_, begin), end))| {
        let is_last = all.len() - at <= LAST;
        let has_served = end.saturating_sub(*begin) > LONG && end + LONG_AGO > now;
        !is_last && !has_served
    });
    outdated.map(|(_, ((generation, _), _))| *generation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_and_those_that_served_for_long_are_kept() {
        const DAY: u64 = 24 * 3600;
        let now = 100 * DAY;
        // One a minute, the newest now.
        let brief =
            |from: u64, count: u64| (0..count).map(move |at| (from + at, now - 60 * (count - at)));
        assert_eq!(outdated(&brief(1, 20).collect::<Vec<_>>(), now), [0; 0]);
        assert_eq!(outdated(&brief(1, 23).collect::<Vec<_>>(), now), [1, 2, 3]);
        // Served for a day until 31 days ago, until 29 days ago, and for an hour.
        let long = [
            (1, now - 32 * DAY),
            (2, now - 31 * DAY),
            (3, now - 29 * DAY),
            (4, now - 29 * DAY + LONG),
        ];
        let all: Vec<_> = long.into_iter().chain(brief(5, 20)).collect();
        assert_eq!(outdated(&all, now), [1, 3]);
        assert_eq!(outdated(&[], now), [0; 0]);
    }

    #[test]
    fn content_is_told_apart_by_each_digest() {
        let content = |sha256: &str, plugins: &[(&str, &str)]| Content {
            sha256: sha256.into(),
            plugins: plugins
                .iter()
                .map(|(name, digest)| ((*name).into(), (*digest).into()))
                .collect(),
        };
        let whole = content("a", &[("jwt", "b"), ("subnet", "c")]);
        for other in [
            content("b", &[("jwt", "b"), ("subnet", "c")]),
            content("a", &[("jwt", "c"), ("subnet", "c")]),
            content("a", &[("jwt", "b"), ("subne", "c")]),
        ] {
            assert_ne!(other.digest(), whole.digest());
            assert!(!other.seems(&whole));
        }
        assert!(whole.seems(&whole.clone()));
        let gone = content("a", &[("subnet", "c")]);
        assert!(gone.seems(&whole), "a plugin that is gone tells nothing");
        assert!(!whole.seems(&gone));
    }
}
