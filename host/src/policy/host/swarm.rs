//! `karuta:policy/swarm`: what the host knows of the swarms.

use crate::policy::bindings::imports::swarm::{Host, InfoHash, Stats};
use crate::policy::state::State;
use crate::policy::values;

impl Host for State {
    fn current(&mut self) -> Stats {
        let info_hash = self.exchange.request.announce.info_hash;
        self.scope
            .swarms
            .counts(info_hash)
            .map_or(Stats { seeders: 0, leechers: 0, completed: 0 }, Into::into)
    }

    fn lookup(&mut self, info_hash: InfoHash) -> Option<Stats> {
        self.scope.swarms.counts(values::from_info_hash(info_hash)).map(Into::into)
    }
}

impl From<karuta_bittorrent::Counts> for Stats {
    fn from(counts: karuta_bittorrent::Counts) -> Self {
        Self { seeders: counts.seeders, leechers: counts.leechers, completed: counts.completed }
    }
}
