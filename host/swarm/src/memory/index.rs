//! The position of each address and port in an array of records.

use std::hash::RandomState;

use super::parts::Parts;
use super::record::Record;

/// A hash table of the positions of records. The hash is keyed, so clients cannot choose addresses
/// that collide.
#[derive(Debug)]
pub struct Index {
    hasher: RandomState,
    places: Parts<u32>,
}

impl Index {
    pub fn of<R: Record>(records: &[R]) -> Self {
        let mut index = Self { hasher: RandomState::new(), places: Parts::default() };
        for len in 1..=records.len() {
            index.push(&records[..len]);
        }
        index
    }

    pub fn find<R: Record>(&self, records: &[R], wanted: R) -> Option<usize> {
        let hash = wanted.hash(&self.hasher);
        self.places.find(hash, |&at| records[at as usize].is(wanted)).map(|&at| at as usize)
    }

    /// Must be called after a record was added to the end.
    pub fn push<R: Record>(&mut self, records: &[R]) {
        let last = records.len() as u32 - 1;
        self.places.insert(last, |&at| records[at as usize].hash(&self.hasher));
    }

    /// Must be called before two records are swapped.
    pub fn swap<R: Record>(&mut self, records: &[R], a: usize, b: usize) {
        let [hash_a, hash_b] = [a, b].map(|at| records[at].hash(&self.hasher));
        // A third value, so that two entries never have the same position during a look-up.
        self.change(hash_a, a as u32, UNDER_WAY);
        self.change(hash_b, b as u32, a as u32);
        self.change(hash_a, UNDER_WAY, b as u32);
    }

    /// Must be called before the last record is removed.
    pub fn pop<R: Record>(&mut self, records: &[R]) {
        let last = records.len() as u32 - 1;
        let hash = |at: &u32| records[*at as usize].hash(&self.hasher);
        self.places.remove(hash(&last), |&at| at == last, hash);
    }

    fn change(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(at) = self.places.find_mut(hash, |&at| at == from) {
            *at = to;
        }
    }
}

/// Not the position of a record.
const UNDER_WAY: u32 = u32::MAX;

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
        assert_eq!(index.find(records, record(u32::MAX)), None);
    }

    #[test]
    fn everything_is_found_as_records_come_and_go() {
        let mut records: Vec<_> = (0..2000).map(record).collect();
        let mut index = Index::of(&records);
        assert_finds_all(&index, &records);
        while records.len() > 300 {
            index.pop(&records);
            records.pop();
        }
        assert_finds_all(&index, &records);
    }

    proptest! {
        #[test]
        fn swaps_are_followed(
            len in 1..1500_usize,
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
