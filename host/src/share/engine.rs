//! What is asked of an engine: a log for each part, and a table of nodes.

use std::fmt;
use std::str::FromStr;

/// An engine that keeps logs. Every request ends within a limit of its own.
pub trait Log {
    /// Appends an entry, and forgets entries from before `oldest`, in milliseconds since 1970 by the
    /// engine's clock.
    async fn append(&self, part: usize, batch: &[u8], oldest: u64) -> Result<(), Failure>;

    /// Returns the entries after an id, in order, at most so many.
    async fn read(&self, part: usize, after: EntryId, most: usize) -> Result<Vec<Entry>, Failure>;

    /// Returns where the log ends.
    async fn end(&self, part: usize) -> Result<End, Failure>;

    /// Has a fresh connection take the place of one that has not succeeded for long.
    fn renew(&self);
}

/// The table of the nodes that share a log.
pub trait Table {
    /// Says how the logs are written, unless somebody has said so before. Returns what was said.
    async fn claim(&self, format: &str) -> Result<String, Failure>;

    /// Enters a node, and returns what all nodes have entered.
    async fn enter(&self, node: &str, about: &str) -> Result<Vec<(String, String)>, Failure>;

    /// Takes out a node.
    async fn leave(&self, node: &str) -> Result<(), Failure>;

    /// Asks the engine what it is.
    async fn describe(&self) -> Result<Description, Failure>;
}

/// The id of an entry. They only grow, except if the engine loses the end of a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EntryId {
    /// Since 1970, by the engine's clock.
    pub milliseconds: u64,
    /// Among the entries of that millisecond.
    pub number: u64,
}

/// An entry of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub id: EntryId,
    pub batch: Vec<u8>,
}

/// Where a log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The id of the newest entry there ever was.
    pub last: EntryId,
    pub entries: u64,
    /// The engine's clock, in milliseconds since 1970.
    pub now: u64,
}

/// What an engine is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// Such as `valkey` or `redis`.
    pub kind: String,
    /// How many servers a cluster has.
    pub servers: Option<usize>,
}

/// Why a request failed, in the engine's own words if it had some.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    pub text: String,
    /// There was no connection.
    pub is_unconnected: bool,
}

impl Failure {
    /// Returns the failure of an answer that is not as documented.
    pub fn unexpected(command: &str) -> Self {
        Self { text: format!("unexpected answer to {command}"), is_unconnected: false }
    }
}

impl EntryId {
    /// Returns the id that is before all entries of a time and after all earlier ones.
    pub fn at(milliseconds: u64) -> Self {
        Self { milliseconds, number: 0 }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.number)
    }
}

impl FromStr for EntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (milliseconds, number) = text.split_once('-').ok_or(())?;
        let parse = |digits: &str| digits.parse().map_err(drop);
        Ok(Self { milliseconds: parse(milliseconds)?, number: parse(number)? })
    }
}
