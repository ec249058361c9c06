//! Which batches of other nodes have been read.

use std::collections::HashMap;

/// The sequences that have been read of each node: of the last [`WINDOW`] exactly, and all before
/// them.
#[derive(Debug, Default)]
pub struct Seen {
    nodes: HashMap<u64, Sequences>,
    /// Counts batches.
    clock: u64,
}

#[derive(Debug)]
struct Sequences {
    highest: u64,
    /// A bit for each of the last sequences, at its place modulo [`WINDOW`].
    bits: [u64; WORDS],
    /// When the last one was read.
    used: u64,
}

const WORDS: usize = 16;
const WINDOW: u64 = WORDS as u64 * 64;
/// The most nodes that are remembered. A node that restarts is another one.
const NODES: usize = 1024;

impl Seen {
    /// Notes a batch; returns whether it is the first with this sequence.
    pub fn insert(&mut self, node: u64, sequence: u64) -> bool {
        self.clock += 1;
        let used = self.clock;
        let new = || Sequences { highest: sequence, bits: [0; WORDS], used };
        let is_first = self.nodes.entry(node).or_insert_with(new).insert(sequence, used);
        if self.nodes.len() > NODES
            && let Some((&oldest, _)) = self.nodes.iter().min_by_key(|(_, of)| of.used)
        {
            self.nodes.remove(&oldest);
        }
        is_first
    }
}

impl Sequences {
    fn insert(&mut self, sequence: u64, used: u64) -> bool {
        self.used = used;
        match sequence.checked_sub(self.highest) {
            Some(ahead) if ahead >= WINDOW => self.bits = [0; WORDS],
            // Their places were those of sequences that are too old now.
            Some(_) => (self.highest..sequence).for_each(|before| {
                let (word, bit) = place(before + 1);
                self.bits[word] &= !bit;
            }),
            None if self.highest - sequence >= WINDOW => return false,
            None => {}
        }
        self.highest = self.highest.max(sequence);
        let (word, bit) = place(sequence);
        let is_first = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_first
    }
}

/// Returns the word and the bit of a sequence.
fn place(sequence: u64) -> (usize, u64) {
    let at = sequence % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_node_that_has_been_silent_for_longest_is_forgotten() {
        let mut seen = Seen::default();
        (0..NODES as u64).for_each(|node| assert!(seen.insert(node, 5)));
        assert!(!seen.insert(0, 5));
        assert!(seen.insert(NODES as u64, 5));
        assert!(!seen.insert(0, 5) && !seen.insert(2, 5));
        assert!(seen.insert(1, 5));
    }

    #[test]
    fn the_largest_sequence_is_one_like_others() {
        let mut seen = Seen::default();
        assert!(seen.insert(1, 7) && seen.insert(1, u64::MAX) && !seen.insert(1, u64::MAX));
        assert!(!seen.insert(1, 8), "long before");
    }

    proptest! {
        #[test]
        fn each_sequence_is_first_once(
            steps in prop::collection::vec((prop_oneof![0..5_u64, 0..2000_u64], any::<bool>()), 0..200),
        ) {
            let (mut seen, mut known, mut highest) = (Seen::default(), HashSet::new(), 3000_u64);
            seen.insert(1, highest);
            known.insert(highest);
            for (distance, forward) in steps {
                let sequence =
                    if forward { highest + distance } else { highest.saturating_sub(distance) };
                let is_first = known.insert(sequence) && highest.saturating_sub(sequence) < WINDOW;
                highest = highest.max(sequence);
                prop_assert_eq!(seen.insert(1, sequence), is_first, "{}", sequence);
            }
        }
    }
}
