//! What is counted of the site's database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The counters; the applier writes them.
pub struct Counters {
    applied: AtomicU64,
    rows: AtomicU64,
    retries: AtomicU64,
    replayed: AtomicU64,
    lost: AtomicU64,
    rejected: AtomicU64,
    unusable: AtomicU64,
    pending: AtomicU64,
    is_loaded: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Since when nothing can be done, and why. At the start, it is not known yet.
    trouble: Option<Trouble>,
    /// When nothing was left to be played.
    all_in: Instant,
    loaded: Option<Instant>,
}

/// Why nothing is played.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub since: Instant,
    pub reason: String,
    /// Whether trying again does not help.
    pub is_stopped: bool,
}

/// A look at the counters.
#[derive(Clone, Debug)]
pub struct SiteFigures {
    /// Batches since the start that the database has, and the rows in them.
    pub applied: u64,
    pub rows: u64,
    /// Attempts that failed.
    pub retries: u64,
    /// Batches that were played again, into a backup.
    pub replayed: u64,
    /// Batches that a backup lacks, and that are no longer kept.
    pub lost: u64,
    /// Rows that the database has refused, and that are kept.
    pub rejected: u64,
    /// Members, torrents and tokens of the last time that all were read that make no sense.
    pub unusable: u64,
    /// Rows that wait: when they were last counted, less those that the database has since then.
    pub pending: u64,
    /// For how long something has been waiting.
    pub pending_for: Duration,
    /// Since members and torrents were read; `None`: not since the start.
    pub loaded: Option<Duration>,
    /// Whether they were read at least once, maybe before the start.
    pub is_loaded: bool,
    /// `None`: all is well.
    pub trouble: Option<Trouble>,
}

impl Counters {
    pub fn new(is_loaded: bool) -> Self {
        let now = Instant::now();
        let reason = "not connected yet".to_owned();
        let trouble = Some(Trouble { since: now, reason, is_stopped: false });
        Self {
            applied: AtomicU64::default(),
            rows: AtomicU64::default(),
            retries: AtomicU64::default(),
            replayed: AtomicU64::default(),
            lost: AtomicU64::default(),
            rejected: AtomicU64::default(),
            unusable: AtomicU64::default(),
            pending: AtomicU64::default(),
            is_loaded: is_loaded.into(),
            state: Mutex::new(State { trouble, all_in: now, loaded: None }),
        }
    }

    pub fn applied(&self, rows: u64) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let pending = self.pending.load(Ordering::Relaxed);
        // It may be less, since more has come after it was counted. `all_in` makes it 0.
        self.set_pending(pending.saturating_sub(rows).max(pending.min(1)));
    }

    pub fn replayed(&self) {
        self.replayed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn lost(&self, batches: u64) {
        self.lost.fetch_add(batches, Ordering::Relaxed);
    }

    pub fn set_rejected(&self, rows: u64) {
        self.rejected.store(rows, Ordering::Relaxed);
    }

    pub fn set_pending(&self, rows: u64) {
        self.pending.store(rows, Ordering::Relaxed);
    }

    /// Notes that nothing is left to be played.
    pub fn all_in(&self) {
        self.set_pending(0);
        self.state.lock().all_in = Instant::now();
    }

    /// Notes that members and torrents were read; of all of them, how many make no sense.
    pub fn loaded(&self, unusable: Option<u64>) {
        if let Some(unusable) = unusable {
            self.unusable.store(unusable, Ordering::Relaxed);
        }
        self.is_loaded.store(true, Ordering::Relaxed);
        self.state.lock().loaded = Some(Instant::now());
    }

    /// Notes that the database answers.
    pub fn works(&self) {
        if let Some(trouble) = self.state.lock().trouble.take() {
            let seconds = trouble.since.elapsed().as_secs();
            tracing::info!(seconds, "the accounts' database answers");
        }
    }

    /// Notes why the database cannot be used.
    pub fn fails(&self, reason: String, is_stopped: bool) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        let before = state.trouble.as_ref();
        if before.is_none_or(|trouble| trouble.reason != reason) {
            if is_stopped {
                tracing::error!(
                    error = reason,
                    "nothing more is written into the accounts' database"
                );
            } else {
                tracing::warn!(
                    error = reason,
                    "cannot use the accounts' database; what members move waits in accounts.db"
                );
            }
        }
        let since = before.map_or_else(Instant::now, |trouble| trouble.since);
        state.trouble = Some(Trouble { since, reason, is_stopped });
    }

    pub fn figures(&self) -> SiteFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.state.lock();
        let pending = read(&self.pending);
        SiteFigures {
            applied: read(&self.applied),
            rows: read(&self.rows),
            retries: read(&self.retries),
            replayed: read(&self.replayed),
            lost: read(&self.lost),
            rejected: read(&self.rejected),
            unusable: read(&self.unusable),
            pending,
            pending_for: if pending > 0 { state.all_in.elapsed() } else { Duration::ZERO },
            loaded: state.loaded.map(|at| at.elapsed()),
            is_loaded: self.is_loaded.load(Ordering::Relaxed),
            trouble: state.trouble.clone(),
        }
    }
}
