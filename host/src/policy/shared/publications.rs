//! What a policy's control instance publishes to its workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The limits of publications: names per policy, bytes of a name, and bytes of a publication.
pub const NAMES: usize = 64;
pub const LONGEST_NAME: usize = 64;
pub const LONGEST: usize = 64 * 1024 * 1024;

/// The newest publication of each name, for the workers of one version of one component.
/// Publications outlive the instance that published them, and reloads of the same component.
#[derive(Default)]
pub struct Publications {
    newest: Mutex<BTreeMap<Arc<str>, Publication>>,
    number: AtomicU64,
}

/// An accepted publication.
#[derive(Clone)]
pub struct Publication {
    /// Grows with every publication of the policy.
    pub number: u64,
    pub bytes: Arc<[u8]>,
}

impl Publications {
    /// Returns the number of the last publication; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub fn list(&self) -> Vec<(Arc<str>, Publication)> {
        let newest = self.newest.lock();
        newest.iter().map(|(name, publication)| (name.clone(), publication.clone())).collect()
    }

    /// Returns whether there is room for a publication of this name.
    pub fn takes(&self, name: &str) -> bool {
        let newest = self.newest.lock();
        newest.len() < NAMES || newest.contains_key(name)
    }

    /// Replaces the publications of the same names. Called by only one thread at a time.
    pub fn replace(&self, publications: impl Iterator<Item = (Arc<str>, Arc<[u8]>)>) {
        let mut newest = self.newest.lock();
        let mut number = self.number();
        for (name, bytes) in publications {
            number += 1;
            newest.insert(name, Publication { number, bytes });
        }
        // Stored after the content, so that a reader of this number finds nothing older.
        self.number.store(number, Ordering::Release);
    }
}
