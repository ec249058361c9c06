//! `karuta:policy/swarm`: what the host knows of the swarms.

use karuta_bittorrent::{Counts, InfoHash as Hash};
use wasmtime::component::HasData;

use crate::policy::contract::bindings::imports::swarm::{Host, InfoHash, Stats};
use crate::policy::contract::values;
use crate::policy::shared::tracker::Swarms;

/// The swarms, and the info-hash of the current request.
pub struct View<'a> {
    pub swarms: &'a dyn Swarms,
    pub info_hash: Hash,
    /// What was told about the current one.
    pub seen: &'a mut Option<Counts>,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn current(&mut self) -> Stats {
        let counts = self.swarms.counts(self.info_hash).unwrap_or_default();
        *self.seen = Some(counts);
        counts.into()
    }

    fn lookup(&mut self, info_hash: InfoHash) -> Option<Stats> {
        self.swarms.counts(values::from_info_hash(info_hash)).map(Into::into)
    }
}

impl From<Counts> for Stats {
    fn from(counts: Counts) -> Self {
        Self { seeders: counts.seeders, leechers: counts.leechers, completed: counts.completed }
    }
}
