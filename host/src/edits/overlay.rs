//! What edits say about entries, for look-ups.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use ipnet::IpNet;

use crate::entry::{Entry, Key};

/// The entries that edits add or remove. A look-up asks it before the list, if it is not empty.
#[derive(Clone, Default)]
pub struct Overlay {
    /// Whether each is listed.
    info_hashes: HashMap<[u8; 20], bool, RandomState>,
    texts: HashMap<Arc<str>, bool, RandomState>,
    /// Their values; `None`: removed.
    ranges: HashMap<IpNet, Option<u64>, RandomState>,
    /// How many added ranges there are of each prefix length, of IPv4 and then of IPv6.
    lengths: Vec<u32>,
    added: usize,
    removed: usize,
}

/// The prefix lengths of IPv4 and IPv6.
const LENGTHS: [usize; 2] = [33, 129];

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.added + self.removed == 0
    }

    /// Returns the number of entries that edits add.
    pub fn added(&self) -> usize {
        self.added
    }

    /// Returns the number of entries that edits remove.
    pub fn removed(&self) -> usize {
        self.removed
    }

    /// Returns whether an info-hash is listed, if an edit says so.
    pub fn info_hash(&self, info_hash: &[u8; 20]) -> Option<bool> {
        self.info_hashes.get(info_hash).copied()
    }

    /// Returns whether a text is listed, if an edit says so.
    pub fn text(&self, text: &str) -> Option<bool> {
        self.texts.get(text).copied()
    }

    /// Returns the narrowest added range around an address, with its value.
    pub fn find(&self, address: IpAddr) -> Option<(IpNet, u64)> {
        let most = if address.is_ipv4() { LENGTHS[0] } else { LENGTHS[1] };
        let offset = if address.is_ipv4() { 0 } else { LENGTHS[0] };
        let lengths = self.lengths.get(offset..offset + most)?.iter();
        let mut present = (0..=128).zip(lengths).rev().filter(|(_, count)| **count > 0);
        present.find_map(|(prefix, _): (u8, _)| {
            let range = IpNet::new(address, prefix).ok()?.trunc();
            Some((range, (*self.ranges.get(&range)?)?))
        })
    }

    /// Returns what an edit says about exactly this: its value, or `None` if it is removed.
    pub fn edit(&self, key: &Key) -> Option<Option<u64>> {
        let value = |is_listed: bool| is_listed.then_some(0);
        match key {
            Key::InfoHash(hash) => self.info_hashes.get(hash).copied().map(value),
            Key::Text(text) => self.texts.get(text).copied().map(value),
            Key::Range(range) => self.ranges.get(range).copied(),
        }
    }

    /// Returns the added ranges, in no order.
    pub fn ranges(&self) -> impl Iterator<Item = &IpNet> {
        self.ranges.iter().filter(|(_, value)| value.is_some()).map(|(range, _)| range)
    }

    /// Returns the added entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let hashes = self.info_hashes.iter().filter(|(_, is_listed)| **is_listed);
        let texts = self.texts.iter().filter(|(_, is_listed)| **is_listed);
        let ranges = self.ranges.iter().filter_map(|(range, value)| Some((range, (*value)?)));
        let hashes = hashes.map(|(hash, _)| Entry { key: Key::InfoHash(*hash), value: 0 });
        let texts = texts.map(|(text, _)| Entry { key: Key::Text(text.clone()), value: 0 });
        let ranges = ranges.map(|(range, value)| Entry { key: Key::Range(*range), value });
        hashes.chain(texts).chain(ranges)
    }

    /// Sets what an edit says about this: its value, or `None` if it is removed.
    pub(super) fn set(&mut self, key: &Key, says: Option<u64>) {
        self.clear(key);
        match key {
            Key::InfoHash(hash) => drop(self.info_hashes.insert(*hash, says.is_some())),
            Key::Text(text) => drop(self.texts.insert(text.clone(), says.is_some())),
            Key::Range(range) => drop(self.ranges.insert(*range, says)),
        }
        self.count(key, says, |count| count + 1);
    }

    /// Forgets what an edit says about this.
    pub(super) fn clear(&mut self, key: &Key) {
        let value = |is_listed: bool| is_listed.then_some(0);
        let said = match key {
            Key::InfoHash(hash) => self.info_hashes.remove(hash).map(value),
            Key::Text(text) => self.texts.remove(text).map(value),
            Key::Range(range) => self.ranges.remove(range),
        };
        if let Some(said) = said {
            self.count(key, said, |count| count - 1);
        }
    }

    fn count(&mut self, key: &Key, says: Option<u64>, change: fn(usize) -> usize) {
        match says {
            None => self.removed = change(self.removed),
            Some(_) => self.added = change(self.added),
        }
        if let (Key::Range(range), Some(_)) = (key, says) {
            self.lengths.resize(LENGTHS.iter().sum(), 0);
            let offset = if range.addr().is_ipv4() { 0 } else { LENGTHS[0] };
            if let Some(count) = self.lengths.get_mut(offset + usize::from(range.prefix_len())) {
                *count = u32::try_from(change(*count as usize)).unwrap_or(u32::MAX);
            }
        }
    }
}
