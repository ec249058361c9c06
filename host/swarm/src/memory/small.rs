//! The rows of a small swarm. Most swarms are small.

use super::columns::Details;
use super::record::V4;
use super::rows::{Rows, scan};
use crate::Role;

/// Up to [`SCANNED`](super::rows::SCANNED) IPv4 peers with only their records: up to two inside the
/// swarm's own slot, more in a block that is just large enough.
#[derive(Debug)]
pub enum Small {
    Pair { len: u8, downloaders: u8, leechers: u8, completed: u32, records: [V4; 2] },
    Block { len: u8, downloaders: u8, leechers: u8, completed: u32, records: Box<[V4]> },
}

impl Small {
    pub fn new(completed: u32) -> Self {
        Self::Pair { len: 0, downloaders: 0, leechers: 0, completed, records: [V4::EMPTY; 2] }
    }

    /// Makes a swarm of at most [`SCANNED`](super::rows::SCANNED) peers in order of role, which is
    /// much quicker than to add one after the other. Returns `None` if one is `None`, if the order is
    /// another, or if two have the same address and port.
    pub fn of_sorted(
        peers: impl ExactSizeIterator<Item = Option<(V4, Role)>>,
        completed: u32,
    ) -> Option<Self> {
        let mut records = Vec::with_capacity(block_capacity(peers.len()));
        // A bit for each address, which may share it with others.
        let mut known = [0_u64; 16];
        let (mut counts, mut last) = ([0_u8; 3], Role::Downloader);
        for peer in peers {
            let (record, role) = peer?;
            let (word, bit) = record.spread::<16>();
            if (known[word] & bit != 0 && scan(&records, record).is_some()) || role < last {
                return None;
            }
            known[word] |= bit;
            last = role;
            counts[role as usize] += 1;
            records.push(record);
        }
        let [downloaders, partial_seeds, _] = counts;
        let (len, leechers) = (records.len() as u8, downloaders + partial_seeds);
        records
            .resize(if records.len() > 2 { block_capacity(records.len()) } else { 2 }, V4::EMPTY);
        Some(match *records {
            [a, b] => Self::Pair { len, downloaders, leechers, completed, records: [a, b] },
            _ => {
                let records = records.into_boxed_slice();
                Self::Block { len, downloaders, leechers, completed, records }
            }
        })
    }

    /// Copies the records of at most [`SCANNED`](super::rows::SCANNED) rows.
    pub fn of(rows: &impl Rows<Record = V4>, completed: u32) -> Self {
        Self::with_capacity(rows.records().len(), rows, completed)
    }

    fn with_capacity(capacity: usize, rows: &impl Rows<Record = V4>, completed: u32) -> Self {
        let old = rows.records();
        let [len, downloaders, leechers] =
            [old.len(), rows.downloaders(), rows.leechers()].map(|number| number as u8);
        if capacity <= 2 {
            let mut records = [V4::EMPTY; 2];
            records[..old.len()].copy_from_slice(old);
            Self::Pair { len, downloaders, leechers, completed, records }
        } else {
            let mut records = Vec::with_capacity(capacity);
            records.extend_from_slice(old);
            records.resize(capacity, V4::EMPTY);
            let records = records.into_boxed_slice();
            Self::Block { len, downloaders, leechers, completed, records }
        }
    }

    pub fn completed(&self) -> u32 {
        match self {
            Self::Pair { completed, .. } | Self::Block { completed, .. } => *completed,
        }
    }

    pub fn completed_mut(&mut self) -> &mut u32 {
        match self {
            Self::Pair { completed, .. } | Self::Block { completed, .. } => completed,
        }
    }

    fn storage(&mut self) -> (&mut u8, &mut [V4]) {
        match self {
            Self::Pair { len, records, .. } => (len, records),
            Self::Block { len, records, .. } => (len, records),
        }
    }

    /// Moves the rows to a block of exactly `capacity`.
    fn resize(&mut self, capacity: usize) {
        *self = Self::with_capacity(capacity, self, self.completed());
    }
}

/// Returns the capacity of a block for `len` peers and few more. It is odd: with the word that many
/// allocators put before a block, the eight-byte records fill multiples of 16 bytes.
fn block_capacity(len: usize) -> usize {
    (len + (len / 8).max(1)) | 1
}

impl Rows for Small {
    type Record = V4;

    fn records(&self) -> &[V4] {
        match self {
            Self::Pair { len, records, .. } => &records[..usize::from(*len)],
            Self::Block { len, records, .. } => &records[..usize::from(*len)],
        }
    }

    fn downloaders(&self) -> usize {
        match self {
            Self::Pair { downloaders, .. } | Self::Block { downloaders, .. } => {
                usize::from(*downloaders)
            }
        }
    }

    fn set_downloaders(&mut self, to: usize) {
        match self {
            Self::Pair { downloaders, .. } | Self::Block { downloaders, .. } => {
                *downloaders = to as u8;
            }
        }
    }

    fn leechers(&self) -> usize {
        match self {
            Self::Pair { leechers, .. } | Self::Block { leechers, .. } => usize::from(*leechers),
        }
    }

    fn set_leechers(&mut self, to: usize) {
        match self {
            Self::Pair { leechers, .. } | Self::Block { leechers, .. } => *leechers = to as u8,
        }
    }

    fn find(&self, wanted: V4) -> Option<usize> {
        scan(self.records(), wanted)
    }

    fn set(&mut self, at: usize, record: V4, _: &Details) {
        self.storage().1[at] = record;
    }

    fn push(&mut self, record: V4, _: &Details) {
        let at = self.records().len();
        if at == self.storage().1.len() {
            self.resize(block_capacity(at + 1));
        }
        let (len, records) = self.storage();
        records[at] = record;
        *len += 1;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.storage().1.swap(a, b);
    }

    fn pop(&mut self) {
        let (len, records) = self.storage();
        *len -= 1;
        let (len, capacity) = (usize::from(*len), records.len());
        if capacity > 2 && (len < 2 || capacity > block_capacity(2 * len)) {
            self.resize(if len < 2 { 2 } else { block_capacity(len) });
        }
    }
}
