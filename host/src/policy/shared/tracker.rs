//! The tracker, as far as policies can see it.

use std::sync::Arc;
use std::time::Duration;

use karuta_bittorrent::{Counts, InfoHash};

/// What policies can see of the tracker, the same for all of them.
#[derive(Clone)]
pub struct TrackerView {
    /// Seconds.
    pub max_interval: u32,
    pub max_num_want: u32,
    pub peer_lifetime: Duration,
    pub swarms: Arc<dyn Swarms>,
}

/// The swarms, as policies see them.
pub trait Swarms: Send + Sync {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts>;
}

impl<S: karuta_swarm::Store> Swarms for S {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        karuta_swarm::Store::counts(self, info_hash)
    }
}
