//! The books of a private tracker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    problem::{Problem, problem},
    values::{self, CredentialRule, show_duration},
};

/// Who the members are, and what they have moved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// Where requests have the passkey. Never empty.
    pub credential: Vec<CredentialRule>,
    pub sessions: Sessions,
    pub ledger: Ledger,
    pub guard: Guard,
}

/// What is remembered of each client of a member at a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// After its last announce; at least a day.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub keep: Duration,
    /// Beyond this number, those that have been silent for longest are forgotten earlier.
    pub max: u64,
    /// Active ones; 1 to 1000.
    pub per_member_and_torrent: u32,
}

/// How the books are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// The time between two transactions; 1 ms to 1 s.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub every: Duration,
    /// The most bytes of the file; at least 1 MiB.
    #[serde(deserialize_with = "values::size")]
    pub max_size: u64,
}

/// What is too much to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// The most bytes a second that are credited to a session; at least 1 KiB.
    #[serde(deserialize_with = "values::size")]
    pub rate: u64,
}

impl Default for Accounts {
    fn default() -> Self {
        let credential = [CredentialRule::Path("passkey".to_owned())];
        Self {
            credential: credential.into(),
            sessions: Sessions::default(),
            ledger: Ledger::default(),
            guard: Guard::default(),
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let keep = Duration::from_hours(21 * 24);
        Self { keep, max: 4_000_000, per_member_and_torrent: 3 }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { every: Duration::from_millis(50), max_size: 8 << 30 }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { rate: 10 << 30 }
    }
}

impl Accounts {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let Self { credential, sessions, ledger, guard } = self;
        if credential.is_empty() {
            return problem("accounts.credential", "empty, expected at least one rule");
        }
        if sessions.keep < MIN_KEEP {
            let message =
                format!("{} is too short, expected at least 1d", show_duration(sessions.keep));
            return problem("accounts.sessions.keep", message);
        }
        if sessions.max == 0 {
            return problem("accounts.sessions.max", "0, expected at least 1");
        }
        if !(1..=MAX_PEERS).contains(&sessions.per_member_and_torrent) {
            let message = format!("out of range, expected 1 to {MAX_PEERS}");
            return problem("accounts.sessions.per_member_and_torrent", message);
        }
        if !(MIN_EVERY..=MAX_EVERY).contains(&ledger.every) {
            let message =
                format!("{} is out of range, expected 1ms to 1s", show_duration(ledger.every));
            return problem("accounts.ledger.every", message);
        }
        if ledger.max_size < MIN_SIZE {
            return problem("accounts.ledger.max_size", "too small, expected at least 1MiB");
        }
        if guard.rate < MIN_RATE {
            return problem("accounts.guard.rate", "too small, expected at least 1KiB");
        }
        Ok(())
    }
}

const MIN_KEEP: Duration = Duration::from_hours(24);
const MAX_PEERS: u32 = 1000;
const MIN_EVERY: Duration = Duration::from_millis(1);
const MAX_EVERY: Duration = Duration::from_secs(1);
const MIN_SIZE: u64 = 1 << 20;
const MIN_RATE: u64 = 1 << 10;
