//! What a reload has changed, or why it has changed nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The changes of a reload. Policies are listed by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The generation in use now.
    pub generation: u64,
    pub added: Vec<String>,
    /// Created again, because the plugin or its configuration has changed.
    pub replaced: Vec<String>,
    /// Kept, with another `when`, `on_error` or `mode`.
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    /// The same policies are called in another order.
    pub reordered: bool,
    /// Intervals, numbers of peers, rate limits or the log level have changed.
    pub settings: bool,
    /// Tokens of the admin API, or their rights, have changed.
    #[serde(default)]
    pub tokens: bool,
    /// The files of the certificates that are new.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// The exports to files have changed.
    #[serde(default)]
    pub exports: bool,
    /// Changed keys that only take effect at a restart.
    pub needs_restart: Vec<String>,
    /// The earlier generation that serves again.
    #[serde(default)]
    pub again: Option<u64>,
    /// The generation was on trial, and stays.
    #[serde(default)]
    pub confirmed: bool,
    /// How many seconds the generation is on trial; `None`: it is not.
    #[serde(default)]
    pub trial_seconds: Option<u64>,
    /// The text of its configuration, if that was asked for, and a start that reads it would load the same
    /// plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What else the caller must know, in sentences.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// Why a reload changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// `None`: the configuration itself is wrong.
    pub policy: Option<String>,
    pub stage: String,
    pub reason: String,
}

impl Refusal {
    /// Makes one that is not about a policy.
    pub fn of(stage: &str, reason: impl Into<String>) -> Self {
        Self { policy: None, stage: stage.to_owned(), reason: reason.into() }
    }
}

impl Report {
    /// Returns whether anything has changed, apart from what waits for a restart.
    pub fn has_changes(&self) -> bool {
        self.needs_generation() || self.tokens || self.exports || !self.certificates.is_empty()
    }

    /// Returns whether the workers need new rules.
    pub fn needs_generation(&self) -> bool {
        let lists = [&self.added, &self.replaced, &self.changed, &self.removed];
        lists.iter().any(|list| !list.is_empty()) || self.reordered || self.settings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.confirmed {
            return f.write_str("confirmed");
        }
        let again = self.again.map(|generation| format!("serving generation {generation} again"));
        if !self.has_changes() {
            return f.write_str(again.as_deref().unwrap_or("nothing has changed"));
        }
        let lists = [
            ("added", &self.added),
            ("replaced", &self.replaced),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let mut parts: Vec<_> =
            lists.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
        if self.reordered {
            parts.push("order changed".to_owned());
        }
        if self.settings {
            parts.push("settings changed".to_owned());
        }
        if self.tokens {
            parts.push("tokens changed".to_owned());
        }
        if !self.certificates.is_empty() {
            parts.push(format!("certificates {}", self.certificates.join(", ")));
        }
        if self.exports {
            parts.push("exports changed".to_owned());
        }
        parts.splice(0..0, again);
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "policy `{policy}`: {}: {}", self.stage, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}
