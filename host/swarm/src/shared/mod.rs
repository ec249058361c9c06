//! Swarms that several nodes share by a log: each node serves from its own memory, tells the log of
//! its announces, and applies the whole log in its order. No I/O, no clock and no thread of its own.
//!
//! * An announce takes effect at once, and its record waits to be sent. Then the log decides: peers,
//!   roles and times are what its last record says, its own records included.
//! * A download is counted by the node that takes the announce. The record says so, and all others
//!   add one, once, however often the batch is sent.
//! * Every record says how many downloads its node knows, and whoever knows fewer takes that number
//!   over. Who knows more says so, if nobody else does for a while. So all know the same when it is
//!   quiet, whatever some of them have missed: by starting in the middle of the log, by restoring a
//!   snapshot, or because the engine has lost what others have read.
//! * Never is a download added that may be in a number that was taken over.
//! * A peer's last announce is never moved back: of its time and that of a record, the later stays.
//!   So a restored snapshot and the log after it are as good as the log alone, for all that the log
//!   mentions.
//! * Limits are for announces. What others have taken is taken in.

mod batch;
mod kept;
#[cfg(test)]
mod model;
mod part;
mod seen;
mod stripes;
#[cfg(test)]
mod tests;
mod understated;

use std::net::SocketAddr;

use karuta_bittorrent::{Counts, Event, InfoHash, PeerId, Peers};
use rand::Rng;

use self::stripes::Stripes;
use crate::announced::{Announced, Change};
use crate::{
    Candidate, Memory, Options, Piece, Refusal, Restored, Seconds, Standing, Store, Totals, Update,
    Walk,
};

pub use batch::{FORMAT, RefusedBatch};
pub use part::{Applied, Arrival, Part, Sent, Waiting};

/// How swarms are shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sharing {
    /// This node's number: chosen at random whenever it starts.
    pub node: u64,
    /// How many logs there are, at least 1; the same for all nodes. A swarm belongs to the log of
    /// its info-hash's first byte modulo this.
    pub parts: usize,
    /// How many bytes of records may wait, in all parts together.
    pub queue: usize,
}

/// A [`Store`] whose announces other nodes may hear of: [`Memory`], and what waits to be collected
/// by its [`Part`]s.
///
/// Without sharing, it is [`Memory`], and an announce costs a branch more.
#[derive(Debug)]
pub struct Shared {
    memory: Memory,
    stripes: Option<Stripes>,
    keep_peer_ids: bool,
}

impl Shared {
    /// Makes a store that no other node hears of.
    pub fn alone(options: Options) -> Self {
        Self::with(options, None)
    }

    /// Makes a store, and its logs from the first to the last. Somebody must ask each of them for
    /// its [`next`](Part::next) batch every now and then, also while the engine is away: until
    /// then, what is announced takes more and more memory.
    pub fn sharing(options: Options, sharing: Sharing) -> (Self, Vec<Part>) {
        let parts = sharing.parts.max(1);
        let queue = sharing.queue / parts;
        let store = Self::with(options, Some(Stripes::new(parts)));
        let parts = (0..parts).map(|number| Part::new(number, parts, sharing.node, queue));
        (store, parts.collect())
    }

    /// Returns whether other nodes hear of its announces.
    pub fn is_sharing(&self) -> bool {
        self.stripes.is_some()
    }

    /// Tells how many downloads a swarm has.
    fn tell_downloads(&self, info_hash: InfoHash) {
        let Some(stripes) = &self.stripes else { return };
        self.memory.with_downloads(info_hash, |downloads| {
            // While the swarm is locked: the records of all that are in the number were added before.
            if downloads > 0 {
                stripes.add(&Announced::of_downloads(info_hash, downloads));
            }
        });
    }

    fn with(options: Options, stripes: Option<Stripes>) -> Self {
        Self { memory: Memory::new(options), stripes, keep_peer_ids: options.keep_peer_ids }
    }
}

/// Returns the number of the log that a swarm belongs to.
fn part_of(info_hash: InfoHash, parts: usize) -> usize {
    usize::from(info_hash.0[0]) % parts
}

impl Store for Shared {
    type Walk = Walk;

    fn announce(
        &self,
        update: &Update,
        rng: &mut impl Rng,
        peers: &mut Peers,
    ) -> Result<Counts, Refusal> {
        let Some(stripes) = &self.stripes else {
            return self.memory.announce(update, rng, peers);
        };
        self.memory.announce_telling(update, rng, peers, |effect| {
            let is_gone = update.event == Event::Stopped;
            let locality = update.known_locality().filter(|_| !is_gone);
            let announced = Announced {
                info_hash: update.info_hash,
                peer: update.peer,
                change: match update.role() {
                    _ if is_gone => Change::Stopped,
                    role if update.is_hidden => Change::IsHidden(role),
                    role => Change::Is(role),
                },
                counted: effect.counted,
                label: locality.map(|at| (at.id.name(), at.label)),
                reach: effect.reach,
                peer_id: match is_gone || !self.keep_peer_ids {
                    true => PeerId::UNKNOWN,
                    false => update.peer_id,
                },
                downloads: effect.downloads,
            };
            stripes.add(&announced);
        })
    }

    fn expect(&self, info_hashes: &[InfoHash]) {
        self.memory.expect(info_hashes);
    }

    fn describe(
        &self,
        info_hash: InfoHash,
        peers: &Peers,
        now: Seconds,
        candidates: &mut Vec<Candidate>,
    ) {
        self.memory.describe(info_hash, peers, now, candidates);
    }

    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        self.memory.counts(info_hash)
    }

    fn standing(&self, info_hash: InfoHash, peer: SocketAddr) -> Standing {
        self.memory.standing(info_hash, peer)
    }

    fn expire(&self, now: Seconds) -> bool {
        self.memory.expire(now)
    }

    fn list(&self, part: usize, torrents: &mut Vec<InfoHash>) -> bool {
        self.memory.list(part, torrents)
    }

    fn next_piece(&self, walk: &mut Walk, now: Seconds, piece: &mut Piece) -> bool {
        Store::next_piece(&self.memory, walk, now, piece)
    }

    /// Restores what only this node knows: no other hears of it, except for a higher number of
    /// downloads when the log mentions the swarm.
    fn restore(&self, piece: &Piece, now: Seconds) -> Restored {
        self.memory.restore(piece, now)
    }

    fn totals(&self) -> Totals {
        self.memory.totals()
    }
}
