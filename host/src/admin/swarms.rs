//! The swarms, as the admin API reads them.

use std::sync::Arc;
use std::time::Instant;

use karuta_swarm::Shared;
use tokio::sync::Semaphore;

use super::top::Tops;
use crate::export::Clock;

/// The swarms, and what is kept of looking at all of them.
pub struct Swarms {
    pub store: Arc<Shared>,
    /// The start of the store's clock.
    pub start: Instant,
    /// One export at a time.
    pub exports: Arc<Semaphore>,
    /// One import at a time, and one body of it in memory.
    pub imports: Semaphore,
    pub tops: Tops,
    /// One look at all peers at a time.
    pub networks: Semaphore,
}

impl Swarms {
    pub fn new(store: Arc<Shared>, start: Instant) -> Self {
        Self {
            store,
            start,
            exports: Arc::new(Semaphore::new(1)),
            imports: Semaphore::new(1),
            tops: Tops::default(),
            networks: Semaphore::new(1),
        }
    }

    /// Returns the time.
    pub fn clock(&self) -> Clock {
        Clock::since(self.start)
    }
}
