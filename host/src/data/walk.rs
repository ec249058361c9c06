//! Walks through all entries of a list, as it is at one moment.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::source::{Content, DataSource, Version};
use crate::edits::Overlay;
use crate::entry::{Entry, Key};

/// A list that is being read: its newest good version, and the edits of it.
pub struct Walk {
    version: Option<Arc<Version>>,
    overlay: Option<Arc<Overlay>>,
    /// The next position in the version.
    at: usize,
    /// The entries that edits add, still to come.
    added: Vec<Entry>,
}

/// The size in bytes from which on a part is handed out.
const PART: usize = 64 * 1024;

impl DataSource {
    /// Begins to read all entries, in no order. Edits made meanwhile are not among them.
    pub fn walk(&self) -> Walk {
        let overlay = self.overlay().map(|overlay| Arc::clone(&overlay));
        let added = overlay.as_ref().map(|overlay| overlay.entries().collect());
        let version = self.current().as_ref().map(Arc::clone);
        Walk { version, overlay, at: 0, added: added.unwrap_or_default() }
    }
}

impl Walk {
    /// Writes the next entries, each on a line. Returns whether more may follow.
    pub fn next(&mut self, part: &mut Vec<u8>) -> bool {
        let mut lines = String::new();
        let more = loop {
            let more = self.step(|entry| lines.push_str(&format!("{entry}\n")));
            if !more || lines.len() >= PART {
                break more;
            }
        };
        part.extend(lines.into_bytes());
        more
    }

    /// Returns the SHA-256 over all entries in the order of their bytes, each with a line break, and
    /// their number. Takes its time.
    pub fn digest(mut self) -> ([u8; 32], usize) {
        let mut entries = Vec::new();
        while self.step(|entry| entries.push(entry)) {}
        match entries.first().map(|entry| &entry.key) {
            Some(Key::Range(_)) => entries.sort_by_cached_key(Entry::to_string),
            _ => entries.sort_unstable_by(|one, other| one.key.cmp(&other.key)),
        }
        let mut sum = Sha256::new();
        entries.iter().for_each(|entry| sum.update(format!("{entry}\n")));
        (sum.finalize().into(), entries.len())
    }

    /// Passes on the next entries. Returns whether more may follow.
    fn step(&mut self, mut take: impl FnMut(Entry)) -> bool {
        let Self { version, overlay, at, added } = self;
        let mut unless_edited = |entry: Entry| {
            if overlay.as_ref().is_none_or(|overlay| overlay.edit(&entry.key).is_none()) {
                take(entry);
            }
        };
        let found = match version.as_ref().map(|version| &version.content) {
            Some(Content::InfoHashes(set)) => set.at(*at).map(|some| {
                let keys = some.iter().map(|hash| Key::InfoHash(*hash));
                keys.for_each(|key| unless_edited(Entry { key, value: 0 }));
            }),
            Some(Content::Strings(set)) => set
                .at(*at)
                .map(|text| unless_edited(Entry { key: Key::Text(text.into()), value: 0 })),
            Some(Content::Addresses(set)) => set
                .at(*at)
                .map(|(range, value)| unless_edited(Entry { key: Key::Range(range), value })),
            Some(Content::Raw(_)) | None => None,
        };
        match found {
            Some(()) => {
                *at += 1;
                true
            }
            None => match added.pop() {
                Some(entry) => {
                    take(entry);
                    true
                }
                None => false,
            },
        }
    }
}
