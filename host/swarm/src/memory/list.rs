//! The rows of a swarm of any size.

use super::columns::{Columns, Details};
use super::growth::{give_back, make_room};
use super::index::Index;
use super::labels::Labels;
use super::record::Record;
use super::rows::{Rows, SCANNED, scan};
use crate::locality::Reach;

/// Any number of peers, with the columns that the store keeps, and an index if they are many.
#[derive(Debug)]
pub struct List<R> {
    records: Vec<R>,
    downloaders: u32,
    leechers: u32,
    columns: Option<Box<Columns>>,
    index: Option<Box<Index>>,
}

impl<R: Record> List<R> {
    pub fn new(with_peer_ids: bool) -> Self {
        let columns = Columns { peer_ids: Some(Vec::new()), labels: None };
        let columns = with_peer_ids.then(|| Box::new(columns));
        Self { records: Vec::new(), downloaders: 0, leechers: 0, columns, index: None }
    }

    /// Copies the records of other rows, without columns.
    pub fn of(rows: &impl Rows<Record = R>) -> Self {
        let records = rows.records();
        let index = (records.len() > SCANNED).then(|| Box::new(Index::of(records)));
        Self {
            records: records.to_vec(),
            downloaders: rows.downloaders() as u32,
            leechers: rows.leechers() as u32,
            columns: None,
            index,
        }
    }

    /// Prefetches the memory that every announce reads, in steps 1 and 2 of
    /// [`Swarm::fetch`](super::swarm::Swarm::fetch); returns whether there is another step.
    pub fn fetch(&self, step: usize) -> bool {
        let columns = self.columns.as_deref();
        match step {
            1 => {
                if self.records.len() <= SCANNED {
                    karuta_fetch::slice(&self.records);
                }
                columns
                    .inspect(|columns| karuta_fetch::slice(std::slice::from_ref(*columns)))
                    .is_some()
            }
            _ => {
                let labels = columns.and_then(|columns| columns.labels.as_ref());
                if let Some(labels) = labels.filter(|_| self.records.len() <= SCANNED) {
                    karuta_fetch::slice(labels.column());
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
            labels.rank_if_many(self.downloaders as usize);
            columns.labels = Some(labels);
        }
    }

    /// Sets how far a downloader with a label reaches.
    pub fn set_reach(&mut self, at: usize, reach: Reach) {
        if let Some(columns) = &mut self.columns
            && let Some(labels) = &mut columns.labels
        {
            labels.set_reach(at, reach);
        }
    }

    /// Returns whether a row is a seed's, partial or not.
    fn is_seed(&self, at: usize) -> bool {
        self.downloaders() <= at
    }

    /// Drops the column of labels if no row has one, or what it knows of reaches if all rows reach
    /// everybody.
    pub fn forget_labels(&mut self) {
        if let Some(labels) = self.columns.as_mut().and_then(|columns| columns.labels.as_mut()) {
            labels.forget_reaches();
        }
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

    fn downloaders(&self) -> usize {
        self.downloaders as usize
    }

    fn set_downloaders(&mut self, downloaders: usize) {
        let before = self.downloaders();
        self.downloaders = downloaders as u32;
        if let Some(columns) = &mut self.columns
            && let Some(labels) = &mut columns.labels
        {
            (before..downloaders).for_each(|at| labels.change_role(at, false));
            (downloaders..before).for_each(|at| labels.change_role(at, true));
        }
    }

    fn leechers(&self) -> usize {
        self.leechers as usize
    }

    fn set_leechers(&mut self, leechers: usize) {
        self.leechers = leechers as u32;
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
        let seed = self.is_seed(at);
        if let Some(columns) = &mut self.columns {
            columns.set(at, details, seed);
        }
    }

    fn push(&mut self, record: R, details: &Details) {
        if !details.label.is_none() {
            self.keep_labels();
        }
        make_room(&mut self.records);
        self.records.push(record);
        let downloaders = self.downloaders();
        if let Some(columns) = &mut self.columns {
            columns.push(details, downloaders);
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
        let seeds = [a, b].map(|at| self.is_seed(at));
        if let Some(columns) = &mut self.columns {
            columns.swap([a, b], seeds);
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
        let seed = self.is_seed(self.records.len());
        if let Some(columns) = &mut self.columns {
            columns.pop(seed);
        }
        if self.records.len() <= SCANNED / 2 {
            self.forget_labels();
        }
    }
}
