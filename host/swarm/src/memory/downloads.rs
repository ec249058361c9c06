//! Download counts of torrents without peers.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::Seconds;
use karuta_bittorrent::InfoHash;

/// The counts of downloads of swarms whose last peer has left.
///
/// Only torrents with at least one download are kept, and at most [`MOST`] per shard; then the
/// oldest is dropped. Made-up torrents can thus displace others, but cannot fill the memory.
#[derive(Debug)]
pub struct Downloads {
    keep: Seconds,
    hasher: RandomState,
    /// Empty if nothing is kept.
    shards: Box<[Mutex<HashTable<Left>>]>,
}

#[derive(Debug)]
struct Left {
    info_hash: InfoHash,
    completed: u32,
    since: Seconds,
}

/// The most that fit in a hash table of 256 places.
const MOST: usize = 224;

impl Downloads {
    /// `shards` is a power of two. If `keep` is 0, nothing is kept.
    pub fn new(keep: Seconds, shards: usize) -> Self {
        let shards = if keep == 0 { 0 } else { shards };
        Self {
            keep,
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    /// Keeps the count of a swarm that has lost its last peer.
    pub fn keep(&self, info_hash: InfoHash, completed: u32, now: Seconds) {
        if completed == 0 {
            return;
        }
        let Some((hash, shard)) = self.shard(info_hash) else { return };
        let mut shard = shard.lock();
        if shard.len() >= MOST
            && let Some(oldest) = shard.iter().min_by_key(|left| left.since)
        {
            let oldest = oldest.info_hash;
            remove(&mut shard, self.hasher.hash_one(oldest), oldest);
        }
        let left = Left { info_hash, completed, since: now };
        shard.insert_unique(hash, left, |left| self.hasher.hash_one(left.info_hash));
    }

    /// Removes and returns the count of a swarm that begins again.
    pub fn take(&self, info_hash: InfoHash) -> u32 {
        let taken = self.shard(info_hash).and_then(|(hash, shard)| {
            let mut shard = shard.lock();
            remove(&mut shard, hash, info_hash)
        });
        taken.unwrap_or(0)
    }

    /// Returns `None` if the torrent is unknown.
    pub fn get(&self, info_hash: InfoHash) -> Option<u32> {
        let (hash, shard) = self.shard(info_hash)?;
        let shard = shard.lock();
        shard.find(hash, |left| left.info_hash == info_hash).map(|left| left.completed)
    }

    /// Removes expired counts from a shard, if it exists; returns how many counts it looked at.
    pub fn sweep(&self, shard: usize, now: Seconds) -> usize {
        let Some(shard) = self.shards.get(shard) else { return 0 };
        let mut shard = shard.lock();
        let before = shard.len();
        shard.retain(|left| now.saturating_sub(left.since) <= self.keep);
        if shard.capacity() / 4 > shard.len() {
            let few = shard.len();
            shard.shrink_to(few, |left| self.hasher.hash_one(left.info_hash));
        }
        before
    }

    fn shard(&self, info_hash: InfoHash) -> Option<(u64, &Mutex<HashTable<Left>>)> {
        let last = self.shards.len().checked_sub(1)?;
        let hash = self.hasher.hash_one(info_hash);
        // The hash table uses the low bits and the highest.
        Some((hash, &self.shards[(hash >> 32) as usize & last]))
    }
}

fn remove(shard: &mut HashTable<Left>, hash: u64, info_hash: InfoHash) -> Option<u32> {
    let entry = shard.find_entry(hash, |left| left.info_hash == info_hash).ok()?;
    Some(entry.remove().0.completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torrent(number: usize) -> InfoHash {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        InfoHash(bytes)
    }

    #[test]
    fn the_oldest_gives_way() {
        let downloads = Downloads::new(1000, 1);
        for number in 0..MOST {
            // Not in order of age.
            let since = (number * 5 % MOST) as Seconds;
            downloads.keep(torrent(number), 5, since);
        }
        downloads.keep(torrent(MOST), 6, 500);
        assert_eq!(downloads.get(torrent(0)), None);
        assert!((1..MOST).all(|number| downloads.get(torrent(number)) == Some(5)));
        assert_eq!(downloads.get(torrent(MOST)), Some(6));
        assert_eq!(downloads.shards[0].lock().len(), MOST);
    }

    #[test]
    fn what_was_never_downloaded_takes_no_place() {
        let downloads = Downloads::new(1000, 1);
        downloads.keep(torrent(1), 0, 1);
        assert_eq!(downloads.get(torrent(1)), None);
        assert_eq!(downloads.shards[0].lock().len(), 0);
    }

    #[test]
    fn a_sweep_leaves_what_is_young_and_gives_memory_back() {
        let downloads = Downloads::new(10, 1);
        for number in 0..200 {
            downloads.keep(torrent(number), 1, if number < 190 { 0 } else { 1 });
        }
        assert_eq!(downloads.sweep(0, 10), 200);
        assert_eq!(downloads.sweep(0, 11), 200);
        assert_eq!(downloads.sweep(0, 11), 10);
        assert!((190..200).all(|number| downloads.get(torrent(number)) == Some(1)));
        assert!(downloads.shards[0].lock().capacity() < 100);
        assert_eq!(downloads.take(torrent(195)), 1);
        assert_eq!(downloads.take(torrent(195)), 0);
        // A clock that is behind removes nothing.
        assert_eq!(downloads.sweep(0, 0), 9);
        assert_eq!(downloads.sweep(0, 12), 9);
        assert_eq!(downloads.sweep(0, 12), 0);
    }

    #[test]
    fn nothing_is_kept_for_no_time() {
        let downloads = Downloads::new(0, 8);
        downloads.keep(torrent(1), 5, 0);
        assert_eq!((downloads.get(torrent(1)), downloads.take(torrent(1))), (None, 0));
        assert_eq!(downloads.sweep(0, 0), 0);
    }
}
