//! The last refusals, and for each policy in shadow mode the last requests that it would have
//! answered otherwise.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::decision::Entry;
use crate::metrics::Outcome;

/// The most refusals, and the most differences of a policy.
pub const MOST: usize = 1000;

#[derive(Default)]
pub struct Book {
    refusals: Ring,
    differences: BTreeMap<Box<str>, Ring>,
}

#[derive(Default)]
struct Ring(VecDeque<Arc<Entry>>);

impl Ring {
    fn push(&mut self, entry: Arc<Entry>) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    /// Workers hand over what they have decided in their turns, so it comes nearly in order.
    fn newest_first(&self) -> Vec<Arc<Entry>> {
        let mut entries: Vec<_> = self.0.iter().rev().cloned().collect();
        entries.sort_by_key(|entry| Reverse(entry.decision.unix_ms));
        entries
    }
}

impl Book {
    pub fn add(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        let decision = &entry.decision;
        for shadow in decision.shadows.iter().filter(|shadow| shadow.differs(decision.outcome)) {
            if !self.differences.contains_key(&shadow.policy) {
                self.differences.insert(shadow.policy.clone(), Ring::default());
            }
            if let Some(ring) = self.differences.get_mut(&shadow.policy) {
                ring.push(entry.clone());
            }
        }
        if decision.outcome != Outcome::Ok {
            self.refusals.push(entry);
        }
    }

    /// Forgets the differences of all other policies.
    pub fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.differences.retain(|policy, _| is_kept(policy));
    }

    pub fn refusals(&self) -> Vec<Arc<Entry>> {
        self.refusals.newest_first()
    }

    pub fn differences(&self, policy: &str) -> Vec<Arc<Entry>> {
        self.differences.get(policy).map(Ring::newest_first).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decision::Shadow;
    use super::super::decision::tests::entry;
    use super::*;
    use crate::metrics::Would;

    #[test]
    fn the_last_are_kept() {
        let mut book = Book::default();
        for number in 0..=MOST {
            book.add(entry("192.0.2.1", 1, "clients", &number.to_string()));
        }
        let refusals = book.refusals();
        assert_eq!(refusals.len(), MOST);
        assert_eq!(refusals[0].decision.reason.as_deref(), Some("1000"));
        assert_eq!(refusals[MOST - 1].decision.reason.as_deref(), Some("1"));
    }

    #[test]
    fn a_difference_belongs_to_each_policy_that_would_have_answered_otherwise() {
        let mut book = Book::default();
        let mut accepted = entry("192.0.2.1", 1, "a", "");
        accepted.decision.outcome = Outcome::Ok;
        let shadow = |policy: &str, would| Shadow { policy: policy.into(), would, reason: None };
        accepted.decision.shadows =
            vec![shadow("a", Would::Reject), shadow("b", Would::Change), shadow("c", Would::Pass)];
        book.add(accepted);
        assert_eq!(book.refusals().len(), 0);
        assert_eq!(["a", "b", "c"].map(|policy| book.differences(policy).len()), [1, 1, 0]);
        book.keep(|policy| policy == "b");
        assert_eq!(["a", "b"].map(|policy| book.differences(policy).len()), [0, 1]);
    }
}
