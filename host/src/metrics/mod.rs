//! What the tracker counts, for Prometheus.
//!
//! Each worker thread counts for itself, in cells that nobody else writes, so that counting costs
//! neither a lock nor a shared cache line; a scrape of `/metrics` adds them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use karuta_bittorrent::{Family, Transport};
use karuta_swarm::Totals;
use parking_lot::Mutex;

pub mod plugin;
mod render;

use crate::data;

/// Everything that is counted.
pub struct Metrics {
    workers: Mutex<Vec<Arc<Worker>>>,
    policies: Mutex<Vec<Arc<PolicySeries>>>,
    totals: Box<dyn Fn() -> Totals + Send + Sync>,
    generation: AtomicU64,
    reloads: [AtomicU64; Reload::ALL.len()],
    plugins: Arc<plugin::Registry>,
    data: Mutex<Vec<Arc<data::DataSource>>>,
}

/// What one worker thread counts of requests.
pub struct Worker {
    requests: Vec<Histogram>,
}

/// What one worker thread counts of one policy.
pub struct PolicySeries {
    name: Arc<str>,
    worker: u32,
    calls: Vec<Cell>,
    remembered: Vec<Cell>,
    shadow: [Cell; Would::ALL.len()],
    durations: Vec<Histogram>,
    errors: Vec<Cell>,
    restarts: Cell,
    /// Outcomes that the observer was not told; all threads count them.
    dropped: Arc<AtomicU64>,
    /// Bytes.
    memory: AtomicU64,
    failed: AtomicBool,
}

/// The place of a control instance, where workers have their number.
pub const CONTROL: u32 = u32::MAX;

/// What all threads together say of one policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub instances: usize,
    pub restarts: u64,
    /// Bytes.
    pub memory: u64,
    /// Some thread has given up on it.
    pub failed: bool,
}

/// A number that one thread counts and others read.
#[derive(Default)]
struct Cell(AtomicU64);

/// Durations by the upper bounds in [`BOUNDS`].
struct Histogram {
    buckets: [Cell; BOUNDS.len() + 1],
    nanoseconds: Cell,
}

/// Upper bounds of the buckets, in nanoseconds: a tracker answers within microseconds.
const BOUNDS: [u64; 14] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    1_000_000_000,
];

/// Declares an enum of label values with all of them in a table.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value as a label has it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// What a client asks for.
    Action { Connect => "connect", Announce => "announce", Scrape => "scrape" }
}

label! {
    /// How a request ended.
    Outcome {
        Ok => "ok",
        Rejected => "rejected",
        Dropped => "dropped",
        Invalid => "invalid",
        Error => "error",
    }
}

label! {
    /// A function that plugins export.
    Hook {
        Announce => "announce",
        Scrape => "scrape",
        Rank => "rank",
        Observe => "observe",
        Data => "data",
        Tick => "tick",
        Init => "init",
    }
}

label! {
    /// How a reload ended.
    Reload { Applied => "applied", Unchanged => "unchanged", Refused => "refused" }
}

label! {
    /// How a call of a hook ended.
    Verdict {
        Next => "next",
        Accept => "accept",
        Reject => "reject",
        Drop => "drop",
        Ok => "ok",
        Error => "error",
    }
}

label! {
    /// What a policy in shadow mode would have done.
    Would {
        Pass => "pass",
        Reject => "reject",
        Drop => "drop",
        Change => "change",
        Error => "error",
    }
}

label! {
    /// Why a call did not return.
    Cause {
        Trap => "trap",
        Deadline => "deadline",
        Memory => "memory",
        Stack => "stack",
        Host => "host",
        Refused => "refused",
        Unavailable => "unavailable",
    }
}

const TRANSPORTS: [(Transport, &str); 3] =
    [(Transport::Udp, "udp"), (Transport::Http, "http"), (Transport::Https, "https")];
const FAMILIES: [(Family, &str); 2] = [(Family::Ipv4, "ipv4"), (Family::Ipv6, "ipv6")];

impl Cell {
    /// Only ever called by the thread that owns the cell.
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: Default::default(), nanoseconds: Cell::default() }
    }

    fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].add(1);
        self.nanoseconds.add(nanoseconds);
    }
}

fn request_index(transport: Transport, action: Action, family: Family, outcome: Outcome) -> usize {
    ((transport as usize * Action::ALL.len() + action as usize) * FAMILIES.len() + family as usize)
        * Outcome::ALL.len()
        + outcome as usize
}

fn call_index(hook: Hook, verdict: Verdict) -> usize {
    hook as usize * Verdict::ALL.len() + verdict as usize
}

fn error_index(hook: Hook, cause: Cause) -> usize {
    hook as usize * Cause::ALL.len() + cause as usize
}

fn many<T>(count: usize, one: impl Fn() -> T) -> Vec<T> {
    std::iter::repeat_with(one).take(count).collect()
}

impl Metrics {
    /// `totals` is asked at each scrape.
    pub fn new(totals: impl Fn() -> Totals + Send + Sync + 'static) -> Self {
        Self {
            workers: Mutex::default(),
            policies: Mutex::default(),
            totals: Box::new(totals),
            generation: AtomicU64::new(0),
            reloads: Default::default(),
            plugins: Arc::default(),
            data: Mutex::default(),
        }
    }

    /// The cells of one more worker thread.
    pub fn worker(&self) -> Arc<Worker> {
        let count = TRANSPORTS.len() * Action::ALL.len() * FAMILIES.len() * Outcome::ALL.len();
        let worker = Arc::new(Worker { requests: many(count, Histogram::new) });
        self.workers.lock().push(worker.clone());
        worker
    }

    /// The cells of one worker for a policy. They stay when the policy is reloaded.
    pub fn policy(&self, name: &Arc<str>, worker: u32) -> Arc<PolicySeries> {
        let mut policies = self.policies.lock();
        let known = policies.iter().find(|known| known.name == *name && known.worker == worker);
        if let Some(known) = known {
            return known.clone();
        }
        let calls = Hook::ALL.len() * Verdict::ALL.len();
        let policy = Arc::new(PolicySeries {
            name: name.clone(),
            worker,
            calls: many(calls, Cell::default),
            remembered: many(calls, Cell::default),
            shadow: Default::default(),
            durations: many(calls, Histogram::new),
            errors: many(Hook::ALL.len() * Cause::ALL.len(), Cell::default),
            restarts: Cell::default(),
            dropped: Arc::default(),
            memory: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        });
        policies.push(policy.clone());
        policy
    }

    /// Adds up what the threads say of a policy.
    pub fn summary(&self, policy: &str) -> Summary {
        let all = self.policies.lock();
        all.iter().filter(|one| &*one.name == policy).fold(Summary::default(), |sum, one| Summary {
            instances: sum.instances + usize::from(one.memory.load(Relaxed) > 0),
            restarts: sum.restarts + one.restarts.get(),
            memory: sum.memory + one.memory.load(Relaxed),
            failed: sum.failed || one.failed.load(Relaxed),
        })
    }

    /// The series that plugins make for themselves.
    pub fn plugins(&self) -> Arc<plugin::Registry> {
        self.plugins.clone()
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Says which generation of the configuration serves.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Relaxed);
    }

    /// Says which data sources serve.
    pub fn set_data(&self, sources: Vec<Arc<data::DataSource>>) {
        *self.data.lock() = sources;
    }

    /// Counts a reload.
    pub fn reload(&self, outcome: Reload) {
        self.reloads[outcome as usize].fetch_add(1, Relaxed);
    }

    /// All series in the text format of Prometheus.
    pub fn render(&self) -> String {
        render::text(self)
    }
}

impl Worker {
    pub fn request(
        &self,
        transport: Transport,
        action: Action,
        family: Family,
        outcome: Outcome,
        duration: Duration,
    ) {
        self.requests[request_index(transport, action, family, outcome)].observe(duration);
    }
}

impl PolicySeries {
    pub fn call(&self, hook: Hook, verdict: Verdict) {
        self.calls[call_index(hook, verdict)].add(1);
    }

    /// A verdict that was remembered, so that no call was made.
    pub fn remembered(&self, hook: Hook, verdict: Verdict) {
        self.remembered[call_index(hook, verdict)].add(1);
    }

    pub fn shadow(&self, would: Would) {
        self.shadow[would as usize].add(1);
    }

    /// Durations are sampled: reading the clock for each call would cost a tenth of a flat one.
    pub fn duration(&self, hook: Hook, verdict: Verdict, duration: Duration) {
        self.durations[call_index(hook, verdict)].observe(duration);
    }

    pub fn error(&self, hook: Hook, cause: Cause) {
        self.errors[error_index(hook, cause)].add(1);
    }

    pub fn restart(&self) {
        self.restarts.add(1);
    }

    /// Where those are counted that the observer was not told.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    pub fn count_dropped(&self, outcomes: u64) {
        self.dropped.fetch_add(outcomes, Relaxed);
    }

    /// Says whether the thread has given up on the policy.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Relaxed);
    }

    /// Bytes that the instance uses.
    pub fn memory(&self, bytes: usize) {
        self.memory.store(bytes as u64, Relaxed);
    }
}
