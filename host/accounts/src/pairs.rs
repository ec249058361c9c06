//! What is known of members at torrents, in one place of memory for each member and torrent: the peers
//! that it has there, its sessions, and whether it has a token.
//!
//! It is in small shards with a lock each, which is held for a look at one member and torrent. A shard
//! is an array: an entry is in the slot that its hash says, or in one of the next.

use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;

/// What is known of members at torrents.
pub struct Pairs {
    shards: Box<[Mutex<Shard>]>,
}

/// A member and a torrent.
pub type Pair = (u64, u64);

/// What is known of a member at a torrent. If it is nothing, there is no entry.
#[derive(Default)]
pub struct At {
    /// Sessions that are active.
    pub here: Here,
    pub has_token: bool,
    pub peers: Peers,
}

/// Sessions that are active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Here {
    pub seeding: u16,
    pub leeching: u16,
}

impl Here {
    pub fn enter(&mut self, is_seeder: bool) {
        let count = if is_seeder { &mut self.seeding } else { &mut self.leeching };
        *count = count.saturating_add(1);
    }

    pub fn leave(&mut self, is_seeder: bool) {
        let count = if is_seeder { &mut self.seeding } else { &mut self.leeching };
        *count = count.saturating_sub(1);
    }

    pub fn all(self) -> u32 {
        u32::from(self.seeding) + u32::from(self.leeching)
    }
}

/// Where a member has peers. Nearly always, it is one.
#[derive(Default)]
pub enum Peers {
    #[default]
    None,
    One(Seen),
    Several(Box<[Seen]>),
}

/// A peer, and when it was there.
#[derive(Clone, Copy)]
pub struct Seen {
    /// Seconds since 1970, which last until 2106.
    pub at: u32,
    place: Place,
}

/// The address of a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    port: u16,
    address: [u8; 16],
    family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The entries of a shard. No more than three quarters of the slots are in use.
#[derive(Default)]
struct Shard {
    slots: Box<[Slot]>,
    len: usize,
}

/// It is free if nothing is known.
#[derive(Default)]
struct Slot {
    pair: Pair,
    at: At,
}

const _: () = assert!(size_of::<Slot>() == 48, "a million of them are in memory");

/// The number of shards.
pub const SHARDS: usize = 1024;
/// The fewest slots of a shard that has any.
const FEWEST: usize = 8;
/// Spreads ids that follow one another evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Peers {
    pub fn all(&self) -> &[Seen] {
        match self {
            Self::None => &[],
            Self::One(seen) => std::slice::from_ref(seen),
            Self::Several(all) => all,
        }
    }
}

impl From<Vec<Seen>> for Peers {
    fn from(all: Vec<Seen>) -> Self {
        match *all {
            [] => Self::None,
            [one] => Self::One(one),
            _ => Self::Several(all.into()),
        }
    }
}

impl Seen {
    pub fn new(peer: SocketAddr, at: u32) -> Self {
        Self { at, place: peer.into() }
    }

    pub fn is(&self, peer: SocketAddr) -> bool {
        self.place == peer.into()
    }

    pub fn peer(&self) -> SocketAddr {
        let Place { port, address, family } = self.place;
        let address = match (family, address) {
            (Family::V4, [a, b, c, d, ..]) => [a, b, c, d].into(),
            (Family::V6, address) => IpAddr::from(address),
        };
        SocketAddr::new(address, port)
    }
}

impl From<SocketAddr> for Place {
    fn from(peer: SocketAddr) -> Self {
        let (address, family) = match peer.ip() {
            IpAddr::V4(ip) => {
                let mut address = [0; 16];
                address[..4].copy_from_slice(&ip.octets());
                (address, Family::V4)
            }
            IpAddr::V6(ip) => (ip.octets(), Family::V6),
        };
        Self { port: peer.port(), address, family }
    }
}

impl At {
    fn is_nothing(&self) -> bool {
        self.here.all() == 0 && !self.has_token && matches!(self.peers, Peers::None)
    }
}

impl Default for Pairs {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Pairs {
    /// Calls `look` with what is known of a member at a torrent.
    pub fn look<T>(&self, pair: Pair, look: impl FnOnce(&At) -> T) -> T {
        let hash = hash(pair);
        let shard = self.shard(hash).lock();
        match shard.find(hash, pair) {
            Ok(slot) => look(&shard.slots[slot].at),
            Err(_) => look(&At::default()),
        }
    }

    /// Fetches what is known of a member at a torrent.
    pub fn fetch(&self, pair: Pair) {
        let hash = hash(pair);
        // Who holds the lock fetches as much.
        let Some(shard) = self.shard(hash).try_lock() else { return };
        let Some(slot) = shard.slots.get(shard.place(hash)) else { return };
        let slot = (&raw const *slot).cast::<u8>();
        // An entry that is in its place, or in the next slot.
        karuta_fetch::line(slot);
        karuta_fetch::line(slot.wrapping_add(karuta_fetch::LINE));
    }

    /// Changes what is known of a member at a torrent.
    pub fn change<T>(&self, pair: Pair, change: impl FnOnce(&mut At) -> T) -> T {
        let hash = hash(pair);
        self.shard(hash).lock().change(hash, pair, change)
    }

    /// Changes all that is known in one shard.
    pub fn change_all(&self, shard: usize, change: impl FnMut(Pair, &mut At)) {
        self.shards[shard % SHARDS].lock().change_all(change);
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The high bits are those of the place.
        &self.shards[hash as usize % SHARDS]
    }
}

fn hash((member, torrent): Pair) -> u64 {
    let hash = (member.wrapping_mul(GOLDEN).rotate_left(32) ^ torrent).wrapping_mul(GOLDEN);
    hash ^ hash >> 32
}

impl Shard {
    /// Returns the slot that a hash has its place in, or the next one that is free.
    fn place(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> u64::BITS) as usize
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// Returns the slot of an entry, or else the one where it would be; 0 if there is no slot.
    fn find(&self, hash: u64, pair: Pair) -> Result<usize, usize> {
        let mut at = self.place(hash);
        while let Some(slot) = self.slots.get(at) {
            if slot.at.is_nothing() {
                break;
            }
            if slot.pair == pair {
                return Ok(at);
            }
            at = self.next(at);
        }
        Err(at)
    }

    fn change<T>(&mut self, hash: u64, pair: Pair, change: impl FnOnce(&mut At) -> T) -> T {
        if let Ok(slot) = self.find(hash, pair) {
            let changed = change(&mut self.slots[slot].at);
            if self.slots[slot].at.is_nothing() {
                self.close(slot);
            }
            return changed;
        }
        let mut at = At::default();
        let changed = change(&mut at);
        if !at.is_nothing() {
            if (self.len + 1) * 4 > self.slots.len() * 3 {
                self.resize(self.slots.len() + self.slots.len() / 4 + FEWEST);
            }
            self.put(Slot { pair, at });
        }
        changed
    }

    fn change_all(&mut self, mut change: impl FnMut(Pair, &mut At)) {
        let mut gone = 0;
        for slot in self.slots.iter_mut().filter(|slot| !slot.at.is_nothing()) {
            change(slot.pair, &mut slot.at);
            gone += usize::from(slot.at.is_nothing());
        }
        let left = self.len - gone;
        if gone > 0 || self.slots.len() > 4 * left {
            self.resize(if left == 0 { 0 } else { left + left / 2 + FEWEST });
        }
    }

    /// Enters what is in no slot. There is a free one.
    fn put(&mut self, entry: Slot) {
        if let Err(slot) = self.find(hash(entry.pair), entry.pair) {
            self.slots[slot] = entry;
            self.len += 1;
        }
    }

    /// Moves those that are behind an entry that is gone, up to the next free slot, to where they are
    /// found without it.
    fn close(&mut self, gone: usize) {
        self.len -= 1;
        let mut free = gone;
        let mut at = self.next(gone);
        while !self.slots[at].at.is_nothing() {
            let place = self.place(hash(self.slots[at].pair));
            // Whether its place is not behind the free slot, all round the array.
            let is_before = match free <= at {
                true => place <= free || place > at,
                false => place <= free && place > at,
            };
            if is_before {
                self.slots.swap(free, at);
                free = at;
            }
            at = self.next(at);
        }
    }

    fn resize(&mut self, slots: usize) {
        let empty = std::iter::repeat_with(Slot::default).take(slots).collect();
        let before = std::mem::replace(&mut self.slots, empty);
        self.len = 0;
        for slot in before.into_iter().filter(|slot| !slot.at.is_nothing()) {
            self.put(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn entries_are_those_of_a_map(
            steps in prop::collection::vec((0..40_u64, 0..4_u16), 0..400),
        ) {
            let mut shard = Shard::default();
            let mut model = BTreeMap::new();
            for (member, seeding) in steps {
                let pair = (member, 1);
                if member == 0 {
                    // Whoever has as many sessions goes.
                    shard.change_all(|_, at| {
                        if at.here.seeding == seeding {
                            *at = At::default();
                        }
                    });
                    model.retain(|_, known| *known != seeding);
                } else {
                    let before = shard.change(hash(pair), pair, |at| {
                        std::mem::replace(&mut at.here.seeding, seeding)
                    });
                    let known = match seeding {
                        0 => model.remove(&pair),
                        seeding => model.insert(pair, seeding),
                    };
                    prop_assert_eq!(before, known.unwrap_or(0));
                }
                prop_assert_eq!(shard.len, model.len());
                prop_assert!(shard.len * 4 <= shard.slots.len() * 3);
            }
            for member in 0..40 {
                let pair = (member, 1);
                let found = shard.find(hash(pair), pair);
                let found = found.ok().map(|slot| shard.slots[slot].at.here.seeding);
                prop_assert_eq!(found, model.get(&pair).copied());
            }
        }
    }

    #[test]
    fn ids_that_follow_one_another_are_spread() {
        let pairs = Pairs::default();
        let spread = |pairs: &mut dyn Iterator<Item = Pair>| {
            let mut sizes = vec![0_usize; SHARDS];
            let mut places = vec![0_usize; SHARDS];
            for pair in pairs {
                let hash = hash(pair);
                sizes[hash as usize % SHARDS] += 1;
                places[(hash >> 54) as usize] += 1;
            }
            let most = |counts: Vec<usize>| counts.into_iter().max().unwrap();
            (most(sizes), most(places))
        };
        // 1000 on average.
        let (size, place) = spread(&mut (1..=1_024_000).map(|member| (member, member % 9 + 1)));
        assert!(size < 1500 && place < 1500, "{size} {place}");
        let (size, place) = spread(&mut (1..=1_024_000).map(|torrent| (1, torrent)));
        assert!(size < 1500 && place < 1500, "{size} {place}");
        assert_eq!(pairs.look((1, 1), |at| at.here.all()), 0);
    }

    #[test]
    fn a_peer_is_what_it_was() {
        for peer in ["192.0.2.1:6881", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:6881"] {
            let peer = peer.parse().unwrap();
            let seen = Seen::new(peer, 7);
            assert_eq!((seen.peer(), seen.is(peer)), (peer, true));
        }
    }
}
