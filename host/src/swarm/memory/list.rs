//! One family's peers of one swarm: rows in a dense array, leechers before seeders, so that "the
//! leechers" and "everybody" are both ranges from which to choose.

use std::net::IpAddr;
use std::ops::Range;

use super::fetch;
use super::index::Index;
use super::label::{Label, Labels};
use super::record::{Record, Stamp, V4};
use crate::bittorrent::PeerId;
use crate::swarm::Population;

/// How many peers are found faster by looking at each than through an index.
pub const SCANNED: usize = 64;

/// What a store may keep of a peer besides its record, each in a column of its own.
#[derive(Clone, Copy)]
pub struct Details {
    pub peer_id: PeerId,
    pub label: Label,
}

/// The rows of one family. How they are stored differs; how they are kept in order does not.
pub trait Rows {
    type Record: Record;

    fn records(&self) -> &[Self::Record];
    /// How many of the records, from the first, are leechers.
    fn leechers(&self) -> usize;
    fn set_leechers(&mut self, leechers: usize);
    fn find(&self, wanted: Self::Record) -> Option<usize>;
    /// Overwrites a row with one of the same address and port.
    fn set(&mut self, at: usize, record: Self::Record, details: &Details);
    fn push(&mut self, record: Self::Record, details: &Details);
    fn swap(&mut self, a: usize, b: usize);
    /// Removes the last row.
    fn pop(&mut self);

    fn is_seeder(&self, at: usize) -> bool {
        self.leechers() <= at
    }

    fn columns(&self) -> Option<&Columns> {
        None
    }

    fn population(&self) -> Population {
        let leechers = self.leechers() as u64;
        Population { seeders: self.records().len() as u64 - leechers, leechers }
    }

    /// Overwrites the row of the same address and port; returns where it is now, and whether it
    /// was a seeder. `None`: there is no such row.
    fn update(
        &mut self,
        record: Self::Record,
        details: &Details,
        seeder: bool,
    ) -> Option<(usize, bool)> {
        let at = self.find(record)?;
        self.set(at, record, details);
        let was_seeder = self.is_seeder(at);
        Some((self.set_role(at, seeder), was_seeder))
    }

    /// Adds a row that is not there, and returns its place.
    fn insert(&mut self, record: Self::Record, details: &Details, seeder: bool) -> usize {
        let last = self.records().len();
        self.push(record, details);
        self.set_role(last, seeder)
    }

    /// Returns whether there was a row of the same address and port.
    fn remove(&mut self, wanted: Self::Record) -> bool {
        let found = self.find(wanted);
        if let Some(at) = found {
            self.remove_at(at);
        }
        found.is_some()
    }

    fn remove_at(&mut self, at: usize) {
        let at = self.set_role(at, true);
        self.swap(at, self.records().len() - 1);
        self.pop();
    }

    /// Moves a row to where its role belongs, and returns its new place.
    fn set_role(&mut self, at: usize, seeder: bool) -> usize {
        let boundary = self.leechers();
        if self.is_seeder(at) == seeder {
            at
        } else if seeder {
            self.swap(at, boundary - 1);
            self.set_leechers(boundary - 1);
            boundary - 1
        } else {
            self.swap(at, boundary);
            self.set_leechers(boundary + 1);
            boundary
        }
    }

    /// Removes the rows of `range` whose time is over, and calls `gone` for each.
    ///
    /// From the last to the first, so that the rows that fill a gap have been looked at.
    fn expire(
        &mut self,
        range: Range<usize>,
        is_over: impl Fn(Stamp) -> bool,
        mut gone: impl FnMut(IpAddr),
    ) {
        for at in range.rev() {
            let record = self.records()[at];
            if is_over(record.stamp()) {
                self.remove_at(at);
                gone(record.ip());
            }
        }
    }
}

/// Looks at eight records at a time, which needs fewer branches.
fn scan<R: Record>(records: &[R], wanted: R) -> Option<usize> {
    let is_wanted = |record: &R| record.is(wanted);
    let (eights, rest) = records.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        if eight.iter().fold(false, |found, record| found | is_wanted(record)) {
            return Some(8 * at + eight.iter().position(is_wanted)?);
        }
    }
    Some(8 * eights.len() + rest.iter().position(is_wanted)?)
}

/// Up to [`SCANNED`] IPv4 peers with nothing but their records: up to two of them inside the
/// swarm's own slot, more in a block that is just large enough.
#[derive(Debug)]
pub enum Small {
    Pair { len: u8, leechers: u8, completed: u32, records: [V4; 2] },
    Block { len: u8, leechers: u8, completed: u32, records: Box<[V4]> },
}

impl Small {
    pub const EMPTY: Self =
        Self::Pair { len: 0, leechers: 0, completed: 0, records: [V4::EMPTY; 2] };

    /// At most [`SCANNED`] records, leechers first.
    pub fn of(old: &[V4], leechers: usize, completed: u32) -> Self {
        Self::with_capacity(old.len(), old, leechers as u8, completed)
    }

    fn with_capacity(capacity: usize, old: &[V4], leechers: u8, completed: u32) -> Self {
        let len = old.len() as u8;
        if capacity <= 2 {
            let mut records = [V4::EMPTY; 2];
            records[..old.len()].copy_from_slice(old);
            Self::Pair { len, leechers, completed, records }
        } else {
            let mut records = Vec::with_capacity(capacity);
            records.extend_from_slice(old);
            records.resize(capacity, V4::EMPTY);
            Self::Block { len, leechers, completed, records: records.into_boxed_slice() }
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

    fn storage(&mut self) -> (&mut u8, &mut u8, &mut [V4]) {
        match self {
            Self::Pair { len, leechers, records, .. } => (len, leechers, records),
            Self::Block { len, leechers, records, .. } => (len, leechers, records),
        }
    }

    /// Moves the rows to where `capacity` of them fit exactly.
    fn resize(&mut self, capacity: usize) {
        let leechers = self.leechers() as u8;
        *self = Self::with_capacity(capacity, self.records(), leechers, self.completed());
    }
}

/// A block for `len` peers and few more. Its odd number of eight-byte records and the word that
/// many allocators put before it fill multiples of 16 bytes.
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

    fn leechers(&self) -> usize {
        match self {
            Self::Pair { leechers, .. } | Self::Block { leechers, .. } => usize::from(*leechers),
        }
    }

    fn set_leechers(&mut self, leechers: usize) {
        *self.storage().1 = leechers as u8;
    }

    fn find(&self, wanted: V4) -> Option<usize> {
        scan(self.records(), wanted)
    }

    fn set(&mut self, at: usize, record: V4, _: &Details) {
        self.storage().2[at] = record;
    }

    fn push(&mut self, record: V4, _: &Details) {
        let at = self.records().len();
        if at == self.storage().2.len() {
            self.resize(block_capacity(at + 1));
        }
        let (len, _, records) = self.storage();
        records[at] = record;
        *len += 1;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.storage().2.swap(a, b);
    }

    fn pop(&mut self) {
        let (len, _, records) = self.storage();
        *len -= 1;
        let (len, capacity) = (usize::from(*len), records.len());
        if capacity > 2 && (len < 2 || capacity > block_capacity(2 * len)) {
            self.resize(if len < 2 { 2 } else { block_capacity(len) });
        }
    }
}

/// Any number of peers, with the columns that the store keeps and, where they are many, an index.
#[derive(Debug)]
pub struct List<R> {
    records: Vec<R>,
    leechers: u32,
    columns: Option<Box<Columns>>,
    index: Option<Box<Index>>,
}

/// One value a row in each column that is kept.
#[derive(Debug, Default)]
pub struct Columns {
    pub peer_ids: Option<Vec<PeerId>>,
    /// Kept from the first peer with a label until a sweep finds no more.
    pub labels: Option<Labels>,
}

impl Columns {
    fn set(&mut self, at: usize, details: &Details, seeder: bool) {
        if let Some(peer_ids) = &mut self.peer_ids {
            peer_ids[at] = details.peer_id;
        }
        if let Some(labels) = &mut self.labels {
            labels.set(at, details.label, seeder);
        }
    }

    fn push(&mut self, details: &Details, leechers: usize) {
        if let Some(peer_ids) = &mut self.peer_ids {
            make_room(peer_ids);
            peer_ids.push(details.peer_id);
        }
        if let Some(labels) = &mut self.labels {
            labels.push(details.label, leechers);
        }
    }

    fn swap(&mut self, rows: [usize; 2], seeders: [bool; 2]) {
        if let Some(peer_ids) = &mut self.peer_ids {
            peer_ids.swap(rows[0], rows[1]);
        }
        if let Some(labels) = &mut self.labels {
            labels.swap(rows, seeders);
        }
    }

    fn pop(&mut self, seeder: bool) {
        if let Some(peer_ids) = &mut self.peer_ids {
            peer_ids.pop();
            give_back(peer_ids);
        }
        if let Some(labels) = &mut self.labels {
            labels.pop(seeder);
        }
    }
}

/// Grows by an eighth: memory counts for more here than the few copies.
pub fn make_room<T>(column: &mut Vec<T>) {
    if column.len() == column.capacity() {
        column.reserve_exact((column.len() / 8).max(2));
    }
}

pub fn give_back<T>(column: &mut Vec<T>) {
    if column.capacity() > 8 && column.len() < column.capacity() / 2 {
        column.shrink_to(column.len() + column.len() / 8);
    }
}

impl<R: Record> List<R> {
    pub fn new(with_peer_ids: bool) -> Self {
        let columns = Columns { peer_ids: Some(Vec::new()), labels: None };
        let columns = with_peer_ids.then(|| Box::new(columns));
        Self { records: Vec::new(), leechers: 0, columns, index: None }
    }

    /// Records without columns, leechers first.
    pub fn of(records: &[R], leechers: usize) -> Self {
        let index = (records.len() > SCANNED).then(|| Box::new(Index::of(records)));
        Self { records: records.to_vec(), leechers: leechers as u32, columns: None, index }
    }

    /// Has its memory fetched, as far as an announce reads all of it, at steps 1 and 2 of
    /// [`Swarm::fetch`](super::swarm::Swarm::fetch); returns whether there is another.
    pub fn fetch(&self, step: usize) -> bool {
        let columns = self.columns.as_deref();
        match step {
            1 => {
                if self.records.len() <= SCANNED {
                    fetch::slice(&self.records);
                }
                columns.inspect(|columns| fetch::slice(std::slice::from_ref(*columns))).is_some()
            }
            _ => {
                let labels = columns.and_then(|columns| columns.labels.as_ref());
                if let Some(labels) = labels.filter(|_| self.records.len() <= SCANNED) {
                    fetch::slice(labels.column());
                }
                false
            }
        }
    }

    pub fn labels(&self) -> Option<&Labels> {
        self.columns.as_deref()?.labels.as_ref()
    }

    /// Keeps labels from now on.
    fn keep_labels(&mut self) {
        let columns = self.columns.get_or_insert_default();
        if columns.labels.is_none() {
            let mut labels = Labels::none(self.records.len());
            labels.rank_if_many(self.leechers as usize);
            columns.labels = Some(labels);
        }
    }

    /// Keeps no labels any more if nobody has one.
    pub fn forget_labels(&mut self) {
        if let Some(columns) = &mut self.columns
            && columns.labels.as_ref().is_some_and(Labels::are_none)
        {
            columns.labels = None;
            if columns.peer_ids.is_none() {
                self.columns = None;
            }
        }
    }
}

impl<R: Record> Rows for List<R> {
    type Record = R;

    fn records(&self) -> &[R] {
        &self.records
    }

    fn columns(&self) -> Option<&Columns> {
        self.columns.as_deref()
    }

    fn leechers(&self) -> usize {
        self.leechers as usize
    }

    fn set_leechers(&mut self, leechers: usize) {
        let before = self.leechers();
        self.leechers = leechers as u32;
        if let Some(columns) = &mut self.columns
            && let Some(labels) = &mut columns.labels
        {
            (before..leechers).for_each(|at| labels.change_role(at, false));
            (leechers..before).for_each(|at| labels.change_role(at, true));
        }
    }

    fn find(&self, wanted: R) -> Option<usize> {
        match &self.index {
            Some(index) => index.find(&self.records, wanted),
            None => scan(&self.records, wanted),
        }
    }

    fn set(&mut self, at: usize, record: R, details: &Details) {
        self.records[at] = record;
        if !details.label.is_none() {
            self.keep_labels();
        }
        let seeder = self.is_seeder(at);
        if let Some(columns) = &mut self.columns {
            columns.set(at, details, seeder);
        }
    }

    fn push(&mut self, record: R, details: &Details) {
        if !details.label.is_none() {
            self.keep_labels();
        }
        make_room(&mut self.records);
        self.records.push(record);
        let leechers = self.leechers();
        if let Some(columns) = &mut self.columns {
            columns.push(details, leechers);
        }
        match &mut self.index {
            Some(index) => index.push(&self.records),
            None if self.records.len() > SCANNED => {
                self.index = Some(Box::new(Index::of(&self.records)));
            }
            None => {}
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        if let Some(index) = &mut self.index {
            index.swap(&self.records, a, b);
        }
        self.records.swap(a, b);
        let seeders = [a, b].map(|at| self.is_seeder(at));
        if let Some(columns) = &mut self.columns {
            columns.swap([a, b], seeders);
        }
    }

    fn pop(&mut self) {
        if self.records.len() <= SCANNED / 2 {
            self.index = None;
        } else if let Some(index) = &mut self.index {
            index.pop(&self.records);
        }
        self.records.pop();
        give_back(&mut self.records);
        let seeder = self.is_seeder(self.records.len());
        if let Some(columns) = &mut self.columns {
            columns.pop(seeder);
        }
        if self.records.len() <= SCANNED / 2 {
            self.forget_labels();
        }
    }
}
