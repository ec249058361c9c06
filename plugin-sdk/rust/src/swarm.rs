//! What the host knows of the swarms.

pub use crate::bindings::imports::swarm::Stats;
use crate::{InfoHash, host::swarm};

/// The swarm that the request is about, as it was before the request.
#[must_use]
pub fn current() -> Stats {
    swarm::current()
}

/// Another swarm; `None` where there is none.
#[must_use]
pub fn lookup(info_hash: InfoHash) -> Option<Stats> {
    swarm::lookup(info_hash.to_words())
}
