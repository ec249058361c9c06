//! The sizes of the host's swarms.

use crate::{InfoHash, bindings::imports::swarm as types, host::swarm};

/// The sizes of a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    seeders: u32,
    leechers: u32,
    completed: u32,
}

impl Stats {
    fn of(types::Stats { seeders, leechers, completed }: types::Stats) -> Self {
        Self { seeders, leechers, completed }
    }

    /// Returns the number of peers with nothing left to download.
    #[must_use]
    pub fn seeders(&self) -> u32 {
        self.seeders
    }

    /// Returns the number of all other peers.
    #[must_use]
    pub fn leechers(&self) -> u32 {
        self.leechers
    }

    /// Returns the number of completed downloads.
    #[must_use]
    pub fn completed(&self) -> u32 {
        self.completed
    }
}

/// Returns the swarm of the request, over both address families, as it was before the request.
#[must_use]
pub fn current() -> Stats {
    Stats::of(swarm::current())
}

/// Returns any swarm; `None` if there is none.
#[must_use]
pub fn lookup(info_hash: InfoHash) -> Option<Stats> {
    swarm::lookup(info_hash.to_words()).map(Stats::of)
}
