//! The books of a private tracker.

use std::{path::Path, time::Duration};

use karuta_accounts::{Address, Schema};
use serde::{Deserialize, Serialize};

use super::{
    problem::{Problem, problem},
    secret::Secret,
    values::{self, CredentialRule, is_name, show_duration},
};

/// Who the members are, and what they have moved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// Where requests have the passkey. Never empty.
    pub credential: Vec<CredentialRule>,
    /// The URL of the site's database. If `None`, members and torrents are the tracker's own.
    pub database: Option<Secret>,
    /// The tables of the site's database.
    pub schema: Schema,
    /// The tracker's name in the database, of 1 to 40 of `a` to `z`, `0` to `9` and `-`.
    pub node: String,
    pub load: Load,
    pub flush: Flush,
    pub sessions: Sessions,
    pub ledger: Ledger,
    pub guard: Guard,
}

/// How members and torrents are read from the site's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// The time between two times that all are; 10 s or more.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub every: Duration,
    /// The time between two times that those that have changed are; 100 ms or more.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub changes: Duration,
}

/// How batches are played into the site's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flush {
    /// The time between two; 10 ms to 1 min.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub every: Duration,
    /// The announces after which one comes earlier; 1 or more.
    pub rows: u64,
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
    /// How long batches are kept after the site's database has them.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub keep: Duration,
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
            database: None,
            schema: Schema::default(),
            node: "karuta".to_owned(),
            load: Load::default(),
            flush: Flush::default(),
            sessions: Sessions::default(),
            ledger: Ledger::default(),
            guard: Guard::default(),
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self { every: Duration::from_hours(1), changes: Duration::from_secs(10) }
    }
}

impl Default for Flush {
    fn default() -> Self {
        Self { every: Duration::from_secs(3), rows: 5000 }
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
        let keep = Duration::from_hours(24);
        Self { every: Duration::from_millis(50), max_size: 8 << 30, keep }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { rate: 10 << 30 }
    }
}

impl Accounts {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let Self { credential, database, schema, node, load, flush, sessions, ledger, guard } =
            self;
        if credential.is_empty() {
            return problem("accounts.credential", "empty, expected at least one rule");
        }
        if *schema != Schema::default() && database.is_none() {
            let message = format!("`{}` without a `database`", schema.name());
            return problem("accounts.schema", message);
        }
        if !is_name(node) {
            let message =
                format!("invalid name `{node}`, expected 1 to 40 of a to z, 0 to 9 and -");
            return problem("accounts.node", message);
        }
        if load.every < MIN_LOAD {
            let message =
                format!("{} is too short, expected at least 10s", show_duration(load.every));
            return problem("accounts.load.every", message);
        }
        if load.changes < MIN_CHANGES {
            let message =
                format!("{} is too short, expected at least 100ms", show_duration(load.changes));
            return problem("accounts.load.changes", message);
        }
        if !(MIN_FLUSH..=MAX_FLUSH).contains(&flush.every) {
            let message =
                format!("{} is out of range, expected 10ms to 1m", show_duration(flush.every));
            return problem("accounts.flush.every", message);
        }
        if flush.rows == 0 {
            return problem("accounts.flush.rows", "0, expected at least 1");
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

    /// Reads the URL of the database; a relative file is relative to `folder`.
    pub(super) fn fetch_secrets(&mut self, folder: &Path) -> Result<(), Problem> {
        const PATH: &str = "accounts.database";
        let Some(database) = &mut self.database else { return Ok(()) };
        database.fetch_text(folder).or_else(|message| problem(PATH, message))?;
        let address = self.address().or_else(|message| problem(PATH, message))?;
        if self.schema.is_mysql_only() && address.is_some_and(|address| !address.is_mysql()) {
            let schema = self.schema.name();
            let message =
                format!("`{schema}` is in MySQL or MariaDB, and `accounts.database` is PostgreSQL");
            return problem("accounts.schema", message);
        }
        Ok(())
    }

    /// Returns where the site's database is, if there is one.
    ///
    /// # Errors
    ///
    /// What is wrong with its URL, without a part of it.
    pub fn address(&self) -> Result<Option<Address>, String> {
        let url = self.database.as_ref().map(|url| String::from_utf8_lossy(url.expose()));
        url.map(|url| Address::parse(&url)).transpose()
    }
}

const MIN_LOAD: Duration = Duration::from_secs(10);
const MIN_CHANGES: Duration = Duration::from_millis(100);
const MIN_FLUSH: Duration = Duration::from_millis(10);
const MAX_FLUSH: Duration = Duration::from_mins(1);
const MIN_KEEP: Duration = Duration::from_hours(24);
const MAX_PEERS: u32 = 1000;
const MIN_EVERY: Duration = Duration::from_millis(1);
const MAX_EVERY: Duration = Duration::from_secs(1);
const MIN_SIZE: u64 = 1 << 20;
const MIN_RATE: u64 = 1 << 10;
