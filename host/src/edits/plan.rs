//! What a batch of changes does to the edits of a list, before any of it is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::book::{Book, Edit};
use super::journal::Record;
use crate::entry::{Entry, Key};

/// A list without its edits.
pub trait Base: Send + Sync {
    /// Returns the value of an entry, or `None` if it is not listed. The outer `None`: the list has
    /// not been read.
    fn value(&self, key: &Key) -> Option<Option<u64>>;
}

/// A wish to change a list.
pub struct Change {
    pub add: Vec<Entry>,
    /// Nothing that is in `add`.
    pub remove: Vec<Key>,
    /// How long it holds; `None`: until the list says the same.
    pub ttl: Option<Duration>,
    /// The version that the list must have.
    pub if_version: Option<u64>,
    pub who: Arc<str>,
    pub note: Option<Arc<str>>,
}

/// What a change has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Of the list from now on.
    pub version: u64,
    pub added: usize,
    pub removed: usize,
    /// Entries that were so already.
    pub unchanged: usize,
}

/// Why a change was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The list has another version: this one.
    Version(u64),
    /// The journal cannot be written.
    Unwritten(String),
}

/// Changes that follow each other, each of which sees those before it.
pub struct Plan<'a> {
    book: &'a Book,
    bases: &'a [Arc<dyn Base>],
    /// Milliseconds since 1970.
    now: u64,
    pub version: u64,
    /// The edits from now on, where they are others; `None`: none any more.
    pub staged: HashMap<Key, Option<Edit>>,
    pub records: Vec<Record>,
}

impl<'a> Plan<'a> {
    /// Begins a plan. Edits whose time is over end first.
    pub fn new(book: &'a Book, bases: &'a [Arc<dyn Base>], version: u64, now: u64) -> Self {
        let (staged, records) = (HashMap::new(), Vec::new());
        let mut plan = Self { book, bases, now, version, staged, records };
        plan.staged.extend(book.over(now).map(|key| (key.clone(), None)));
        if !plan.staged.is_empty() {
            // The clock may be set back, and they have ended for good.
            let forget = plan.staged.keys().map(Key::to_string).collect();
            plan.record("".into(), None, Some(Record { forget, ..Record::default() }));
        }
        plan
    }

    /// Plans a change.
    ///
    /// # Errors
    ///
    /// The list has another version than the change expects.
    pub fn change(&mut self, change: Change) -> Result<Outcome, Refused> {
        let Change { add, remove, ttl, if_version, who, note } = change;
        if if_version.is_some_and(|expected| expected != self.version) {
            return Err(Refused::Version(self.version));
        }
        let milliseconds = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let since = self.now;
        let until = ttl.map(|ttl| since.saturating_add(milliseconds(ttl)));
        let make = |says| Edit { says, since, until, who: who.clone(), note: note.clone() };
        let (mut record, wanted) = (Record::default(), add.len() + remove.len());
        let mut added = 0;
        for Entry { key, value } in add {
            added += usize::from(self.say(key, make(Some(value)), &mut record));
        }
        let mut removed = 0;
        for key in remove {
            removed += usize::from(self.say(key, make(None), &mut record));
        }
        if added + removed > 0 {
            self.record(who, note, Some(Record { until, ..record }));
        }
        let unchanged = wanted - added - removed;
        Ok(Outcome { version: self.version, added, removed, unchanged })
    }

    /// Plans that all edits end.
    pub fn withdraw(&mut self, who: Arc<str>) -> Outcome {
        let all: Vec<_> =
            self.book.iter().map(|(key, _)| key).chain(self.staged.keys()).cloned().collect();
        let mut record = Record::default();
        let (mut added, mut removed) = (0, 0);
        for key in all {
            match self.edit(&key).map(|edit| edit.says) {
                None => continue,
                Some(None) => added += 1,
                Some(Some(_)) => removed += 1,
            }
            record.forget.push(key.to_string());
            self.staged.insert(key, None);
        }
        if added + removed > 0 {
            self.record(who, None, Some(record));
        }
        Outcome { version: self.version, added, removed, unchanged: 0 }
    }

    /// Plans that the list has been read anew: edits end that it says too.
    pub fn rebase(&mut self) {
        let record = self.absorb();
        self.record("".into(), None, Some(record));
    }

    /// Plans that edits end that the list says too, if there are any.
    pub fn settle(&mut self) {
        let record = self.absorb();
        if !record.forget.is_empty() {
            self.record("".into(), None, Some(record));
        }
    }

    fn absorb(&mut self) -> Record {
        let is_same = |(key, edit): &(&Key, &Edit)| self.bases_say(key, edit.says);
        let same: Vec<Key> = self.book.iter().filter(is_same).map(|(key, _)| key.clone()).collect();
        let forget = same.iter().map(Key::to_string).collect();
        self.staged.extend(same.into_iter().map(|key| (key, None)));
        Record { forget, ..Record::default() }
    }

    /// Has an edit say something, unless that is so already. Returns whether it was not.
    fn say(&mut self, key: Key, edit: Edit, record: &mut Record) -> bool {
        let is_in_base = self.bases_say(&key, edit.says);
        let is_so = match self.edit(&key) {
            Some(known) => known.says == edit.says && known.until == edit.until,
            None => is_in_base,
        };
        if is_so {
            return false;
        }
        match edit.says {
            _ if is_in_base => record.forget.push(key.to_string()),
            Some(value) => record.add.push(Entry { key: key.clone(), value }.to_string()),
            None => record.remove.push(key.to_string()),
        }
        self.staged.insert(key, (!is_in_base).then_some(edit));
        true
    }

    fn edit(&self, key: &Key) -> Option<&Edit> {
        match self.staged.get(key) {
            Some(staged) => staged.as_ref(),
            None => self.book.get(key),
        }
    }

    /// Returns whether the list itself says so. During a reload, there may be two of them.
    fn bases_say(&self, key: &Key, says: Option<u64>) -> bool {
        !self.bases.is_empty() && self.bases.iter().all(|base| base.value(key) == Some(says))
    }

    fn record(&mut self, who: Arc<str>, note: Option<Arc<str>>, record: Option<Record>) {
        self.version += 1;
        let record = record.unwrap_or_default();
        let (who, note) = (who.to_string(), note.map(|note| note.to_string()));
        self.records.push(Record { version: self.version, at: self.now, who, note, ..record });
    }
}
