//! The tracker's Prometheus metrics.
//!
//! Each worker thread counts in cells that no other thread writes, so counting needs no lock and
//! shares no cache line. A scrape of `/metrics` adds the cells up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use karuta_accounts::Accounts;
use karuta_bittorrent::{Family, Transport};
use karuta_swarm::Totals;
use parking_lot::Mutex;
use tokio::runtime::RuntimeMetrics;

use crate::data;

#[macro_use]
mod labels;
mod accounts;
mod admin;
mod connections;
mod decisions;
mod exports;
mod kernel;
pub mod plugin;
mod policies;
mod process;
mod public;
mod record;
mod reloads;
mod render;
mod requests;
mod share;
mod site_calls;
mod snapshot;
mod tls;

pub use self::admin::Denied;
pub use self::connections::{ConnectionState, Connections, Presence};
pub use self::decisions::Lost;
pub use self::exports::ExportSeries;
pub use self::kernel::UdpSockets;
pub use self::labels::{
    Action, Cause, FAMILIES, Hook, Outcome, Reload, ShareError, SnapshotOutcome, TRANSPORTS,
    Verdict, Would,
};
pub use self::policies::PolicyCounts;
pub use self::public::{Document, Handed};
pub use self::record::RingFigures;
pub use self::requests::Requests;
pub use self::share::{CutOff, Direction, PartSeries, Share, ShownEngine, ShownNode};
pub use self::site_calls::Obeyed;
pub use self::snapshot::Snapshots;
pub use self::tls::{Handshake, Renewal, ShownCertificate};

/// All counters of the tracker.
pub struct Metrics {
    workers: Mutex<Vec<Arc<Worker>>>,
    policies: Mutex<Vec<Arc<PolicySeries>>>,
    totals: Box<dyn Fn() -> Totals + Send + Sync>,
    reloads: reloads::Reloads,
    connections: Mutex<Vec<Arc<Connections>>>,
    kernel: kernel::Kernel,
    plugins: Arc<plugin::Registry>,
    start: SystemTime,
    data: Mutex<Vec<Arc<data::DataSource>>>,
    tls: tls::Tls,
    admin: admin::Admin,
    decisions: decisions::Decisions,
    site_calls: site_calls::SiteCalls,
    snapshots: Snapshots,
    exports: Mutex<Vec<Arc<ExportSeries>>>,
    public: public::Public,
    share: OnceLock<Arc<Share>>,
    /// Empty where there are none.
    accounts: OnceLock<Arc<Accounts>>,
    /// Empty where there are none.
    rings: OnceLock<Box<dyn Fn() -> RingFigures + Send + Sync>>,
}

/// The counters of one worker thread.
pub struct Worker {
    requests: Vec<Histogram>,
    runtime: OnceLock<RuntimeMetrics>,
}

/// The counters of one worker thread for one policy.
pub struct PolicySeries {
    name: Arc<str>,
    worker: u32,
    calls: Vec<Cell>,
    remembered: Vec<Cell>,
    shadow: [Cell; Would::ALL.len()],
    durations: Vec<Histogram>,
    errors: Vec<Cell>,
    restarts: Cell,
    /// Outcomes that the observer did not get. All threads share this counter.
    dropped: Arc<AtomicU64>,
    /// Bytes.
    memory: AtomicU64,
    failed: AtomicBool,
}

/// The worker number of a control instance.
pub const CONTROL: u32 = u32::MAX;

/// The state of one policy, summed over all threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub instances: usize,
    pub restarts: u64,
    /// Bytes.
    pub memory: u64,
    /// At least one thread has given up on the policy.
    pub failed: bool,
}

/// A counter that one thread writes and others read.
#[derive(Default)]
struct Cell(AtomicU64);

/// A histogram of durations with the upper bounds in [`BOUNDS`].
struct Histogram {
    buckets: [Cell; BOUNDS.len() + 1],
    nanoseconds: Cell,
}

/// Upper bounds of the buckets, in nanoseconds. A tracker answers within microseconds.
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

impl Cell {
    /// Adds to the cell. Only the thread that owns the cell calls this.
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    /// Takes 1 from the cell. Only the thread that owns the cell calls this.
    fn take_one(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
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
    /// Creates empty metrics. `totals` is called at each scrape.
    pub fn new(totals: impl Fn() -> Totals + Send + Sync + 'static) -> Self {
        Self {
            workers: Mutex::default(),
            policies: Mutex::default(),
            totals: Box::new(totals),
            reloads: reloads::Reloads::default(),
            connections: Mutex::default(),
            kernel: kernel::Kernel::default(),
            plugins: Arc::default(),
            start: SystemTime::now(),
            data: Mutex::default(),
            tls: tls::Tls::default(),
            admin: admin::Admin::default(),
            decisions: decisions::Decisions::default(),
            site_calls: site_calls::SiteCalls::default(),
            snapshots: Snapshots::default(),
            exports: Mutex::default(),
            public: public::Public::default(),
            share: OnceLock::new(),
            accounts: OnceLock::new(),
            rings: OnceLock::new(),
        }
    }

    /// Adds a worker thread, and returns its cells.
    pub fn worker(&self) -> Arc<Worker> {
        let count = TRANSPORTS.len() * Action::ALL.len() * FAMILIES.len() * Outcome::ALL.len();
        let worker =
            Arc::new(Worker { requests: many(count, Histogram::new), runtime: OnceLock::new() });
        self.workers.lock().push(worker.clone());
        worker
    }

    /// Returns the cells of one worker for a policy. Reloads of the policy keep them.
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

    /// Sums the state of a policy over all threads.
    pub fn summary(&self, policy: &str) -> Summary {
        let all = self.policies.lock();
        all.iter().filter(|one| &*one.name == policy).fold(Summary::default(), |sum, one| Summary {
            instances: sum.instances + usize::from(one.memory.load(Relaxed) > 0),
            restarts: sum.restarts + one.restarts.get(),
            memory: sum.memory + one.memory.load(Relaxed),
            failed: sum.failed || one.failed.load(Relaxed),
        })
    }

    /// Returns the registry of series that plugins define.
    pub fn plugins(&self) -> Arc<plugin::Registry> {
        self.plugins.clone()
    }

    /// Sets the data sources in use.
    pub fn set_data(&self, sources: Vec<Arc<data::DataSource>>) {
        *self.data.lock() = sources;
    }

    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Begins to show what is known of shared swarms.
    pub fn set_share(&self, share: Arc<Share>) {
        // They are shared by one thread.
        let _ = self.share.set(share);
    }

    /// Returns what is known of shared swarms; `None`: they are not shared.
    pub fn share(&self) -> Option<&Arc<Share>> {
        self.share.get()
    }

    /// Returns the swarms and peers of all torrents.
    pub fn totals(&self) -> Totals {
        (self.totals)()
    }

    /// Returns the number of requests so far, however they ended.
    pub fn requests(&self) -> u64 {
        let workers = self.workers.lock();
        let histograms = workers.iter().flat_map(|worker| &worker.requests);
        histograms.flat_map(|histogram| &histogram.buckets).map(Cell::get).sum()
    }

    /// Returns all series in the Prometheus text format.
    pub fn render(&self) -> String {
        render::text(self)
    }
}

impl Worker {
    /// Sets the runtime of the thread, whose busy time is shown.
    pub fn runs_on(&self, runtime: RuntimeMetrics) {
        // A worker has one.
        let _ = self.runtime.set(runtime);
    }

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

    /// Counts a remembered verdict, for which no call was made.
    pub fn remembered(&self, hook: Hook, verdict: Verdict) {
        self.remembered[call_index(hook, verdict)].add(1);
    }

    pub fn shadow(&self, would: Would) {
        self.shadow[would as usize].add(1);
    }

    /// Records the duration of a sampled call. Reading the clock for each call would make a trivial
    /// call 10% slower.
    pub fn duration(&self, hook: Hook, verdict: Verdict, duration: Duration) {
        self.durations[call_index(hook, verdict)].observe(duration);
    }

    pub fn error(&self, hook: Hook, cause: Cause) {
        self.errors[error_index(hook, cause)].add(1);
    }

    pub fn restart(&self) {
        self.restarts.add(1);
    }

    /// Returns the counter of outcomes that the observer did not get.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    pub fn count_dropped(&self, outcomes: u64) {
        self.dropped.fetch_add(outcomes, Relaxed);
    }

    /// Records whether the thread has given up on the policy.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Relaxed);
    }

    /// Sets the memory of the instance, in bytes.
    pub fn memory(&self, bytes: usize) {
        self.memory.store(bytes as u64, Relaxed);
    }
}
