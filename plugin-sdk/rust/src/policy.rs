//! The traits that a policy implements.

use std::time::SystemTime;

use serde::de::DeserializeOwned;

use crate::{Announce, Candidate, Error, Outcome, Scrape, Verdict};

pub use crate::bindings::lifecycle::Role;

/// A policy, created from its configuration once for each instance.
///
/// An instance's memory is a cache: each worker has its own instance, which the host may replace at
/// any time. No instance is called from two threads at once.
pub trait Policy: Sized {
    /// The type of the policy's `config`. With `#[serde(deny_unknown_fields)]` a misspelt key is an
    /// error.
    type Config: DeserializeOwned;

    /// Creates an instance.
    ///
    /// # Errors
    ///
    /// Fails if the policy cannot work with this configuration. The operator sees the text, and the
    /// configuration is refused.
    fn init(config: Self::Config, context: &Context) -> Result<Self, Error>;
}

/// The hook `announce`: decides on announces.
pub trait AnnounceFilter: Policy {
    /// Decides on one announce. Changes made with [`response`](crate::response) take effect when this
    /// returns.
    fn on_announce(&mut self, announce: &Announce) -> Verdict;
}

/// The hook `scrape`: decides on scrapes.
pub trait ScrapeFilter: Policy {
    /// Decides on one info-hash of a scrape.
    fn on_scrape(&mut self, scrape: &Scrape) -> Verdict;
}

/// The hook `data`: receives raw data before the first request of an instance. For a new version the
/// host creates a new instance.
pub trait DataSink: Policy {
    /// Receives one version of the data source or publication `name`.
    ///
    /// # Errors
    ///
    /// Fails if the data is unusable. The operator sees the text, and all instances keep the last
    /// good version.
    fn on_data(&mut self, name: &str, version: u64, data: &[u8]) -> Result<(), Error>;
}

/// The hook `rank`: orders the peers of an answer.
pub trait PeerRanker: Policy {
    /// Returns indices of `candidates`, best first. The host drops duplicates and indices out of
    /// range, and appends the candidates that are missing.
    fn rank(&mut self, announce: &Announce, candidates: &[Candidate]) -> Vec<u32>;
}

/// The hook `observe`: receives how announces ended, in batches, on the control instance.
pub trait Observer: Policy {
    /// Receives a batch.
    ///
    /// # Errors
    ///
    /// Fails if the batch could not be processed. The host logs the text and offers the batch again,
    /// three times in all.
    fn observe(&mut self, batch: &[Outcome]) -> Result<(), Error>;
}

/// The hook `tick`: runs every `tick` of the configuration, on the control instance.
pub trait Ticker: Policy {
    /// Does the periodic work. `now` is the time of the tick.
    ///
    /// # Errors
    ///
    /// Fails if the work could not be done. The host logs the text.
    fn tick(&mut self, now: SystemTime) -> Result<(), Error>;
}

/// What an instance knows about itself.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) worker: u32,
    pub(crate) workers: u32,
}

impl Context {
    /// Returns the policy's `name` in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the instance is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the number of the worker, from zero.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Returns the number of workers.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.workers
    }
}
