//! Swarms whose downloads are what some announce said, and whether a record that counts one more is
//! in that number already.
//!
//! The engine may lose a download after other nodes have read and counted it. When it is sent again,
//! another announce may have told the number with it to a node that did not know the swarm.

use std::collections::HashMap;
use std::mem;

use karuta_bittorrent::InfoHash;

use crate::Seconds;

/// The latest such swarms, with the number that was said.
#[derive(Debug, Default)]
pub struct Presumed {
    young: HashMap<InfoHash, u32>,
    old: HashMap<InfoHash, u32>,
    /// When `young` began.
    since: Seconds,
}

/// How long a swarm is remembered, in seconds; at most twice as long. Nodes send again when they
/// reach the engine again.
const REMEMBERED: Seconds = 300;
/// The most swarms of one half. If there are more, the others are forgotten sooner.
const MOST: usize = 1 << 16;

impl Presumed {
    pub fn insert(&mut self, info_hash: InfoHash, downloads: u32, now: Seconds) {
        if self.young.len() >= MOST || now.saturating_sub(self.since) >= REMEMBERED {
            self.old = mem::take(&mut self.young);
            self.since = now;
        }
        self.young.insert(info_hash, downloads);
    }

    /// Returns whether a download, the one of this number where it was counted first, is in what was
    /// said: who had counted it says no less.
    pub fn contains(&self, info_hash: InfoHash, downloads: u32) -> bool {
        let said = self.young.get(&info_hash).or_else(|| self.old.get(&info_hash));
        said.is_some_and(|said| *said >= downloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_swarms_are_remembered() {
        let mut presumed = Presumed::default();
        let hash = |number: u8| InfoHash([number; 20]);
        presumed.insert(hash(1), 7, 0);
        assert!(presumed.contains(hash(1), 7) && !presumed.contains(hash(1), 8));
        assert!(!presumed.contains(hash(2), 1));
        presumed.insert(hash(2), 1, REMEMBERED);
        assert!(presumed.contains(hash(1), 7) && presumed.contains(hash(2), 1));
        presumed.insert(hash(3), 1, 2 * REMEMBERED);
        assert!(!presumed.contains(hash(1), 7) && presumed.contains(hash(2), 1));
        (0..3 * MOST as u32).for_each(|number| {
            let mut hash = [0; 20];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            presumed.insert(InfoHash(hash), 1, 0);
        });
        assert!(presumed.young.len() + presumed.old.len() <= 2 * MOST);
    }
}
