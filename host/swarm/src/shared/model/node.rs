//! A log in memory, and a node that reads it.

use crate::shared::{Arrival, Part, Shared, Sharing};
use crate::{Options, Piece, Seconds};

pub struct Entry {
    pub number: u64,
    pub at: Seconds,
    pub batch: Vec<u8>,
}

#[derive(Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    last: u64,
}

impl Log {
    pub fn append(&mut self, batch: Vec<u8>, at: Seconds) {
        self.last += 1;
        self.entries.push(Entry { number: self.last, at, batch });
    }
}

pub struct Node {
    pub store: Shared,
    pub part: Part,
    /// The number of the last entry before those that it reads.
    pub begin: u64,
    /// The number of the last entry that it has read.
    pub read: u64,
    /// The number of the newest entry that it has ever read.
    newest: u64,
    /// When it had read how far.
    trail: Vec<(Seconds, u64)>,
    pub is_broken: bool,
    /// How many entries it reads again when it notices.
    pub again: u64,
    pub late: Vec<Vec<u8>>,
    /// What it knew when all was told, and how far it had read.
    pub saved: (Vec<Piece>, u64),
    /// It has restored peers, which have no labels then.
    pub is_restored: bool,
}

impl Node {
    pub fn new(options: Options, id: u64) -> Self {
        let (store, mut parts) =
            Shared::sharing(options, Sharing { node: id, parts: 1, queue: 1 << 20 });
        let mut part = parts.remove(0);
        // Nothing is sent before the log has been read.
        part.failed(&store);
        Self {
            store,
            part,
            begin: 0,
            read: 0,
            newest: 0,
            trail: Vec::new(),
            is_broken: false,
            again: 0,
            late: Vec::new(),
            saved: <_>::default(),
            is_restored: false,
        }
    }

    /// Notices that the connection has broken, and whether the log ends before what was read.
    pub fn notice(&mut self, log: &Log) {
        if std::mem::take(&mut self.is_broken) {
            self.part.failed(&self.store);
            self.read = self.read.saturating_sub(std::mem::take(&mut self.again));
            let end = log.entries.last();
            if self.read > end.map_or(0, |end| end.number) {
                let is_before = |entry: &&Entry| end.is_some_and(|end| entry.at + 1 < end.at);
                let before = log.entries.iter().take_while(is_before).last();
                self.read = before.map_or(0, |entry| entry.number);
            }
            self.read = self.read.max(self.begin);
        }
    }

    /// Reads some entries, and returns whether they were the last.
    pub fn read(&mut self, log: &Log, entries: usize, now: Seconds) -> bool {
        self.notice(log);
        if self.part.goes_back() {
            let is_old = |at: Seconds| now.saturating_sub(at) > Part::BACK;
            self.trail.retain(|(at, _)| is_old(*at));
            self.read = self.trail.last().map_or(self.begin, |(_, number)| self.read.min(*number));
        }
        let read = self.read;
        let mut next = log.entries.iter().filter(|entry| entry.number > read);
        for entry in next.by_ref().take(entries) {
            self.read = entry.number;
            let is_first = entry.number > self.newest;
            self.newest = self.newest.max(entry.number);
            let arrival = Arrival { age: now - entry.at, now, is_first };
            self.part.apply(&self.store, &entry.batch, arrival).unwrap();
        }
        self.trail.push((now, self.read));
        let is_end = next.next().is_none();
        if is_end {
            self.part.at_end(&self.store, now);
        }
        is_end
    }
}
