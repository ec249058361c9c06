//! The classes of few rows, as sets of bits.

use super::label::{DOWNLOADERS, Label, OPEN, SEEDS};
use crate::locality::Reach;
use crate::{Locality, Plan};

/// Up to this many peers, comparing each level is faster than finding ranges.
pub const SORTED: usize = 256;

/// A bit for each row.
type Bits = [u64; SORTED / 64];

/// The rows of one family that may be given, by role and by level.
pub struct Levels {
    levels: [Bits; Plan::MOST_LEVELS + 1],
    roles: [Bits; 3],
    /// How many words of the bits have rows.
    words: usize,
}

/// Rows of a [`Levels`]: at most [`SORTED`], listed eight at a time.
pub type List = [u8; SORTED + 8];

const _: () = assert!(SORTED == 1 << u8::BITS, "a row fits in a byte");

impl Levels {
    pub const EMPTY: Self = Self { levels: [[0; _]; _], roles: [[0; _]; 3], words: 0 };

    /// Sorts up to [`SORTED`] rows into classes. Without labels, all are far; without reaches, all
    /// downloaders are open.
    pub fn set(
        &mut self,
        labels: Option<&[Label]>,
        reaches: Option<&[Reach]>,
        rows: usize,
        downloaders: usize,
        locality: &Locality,
    ) {
        let far = locality.plan.levels();
        self.words = rows.div_ceil(64);
        for word in 0..self.words {
            let rows = below(rows - 64 * word);
            let downloaders = below(downloaders.saturating_sub(64 * word));
            self.roles[DOWNLOADERS][word] = downloaders;
            self.roles[OPEN][word] = downloaders;
            self.roles[SEEDS][word] = rows & !downloaders;
            self.levels[far][word] = rows;
        }
        if let Some(labels) = labels {
            self.compare(labels, reaches, locality);
        }
    }

    /// Moves near rows from the far ones to their level, and closes those that do not reach theirs.
    fn compare(&mut self, labels: &[Label], reaches: Option<&[Reach]>, locality: &Locality) {
        let label = Label::of(Some(locality));
        let by_shared_bits = locality.plan.levels_by_shared_bits();
        let far = locality.plan.levels();
        for (word, labels) in labels.chunks(64).enumerate() {
            let mut levels = [u8::MAX; 64];
            for (level, other) in levels.iter_mut().zip(labels) {
                let other = *other;
                let shared = (label.value ^ other.value).leading_zeros() as usize;
                *level = if other.plan == label.plan { by_shared_bits[shared] } else { far as u8 };
            }
            let mut near = 0;
            for (level, bits) in self.levels[..far].iter_mut().enumerate() {
                bits[word] = places(&levels, level as u8);
                near |= bits[word];
            }
            self.levels[far][word] &= !near;
            if let Some(reaches) = reaches {
                let mut is_open = [0; 64];
                let rows = levels.iter().zip(&reaches[64 * word..]);
                for (is_open, (level, reach)) in is_open.iter_mut().zip(rows) {
                    *is_open = u8::from(reach.covers(usize::from(*level)));
                }
                self.roles[OPEN][word] &= bits(&is_open);
            }
        }
    }

    /// Removes a row from its class.
    pub fn leave_out(&mut self, row: usize) {
        self.roles.iter_mut().for_each(|role| role[row / 64] &= !(1 << (row % 64)));
    }

    /// Returns how many rows up to a level are seeds, or downloaders that reach beyond it.
    pub fn usable(&self, level: usize, reaches: Option<&[Reach]>) -> usize {
        let mut usable = 0;
        for word in 0..self.words {
            let within = self.levels[..=level].iter().fold(0, |all, bits| all | bits[word]);
            usable += (within & self.roles[SEEDS][word]).count_ones() as usize;
            let mut left = within & self.roles[DOWNLOADERS][word];
            let Some(reaches) = reaches else {
                usable += left.count_ones() as usize;
                continue;
            };
            while left != 0 {
                let row = 64 * word + left.trailing_zeros() as usize;
                usable += usize::from(reaches[row].covers(level + 1));
                left &= left - 1;
            }
        }
        usable
    }

    /// Returns how many rows a class has.
    pub fn count(&self, role: usize, level: usize) -> usize {
        let words = self.levels[level].iter().zip(&self.roles[role]).take(self.words);
        words.map(|(level, role)| (level & role).count_ones() as usize).sum()
    }

    /// Lists the rows of a class from a place in the list; returns the place of their end.
    pub fn list(&self, role: usize, level: usize, list: &mut List, mut place: usize) -> usize {
        let words = self.levels[level].iter().zip(&self.roles[role]).take(self.words);
        for ((level, role), first) in words.zip((0..).step_by(64)) {
            let mut left = level & role;
            let end = place + left.count_ones() as usize;
            // By eights, so that there are few branches. What exceeds the rows is overwritten.
            while place < end {
                for row in &mut list[place..place + 8] {
                    *row = (first + left.trailing_zeros()) as u8;
                    left &= left.wrapping_sub(1);
                }
                place += 8;
            }
            place = end;
        }
        place
    }
}

/// Returns a set of the first `count` bits.
fn below(count: usize) -> u64 {
    if count < 64 { (1 << count) - 1 } else { u64::MAX }
}

/// Returns a set of the places of a byte.
fn places(bytes: &[u8; 64], wanted: u8) -> u64 {
    let mut is_wanted = [0; 64];
    for (is_wanted, byte) in is_wanted.iter_mut().zip(bytes) {
        *is_wanted = u8::from(*byte == wanted);
    }
    bits(&is_wanted)
}

/// Returns a set of the places of ones among zeros and ones.
fn bits(flags: &[u8; 64]) -> u64 {
    let mut places = 0;
    for (at, flags) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Moves the lowest bit of each byte to the highest byte, each to a place of its own.
        let moved = u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080);
        places |= (moved >> 56) << (8 * at);
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Order, PlanId, PlanName};

    proptest! {
        #[test]
        fn a_class_has_the_rows_of_its_role_and_level(
            rows in prop_oneof![0..=SORTED, 62..=66_usize, 126..=130_usize, SORTED - 1..=SORTED],
            downloaders: prop::sample::Index,
            values in prop::collection::vec((0..4_u64, 0..4_u32), SORTED),
            unlabelled in 0..8_usize,
            out: prop::sample::Index,
            prefixes in prop::sample::select(vec![vec![], vec![0], vec![64, 16, 0], vec![62, 2, 1]]),
            reaches in prop::collection::vec(0..5_usize, SORTED),
        ) {
            let plan = Plan::new(&prefixes, Order::NearFirst, 0).unwrap();
            let locality = Locality { label: 0, plan, id: PlanId::of(PlanName(*b"nearness")) };
            let mine = Label::of(Some(&locality));
            let label = |row: usize| match values[row] {
                _ if row % 8 < unlabelled => Label::NONE,
                (bits, place) => Label { value: bits << (20 * place), ..mine },
            };
            let labels: Vec<_> = (0..rows).map(label).collect();
            let downloaders = downloaders.index(rows + 1);
            let out = (rows > 0).then(|| out.index(rows));
            let reaches: Vec<_> = reaches[..rows]
                .iter()
                .map(|reach| if *reach == 4 { Reach::ALL } else { Reach::up_to(*reach) })
                .collect();
            for known in [Some(&labels[..]), None] {
                let mut levels = Levels::EMPTY;
                levels.set(known, Some(&reaches), rows, downloaders, &locality);
                out.iter().for_each(|&row| levels.leave_out(row));
                let level_of = |row: usize| {
                    let value = labels[row].value;
                    let shared = value.leading_zeros() as usize;
                    let is_known = known.is_some() && labels[row].plan == mine.plan;
                    let far = plan.levels();
                    if is_known { plan.levels_by_shared_bits()[shared].into() } else { far }
                };
                for level in 0..plan.levels() {
                    let usable = (0..rows).filter(|row| {
                        let reaches = *row >= downloaders || reaches[*row].covers(level + 1);
                        level_of(*row) <= level && Some(*row) != out && reaches
                    });
                    let reaches = known.map(|_| &reaches[..]);
                    prop_assert_eq!(levels.usable(level, reaches), usable.count());
                }
                for level in 0..=plan.levels() {
                    let roles = [0..downloaders, downloaders..rows, 0..downloaders];
                    for (role, of_role) in roles.into_iter().enumerate() {
                        // Rows without labels are open: they have no reaches.
                        let is_open = |row: &usize| {
                            role != OPEN || known.is_none() || reaches[*row].covers(level)
                        };
                        let class: Vec<_> = of_role
                            .filter(|row| level_of(*row) == level && Some(*row) != out)
                            .filter(is_open)
                            .map(|row| row as u8)
                            .collect();
                        prop_assert_eq!(levels.count(role, level), class.len());
                        for first in [0, SORTED - class.len()] {
                            let mut list = [0; _];
                            let end = levels.list(role, level, &mut list, first);
                            prop_assert_eq!(&list[first..end], &class);
                        }
                    }
                }
            }
        }
    }
}
