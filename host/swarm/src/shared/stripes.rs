//! Records on their way from the workers to the logs.

use karuta_bittorrent::InfoHash;
use parking_lot::Mutex;

use super::part_of;
use crate::announced::Announced;

/// Buffers of encoded records, some for each part of the swarms.
///
/// A swarm always has the same buffer, and its records are added under the lock of its shard: so the
/// records of a swarm, and of a peer in it, are in the order of their announces, whichever workers
/// have taken them. Swarms are spread so thinly that two workers hardly ever want the same buffer
/// at once.
#[derive(Debug)]
pub struct Stripes {
    parts: usize,
    /// How many stripes a part has.
    each: usize,
    stripes: Box<[Stripe]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(Mutex<Vec<u8>>);

/// About how many stripes there are in all.
const ABOUT: usize = 64;
/// A buffer that has become larger than this is given back.
const LARGE: usize = 64 * 1024;

impl Stripes {
    pub fn new(parts: usize) -> Self {
        let each = ABOUT.div_ceil(parts);
        Self { parts, each, stripes: (0..parts * each).map(|_| Stripe::default()).collect() }
    }

    /// Adds a record. Must be called while the swarm cannot change.
    pub fn add(&self, announced: &Announced) {
        // Nobody can connect to it, and no node would take it.
        if announced.is_of_peer() && announced.peer.port() == 0 {
            return;
        }
        let InfoHash([_, second, ..]) = announced.info_hash;
        let first = part_of(announced.info_hash, self.parts) * self.each;
        let Stripe(stripe) = &self.stripes[first + usize::from(second) % self.each];
        announced.write(&mut stripe.lock());
    }

    /// Calls `collect` with the records of a part that have been added since, and forgets them.
    /// `room` is a buffer.
    pub fn drain(&self, part: usize, room: &mut Vec<u8>, mut collect: impl FnMut(&[u8])) {
        let stripes = self.stripes.chunks(self.each).nth(part).unwrap_or_default();
        for Stripe(stripe) in stripes {
            room.clear();
            std::mem::swap(room, &mut stripe.lock());
            if !room.is_empty() {
                collect(room);
            }
            if room.capacity() > LARGE {
                *room = Vec::new();
            }
        }
    }
}
