//! Rows ordered by label, with rank queries.

use super::label::Label;

/// A row and its label: ordered by plan, then label, then row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(2))]
pub struct Key {
    row: u32,
    label: u64,
    plan: u16,
}

const _: () = assert!(size_of::<Key>() == 14);

impl Key {
    pub fn new(label: Label, row: u32) -> Self {
        Self { row, label: label.value, plan: label.plan }
    }

    /// Returns the key as a number with the same order.
    pub fn number(self) -> u128 {
        u128::from(self.plan) << 96 | u128::from(self.label) << 32 | u128::from(self.row)
    }
}

/// Keys in sorted blocks of bounded size, with a Fenwick tree of the blocks' sizes. Finds a key's
/// rank, and the row of a rank, in logarithmic time. A change takes as long, except for about one
/// in some dozens that adds or removes a block and rebuilds the sums.
#[derive(Clone, Debug)]
pub struct Ranks {
    /// No block is empty, unless it is the only one.
    blocks: Vec<Vec<Key>>,
    /// The first key of each block, except for the first block, which has 0.
    firsts: Vec<u128>,
    sums: Sums,
}

/// The most keys in a block.
const BLOCK: usize = 128;

impl Ranks {
    pub fn of(mut keys: Vec<Key>) -> Self {
        keys.sort_unstable_by_key(|key| key.number());
        let mut blocks: Vec<Vec<Key>> = keys.chunks(BLOCK * 3 / 4).map(<[Key]>::to_vec).collect();
        if blocks.is_empty() {
            blocks.push(Vec::new());
        }
        let mut ranks = Self { blocks, firsts: Vec::new(), sums: Sums::default() };
        ranks.firsts =
            ranks.blocks.iter().map(|block| block.first().map_or(0, |k| k.number())).collect();
        ranks.firsts[0] = 0;
        ranks.sum();
        ranks
    }

    pub fn len(&self) -> u32 {
        self.sums.total
    }

    pub fn insert(&mut self, key: Key) {
        let at = self.block_of(key.number());
        let block = &mut self.blocks[at];
        let place = place(block, key.number());
        super::growth::make_room(block);
        block.insert(place, key);
        if block.len() <= BLOCK {
            self.sums.change(at, true);
            return;
        }
        let upper = block.split_off(BLOCK / 2);
        block.shrink_to_fit();
        self.firsts.insert(at + 1, upper[0].number());
        self.blocks.insert(at + 1, upper);
        self.sum();
    }

    /// Removes a key that is there.
    pub fn remove(&mut self, key: Key) {
        let at = self.block_of(key.number());
        let block = &mut self.blocks[at];
        let place = place(block, key.number());
        if block.get(place) != Some(&key) {
            debug_assert!(false, "a key was lost");
            return;
        }
        block.remove(place);
        super::growth::give_back(block);
        if self.blocks[at].len() >= BLOCK / 4 || self.blocks.len() == 1 {
            self.sums.change(at, false);
            return;
        }
        // Merged with a neighbour, and split again if the result is too large.
        let left = at.min(self.blocks.len() - 2);
        let mut right = self.blocks.remove(left + 1);
        self.firsts.remove(left + 1);
        let block = &mut self.blocks[left];
        block.append(&mut right);
        if block.len() > BLOCK * 3 / 4 {
            let upper = block.split_off(block.len() / 2);
            self.firsts.insert(left + 1, upper[0].number());
            self.blocks.insert(left + 1, upper);
        }
        self.blocks[left].shrink_to_fit();
        self.sum();
    }

    /// Returns how many keys are less than `number`.
    pub fn rank(&self, number: u128) -> u32 {
        let at = self.block_of(number);
        self.sums.before(at) + place(&self.blocks[at], number) as u32
    }

    /// Returns the ranks of two numbers, the lesser first, which are usually close together.
    pub fn range(&self, first: u128, end: u128) -> (u32, u32) {
        let at = self.block_of(first);
        let before = self.sums.before(at);
        let start = before + place(&self.blocks[at], first) as u32;
        if self.firsts.get(at + 1).is_none_or(|&next| end < next) {
            (start, before + place(&self.blocks[at], end) as u32)
        } else {
            (start, self.rank(end))
        }
    }

    /// Returns the row of the key with this rank.
    pub fn row(&self, rank: u32) -> usize {
        let (at, rest) = self.sums.find(rank);
        self.blocks[at][rest as usize].row as usize
    }

    fn block_of(&self, number: u128) -> usize {
        self.firsts.partition_point(|&first| first <= number).saturating_sub(1)
    }

    fn sum(&mut self) {
        self.sums.renew(self.blocks.iter().map(Vec::len));
    }
}

fn place(block: &[Key], number: u128) -> usize {
    block.partition_point(|key| key.number() < number)
}

/// A Fenwick tree of the sizes of blocks, padded to a power of two with entries that are never
/// reached.
#[derive(Clone, Debug, Default)]
struct Sums {
    tree: Vec<u32>,
    blocks: usize,
    total: u32,
}

impl Sums {
    fn renew(&mut self, sizes: impl ExactSizeIterator<Item = usize>) {
        self.blocks = sizes.len();
        self.tree.clear();
        self.tree.push(0);
        self.tree.extend(sizes.map(|size| size as u32));
        self.total = self.tree.iter().sum();
        for node in 1..=self.blocks {
            let parent = node + (node & node.wrapping_neg());
            if parent <= self.blocks {
                self.tree[parent] += self.tree[node];
            }
        }
        self.tree.resize((self.blocks + 1).next_power_of_two(), u32::MAX);
    }

    fn change(&mut self, block: usize, more: bool) {
        let difference = if more { 1 } else { 1_u32.wrapping_neg() };
        self.total = self.total.wrapping_add(difference);
        let mut node = block + 1;
        while node <= self.blocks {
            self.tree[node] = self.tree[node].wrapping_add(difference);
            node += node & node.wrapping_neg();
        }
    }

    /// Returns the number of keys before a block.
    fn before(&self, block: usize) -> u32 {
        let (mut node, mut sum) = (block, 0);
        while node > 0 {
            sum += self.tree[node];
            node &= node - 1;
        }
        sum
    }

    /// Returns the block of a rank, and the rank within it.
    fn find(&self, mut rank: u32) -> (usize, u32) {
        let (mut node, mut step) = (0, self.tree.len() / 2);
        while step > 0 {
            let sum = self.tree[node + step];
            let goes = sum <= rank;
            node += std::hint::select_unpredictable(goes, step, 0);
            rank -= std::hint::select_unpredictable(goes, sum, 0);
            step /= 2;
        }
        (node, rank)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_are_those_of_a_sorted_set(
            start in 0..2000_u32,
            changes in prop::collection::vec((any::<bool>(), 0..3_u16, 0..5_u64, 0..3000_u32, 1..80_u32), 0..80),
        ) {
            let key = |plan, value, row| Key::new(Label { value, plan }, row);
            let first: Vec<_> = (0..start).map(|row| key(1, u64::from(row) % 7, row)).collect();
            let mut model: BTreeSet<_> = first.iter().map(|key| key.number()).collect();
            let mut ranks = Ranks::of(first);
            for (adds, plan, value, from, count) in changes {
                for row in from..from + count {
                    let key = key(plan, value, row);
                    if adds && model.insert(key.number()) {
                        ranks.insert(key);
                    } else if !adds && model.remove(&key.number()) {
                        ranks.remove(key);
                    }
                }
                prop_assert_eq!(ranks.len() as usize, model.len());
                let wanted = key(plan, value, from).number();
                prop_assert_eq!(ranks.rank(wanted) as usize, model.range(..wanted).count());
            }
            for (rank, number) in model.iter().enumerate() {
                prop_assert_eq!(ranks.row(rank as u32), (*number as u32) as usize);
                prop_assert_eq!(ranks.rank(*number) as usize, rank);
            }
            prop_assert_eq!(ranks.rank(u128::MAX) as usize, model.len());
            prop_assert!(ranks.blocks.iter().all(|block| block.len() <= BLOCK));
            prop_assert!(ranks.blocks.len() <= 1 + 4 * model.len() / BLOCK);
        }
    }

    #[test]
    fn many_rows_come_and_go() {
        let key = |row: u32| {
            Key::new(
                Label { value: u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15), plan: 1 },
                row,
            )
        };
        let mut ranks = Ranks::of(Vec::new());
        (0..100_000).for_each(|row| ranks.insert(key(row)));
        assert_eq!(ranks.len(), 100_000);
        (0..100_000).step_by(997).for_each(|row| {
            let rank = ranks.rank(key(row).number());
            assert_eq!(ranks.row(rank), row as usize);
        });
        (0..100_000).for_each(|row| ranks.remove(key(row)));
        assert_eq!((ranks.len(), ranks.blocks.len()), (0, 1));
    }
}
