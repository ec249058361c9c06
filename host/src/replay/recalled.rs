//! The swarms as they were when requests were recorded, as far as they are known.

use std::collections::HashMap;

use karuta_bittorrent::{Counts, InfoHash};
use parking_lot::Mutex;

use crate::policy::Swarms;

/// What policies are told about swarms.
#[derive(Default)]
pub struct Recalled(Mutex<State>);

#[derive(Default)]
struct State {
    /// What a policy was told about the swarm of the request.
    seen: Option<(InfoHash, Counts)>,
    /// The counts of each swarm after its last announce.
    last: HashMap<InfoHash, Counts>,
}

impl Recalled {
    /// Sets what a policy was told about the swarm of a request; `None`: no policy has asked.
    pub(super) fn begin(&self, info_hash: InfoHash, seen: Option<Counts>) {
        self.0.lock().seen = seen.map(|counts| (info_hash, counts));
    }

    /// Notes the counts of a swarm after an announce.
    pub(super) fn end(&self, info_hash: InfoHash, counts: Counts) {
        self.0.lock().last.insert(info_hash, counts);
    }
}

impl Swarms for Recalled {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        let state = self.0.lock();
        let seen = state.seen.filter(|(hash, _)| *hash == info_hash);
        seen.map(|(_, counts)| counts).or_else(|| state.last.get(&info_hash).copied())
    }
}
