//! Where each address and port is in an array of records.

use std::hash::RandomState;

use hashbrown::HashTable;

use super::record::Record;

/// A hash table in parts that are split, and joined again, one at a time (linear hashing), so that
/// no announce pays for a large table's growth. The hash is keyed: no client can choose addresses
/// that collide.
#[derive(Debug)]
pub struct Index {
    hasher: RandomState,
    /// Part p holds the hashes whose bits from the 24th up end in p's, one bit fewer for the parts that
    /// are yet to be split.
    parts: Vec<HashTable<u32>>,
}

/// How many records a part has on average, at most.
const PART: usize = 512;

impl Index {
    pub fn of<R: Record>(records: &[R]) -> Self {
        let mut index = Self { hasher: RandomState::new(), parts: vec![HashTable::new()] };
        for len in 1..=records.len() {
            index.push(&records[..len]);
        }
        index
    }

    pub fn find<R: Record>(&self, records: &[R], wanted: R) -> Option<usize> {
        let hash = wanted.hash(&self.hasher);
        let part = &self.parts[part_of(hash, self.parts.len())];
        part.find(hash, |&at| records[at as usize].is(wanted)).map(|&at| at as usize)
    }

    /// To be called after a record was added to the end.
    pub fn push<R: Record>(&mut self, records: &[R]) {
        self.add(records, records.len() as u32 - 1);
        if records.len() > self.parts.len() * PART {
            let half = largest_power_of_two(self.parts.len());
            let source = self.parts.len() - half;
            let moved = std::mem::take(&mut self.parts[source]);
            self.parts.push(HashTable::new());
            moved.into_iter().for_each(|at| self.add(records, at));
        }
    }

    /// To be called before two records are swapped.
    pub fn swap<R: Record>(&mut self, records: &[R], a: usize, b: usize) {
        let [hash_a, hash_b] = [a, b].map(|at| records[at].hash(&self.hasher));
        // A third value, lest two entries say the same while one of them is looked for.
        self.change(hash_a, a as u32, UNDER_WAY);
        self.change(hash_b, b as u32, a as u32);
        self.change(hash_a, UNDER_WAY, b as u32);
    }

    /// To be called before the last record is removed.
    pub fn pop<R: Record>(&mut self, records: &[R]) {
        let last = records.len() as u32 - 1;
        let hash = records[last as usize].hash(&self.hasher);
        let part = part_of(hash, self.parts.len());
        if let Ok(entry) = self.parts[part].find_entry(hash, |&at| at == last) {
            entry.remove();
        }
        if records.len() < (self.parts.len() - 1) * (PART / 2)
            && let Some(moved) = self.parts.pop()
        {
            moved.into_iter().for_each(|at| self.add(records, at));
        }
    }

    fn change(&mut self, hash: u64, from: u32, to: u32) {
        let part = part_of(hash, self.parts.len());
        if let Some(at) = self.parts[part].find_mut(hash, |&at| at == from) {
            *at = to;
        }
    }

    fn add<R: Record>(&mut self, records: &[R], at: u32) {
        let hash = |at: u32| records[at as usize].hash(&self.hasher);
        let part = part_of(hash(at), self.parts.len());
        self.parts[part].insert_unique(hash(at), at, |&other| hash(other));
    }
}

/// No record's place.
const UNDER_WAY: u32 = u32::MAX;

/// The part, of `parts`, for a hash. Its low bits and its highest are the table's own.
fn part_of(hash: u64, parts: usize) -> usize {
    let bits = (hash >> 24) as usize;
    let half = largest_power_of_two(parts);
    let part = bits % (2 * half);
    if part < parts { part } else { part - half }
}

fn largest_power_of_two(up_to: usize) -> usize {
    1 << up_to.ilog2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::V4;
    use super::*;

    fn record(number: u32) -> V4 {
        V4::new(std::net::SocketAddrV4::new(number.into(), 1), 0)
    }

    fn assert_finds_all(index: &Index, records: &[V4]) {
        for (at, &record) in records.iter().enumerate() {
            assert_eq!(index.find(records, record), Some(at));
        }
        assert_eq!(index.parts.iter().map(HashTable::len).sum::<usize>(), records.len());
    }

    #[test]
    fn everything_is_found_while_parts_split_and_join() {
        let mut records: Vec<_> = (0..9 * PART as u32).map(record).collect();
        let mut index = Index::of(&records);
        assert_eq!(index.parts.len(), 9);
        assert_finds_all(&index, &records);
        assert_eq!(index.find(&records, record(u32::MAX)), None);
        while records.len() > PART {
            index.pop(&records);
            records.pop();
        }
        assert!(index.parts.len() < 4);
        assert_finds_all(&index, &records);
    }

    proptest! {
        #[test]
        fn swaps_are_followed(
            len in 1..3 * PART,
            swaps in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..200),
        ) {
            let mut records: Vec<_> = (0..len as u32).map(record).collect();
            let mut index = Index::of(&records);
            for [a, b] in swaps {
                let (a, b) = (a.index(len), b.index(len));
                index.swap(&records, a, b);
                records.swap(a, b);
            }
            assert_finds_all(&index, &records);
        }
    }
}
