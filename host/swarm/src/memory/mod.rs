//! A store in this process's memory.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::{DashMap, Entry, OccupiedEntry};
use parking_lot::Mutex;
use rand::Rng;

use super::{
    Candidate, Piece, Refusal, Restored, Role, Seconds, Standing, Store, Totals, Update, Usage,
};
use crate::locality::Reach;
use karuta_bittorrent::{Counts, Event, InfoHash, Peers};

mod applied;
mod choice;
mod clients;
mod columns;
mod downloads;
mod few;
mod full;
mod growth;
mod index;
mod label;
mod labels;
mod levels;
mod list;
mod near;
mod parts;
mod pick;
mod ranks;
mod reaches;
mod record;
mod rows;
mod sample;
mod save;
mod small;
mod swarm;
mod sweep;
mod tally;

use choice::Wanted;
use columns::Details;
use downloads::Downloads;
use full::Place;
use label::Label;
use record::Lifetime;
use swarm::Swarm;
use sweep::Sweep;
use tally::Tally;

pub(crate) use applied::When;
pub use save::Walk;

/// The options of a [`Memory`]. A limit of 0 means no limit.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a peer stays without announcing, in seconds.
    pub lifetime: Seconds,
    /// How long the downloads of a swarm are kept after its last peer, in seconds; 0 for not at
    /// all.
    pub keep_downloads: Seconds,
    /// Whether peer ids are kept, for answers that carry them.
    pub keep_peer_ids: bool,
    /// Whether an answer without other peers contains the announcing peer itself.
    pub echo_lone_peer: bool,
    pub max_torrents: u64,
    /// Counts both address families.
    pub max_peers_per_torrent: u32,
    /// The most peers with one address, over all torrents.
    pub max_peers_per_address: u32,
    /// How many locks the map of swarms has; rounded up to a power of two. Each takes 128 bytes.
    pub shards: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lifetime: 45 * 60,
            keep_downloads: 24 * 60 * 60,
            keep_peer_ids: false,
            echo_lone_peer: false,
            max_torrents: 0,
            max_peers_per_torrent: 0,
            max_peers_per_address: 0,
            shards: 4096,
        }
    }
}

/// A [`Store`] in memory.
///
/// An announce takes one lock, that of its swarm's shard, and a second one if a swarm begins or
/// ends: a swarm is dropped with its last peer, and its count of downloads is kept for when it
/// begins again. A limit refuses only new swarms and peers. Announces never exceed it, however many
/// threads announce at once; while one thread frees a place, another may still be refused.
#[derive(Debug)]
pub struct Memory {
    options: Options,
    lifetime: Lifetime,
    swarms: DashMap<InfoHash, Swarm, RandomState>,
    /// Of swarms without peers, in shards of the same numbers. Locked after their shard, never
    /// before it.
    downloads: Downloads,
    tally: Tally,
    /// The number of swarms, raised before one is added so that the limit holds.
    torrents: AtomicU64,
    /// The number of peers per address; empty if that is not limited.
    addresses: DashMap<IpAddr, u32, RandomState>,
    sweep: Mutex<Sweep>,
}

/// What an announce did besides entering its peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect {
    /// A download was counted.
    pub counted: bool,
    /// The downloads of the swarm now.
    pub downloads: u32,
    /// How far the peer reaches.
    pub reach: Reach,
}

/// How many swarms are prefetched at once.
const AHEAD: usize = 32;

impl Memory {
    pub fn new(options: Options) -> Self {
        let shards = options.shards.max(2).next_power_of_two();
        let address_shards = if options.max_peers_per_address == 0 { 2 } else { shards };
        Self {
            options,
            lifetime: Lifetime::from_seconds(options.lifetime),
            swarms: DashMap::with_hasher_and_shard_amount(RandomState::new(), shards),
            downloads: Downloads::new(options.keep_downloads, shards),
            tally: Tally::default(),
            torrents: AtomicU64::new(0),
            addresses: DashMap::with_hasher_and_shard_amount(RandomState::new(), address_shards),
            sweep: Mutex::default(),
        }
    }

    /// Does what [`Store::announce`] does, and calls `tell` if it was not refused, while the swarm
    /// cannot change.
    pub(crate) fn announce_telling(
        &self,
        update: &Update,
        rng: &mut impl Rng,
        peers: &mut Peers,
        tell: impl FnOnce(Effect),
    ) -> Result<Counts, Refusal> {
        if update.event == Event::Stopped {
            Ok(self.stop(update.info_hash, update.peer, update.now, tell))
        } else {
            self.enter(update, rng, peers, tell)
        }
    }

    fn enter(
        &self,
        update: &Update,
        rng: &mut impl Rng,
        peers: &mut Peers,
        tell: impl FnOnce(Effect),
    ) -> Result<Counts, Refusal> {
        let role = update.role();
        let label = update.known_locality();
        let has_gateways = label.is_some_and(|at| at.plan.gateways() > 0);
        let entry = full::Entry {
            stamp: self.lifetime.stamp(update.now),
            details: Details {
                peer_id: update.peer_id,
                label: Label::of(label),
                // Of a gateway's plan, that of a downloader depends on the others.
                reach: match has_gateways && role == Role::Downloader {
                    true => None,
                    false => Some(Reach::ALL),
                },
            },
            role,
            completes: update.event == Event::Completed,
            is_hidden: update.is_hidden,
        };
        match self.swarms.entry(update.info_hash) {
            Entry::Occupied(mut slot) => {
                let swarm = slot.get_mut();
                let before = swarm.populations();
                let (place, counted) = if let Some(updated) = swarm.update(update.peer, &entry) {
                    updated
                } else {
                    self.admit_peer(swarm.len(), update.peer.ip())?;
                    (swarm.insert(update.peer, &entry), false)
                };
                if counted {
                    swarm.count_download();
                }
                self.tally.moved(update.info_hash, before, swarm.populations());
                let reach = self.answer(swarm, place, update, entry.role, rng, peers);
                let counts = swarm.counts();
                tell(Effect { counted, downloads: counts.completed, reach });
                Ok(counts)
            }
            Entry::Vacant(slot) => {
                self.admit_torrent()?;
                if let Err(refusal) = self.admit_peer(0, update.peer.ip()) {
                    self.torrents.fetch_sub(1, Ordering::Relaxed);
                    return Err(refusal);
                }
                let completed = self.downloads.take(self.shard(update.info_hash), update.info_hash);
                let mut swarm = Swarm::new(self.options.keep_peer_ids, completed);
                let place = swarm.insert(update.peer, &entry);
                self.tally.moved(update.info_hash, Tally::NOBODY, swarm.populations());
                let reach = self.answer(&mut swarm, place, update, entry.role, rng, peers);
                let counts = swarm.counts();
                tell(Effect { counted: false, downloads: counts.completed, reach });
                slot.insert(swarm);
                Ok(counts)
            }
        }
    }

    fn stop(
        &self,
        info_hash: InfoHash,
        peer: SocketAddr,
        now: Seconds,
        tell: impl FnOnce(Effect),
    ) -> Counts {
        match self.swarms.entry(info_hash) {
            Entry::Occupied(mut slot) => {
                let swarm = slot.get_mut();
                let before = swarm.populations();
                if swarm.remove(peer) {
                    self.release_address(peer.ip());
                }
                self.tally.moved(info_hash, before, swarm.populations());
                let counts = swarm.counts();
                let downloads = counts.completed;
                tell(Effect { counted: false, downloads, reach: Reach::ALL });
                self.drop_if_empty(slot, now);
                counts
            }
            Entry::Vacant(_locked) => {
                let counts = self.left_behind(info_hash).unwrap_or_default();
                let downloads = counts.completed;
                tell(Effect { counted: false, downloads, reach: Reach::ALL });
                counts
            }
        }
    }

    /// Drops a swarm without peers, except for its downloads.
    fn drop_if_empty(&self, slot: OccupiedEntry<InfoHash, Swarm>, now: Seconds) {
        if slot.get().len() == 0 {
            let (info_hash, completed) = (*slot.key(), slot.get().counts().completed);
            self.downloads.keep(self.shard(info_hash), info_hash, completed, now, 0);
            slot.remove();
            self.torrents.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns what is known of a torrent without peers.
    fn left_behind(&self, info_hash: InfoHash) -> Option<Counts> {
        let completed = self.downloads.get(self.shard(info_hash), info_hash)?;
        Some(Counts { completed, ..Counts::default() })
    }

    /// Gives the peer others. Returns how far it reaches.
    fn answer(
        &self,
        swarm: &mut Swarm,
        place: Place,
        update: &Update,
        role: Role,
        rng: &mut impl Rng,
        peers: &mut Peers,
    ) -> Reach {
        let gives = role != Role::Downloader;
        let (want, only, locality) = (update.want, update.only, update.locality.as_ref());
        let picked = swarm.choose(place, &Wanted { gives, want, only, locality }, rng, peers);
        if picked.count == 0 && want > 0 && self.options.echo_lone_peer {
            swarm.echo(place, only, peers);
        }
        let reach = picked.reach.filter(|_| !gives && !update.is_hidden);
        if let Some(reach) = reach {
            swarm.set_reach(place, reach);
        }
        reach.unwrap_or(Reach::ALL)
    }

    fn admit_torrent(&self) -> Result<(), Refusal> {
        let limit = match self.options.max_torrents {
            0 => u64::MAX,
            limit => limit,
        };
        self.torrents
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |torrents| {
                (torrents < limit).then_some(torrents + 1)
            })
            .map_or(Err(Refusal::Torrents), |_| Ok(()))
    }

    /// Admits another peer to a swarm of `len`, and counts it for its address.
    fn admit_peer(&self, len: usize, address: IpAddr) -> Result<(), Refusal> {
        let limit = match self.options.max_peers_per_torrent {
            0 => u32::MAX,
            limit => limit,
        };
        if limit as usize <= len {
            return Err(Refusal::Peers);
        }
        if self.options.max_peers_per_address > 0 {
            let mut peers = self.addresses.entry(address).or_insert(0);
            if self.options.max_peers_per_address <= *peers {
                return Err(Refusal::Peers);
            }
            *peers += 1;
        }
        Ok(())
    }

    /// Counts another peer for its address, whatever the limit says.
    fn count_address(&self, address: IpAddr) {
        if self.options.max_peers_per_address > 0 {
            *self.addresses.entry(address).or_insert(0) += 1;
        }
    }

    fn release_address(&self, address: IpAddr) {
        if self.options.max_peers_per_address > 0
            && let Entry::Occupied(mut peers) = self.addresses.entry(address)
        {
            *peers.get_mut() -= 1;
            if *peers.get() == 0 {
                peers.remove();
            }
        }
    }

    /// Prefetches the memory of up to [`AHEAD`] swarms: one step for all of them, then the next,
    /// because each step finds the address for the next.
    fn fetch(&self, info_hashes: &[InfoHash]) {
        let shards = self.swarms.shards();
        let mut places = [(0, &shards[0]); AHEAD];
        let places = &mut places[..info_hashes.len()];
        for ((hash, shard), info_hash) in places.iter_mut().zip(info_hashes) {
            *hash = self.swarms.hasher().hash_one(info_hash);
            *shard = &shards[self.swarms.determine_shard(*hash as usize)];
            karuta_fetch::line(&raw const ***shard);
        }
        for (hash, shard) in &*places {
            // The thread that holds the lock has the shard in its cache.
            let Some(table) = shard.try_read() else { continue };
            let index = *hash as usize & (table.buckets() - 1);
            let end = table.data_end().as_ptr().cast_const();
            karuta_fetch::line(end.wrapping_sub(index + 1));
            karuta_fetch::line(end.cast::<u8>().wrapping_add(index));
        }
        for step in 0..Swarm::STEPS {
            let mut more = false;
            for ((hash, shard), info_hash) in places.iter().zip(info_hashes) {
                let Some(table) = shard.try_read() else { continue };
                if let Some((_, swarm)) = table.get(*hash, |(of, _)| of == info_hash) {
                    more |= swarm.get().fetch(step);
                }
            }
            if !more {
                return;
            }
        }
    }
}

impl Store for Memory {
    type Walk = Walk;

    fn announce(
        &self,
        update: &Update,
        rng: &mut impl Rng,
        peers: &mut Peers,
    ) -> Result<Counts, Refusal> {
        self.announce_telling(update, rng, peers, |_| ())
    }

    fn expect(&self, info_hashes: &[InfoHash]) {
        // With a single swarm, there is no other work to overlap with.
        if info_hashes.len() > 1 {
            info_hashes.chunks(AHEAD).for_each(|some| self.fetch(some));
        }
    }

    fn describe(
        &self,
        info_hash: InfoHash,
        peers: &Peers,
        now: Seconds,
        candidates: &mut Vec<Candidate>,
    ) {
        let swarm = self.swarms.get(&info_hash);
        let now = self.lifetime.stamp(now);
        candidates.extend(peers.iter().map(|peer| {
            let found = swarm.as_ref().and_then(|swarm| swarm.find(peer));
            let Some(found) = found else {
                return Candidate { peer, seeder: false, label: 0, age: 0 };
            };
            let (seeder, label) = (found.role == Role::Seeder, found.label.value);
            Candidate { peer, seeder, label, age: self.lifetime.age(found.stamp, now) }
        }));
    }

    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        let swarm = self.swarms.get(&info_hash).map(|swarm| swarm.counts());
        swarm.or_else(|| self.left_behind(info_hash))
    }

    fn standing(&self, info_hash: InfoHash, peer: SocketAddr) -> Standing {
        let Options { max_torrents, max_peers_per_torrent, max_peers_per_address, .. } =
            self.options;
        let swarm = self.swarms.get(&info_hash);
        let of_swarm = swarm.map(|swarm| (swarm.len() as u64, swarm.find(peer).is_some()));
        let (peers, is_known) = of_swarm.unwrap_or_default();
        let of_address = || self.addresses.get(&peer.ip()).map_or(0, |count| u64::from(*count));
        let torrents = Usage::of(|| self.torrents.load(Ordering::Relaxed), max_torrents);
        let peers_of_torrent = Usage::of(|| peers, max_peers_per_torrent.into());
        let peers_of_address = Usage::of(of_address, max_peers_per_address.into());
        let is_full = |usage: Option<Usage>| usage.is_some_and(Usage::is_full);
        let refusal = match is_known {
            true => None,
            false if of_swarm.is_none() && is_full(torrents) => Some(Refusal::Torrents),
            false => {
                (is_full(peers_of_torrent) || is_full(peers_of_address)).then_some(Refusal::Peers)
            }
        };
        Standing { refusal, torrents, peers_of_torrent, peers_of_address }
    }

    fn expire(&self, now: Seconds) -> bool {
        self.sweep(now)
    }

    fn list(&self, part: usize, torrents: &mut Vec<InfoHash>) -> bool {
        self.torrents(part, torrents)
    }

    fn next_piece(&self, walk: &mut Walk, now: Seconds, piece: &mut Piece) -> bool {
        self.next_piece(walk, now, piece)
    }

    fn restore(&self, piece: &Piece, now: Seconds) -> Restored {
        self.restore_piece(piece, now)
    }

    fn totals(&self) -> Totals {
        let [ipv4, ipv6] = self.tally.sum();
        Totals { swarms: self.torrents.load(Ordering::Relaxed), ipv4, ipv6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance_suite!(Memory::new);
}
