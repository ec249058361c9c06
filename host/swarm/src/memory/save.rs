//! The walk over all swarms, and their way back.

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use dashmap::Entry;

use super::columns::Details;
use super::full;
use super::label::Label;
use super::record::{Record, V4, marked};
use super::rows::SCANNED;
use super::small::Small;
use super::swarm::{Found, Swarm};
use super::{AHEAD, Memory, Options, Tally};
use crate::locality::Reach;
use crate::{Piece, Restored, SavedPeer, Seconds};
use karuta_bittorrent::InfoHash;

/// The position of a walk over all swarms. Swarms that come and go meanwhile may or may not be
/// seen, all others are.
#[derive(Debug, Default)]
pub struct Walk {
    next_shard: usize,
    /// The swarms of the previous shard; the last is being copied.
    queue: Vec<InfoHash>,
    /// Where the next piece of that swarm ends.
    end: Option<usize>,
    /// The torrents without peers of the previous shard.
    deserted: Vec<(InfoHash, u32, Seconds)>,
}

impl From<InfoHash> for Walk {
    fn from(info_hash: InfoHash) -> Self {
        Self { next_shard: usize::MAX, queue: vec![info_hash], ..Self::default() }
    }
}

impl Memory {
    /// Lists the torrents of a shard, if it exists.
    pub(super) fn torrents(&self, shard: usize, torrents: &mut Vec<InfoHash>) -> bool {
        if shard >= self.swarms.shards().len() {
            return false;
        }
        let mut deserted = Vec::new();
        // Under one lock, so that a torrent is either here or there.
        self.list(shard, torrents, || self.downloads.list(shard, 0, &mut deserted));
        torrents.extend(deserted.into_iter().map(|(info_hash, ..)| info_hash));
        true
    }

    pub(super) fn next_piece(&self, walk: &mut Walk, now: Seconds, piece: &mut Piece) -> bool {
        piece.peers.clear();
        loop {
            if let Some((info_hash, downloads, age)) = walk.deserted.pop() {
                (piece.info_hash, piece.downloads, piece.deserted) = (info_hash, downloads, age);
                return true;
            }
            if let Some(&info_hash) = walk.queue.last() {
                if walk.end.is_none() && walk.queue.len().is_multiple_of(AHEAD) {
                    self.fetch(&walk.queue[walk.queue.len() - AHEAD..]);
                }
                let end = walk.end.take();
                let is_known = self.copy(info_hash, end, now, piece, &mut walk.end);
                if walk.end.is_none() {
                    walk.queue.pop();
                }
                if is_known {
                    return true;
                }
            } else if walk.next_shard < self.swarms.shards().len() {
                let shard = walk.next_shard;
                // Under one lock, so that a torrent is either here or there.
                self.list(shard, &mut walk.queue, || {
                    self.downloads.list(shard, now, &mut walk.deserted);
                });
                walk.next_shard += 1;
            } else {
                *walk = Walk::default();
                return false;
            }
        }
    }

    /// Copies the peers of a swarm before place `end`, and sets where the next piece ends. Returns
    /// whether there is anything to keep.
    fn copy(
        &self,
        info_hash: InfoHash,
        end: Option<usize>,
        now: Seconds,
        piece: &mut Piece,
        next: &mut Option<usize>,
    ) -> bool {
        (piece.info_hash, piece.deserted) = (info_hash, 0);
        let Some(swarm) = self.swarms.get(&info_hash) else {
            // Its last peer has just left.
            let left = self.left_behind(info_hash);
            piece.downloads = left.map_or(0, |counts| counts.completed);
            return piece.downloads > 0;
        };
        piece.downloads = swarm.counts().completed;
        let end = end.unwrap_or(swarm.len());
        let places = swarm.copy(end, self.lifetime, self.lifetime.stamp(now), &mut piece.peers);
        *next = (places.start > 0).then_some(places.start);
        !piece.peers.is_empty() || piece.downloads > 0
    }

    pub(super) fn restore_piece(&self, piece: &Piece, now: Seconds) -> Restored {
        let Piece { info_hash, downloads, ref peers, deserted } = *piece;
        match self.swarms.entry(info_hash) {
            Entry::Occupied(mut slot) => {
                let swarm = slot.get_mut();
                let before = swarm.populations();
                swarm.raise_downloads(downloads);
                let restored = self.put_back(swarm, peers, now);
                self.tally.moved(info_hash, before, swarm.populations());
                restored
            }
            Entry::Vacant(slot) => {
                let shard = self.shard(info_hash);
                let keep = |since| self.downloads.keep(shard, info_hash, downloads, now, since);
                if peers.is_empty() {
                    keep(deserted);
                    return Restored::default();
                }
                if self.admit_torrent().is_err() {
                    let refused = peers.len() as u64;
                    return Restored { refused, ..Restored::default() };
                }
                let completed = downloads.max(self.downloads.take(shard, info_hash));
                let (swarm, restored) = self.small(peers, completed, now).unwrap_or_else(|| {
                    let mut swarm = Swarm::new(self.options.keep_peer_ids, completed);
                    let restored = self.put_back(&mut swarm, peers, now);
                    (swarm, restored)
                });
                if swarm.len() == 0 {
                    self.torrents.fetch_sub(1, Ordering::Relaxed);
                    // The last one has left when it expired.
                    let silent = peers.iter().map(|peer| peer.age).min().unwrap_or(0);
                    keep(silent.saturating_sub(self.options.lifetime));
                } else {
                    self.tally.moved(info_hash, Tally::NOBODY, swarm.populations());
                    slot.insert(swarm);
                }
                restored
            }
        }
    }

    /// Makes a small swarm of peers, as most are. Returns `None` if they need more than that.
    fn small(
        &self,
        peers: &[SavedPeer],
        completed: u32,
        now: Seconds,
    ) -> Option<(Swarm, Restored)> {
        let Options { keep_peer_ids, max_peers_per_address, max_peers_per_torrent, .. } =
            self.options;
        let is_limited = max_peers_per_address > 0 || max_peers_per_torrent > 0;
        if keep_peer_ids || is_limited || peers.len() > SCANNED {
            return None;
        }
        let records = peers.iter().map(|peer| {
            let SocketAddr::V4(address) = peer.address else { return None };
            if peer.is_hidden {
                return None;
            }
            let stamp = self.lifetime.stamp_before(now, peer.age)?;
            Some((V4::new(address, marked(stamp, peer.downloaded)), peer.role))
        });
        let small = Small::of_sorted(records, completed)?;
        let entered = peers.len() as u64;
        Some((Swarm::Small(small), Restored { entered, ..Restored::default() }))
    }

    /// Enters peers, as far as the limits allow. Of two with one address, the younger one stays, and of
    /// two that are as old, the later one.
    fn put_back(&self, swarm: &mut Swarm, peers: &[SavedPeer], now: Seconds) -> Restored {
        let (mut restored, stamp) = (Restored::default(), self.lifetime.stamp(now));
        for peer in peers {
            let Some(entry) = self.entry_of(peer, now) else {
                restored.expired += 1;
                continue;
            };
            let is_younger = |known: Found| self.lifetime.age(known.stamp, stamp) < peer.age;
            if swarm.find(peer.address).is_some_and(is_younger) {
                continue;
            }
            if swarm.update(peer.address, &entry).is_some() {
                continue;
            }
            if self.admit_peer(swarm.len(), peer.address.ip()).is_err() {
                restored.refused += 1;
                continue;
            }
            swarm.insert(peer.address, &entry);
            restored.entered += 1;
        }
        restored
    }

    /// Returns what is stored of a peer, unless it has expired.
    fn entry_of(&self, peer: &SavedPeer, now: Seconds) -> Option<full::Entry> {
        let stamp = self.lifetime.stamp_before(now, peer.age)?;
        Some(full::Entry {
            stamp: marked(stamp, peer.downloaded),
            details: Details { peer_id: peer.peer_id, label: Label::NONE, reach: Some(Reach::ALL) },
            role: peer.role,
            completes: false,
            is_hidden: peer.is_hidden,
        })
    }

    /// Returns the shard of a torrent.
    pub(super) fn shard(&self, info_hash: InfoHash) -> usize {
        self.swarms.determine_shard(self.swarms.hasher().hash_one(info_hash) as usize)
    }
}
