//! What the site has told lately. A load that began before may read rows that are older than that,
//! which must not undo it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::change::{Change, TokenChange};

/// How long after it has told something the site may take to commit it.
const COMMITTING: Duration = Duration::from_mins(1);
/// Beyond this number, what is older than that is forgotten at once, and not at the next load.
const MANY: usize = 4096;

/// What was told, until a load begins later than [`COMMITTING`] after it.
#[derive(Default)]
pub struct Recent(Mutex<Told>);

/// It is locked while changes are handed in, so that those of a load are either before or after
/// those of the site.
#[derive(Default)]
pub struct Told {
    at: HashMap<Key, Instant>,
    is_loading: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Member(u64),
    Group(u32),
    Torrent(u64),
    Token(u64, u64),
}

impl Change {
    fn key(&self) -> Key {
        match self {
            Self::Member(change) => Key::Member(change.id),
            Self::Group(change) => Key::Group(change.id),
            Self::Torrent(change) => Key::Torrent(change.id),
            Self::Token(TokenChange { member, torrent, .. }) => Key::Token(*member, *torrent),
        }
    }
}

impl Recent {
    pub fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock()
    }
}

impl Told {
    /// Notes what the site tells.
    pub fn note(&mut self, changes: &[Change], now: Instant) {
        if self.at.len() >= MANY && !self.is_loading {
            self.forget(now);
        }
        self.at.extend(changes.iter().map(|change| (change.key(), now)));
    }

    /// A load begins.
    pub fn begin(&mut self, now: Instant) {
        self.forget(now);
        self.is_loading = true;
    }

    /// It has ended.
    pub fn end(&mut self) {
        self.is_loading = false;
    }

    /// Returns whether the site has told something of what a load changes.
    pub fn has(&self, change: &Change) -> bool {
        self.at.contains_key(&change.key())
    }

    fn forget(&mut self, now: Instant) {
        self.at.retain(|_, at| now.saturating_duration_since(*at) < COMMITTING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(torrent: u64) -> Change {
        Change::Token(TokenChange { exists: true, member: 1, torrent })
    }

    #[test]
    fn what_was_told_is_kept_until_a_load_begins_later() {
        let recent = Recent::default();
        let mut told = recent.lock();
        let start = Instant::now();
        told.note(&[token(1)], start);
        told.begin(start + COMMITTING / 2);
        told.note(&[token(2)], start + COMMITTING);
        assert!(told.has(&token(1)) && told.has(&token(2)) && !told.has(&token(3)));
        told.end();
        told.begin(start + COMMITTING);
        assert!(!told.has(&token(1)) && told.has(&token(2)));
    }

    #[test]
    fn it_does_not_grow_without_bounds_but_during_a_load_nothing_is_forgotten() {
        let recent = Recent::default();
        let mut told = recent.lock();
        let start = Instant::now();
        let many: Vec<_> = (0..MANY as u64).map(token).collect();
        told.note(&many, start);
        told.begin(start);
        told.note(&[token(u64::MAX)], start + COMMITTING);
        assert_eq!(told.at.len(), MANY + 1);
        told.end();
        told.note(&[token(u64::MAX)], start + COMMITTING);
        assert_eq!(told.at.len(), 1);
    }
}
