//! A map that many threads read without a lock.
//!
//! It consists of small sorted shards. A change replaces its shard with a changed copy, so that a
//! reader sees the shard before it or after it. A shard of a million entries in all has 244, and is
//! copied in less than a microsecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

/// The number of shards, a power of two.
const SHARDS: usize = 4096;

/// A key, which knows its shard.
pub trait Key: Copy + Ord {
    /// Returns a number in which keys differ in the lowest 12 bits.
    fn spread(&self) -> usize;
}

impl Key for u64 {
    fn spread(&self) -> usize {
        // Ids follow one another; the golden ratio spreads them evenly.
        (self.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize
    }
}

impl Key for (u64, u64) {
    fn spread(&self) -> usize {
        self.0.wrapping_mul(31).wrapping_add(self.1).spread()
    }
}

/// What is a hash already.
impl<const N: usize> Key for [u8; N] {
    fn spread(&self) -> usize {
        let [first, second, ..] = self.as_slice() else { return 0 };
        usize::from(*first) << 8 | usize::from(*second)
    }
}

/// Its size is that of its entries; a shard has no spare room.
pub struct Table<K, V> {
    shards: Box<[ArcSwap<Shard<K, V>>]>,
    len: AtomicUsize,
}

type Shard<K, V> = Box<[(K, V)]>;

impl<K: Key, V: Copy> Default for Table<K, V> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<K: Key, V: Copy> From<Vec<(K, V)>> for Table<K, V> {
    /// Of several entries with one key, any is kept.
    fn from(entries: Vec<(K, V)>) -> Self {
        let mut shards: Vec<Vec<(K, V)>> = (0..SHARDS).map(|_| Vec::new()).collect();
        for (key, value) in entries {
            shards[shard_of(&key)].push((key, value));
        }
        let mut len = 0;
        let empty: Arc<Shard<K, V>> = Arc::default();
        let shards = shards.into_iter().map(|mut shard| {
            shard.sort_unstable_by_key(|(key, _)| *key);
            shard.dedup_by_key(|(key, _)| *key);
            len += shard.len();
            match shard.is_empty() {
                true => ArcSwap::new(empty.clone()),
                false => ArcSwap::from_pointee(shard.into_boxed_slice()),
            }
        });
        let shards = shards.collect();
        Self { shards, len: len.into() }
    }
}

impl<K: Key, V: Copy> Table<K, V> {
    pub fn get(&self, key: &K) -> Option<V> {
        let shard = self.shards[shard_of(key)].load();
        shard.binary_search_by_key(key, |(known, _)| *known).ok().map(|at| shard[at].1)
    }

    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Replaces the value of a key with what `change` makes of it; `None`: there is no entry. Only
    /// one thread may change a table at a time, or a change is lost.
    pub fn change(&self, key: K, change: impl FnOnce(Option<V>) -> Option<V>) {
        let shard = &self.shards[shard_of(&key)];
        let before = shard.load();
        let found = before.binary_search_by_key(&key, |(known, _)| *known);
        let at = found.unwrap_or_else(|at| at);
        let value = change(found.ok().map(|at| before[at].1));
        let rest = if found.is_ok() { at + 1 } else { at };
        let mut after = Vec::with_capacity(before.len() + 1);
        after.extend_from_slice(&before[..at]);
        after.extend(value.map(|value| (key, value)));
        after.extend_from_slice(&before[rest..]);
        match (found.is_ok(), value.is_some()) {
            (false, true) => self.len.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.len.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        shard.store(Arc::new(after.into_boxed_slice()));
    }

    pub fn put(&self, key: K, value: V) {
        self.change(key, |_| Some(value));
    }

    pub fn remove(&self, key: K) {
        self.change(key, |_| None);
    }
}

fn shard_of<K: Key>(key: &K) -> usize {
    key.spread() % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_table_is_a_map(
            first in prop::collection::btree_map(0..9000_u64, 0..9_u8, 0..50),
            changes in prop::collection::vec((0..9000_u64, prop::option::of(0..9_u8)), 0..200),
        ) {
            let table = Table::from(first.clone().into_iter().collect::<Vec<_>>());
            let mut model: BTreeMap<u64, u8> = first;
            for (key, value) in changes {
                match value {
                    Some(value) => { table.put(key, value); model.insert(key, value); }
                    None => { table.remove(key); model.remove(&key); }
                }
                prop_assert_eq!(table.get(&key), model.get(&key).copied());
            }
            prop_assert_eq!(table.len(), model.len());
            for key in 0..9000 {
                prop_assert_eq!(table.get(&key), model.get(&key).copied());
            }
        }
    }

    #[test]
    fn ids_that_follow_one_another_are_spread() {
        let mut sizes = [0_usize; SHARDS];
        (0..1_000_000_u64).for_each(|id| sizes[shard_of(&id)] += 1);
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(*least > 200 && *most < 300, "{least} to {most}");
    }
}
