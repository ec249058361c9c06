//! Notes the decisions of one worker, without ever waiting.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Decisions;
use super::decision::{Wanted, differs};
use super::log::Wish;
use super::record::{self, Seen, named};
use crate::exchange::{Exchange, Ruling};
use crate::metrics::{Action, Outcome, Would};
use crate::time;

/// The most bytes of a worker's decisions that wait to be read. Half of them are for those who were
/// refused.
const MOST: usize = 256 * 1024;

/// A worker's end.
pub struct Recorder {
    decisions: Arc<Decisions>,
    feed: Arc<Feed>,
    /// Decisions that were made while the reader took the ones before.
    held: Vec<u8>,
    rng: SmallRng,
    generation: u64,
}

/// What lies between a worker and the reader.
#[derive(Default)]
pub struct Feed {
    waiting: Mutex<Vec<u8>>,
    /// Decisions for which there was no room. Only the worker writes it.
    dropped: AtomicU64,
}

impl Feed {
    /// Swaps what waits with an empty buffer.
    pub fn take(&self, empty: &mut Vec<u8>) {
        std::mem::swap(&mut *self.waiting.lock(), empty);
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Only the worker calls this.
    fn count_dropped(&self) {
        self.dropped.store(self.dropped() + 1, Relaxed);
    }
}

impl Recorder {
    pub(super) fn new(decisions: Arc<Decisions>, feed: Arc<Feed>) -> Self {
        let rng = SmallRng::from_os_rng();
        Self { decisions, feed, held: Vec::new(), rng, generation: 0 }
    }

    /// Sets the generation of later decisions.
    pub fn adopt(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Returns whether somebody wants to know of requests that nobody refuses.
    pub fn is_watched(&self) -> bool {
        self.decisions.is_watched()
    }

    /// Notes a decision, if it is a refusal or a policy in shadow mode would have made another one,
    /// or if somebody wants it. `limit` is what has refused a request that no policy has.
    pub fn note<'a>(
        &mut self,
        exchange: &'a Exchange,
        action: Action,
        limit: &'static str,
        credential: impl FnOnce() -> Option<Cow<'a, str>>,
    ) {
        let outcome = match exchange.answer.ruling {
            Ruling::Open | Ruling::Accepted => Outcome::Ok,
            Ruling::Rejected => Outcome::Rejected,
            Ruling::Dropped => Outcome::Dropped,
        };
        let decided_by = exchange.answer.decided_by.as_deref();
        let decided_by = decided_by.or((outcome != Outcome::Ok).then_some(limit));
        let is_shadowed = exchange.trace.get().is_some_and(|trace| {
            let would = |name| named(Would::ALL, Would::name, name);
            let mut shadows = trace.shadows();
            shadows.any(|(_, name, _)| would(name).is_some_and(|would| differs(would, outcome)))
        });
        let wanted = match self.is_watched() {
            true => self.wanted(exchange, outcome, is_shadowed, decided_by),
            false => Wanted::default(),
        };
        if outcome == Outcome::Ok && !is_shadowed && wanted == Wanted::default() {
            return;
        }
        let Self { feed, held, generation, .. } = self;
        // The reader only swaps a buffer under the lock, but it may be interrupted there.
        let mut waiting = feed.waiting.try_lock();
        let out = match &mut waiting {
            Some(waiting) => {
                waiting.append(held);
                &mut **waiting
            }
            None => held,
        };
        let before = out.len();
        let most = if outcome == Outcome::Ok { MOST / 2 } else { MOST };
        if before >= most {
            return feed.count_dropped();
        }
        let credential = credential();
        let since_1970 = time::since_1970();
        let seen = Seen {
            action,
            outcome,
            decided_by,
            credential: credential.as_deref(),
            generation: *generation,
            took: u64::try_from(exchange.now.elapsed().as_nanos()).unwrap_or(u64::MAX),
            unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            wanted,
        };
        record::write(out, exchange, &seen);
        if out.len() > most {
            out.truncate(before);
            feed.count_dropped();
        }
    }

    fn wanted(
        &mut self,
        exchange: &Exchange,
        outcome: Outcome,
        is_shadowed: bool,
        decided_by: Option<&str>,
    ) -> Wanted {
        let failed =
            exchange.trace.get().is_some_and(|trace| trace.steps().iter().any(|step| step.failed));
        let log = match self.decisions.wish(outcome, is_shadowed, failed) {
            Wish::No => false,
            Wish::Yes => true,
            Wish::OneIn(many) => self.rng.random_range(0..many.get()) == 0,
        };
        Wanted { log, taps: self.decisions.taps.that_want(exchange, outcome, decided_by) }
    }

    /// Hands over what the reader was in the way of. Called between requests.
    pub fn hand_over(&mut self) {
        if !self.held.is_empty()
            && let Some(mut waiting) = self.feed.waiting.try_lock()
        {
            waiting.append(&mut self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn rejected() -> Exchange {
        let mut exchange = Exchange::default();
        exchange.answer.ruling = Ruling::Rejected;
        exchange
    }

    fn decisions() -> Arc<Decisions> {
        Arc::new(Decisions::new(Arc::new(Metrics::new(Default::default))))
    }

    #[test]
    fn a_request_that_nobody_refuses_is_noted_only_for_those_who_ask() {
        let decisions = decisions();
        let mut recorder = decisions.recorder();
        let accepted = Exchange::default();
        recorder.note(&accepted, Action::Announce, "", || panic!("no need"));
        assert!(recorder.feed.waiting.lock().is_empty());
        recorder.note(&rejected(), Action::Announce, "tracker.limits", || None);
        let refusals = decisions.refusals();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].decision.decided_by.as_deref(), Some("tracker.limits"));
    }

    #[test]
    fn a_full_feed_drops_and_counts() {
        let decisions = decisions();
        let mut recorder = decisions.recorder();
        let exchange = rejected();
        let many = 10_000;
        for _ in 0..many {
            recorder.note(&exchange, Action::Announce, "", || None);
        }
        let dropped = recorder.feed.dropped();
        assert!((1000..many).contains(&dropped), "{dropped}");
        assert!(recorder.feed.waiting.lock().len() <= MOST);
        assert_eq!(decisions.refusals().len(), 1000);
        assert_eq!(decisions.lost(), dropped);
        recorder.note(&exchange, Action::Announce, "", || None);
        assert_eq!(recorder.feed.dropped(), dropped, "there is room again");
    }

    #[test]
    fn a_reader_that_holds_the_lock_is_not_waited_for() {
        let decisions = decisions();
        let mut recorder = decisions.recorder();
        let feed = recorder.feed.clone();
        let reading = feed.waiting.lock();
        recorder.note(&rejected(), Action::Announce, "", || None);
        recorder.hand_over();
        drop(reading);
        assert!(decisions.refusals().is_empty());
        recorder.hand_over();
        assert_eq!(decisions.refusals().len(), 1);
    }
}
