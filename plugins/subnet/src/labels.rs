//! Labels of groups, computed from their names. Two labels share a prefix as far as the names
//! share levels.
//!
//! The levels of the deepest name share the 64 bits evenly. At each level a group has a number,
//! from 1, that is unique in the group above it. Levels that a name does not have are zeros. The
//! number comes from the hash of the level's text. So groups that come and go do not change the
//! labels of the others, except for the few whose hashes collide, and every instance computes the
//! same labels from the same names.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// The maximum number of levels of a name.
pub const MOST_LEVELS: usize = 8;

/// Returns the bits of each level in labels of this many levels.
pub fn bits(levels: usize) -> u8 {
    64 / levels as u8
}

/// Returns the levels of a name, widest first.
///
/// # Errors
///
/// Fails if the name is invalid, and says what was expected.
pub fn levels(name: &str) -> Result<impl Iterator<Item = &str>, String> {
    let levels = name.split('/');
    let is_wrong = |level: &str| level.is_empty() || level.contains(char::is_whitespace);
    if levels.clone().any(is_wrong) {
        return Err(format!("invalid group `{name}`, expected a name such as eu/fra1/rack7"));
    }
    let count = levels.clone().count();
    if count > MOST_LEVELS {
        return Err(format!("`{name}` has {count} levels, expected at most {MOST_LEVELS}"));
    }
    Ok(levels)
}

/// A tree of groups by the texts of their levels.
#[derive(Default)]
pub struct Tree<'a> {
    root: Group<'a>,
    levels: usize,
}

#[derive(Default)]
struct Group<'a> {
    /// The index of its name, if it was added itself.
    name: Option<usize>,
    below: BTreeMap<&'a str, Group<'a>>,
}

impl<'a> Tree<'a> {
    /// Adds the group of these levels, with the index of its name. Returns its earlier index if it
    /// is known already.
    pub fn add(&mut self, levels: impl Iterator<Item = &'a str>, name: usize) -> Option<usize> {
        let mut group = &mut self.root;
        let mut depth = 0;
        for level in levels {
            group = group.below.entry(level).or_default();
            depth += 1;
        }
        self.levels = self.levels.max(depth);
        let known = group.name;
        group.name = known.or(Some(name));
        known
    }

    /// Returns how many levels the deepest name has, at least 1.
    pub fn levels(&self) -> usize {
        self.levels.max(1)
    }

    /// Returns the labels of the groups that were added, each with the index of its name.
    ///
    /// # Errors
    ///
    /// Fails if a group contains more groups than there are numbers.
    pub fn labels(&self) -> Result<Vec<(usize, NonZeroU64)>, String> {
        let mut labels = Vec::new();
        self.root.label(0, 64, bits(self.levels()).into(), &mut labels)?;
        Ok(labels)
    }
}

impl Group<'_> {
    /// Adds the group's own label, of which `rest` bits are free, and those of the groups below it.
    fn label(
        &self,
        label: u64,
        rest: u32,
        bits: u32,
        labels: &mut Vec<(usize, NonZeroU64)>,
    ) -> Result<(), String> {
        if let (Some(name), Some(label)) = (self.name, NonZeroU64::new(label)) {
            labels.push((name, label));
        }
        if self.below.is_empty() {
            return Ok(());
        }
        let last = u64::MAX >> (64 - bits);
        if self.below.len() as u64 > last {
            let some = self.below.keys().next().copied().unwrap_or_default();
            return Err(format!(
                "{} groups at the level of `{some}`, expected at most {last} with names of this \
                 many levels",
                self.below.len()
            ));
        }
        let wish = |level: &str| hash(level) % last + 1;
        let mut below: Vec<_> =
            self.below.iter().map(|(level, group)| (wish(level), group)).collect();
        // The sort is stable: names whose hashes collide stay in their order.
        below.sort_by_key(|(wish, _)| *wish);
        let mut free = 1;
        for (number, _) in &mut below {
            *number = free.max(*number);
            free = *number + 1;
        }
        // Numbers that were pushed past the last one push the others back.
        let mut free = last;
        for (number, _) in below.iter_mut().rev() {
            *number = free.min(*number);
            free = *number - 1;
        }
        let rest = rest - bits;
        for (number, group) in below {
            group.label(label | number << rest, rest, bits, labels)?;
        }
        Ok(())
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    fn label_all(names: &[String]) -> Result<(u8, HashMap<&str, u64>), String> {
        let mut tree = Tree::default();
        for (at, name) in names.iter().enumerate() {
            tree.add(levels(name)?, at);
        }
        let labels = tree.labels()?;
        let named = labels.into_iter().map(|(at, label)| (names[at].as_str(), label.get()));
        Ok((bits(tree.levels()), named.collect()))
    }

    fn shared_levels(a: &str, b: &str) -> usize {
        a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b).count()
    }

    /// Names of few different texts, so that many share levels.
    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        let name = proptest::collection::vec("[a-c]{1,2}", 1..=MOST_LEVELS);
        proptest::collection::btree_set(name.prop_map(|levels| levels.join("/")), 1..40)
    }

    proptest! {
        #[test]
        fn labels_share_what_names_share(names in names()) {
            let names: Vec<String> = names.into_iter().collect();
            let (bits, labels) = label_all(&names).unwrap();
            for a in &names {
                for b in &names {
                    let (of_a, of_b) = (labels[a.as_str()], labels[b.as_str()]);
                    prop_assert_eq!(a == b, of_a == of_b);
                    let bits = u32::from(bits);
                    let shared = (of_a ^ of_b).leading_zeros() / bits;
                    if a != b {
                        prop_assert_eq!(shared as usize, shared_levels(a, b), "{} {}", a, b);
                    }
                }
            }
        }

        #[test]
        fn labels_do_not_depend_on_the_order_of_the_names(names in names(), turn in 0_usize..40) {
            let mut names: Vec<String> = names.into_iter().collect();
            let labels = |names: &[String]| {
                let (_, labels) = label_all(names).unwrap();
                let named = labels.into_iter().map(|(name, label)| (name.to_owned(), label));
                named.collect::<HashMap<_, _>>()
            };
            let before = labels(&names);
            let turn = turn % names.len();
            names.rotate_left(turn);
            prop_assert_eq!(labels(&names), before);
        }
    }

    #[test]
    fn groups_that_come_and_go_leave_the_others_their_labels() {
        let racks = |count: usize| -> Vec<String> {
            (0..count).map(|rack| format!("eu/fra{}/rack{rack}", rack % 4)).collect()
        };
        let (before, after) = (racks(1000), racks(1100));
        let ((_, before), (_, after)) = (label_all(&before).unwrap(), label_all(&after).unwrap());
        let changed = before.iter().filter(|(name, label)| after[*name] != **label).count();
        assert!(changed <= 1, "{changed} of 1000 groups");
    }

    #[test]
    fn a_level_is_full_when_every_number_is_taken() {
        let deep = "a/b/c/d/e/f/g/h".to_owned();
        let top = |count: usize| -> Vec<String> {
            (1..count).map(|n| format!("n{n}")).chain([deep.clone()]).collect()
        };
        let full = top(255);
        let (bits, labels) = label_all(&full).unwrap();
        let numbers: BTreeSet<u64> = labels.values().map(|label| label >> 56).collect();
        assert_eq!((bits, numbers), (8, (1..=255).collect()));
        assert_eq!(
            label_all(&top(256)).unwrap_err(),
            "256 groups at the level of `a`, expected at most 255 with names of this many levels"
        );
    }

    #[test]
    fn names_have_one_to_eight_levels_without_blanks() {
        for good in ["eu", "eu/fra1/rack7", "ü/#1", "1/2/3/4/5/6/7/8"] {
            assert_eq!(
                levels(good).map(|levels| levels.collect::<Vec<_>>().join("/")).unwrap(),
                good
            );
        }
        for bad in ["", "/", "eu/", "/eu", "eu//fra1", "eu /fra1", "eu/\u{a0}"] {
            assert!(levels(bad).is_err_and(|error| error.contains("eu/fra1/rack7")), "{bad}");
        }
        let nine = levels("1/2/3/4/5/6/7/8/9").err();
        assert_eq!(nine.as_deref(), Some("`1/2/3/4/5/6/7/8/9` has 9 levels, expected at most 8"));
    }
}
