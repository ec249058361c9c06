//! The traits that a policy implements.

use std::fmt::Display;

use serde::de::DeserializeOwned;

use crate::{Announce, Candidate, Outcome, Scrape, Verdict};

pub use crate::bindings::lifecycle::Role;

/// A policy: made from its configuration, once for each instance.
///
/// An instance's memory is a cache. The host replaces instances as it sees fit, each worker has
/// its own, and none is called by two threads.
pub trait Policy: Sized {
    /// The policy's `config`. With `#[serde(deny_unknown_fields)]` a misspelt key is an error that
    /// the operator sees.
    type Config: DeserializeOwned;

    /// Makes an instance.
    ///
    /// # Errors
    ///
    /// What the configuration cannot mean. The operator sees the text; nothing is started.
    fn init(config: Self::Config, context: &Context) -> Result<Self, Error>;
}

/// The hook `announce`: decides on announces.
pub trait AnnounceFilter: Policy {
    /// Decides on one announce. What [`response`](crate::response) changed takes effect when this
    /// returns.
    fn on_announce(&mut self, announce: &Announce) -> Verdict;
}

/// The hook `scrape`: decides on scrapes.
pub trait ScrapeFilter: Policy {
    /// Decides on one info-hash of a scrape.
    fn on_scrape(&mut self, scrape: &Scrape) -> Verdict;
}

/// The hook `data`: takes in raw data, before the first request of an instance. For a new version
/// the host makes a new instance.
pub trait DataSink: Policy {
    /// Takes in one version of the data source or publication `name`.
    ///
    /// # Errors
    ///
    /// What is wrong with the data, in words for the operator. The version is refused for all
    /// instances, and those with the last good one stay.
    fn on_data(&mut self, name: &str, version: u64, data: &[u8]) -> Result<(), Error>;
}

/// The hook `rank`: orders the peers of an answer.
pub trait PeerRanker: Policy {
    /// Indices of `candidates`, best first. The host drops repeats and what is out of range, and
    /// puts behind them whom the list leaves out.
    fn rank(&mut self, announce: &Announce, candidates: &[Candidate]) -> Vec<u32>;
}

/// The hook `observe`: is told how announces ended, in batches, on the control instance.
pub trait Observer: Policy {
    /// Takes in a batch.
    ///
    /// # Errors
    ///
    /// What went wrong, in words for the log. The batch is offered three times in all.
    fn observe(&mut self, batch: &[Outcome]) -> Result<(), Error>;
}

/// The hook `tick`: is called every `tick` of the configuration, on the control instance.
pub trait Ticker: Policy {
    /// Does what there is to do.
    ///
    /// # Errors
    ///
    /// What went wrong, in words for the log.
    fn tick(&mut self, unix_ms: u64) -> Result<(), Error>;
}

/// What an instance is for.
#[derive(Clone, Debug)]
pub struct Context {
    /// The policy's `name` in the configuration.
    pub name: String,
    /// What the instance is for.
    pub role: Role,
    /// The number of the worker, from zero.
    pub worker: u32,
    /// How many workers there are.
    pub workers: u32,
}

/// Why a policy cannot be made, in words for the operator: what is wrong and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error of the configuration as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An error of the key at `path` in `config`, such as `allow[2]`. The host shows it there.
    pub fn at(path: impl Display, message: impl Display) -> Self {
        Self(format!("{path}: {message}"))
    }

    /// The text as the host gets it.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}
