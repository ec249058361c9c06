//! Swarms of which the log said fewer downloads last than are known here.
//!
//! A record says how many downloads its node knew. One that was on its way from another node is not
//! among them, and a node that starts later and reads on from there would never hear of it. So
//! somebody has to say the right number: not at once, because the next announce mostly does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use karuta_bittorrent::InfoHash;

use crate::Seconds;

/// These swarms, and since when it is so.
#[derive(Debug, Default)]
pub struct Understated {
    since: HashMap<InfoHash, Seconds>,
    /// When it was last asked which are due.
    asked: Seconds,
}

/// How long is waited for an announce that says the number, in seconds.
const PATIENCE: Seconds = 2;
/// The most swarms. Of others, the next record is waited for.
const MOST: usize = 1 << 16;

impl Understated {
    /// Notes whether the last record of a swarm says fewer downloads than are known.
    pub fn note(&mut self, info_hash: InfoHash, says_fewer: bool, now: Seconds) {
        if says_fewer {
            let is_full = self.since.len() >= MOST;
            if let Entry::Vacant(place) = self.since.entry(info_hash)
                && !is_full
            {
                place.insert(now);
            }
        } else if !self.since.is_empty() {
            self.since.remove(&info_hash);
        }
    }

    /// Removes and returns those for which it was waited long enough.
    pub fn due(&mut self, now: Seconds) -> Vec<InfoHash> {
        if std::mem::replace(&mut self.asked, now) == now {
            return Vec::new();
        }
        let is_due = |_: &InfoHash, since: &mut Seconds| now.saturating_sub(*since) >= PATIENCE;
        let due = self.since.extract_if(is_due);
        due.map(|(info_hash, _)| info_hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> InfoHash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        InfoHash(hash)
    }

    #[test]
    fn a_swarm_is_due_once_if_nobody_has_said_the_number_for_a_while() {
        let mut understated = Understated::default();
        understated.note(hash(1), true, 10);
        understated.note(hash(2), true, 10);
        understated.note(hash(1), true, 11);
        assert_eq!(understated.due(11), []);
        understated.note(hash(2), false, 11);
        assert_eq!(understated.due(12), [hash(1)]);
        assert_eq!(understated.due(13), []);
    }

    #[test]
    fn there_are_not_more_than_fit() {
        let mut understated = Understated::default();
        (0..2 * MOST as u32).for_each(|number| understated.note(hash(number), true, 1));
        assert_eq!(understated.due(3).len(), MOST);
    }
}
