//! The rows of a swarm of any size.

use super::columns::{Columns, Details};
use super::fetch;
use super::growth::{give_back, make_room};
use super::index::Index;
use super::labels::Labels;
use super::record::Record;
use super::rows::{Rows, SCANNED, scan};

/// Any number of peers, with the columns that the store keeps and, where they are many, an index.
#[derive(Debug)]
pub struct List<R> {
    records: Vec<R>,
    leechers: u32,
    columns: Option<Box<Columns>>,
    index: Option<Box<Index>>,
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
