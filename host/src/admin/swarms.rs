//! The swarms, as the admin API reads them.

use std::sync::Arc;

use karuta_swarm::Memory;
use tokio::sync::Semaphore;

use super::top::Tops;

/// The swarms, and what is kept of looking at all of them.
pub struct Swarms {
    pub store: Arc<Memory>,
    /// One export at a time.
    pub exports: Arc<Semaphore>,
    pub tops: Tops,
}

impl Swarms {
    pub fn new(store: Arc<Memory>) -> Self {
        Self { store, exports: Arc::new(Semaphore::new(1)), tops: Tops::default() }
    }
}
