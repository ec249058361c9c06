//! What a reload would change, and how two configurations differ.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::report::Report;
use crate::config::{Config, ShownConfig};
use crate::replay::Verdicts;

/// What a reload would change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Preview {
    /// As a reload would report it, with the generation that would serve.
    #[serde(flatten)]
    pub report: Report,
    /// Of the file.
    pub sha256: String,
    /// A digest of the file and its plugins: what the reload must find to be what was looked at.
    pub content: String,
    /// What is different in the configuration with its defaults, without secrets; empty if nothing is.
    pub diff: String,
    pub plugins: Vec<ChangedPlugin>,
    /// The policies that would leave shadow mode.
    #[serde(default)]
    pub promoted: Vec<Promoted>,
    /// What the last requests would become.
    #[serde(default)]
    pub verdicts: Verdicts,
    /// Why a reload would be refused all the same.
    pub obstacle: Option<String>,
}

/// A policy that would leave shadow mode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Promoted {
    pub policy: String,
    /// What it would have done since the start, by kind: `pass`, `reject`, `drop`, `change`, `error`.
    pub counts: BTreeMap<String, u64>,
}

/// A plugin that is another one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangedPlugin {
    pub policy: String,
    /// `None`: the policy is new.
    pub before: Option<PluginFacts>,
    /// `None`: the policy is gone.
    pub after: Option<PluginFacts>,
}

/// What is known of a plugin.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PluginFacts {
    pub sha256: String,
    /// Its size; `None`: its file is gone or has been overwritten, and it was not kept.
    pub bytes: Option<u64>,
    /// The versions of the contract that it was built for.
    pub contract: Vec<String>,
    /// The interfaces that it calls.
    pub imports: Vec<String>,
}

impl Preview {
    /// Returns whether a reload would change anything.
    pub fn is_different(&self) -> bool {
        self.report.has_changes()
            || !self.diff.is_empty()
            || !self.plugins.is_empty()
            || !self.verdicts.changes.is_empty()
    }
}

impl fmt::Display for Promoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, counts } = self;
        let said = counts.iter().filter(|(_, count)| **count > 0);
        let said: Vec<_> = said.map(|(would, count)| format!("{would} {count}")).collect();
        match said.is_empty() {
            true => write!(f, "{policy} leaves shadow mode, in which it was asked about nothing"),
            false => {
                let said = said.join(", ");
                write!(f, "{policy} leaves shadow mode; since the start it would have said: {said}")
            }
        }
    }
}

/// Returns what is different in two configurations with their defaults, without secrets, as a unified
/// diff; empty if nothing is.
///
/// # Errors
///
/// A path is not UTF-8.
pub fn difference(
    before: (&str, &Config),
    after: (&str, &Config),
) -> Result<String, serde_json::Error> {
    let [old, new] = [shown(before.1)?, shown(after.1)?];
    let diff = TextDiff::from_lines(&old, &new);
    Ok(diff.unified_diff().header(before.0, after.0).to_string())
}

fn shown(config: &Config) -> Result<String, serde_json::Error> {
    let shown = ShownConfig::of(config)?.config;
    // JSON is YAML.
    serde_yaml::to_string(&shown).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_has_its_numbers_beside_it() {
        let said = |counts: &[(&str, u64)]| {
            let counts = counts.iter().map(|(would, count)| ((*would).to_owned(), *count));
            Promoted { policy: "clients".into(), counts: counts.collect() }.to_string()
        };
        let text =
            "clients leaves shadow mode; since the start it would have said: pass 5, reject 2";
        assert_eq!(said(&[("reject", 2), ("drop", 0), ("pass", 5)]), text);
        let text = "clients leaves shadow mode, in which it was asked about nothing";
        assert_eq!(said(&[("pass", 0)]), text);
    }

    #[test]
    fn defaults_count_and_secrets_do_not() {
        let config =
            |yaml: &str| crate::config::parse_without_files(yaml, "config.yaml".as_ref()).unwrap();
        let plain = config("udp: [{ listen: '127.0.0.1:1' }]");
        let same = config("udp: [{ listen: '127.0.0.1:1' }]\nlandlock: true # as always\n");
        assert_eq!(difference(("a", &plain), ("b", &same)).unwrap(), "");
        let other = config(
            "udp: [{ listen: '127.0.0.1:1', connection_id_secret: { env: SECRET } }]\n\
             tracker: { announce_interval: 35m }\n",
        );
        let found = difference(("a", &plain), ("b", &other)).unwrap();
        assert!(found.starts_with("--- a\n+++ b\n@@ "), "{found}");
        assert!(
            found.contains("\n-  announce_interval: 30m\n+  announce_interval: 35m\n"),
            "{found}"
        );
        assert!(found.contains("connection_id_secret: '***'"), "{found}");
        assert!(!found.contains("SECRET"), "{found}");
    }
}
