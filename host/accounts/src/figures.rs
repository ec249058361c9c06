//! What is counted of the books.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The counters; the ledger writes them, but for `dropped`.
#[derive(Default)]
pub struct Counters {
    written: AtomicU64,
    batches: AtomicU64,
    writing_nanoseconds: AtomicU64,
    pub(crate) dropped: AtomicU64,
    suspect: AtomicU64,
    surplus: AtomicU64,
    failures: AtomicU64,
    sessions: AtomicI64,
    bytes: AtomicU64,
    spent: AtomicU64,
    failing: Mutex<Option<Failing>>,
    /// Since when a transaction is under way.
    under_way: Mutex<Option<Instant>>,
}

/// A transaction that has not ended. Dropping it notes the end.
pub struct UnderWay<'a>(&'a Mutex<Option<Instant>>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// A transaction that takes longer cannot be written: the disk stands still.
const STILL: Duration = Duration::from_secs(5);

/// Since when nothing can be written, and why.
#[derive(Clone, Debug)]
pub struct Failing {
    pub since: Instant,
    pub reason: String,
}

/// A look at the counters.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Announces in the books.
    pub written: u64,
    pub batches: u64,
    /// The time that they took.
    pub writing: Duration,
    /// Announces that a full queue has dropped.
    pub dropped: u64,
    /// Announces that exceeded the guard's rate.
    pub suspect: u64,
    /// Announces of more peers than a member may have at a torrent.
    pub surplus: u64,
    /// Attempts to write that failed.
    pub failures: u64,
    pub sessions: u64,
    /// The size of the file.
    pub bytes: u64,
    /// Tokens that are used up, of which the site has not been told.
    pub spent: u64,
    /// Announces that wait to be written.
    pub waiting: u64,
    /// `None`: all is well.
    pub failing: Option<Failing>,
}

impl Counters {
    pub(crate) fn set_spent(&self, tokens: u64) {
        self.spent.store(tokens, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, announces: usize, took: Duration, bytes: u64) {
        self.written.fetch_add(announces as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.writing_nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        if let Some(failing) = self.failing.lock().take() {
            let seconds = failing.since.elapsed().as_secs();
            tracing::info!(seconds, "writing accounts again");
        }
    }

    /// Notes that a transaction begins.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        *self.under_way.lock() = Some(Instant::now());
        UnderWay(&self.under_way)
    }

    /// Returns why nothing can be written `now`, if so.
    fn failing(&self, now: Instant) -> Option<Failing> {
        let failing = self.failing.lock().clone();
        failing.or_else(|| {
            let since = (*self.under_way.lock())?;
            let is_still = now.saturating_duration_since(since) >= STILL;
            is_still.then(|| Failing { since, reason: "a transaction has not ended".to_owned() })
        })
    }

    /// Returns whether the last transaction failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failing.lock().is_some()
    }

    pub(crate) fn failed(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing.lock();
        if failing.as_ref().is_none_or(|failing| failing.reason != reason) {
            tracing::error!(
                error = reason,
                "cannot write accounts; all totals stay as they are until that is possible again"
            );
        }
        let since = failing.as_ref().map_or_else(Instant::now, |failing| failing.since);
        *failing = Some(Failing { since, reason: reason.to_owned() });
    }

    pub(crate) fn met(&self, suspect: u64, surplus: u64) {
        self.suspect.fetch_add(suspect, Ordering::Relaxed);
        self.surplus.fetch_add(surplus, Ordering::Relaxed);
    }

    pub(crate) fn add_sessions(&self, more: i64) {
        self.sessions.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn sessions(&self) -> u64 {
        u64::try_from(self.sessions.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self, waiting: usize) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            written: read(&self.written),
            batches: read(&self.batches),
            writing: Duration::from_nanos(read(&self.writing_nanoseconds)),
            dropped: read(&self.dropped),
            suspect: read(&self.suspect),
            surplus: read(&self.surplus),
            failures: read(&self.failures),
            sessions: self.sessions(),
            bytes: read(&self.bytes),
            spent: read(&self.spent),
            waiting: waiting as u64,
            failing: self.failing(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_does_not_end_is_a_failure() {
        let counters = Counters::default();
        let failing = |after: Duration| counters.failing(Instant::now() + after).is_some();
        let under_way = counters.begin();
        assert!(!failing(Duration::ZERO));
        assert!(failing(STILL));
        drop(under_way);
        assert!(!failing(STILL));
    }
}
