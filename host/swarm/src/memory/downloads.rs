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
///
/// The caller chooses the shard of a torrent, always the same one.
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
    /// In seconds of the store's clock; negative in a snapshot of an earlier process.
    since: i32,
}

/// The most that fit in a hash table of 256 places.
const MOST: usize = 224;

impl Downloads {
    /// If `keep` is 0, nothing is kept.
    pub fn new(keep: Seconds, shards: usize) -> Self {
        let shards = if keep == 0 { 0 } else { shards };
        Self {
            keep,
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    /// Keeps the count of a swarm that lost its last peer `age` seconds ago; of two counts of one
    /// torrent, the higher.
    pub fn keep(
        &self,
        shard: usize,
        info_hash: InfoHash,
        completed: u32,
        now: Seconds,
        age: Seconds,
    ) {
        let since = since(now, age);
        let Some(shard) = self.shards.get(shard).filter(|_| completed > 0) else { return };
        if self.is_over(since, now) {
            return;
        }
        let hash = self.hasher.hash_one(info_hash);
        let mut shard = shard.lock();
        if let Some(left) = shard.find_mut(hash, |left| left.info_hash == info_hash) {
            left.completed = left.completed.max(completed);
            return;
        }
        if shard.len() >= MOST
            && let Some(oldest) = shard.iter().min_by_key(|left| left.since)
        {
            let oldest = oldest.info_hash;
            self.remove(&mut shard, oldest);
        }
        let left = Left { info_hash, completed, since };
        shard.insert_unique(hash, left, |left| self.hasher.hash_one(left.info_hash));
    }

    /// Removes and returns the count of a swarm that begins again.
    pub fn take(&self, shard: usize, info_hash: InfoHash) -> u32 {
        let shard = self.shards.get(shard);
        shard.and_then(|shard| self.remove(&mut shard.lock(), info_hash)).unwrap_or(0)
    }

    /// Returns `None` if the torrent is unknown.
    pub fn get(&self, shard: usize, info_hash: InfoHash) -> Option<u32> {
        let shard = self.shards.get(shard)?.lock();
        let hash = self.hasher.hash_one(info_hash);
        shard.find(hash, |left| left.info_hash == info_hash).map(|left| left.completed)
    }

    /// Appends the torrents of a shard, each with its count and how long ago its last peer left.
    pub fn list(&self, shard: usize, now: Seconds, into: &mut Vec<(InfoHash, u32, Seconds)>) {
        let Some(shard) = self.shards.get(shard) else { return };
        let age = |since| u32::try_from(i64::from(now) - i64::from(since)).unwrap_or(0);
        let shard = shard.lock();
        into.extend(shard.iter().map(|left| (left.info_hash, left.completed, age(left.since))));
    }

    /// Removes expired counts from a shard, if it exists; returns how many counts it looked at.
    pub fn sweep(&self, shard: usize, now: Seconds) -> usize {
        let Some(shard) = self.shards.get(shard) else { return 0 };
        let mut shard = shard.lock();
        let before = shard.len();
        shard.retain(|left| !self.is_over(left.since, now));
        if shard.capacity() / 4 > shard.len() {
            let few = shard.len();
            shard.shrink_to(few, |left| self.hasher.hash_one(left.info_hash));
        }
        before
    }

    fn is_over(&self, since: i32, now: Seconds) -> bool {
        i64::from(now) - i64::from(since) > i64::from(self.keep)
    }

    fn remove(&self, shard: &mut HashTable<Left>, info_hash: InfoHash) -> Option<u32> {
        if shard.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(info_hash);
        let entry = shard.find_entry(hash, |left| left.info_hash == info_hash).ok()?;
        Some(entry.remove().0.completed)
    }
}

/// Returns the time `age` seconds before `now`, to 68 years.
fn since(now: Seconds, age: Seconds) -> i32 {
    let since = i64::from(now) - i64::from(age);
    i32::try_from(since).unwrap_or(if since < 0 { i32::MIN } else { i32::MAX })
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
            downloads.keep(0, torrent(number), 5, since, 0);
        }
        downloads.keep(0, torrent(MOST), 6, 500, 0);
        assert_eq!(downloads.get(0, torrent(0)), None);
        assert!((1..MOST).all(|number| downloads.get(0, torrent(number)) == Some(5)));
        assert_eq!(downloads.get(0, torrent(MOST)), Some(6));
        assert_eq!(downloads.shards[0].lock().len(), MOST);
    }

    #[test]
    fn what_was_never_downloaded_takes_no_place() {
        let downloads = Downloads::new(1000, 1);
        downloads.keep(0, torrent(1), 0, 1, 0);
        assert_eq!(downloads.get(0, torrent(1)), None);
        assert_eq!(downloads.shards[0].lock().len(), 0);
    }

    #[test]
    fn a_sweep_leaves_what_is_young_and_gives_memory_back() {
        let downloads = Downloads::new(10, 1);
        for number in 0..200 {
            downloads.keep(0, torrent(number), 1, if number < 190 { 0 } else { 1 }, 0);
        }
        assert_eq!(downloads.sweep(0, 10), 200);
        assert_eq!(downloads.sweep(0, 11), 200);
        assert_eq!(downloads.sweep(0, 11), 10);
        assert!((190..200).all(|number| downloads.get(0, torrent(number)) == Some(1)));
        assert!(downloads.shards[0].lock().capacity() < 100);
        assert_eq!(downloads.take(0, torrent(195)), 1);
        assert_eq!(downloads.take(0, torrent(195)), 0);
        // A clock that is behind removes nothing.
        assert_eq!(downloads.sweep(0, 0), 9);
        assert_eq!(downloads.sweep(0, 12), 9);
        assert_eq!(downloads.sweep(0, 12), 0);
    }

    #[test]
    fn nothing_is_kept_for_no_time() {
        let downloads = Downloads::new(0, 8);
        downloads.keep(0, torrent(1), 5, 0, 0);
        assert_eq!((downloads.get(0, torrent(1)), downloads.take(0, torrent(1))), (None, 0));
        assert_eq!(downloads.sweep(0, 0), 0);
    }

    #[test]
    fn what_was_kept_before_the_clock_began_is_as_old_as_it_is() {
        let downloads = Downloads::new(10, 1);
        downloads.keep(0, torrent(1), 5, 2, 8);
        downloads.keep(0, torrent(1), 3, 2, 1);
        downloads.keep(0, torrent(2), 5, 2, 11);
        let mut listed = Vec::new();
        downloads.list(0, 3, &mut listed);
        assert_eq!(listed, [(torrent(1), 5, 9)]);
        assert_eq!(
            (downloads.sweep(0, 4), downloads.sweep(0, 5), downloads.sweep(0, 5)),
            (1, 1, 0)
        );
    }
}
