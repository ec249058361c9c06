//! The incremental sweep for expired peers.

use std::hash::BuildHasher;

use dashmap::{Entry, SharedValue};

use super::Memory;
use super::swarm::Swarm;
use crate::Seconds;
use karuta_bittorrent::InfoHash;

/// The position of the sweep for expired peers.
#[derive(Debug, Default)]
pub struct Sweep {
    next_shard: usize,
    /// The swarms of the previous shard; the last is being checked.
    queue: Vec<InfoHash>,
    /// Where the next slice of that swarm ends.
    end: Option<usize>,
}

/// How many shards, swarms, kept counts and peers one call checks.
const AT_ONCE: usize = 512;

impl Memory {
    /// Checks some of the swarms; returns whether these were the last of a round.
    ///
    /// A round takes one call per 512 shards, swarms, kept counts and peers, approximately. No
    /// lock is held for more than 1024 peers, or for longer than it takes to list the swarms of one
    /// shard. A peer that moves while its large swarm is between two slices may be left for the
    /// next round.
    pub(super) fn sweep(&self, now: Seconds) -> bool {
        let mut sweep = self.sweep.lock();
        let Sweep { next_shard, queue, end } = &mut *sweep;
        let mut looked_at = 0;
        while looked_at < AT_ONCE {
            if let Some(&info_hash) = queue.last() {
                let peers;
                (*end, peers) = self.expire_slice(info_hash, *end, now);
                looked_at += 1 + peers;
                if end.is_none() {
                    queue.pop();
                }
            } else if *next_shard < self.swarms.shards().len() {
                self.list(*next_shard, queue, || {});
                looked_at += 1 + self.downloads.sweep(*next_shard, now);
                *next_shard += 1;
            } else {
                *next_shard = 0;
                return true;
            }
        }
        false
    }

    /// Checks one slice of one swarm; returns where its next slice ends, and how many peers this
    /// one had.
    fn expire_slice(
        &self,
        info_hash: InfoHash,
        end: Option<usize>,
        now: Seconds,
    ) -> (Option<usize>, usize) {
        let Entry::Occupied(mut slot) = self.swarms.entry(info_hash) else {
            return (None, 0);
        };
        let swarm = slot.get_mut();
        let before = swarm.populations();
        let stamp = self.lifetime.stamp(now);
        let end = end.unwrap_or(swarm.len());
        let slice =
            swarm.expire(end, self.lifetime, stamp, |address| self.release_address(address));
        self.tally.moved(info_hash, before, swarm.populations());
        self.drop_if_empty(slot, now);
        ((slice.start > 0).then_some(slice.start), slice.len())
    }

    /// Lists the swarms of a shard, and shrinks a shard that has become much emptier. `also` is done
    /// under the same lock.
    ///
    /// Only `unsafe` code can borrow a shard's entries one by one, so they are taken out and put
    /// back: about 30 ns each, under the shard's lock.
    pub(super) fn list(&self, shard: usize, queue: &mut Vec<InfoHash>, also: impl FnOnce()) {
        let mut shard = self.swarms.shards()[shard].write();
        also();
        let hash = |(info_hash, _): &(InfoHash, SharedValue<Swarm>)| {
            self.swarms.hasher().hash_one(info_hash)
        };
        let len = shard.len();
        if len == 0 {
            shard.shrink_to(0, hash);
            return;
        }
        let entries: Vec<_> = shard.drain().collect();
        if shard.capacity() / 4 > len {
            shard.shrink_to(2 * len, hash);
        }
        for entry in entries {
            queue.push(entry.0);
            shard.insert(hash(&entry), entry, hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Options;

    #[test]
    fn an_emptier_shard_shrinks_and_keeps_its_swarms() {
        let store = Memory::new(Options { shards: 2, ..Options::default() });
        let info_hash = |number: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            InfoHash(bytes)
        };
        for number in 0..10_000 {
            store.swarms.insert(info_hash(number), Swarm::new(false, 0));
        }
        store.swarms.retain(|info_hash, _| info_hash.0[2] == 7);
        let mut listed = Vec::new();
        (0..2).for_each(|shard| store.list(shard, &mut listed, || {}));
        listed.sort_unstable();
        assert_eq!(listed, (0x700..0x800).map(info_hash).collect::<Vec<_>>());
        assert!(listed.iter().all(|info_hash| store.swarms.contains_key(info_hash)));
        assert!(store.swarms.capacity() < 2_000);
    }
}
