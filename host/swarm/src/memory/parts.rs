//! A hash table that grows and shrinks incrementally.

use hashbrown::HashTable;

/// Parts that are split and merged one at a time (linear hashing), so that no announce pays for
/// growing a large table. Hashes must be keyed, so that clients cannot choose collisions.
#[derive(Debug)]
pub struct Parts<T> {
    /// Part p holds the values whose hash bits from the 24th up end in the bits of p, or one bit
    /// fewer for the parts that are not yet split.
    parts: Vec<HashTable<T>>,
    len: usize,
}

/// The most values that a part has on average.
const PART: usize = 512;

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { parts: vec![HashTable::new()], len: 0 }
    }
}

impl<T> Parts<T> {
    pub fn find(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts[part_of(hash, self.parts.len())].find(hash, is)
    }

    pub fn find_mut(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let part = part_of(hash, self.parts.len());
        self.parts[part].find_mut(hash, is)
    }

    /// Adds a new value.
    pub fn insert(&mut self, value: T, hash: impl Fn(&T) -> u64) {
        self.add(value, &hash);
        self.len += 1;
        if self.len > self.parts.len() * PART {
            let half = largest_power_of_two(self.parts.len());
            let source = self.parts.len() - half;
            let moved = std::mem::take(&mut self.parts[source]);
            self.parts.push(HashTable::new());
            moved.into_iter().for_each(|value| self.add(value, &hash));
        }
    }

    pub fn remove(&mut self, of: u64, is: impl FnMut(&T) -> bool, hash: impl Fn(&T) -> u64) {
        let part = part_of(of, self.parts.len());
        if let Ok(entry) = self.parts[part].find_entry(of, is) {
            entry.remove();
            self.len -= 1;
        }
        if self.len < (self.parts.len() - 1) * (PART / 2)
            && let Some(moved) = self.parts.pop()
        {
            moved.into_iter().for_each(|value| self.add(value, &hash));
        }
    }

    fn add(&mut self, value: T, hash: &impl Fn(&T) -> u64) {
        let of = hash(&value);
        let part = part_of(of, self.parts.len());
        self.parts[part].insert_unique(of, value, hash);
    }
}

/// Returns the part for a hash. The hash table of a part uses the low bits and the highest.
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
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn everything_is_found_while_parts_split_and_join() {
        let hasher = RandomState::new();
        let hash = |number: &u32| hasher.hash_one(number);
        let mut parts = Parts::default();
        let finds_all = |parts: &Parts<u32>, numbers: std::ops::Range<u32>| {
            assert_eq!(parts.parts.iter().map(HashTable::len).sum::<usize>(), numbers.len());
            for number in numbers {
                assert_eq!(parts.find(hash(&number), |it| *it == number), Some(&number));
            }
        };
        let all = 9 * PART as u32;
        for number in 0..all {
            parts.insert(number, hash);
        }
        assert_eq!(parts.parts.len(), 9);
        finds_all(&parts, 0..all);
        assert_eq!(parts.find(hash(&all), |it| *it == all), None);
        for number in (PART as u32..all).rev() {
            parts.remove(hash(&number), |it| *it == number, hash);
        }
        assert!(parts.parts.len() < 4);
        finds_all(&parts, 0..PART as u32);
        parts.remove(hash(&all), |it| *it == all, hash);
        finds_all(&parts, 0..PART as u32);
    }
}
