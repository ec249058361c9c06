//! An engine in memory, for tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::engine::{Description, End, Entry, EntryId, Failure, Log, Table};

/// Logs and a table, as of an engine that can be made to fail.
pub struct StandIn {
    pub logs: RefCell<Vec<Vec<Entry>>>,
    /// Milliseconds since 1970.
    pub now: Cell<u64>,
    /// What every request fails with.
    pub failing: RefCell<Option<&'static str>>,
    /// The answer to the next append is lost.
    pub loses_answer: Cell<bool>,
    pub requests: Cell<u64>,
    pub renewed: Cell<u64>,
    pub format: RefCell<Option<String>>,
    pub nodes: RefCell<BTreeMap<String, String>>,
}

impl StandIn {
    pub fn new(parts: usize) -> Rc<Self> {
        Rc::new(Self {
            logs: RefCell::new(vec![Vec::new(); parts]),
            now: Cell::new(1_000_000_000_000),
            failing: RefCell::default(),
            loses_answer: Cell::default(),
            requests: Cell::default(),
            renewed: Cell::default(),
            format: RefCell::default(),
            nodes: RefCell::default(),
        })
    }

    /// Lets time pass.
    pub fn pass(&self, milliseconds: u64) {
        self.now.set(self.now.get() + milliseconds);
    }

    fn request(&self) -> Result<(), Failure> {
        self.requests.set(self.requests.get() + 1);
        match *self.failing.borrow() {
            Some(words) => Err(Failure { text: words.to_owned(), is_unconnected: false }),
            None => Ok(()),
        }
    }
}

impl Log for Rc<StandIn> {
    async fn append(&self, part: usize, batch: &[u8], oldest: u64) -> Result<(), Failure> {
        self.request()?;
        let log = &mut self.logs.borrow_mut()[part];
        let now = EntryId::at(self.now.get());
        let next = |last: &Entry| EntryId { number: last.id.number + 1, ..last.id };
        let id = log.last().map_or(now, |last| now.max(next(last)));
        log.push(Entry { id, batch: batch.to_vec() });
        log.retain(|entry| entry.id.milliseconds >= oldest);
        match self.loses_answer.take() {
            true => Err(Failure { text: "timed out".to_owned(), is_unconnected: false }),
            false => Ok(()),
        }
    }

    async fn read(&self, part: usize, after: EntryId, most: usize) -> Result<Vec<Entry>, Failure> {
        self.request()?;
        let logs = self.logs.borrow();
        Ok(logs[part].iter().filter(|entry| entry.id > after).take(most).cloned().collect())
    }

    async fn end(&self, part: usize) -> Result<End, Failure> {
        self.request()?;
        let log = &self.logs.borrow()[part];
        let last = log.last().map(|entry| entry.id).unwrap_or_default();
        Ok(End { last, entries: log.len() as u64, now: self.now.get() })
    }

    fn renew(&self) {
        self.renewed.set(self.renewed.get() + 1);
    }
}

impl Table for Rc<StandIn> {
    async fn claim(&self, format: &str) -> Result<String, Failure> {
        self.request()?;
        Ok(self.format.borrow_mut().get_or_insert_with(|| format.to_owned()).clone())
    }

    async fn enter(&self, node: &str, about: &str) -> Result<Vec<(String, String)>, Failure> {
        self.request()?;
        let mut nodes = self.nodes.borrow_mut();
        nodes.insert(node.to_owned(), about.to_owned());
        Ok(nodes.iter().map(|(node, about)| (node.clone(), about.clone())).collect())
    }

    async fn leave(&self, node: &str) -> Result<(), Failure> {
        self.request()?;
        self.nodes.borrow_mut().remove(node);
        Ok(())
    }

    async fn describe(&self) -> Result<Description, Failure> {
        self.request()?;
        Ok(Description { kind: "stand-in".to_owned(), servers: None })
    }
}
