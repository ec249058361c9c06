//! The series of swarms that nodes share, and what the status shows of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use karuta_swarm::RefusedBatch;
use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::ShareError;
use super::render::{counter, gauge, histogram_of};

/// What is known of the shared swarms. The thread `share` writes it.
pub struct Share {
    start: Instant,
    /// Of the nodes that share.
    pub name: String,
    /// `cluster` or `single`.
    pub topology: &'static str,
    pub parts: Vec<PartSeries>,
    engine: Mutex<Option<ShownEngine>>,
    nodes: Mutex<Vec<ShownNode>>,
    /// Why nothing is shared at all.
    refused: Mutex<Option<String>>,
    /// The start still waits for the log.
    catching_up: AtomicBool,
    errors: [AtomicU64; ShareError::ALL.len()],
    refusals: [AtomicU64; RefusedBatch::REASONS.len()],
    lag: Lag,
}

/// What is known of one part of the swarms, which has a log of its own.
#[derive(Default)]
pub struct PartSeries {
    /// Records, since the start.
    pub sent: AtomicU64,
    pub applied: AtomicU64,
    pub again: AtomicU64,
    pub dropped: AtomicU64,
    /// Bytes, at the moment.
    pub waiting: AtomicU64,
    pub log: AtomicU64,
    state: Mutex<PartState>,
}

#[derive(Default)]
struct PartState {
    /// When the log had been read to its end.
    read: Option<Instant>,
    /// When nothing was left to send, or something was sent.
    sent: Option<Instant>,
    /// Since when there was no success, and the engine's last words, for each direction.
    cut_off: [Option<(Instant, String)>; 2],
}

/// Which way requests for a part go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Append,
    Read,
}

/// The engine, as its servers describe themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownEngine {
    /// Such as `valkey` or `redis`.
    pub kind: String,
    /// How many servers a cluster has.
    pub servers: Option<usize>,
}

/// Another node that shares the swarms.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ShownNode {
    pub name: String,
    pub version: String,
    /// How far it says it is behind.
    pub behind_ms: u64,
}

/// What cuts a part off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutOff {
    pub parts: Vec<usize>,
    /// Of the part that has been for the longest time.
    pub lasts: Duration,
    pub reason: String,
}

/// The upper bounds of the buckets of the lag, in milliseconds.
const BOUNDS: [u64; 12] = [1, 2, 5, 10, 20, 40, 60, 100, 250, 1000, 5000, 60_000];

#[derive(Default)]
struct Lag {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    milliseconds: AtomicU64,
}

impl Share {
    /// Creates the series of so many parts.
    pub fn new(name: &str, topology: &'static str, parts: usize) -> Self {
        Self {
            start: Instant::now(),
            name: name.to_owned(),
            topology,
            parts: std::iter::repeat_with(PartSeries::default).take(parts).collect(),
            engine: Mutex::default(),
            nodes: Mutex::default(),
            refused: Mutex::default(),
            catching_up: AtomicBool::new(true),
            errors: Default::default(),
            refusals: Default::default(),
            lag: Lag::default(),
        }
    }

    pub fn error(&self, error: ShareError) {
        self.errors[error as usize].fetch_add(1, Relaxed);
    }

    /// Counts an entry of the log that was not applied. Returns whether it is the first one with this
    /// reason.
    pub fn refusal(&self, refused: RefusedBatch) -> bool {
        let mut reasons = RefusedBatch::REASONS.iter().zip(&self.refusals);
        let found = reasons.find(|(reason, _)| **reason == refused.reason());
        found.is_some_and(|(_, count)| count.fetch_add(1, Relaxed) == 0)
    }

    /// Returns how many entries of the log were not applied.
    pub fn refusals(&self) -> u64 {
        self.refusals.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Records the time between an entry's arrival in the log and here.
    pub fn lag(&self, milliseconds: u64) {
        let bucket = BOUNDS.iter().position(|bound| milliseconds <= *bound);
        self.lag.buckets[bucket.unwrap_or(BOUNDS.len())].fetch_add(1, Relaxed);
        self.lag.milliseconds.fetch_add(milliseconds, Relaxed);
    }

    pub fn set_engine(&self, engine: ShownEngine) {
        *self.engine.lock() = Some(engine);
    }

    /// Returns what the engine says it is, if it was ever there.
    pub fn engine(&self) -> Option<ShownEngine> {
        self.engine.lock().clone()
    }

    /// Sets the other nodes.
    pub fn set_nodes(&self, nodes: Vec<ShownNode>) {
        *self.nodes.lock() = nodes;
    }

    pub fn nodes(&self) -> Vec<ShownNode> {
        self.nodes.lock().clone()
    }

    /// Sets why nothing is shared; `None`: it is. Returns whether that is news.
    pub fn set_refused(&self, reason: Option<String>) -> bool {
        let mut refused = self.refused.lock();
        let is_news = *refused != reason;
        *refused = reason;
        is_news
    }

    pub fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }

    /// Records that the start waits no longer.
    pub fn started(&self) {
        self.catching_up.store(false, Relaxed);
    }

    pub fn is_catching_up(&self) -> bool {
        self.catching_up.load(Relaxed)
    }

    /// Returns which parts are cut off from the engine.
    pub fn cut_off(&self) -> Option<CutOff> {
        let parts = self.parts.iter().enumerate();
        let off: Vec<_> =
            parts.filter_map(|(part, series)| Some((part, series.cut_off()?))).collect();
        let (_, (since, reason)) = off.iter().min_by_key(|(_, (since, _))| *since)?;
        Some(CutOff {
            parts: off.iter().map(|(part, _)| *part).collect(),
            lasts: since.elapsed(),
            reason: reason.clone(),
        })
    }

    /// Returns how old the oldest news is that this node may lack, or others may lack of it.
    pub fn behind(&self) -> Duration {
        let behind = self.parts.iter().map(|part| part.behind(self.start));
        behind.max().unwrap_or_default()
    }

    /// Returns the size of what waits to be sent, or to come back, in bytes.
    pub fn waiting(&self) -> u64 {
        self.sum(|part| &part.waiting)
    }

    /// Adds a number of all parts.
    pub fn sum(&self, number: impl Fn(&PartSeries) -> &AtomicU64) -> u64 {
        self.parts.iter().map(|part| number(part).load(Relaxed)).sum()
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let names: Vec<String> = (0..self.parts.len()).map(|part| part.to_string()).collect();
        let each = |value: &dyn Fn(&PartSeries) -> f64| {
            let parts = names.iter().zip(&self.parts);
            parts.map(|(name, part)| (vec![("part", &**name)], value(part))).collect()
        };
        let all = |number: fn(&PartSeries) -> &AtomicU64| vec![(vec![], self.sum(number) as f64)];
        let errors = ShareError::ALL.iter().map(|error| {
            let count = self.errors[*error as usize].load(Relaxed);
            (vec![("op", error.name())], count as f64)
        });
        let refusals = RefusedBatch::REASONS.iter().zip(&self.refusals);
        let refusals =
            refusals.map(|(reason, count)| (vec![("reason", *reason)], count.load(Relaxed) as f64));
        let nodes = if self.engine.lock().is_some() { self.nodes.lock().len() + 1 } else { 1 };
        let connected = |part: &PartSeries| f64::from(u8::from(part.is_connected()));
        vec![
            gauge(
                "karuta_share_connected",
                "Whether the part is sent to its log, and read from it.",
                each(&connected),
            ),
            gauge(
                "karuta_share_behind_seconds",
                "Time since the part was last in step with its log.",
                each(&|part| part.behind(self.start).as_secs_f64()),
            ),
            histogram_of(
                "karuta_share_lag_seconds",
                "Time that entries have been in the log when they are applied.",
                &BOUNDS.map(|bound| bound as f64 / 1e3),
                vec![(vec![], self.lag.sum())],
            ),
            counter(
                "karuta_share_sent_total",
                "Records that were sent to the log.",
                all(|part| &part.sent),
            ),
            counter(
                "karuta_share_applied_total",
                "Records of the log that were applied.",
                all(|part| &part.applied),
            ),
            counter(
                "karuta_share_again_total",
                "Records that were sent to the log again.",
                all(|part| &part.again),
            ),
            counter(
                "karuta_share_dropped_total",
                "Records that were dropped because too many waited.",
                all(|part| &part.dropped),
            ),
            counter(
                "karuta_share_refused_total",
                "Entries of the log that were not applied, by reason.",
                refusals.collect(),
            ),
            counter(
                "karuta_share_errors_total",
                "Requests to the engine that failed, by operation.",
                errors.collect(),
            ),
            gauge(
                "karuta_share_waiting_bytes",
                "Size of what waits to be sent, or to come back.",
                all(|part| &part.waiting),
            ),
            gauge(
                "karuta_share_log_bytes",
                "About the size of the entries in the log.",
                each(&|part| part.log.load(Relaxed) as f64),
            ),
            gauge(
                "karuta_share_nodes",
                "Nodes that share the swarms, this one included.",
                vec![(vec![], nodes as f64)],
            ),
        ]
    }
}

impl PartSeries {
    /// Records that the log has been read to its end, as it was at this time.
    pub fn read(&self, at: Instant) {
        self.state.lock().read = Some(at);
    }

    /// Records that something was sent, or that nothing waited.
    pub fn sent(&self, at: Instant) {
        self.state.lock().sent = Some(at);
    }

    /// Records a success. Returns for how long there was none, if both ways are open again.
    pub fn succeeded(&self, direction: Direction) -> Option<Duration> {
        let cut_off = &mut self.state.lock().cut_off;
        let (since, _) = cut_off[direction as usize].take()?;
        cut_off.iter().all(Option::is_none).then(|| since.elapsed())
    }

    /// Records a failure. Returns whether both ways were open before.
    pub fn failed(&self, direction: Direction, reason: &str) -> bool {
        let cut_off = &mut self.state.lock().cut_off;
        let were_open = cut_off.iter().all(Option::is_none);
        let since = cut_off[direction as usize].as_ref().map(|(since, _)| *since);
        let since = since.unwrap_or_else(Instant::now);
        cut_off[direction as usize] = Some((since, reason.to_owned()));
        were_open
    }

    pub fn is_connected(&self) -> bool {
        self.cut_off().is_none() && self.state.lock().read.is_some()
    }

    fn cut_off(&self) -> Option<(Instant, String)> {
        let state = self.state.lock();
        state.cut_off.iter().flatten().min_by_key(|(since, _)| *since).cloned()
    }

    /// Returns the time since all was read and sent; if it never was, since the `start`.
    fn behind(&self, start: Instant) -> Duration {
        let state = self.state.lock();
        let both = state.read.zip(state.sent).map(|(read, sent)| read.min(sent));
        both.unwrap_or(start).elapsed()
    }
}

impl Lag {
    fn sum(&self) -> (Vec<u64>, f64) {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        (buckets, self.milliseconds.load(Relaxed) as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_outage_is_shown_with_all_parts() {
        let share = Share::new("karuta", "cluster", 3);
        assert_eq!(share.cut_off(), None);
        let (append, read) = (Direction::Append, Direction::Read);
        assert!(share.parts[2].failed(read, "refused"));
        assert!(
            !share.parts[2].failed(read, "timed out") && !share.parts[2].failed(append, "full")
        );
        share.parts[1].failed(append, "refused");
        let off = share.cut_off().unwrap();
        assert_eq!((off.parts, &*off.reason), (vec![1, 2], "timed out"));
        assert!(share.parts[2].succeeded(read).is_none(), "it cannot append");
        assert!(share.parts[2].succeeded(append).is_some());
        assert!(share.parts[2].succeeded(append).is_none());
    }
}
