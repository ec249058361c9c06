//! The edits that are in force, each with what is known about it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::entry::Key;

/// An edit of one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The value that the entry has from now on, or `None` if it is removed.
    pub says: Option<u64>,
    /// When it was made, in milliseconds since 1970.
    pub since: u64,
    /// When it ends by itself, in milliseconds since 1970.
    pub until: Option<u64>,
    pub who: Arc<str>,
    pub note: Option<Arc<str>>,
}

/// All edits of one list.
#[derive(Default)]
pub struct Book {
    edits: HashMap<Key, Edit, RandomState>,
    /// Those with a term, the next that ends first.
    terms: BTreeSet<(u64, Key)>,
    /// The last ones that have ended by themselves.
    ended: VecDeque<(Key, Edit)>,
}

/// How many edits that have ended are remembered.
const ENDED: usize = 1000;

impl Book {
    pub fn get(&self, key: &Key) -> Option<&Edit> {
        self.edits.get(key)
    }

    /// Returns the last edit of an entry that has ended by itself.
    pub fn ended(&self, key: &Key) -> Option<&Edit> {
        self.ended.iter().rev().find(|(other, _)| other == key).map(|(_, edit)| edit)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Edit)> {
        self.edits.iter()
    }

    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// Returns when the next edit ends, in milliseconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        self.terms.first().map(|(until, _)| *until)
    }

    /// Lists the edits whose time is over.
    pub fn over(&self, now: u64) -> impl Iterator<Item = &Key> {
        self.terms.iter().take_while(move |(until, _)| *until <= now).map(|(_, key)| key)
    }

    /// Sets or removes the edit of an entry. One whose time is over is remembered.
    pub fn set(&mut self, key: &Key, edit: Option<Edit>, now: u64) {
        let before = match edit {
            Some(edit) => {
                self.terms.extend(edit.until.map(|until| (until, key.clone())));
                let until = edit.until;
                let before = self.edits.insert(key.clone(), edit);
                before.filter(|before| before.until != until)
            }
            None => self.edits.remove(key),
        };
        let Some(before) = before else { return };
        let Some(until) = before.until else { return };
        self.terms.remove(&(until, key.clone()));
        if until <= now {
            if self.ended.len() == ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back((key.clone(), before));
        }
    }
}
