//! The series of snapshots.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use karuta_swarm::Totals;
use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::SnapshotOutcome;
use super::render::{counter, gauge, peers};
use crate::time;

/// What is known of snapshots; the numbers are 0 if there is none.
#[derive(Default)]
pub struct Snapshots {
    /// When the swarms were as in the newest one: milliseconds since 1970.
    created: AtomicU64,
    microseconds: AtomicU64,
    bytes: AtomicU64,
    outcomes: [AtomicU64; SnapshotOutcome::ALL.len()],
    restored: Mutex<Option<Totals>>,
    /// Why the last attempt failed.
    error: Mutex<Option<String>>,
}

impl Snapshots {
    /// Records what this process began with, of a snapshot from `created`.
    pub fn restored(&self, created: u64, totals: Totals) {
        self.created.store(created, Relaxed);
        *self.restored.lock() = Some(totals);
    }

    /// Records a new snapshot.
    pub fn written(&self, created: u64, took: Duration, bytes: u64) {
        self.created.store(created, Relaxed);
        self.microseconds.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.bytes.store(bytes, Relaxed);
        *self.error.lock() = None;
        self.count(SnapshotOutcome::Written);
    }

    /// Records an attempt that failed. Returns whether the one before it did not.
    pub fn failed(&self, reason: String) -> bool {
        self.count(SnapshotOutcome::Failed);
        self.error.lock().replace(reason).is_none()
    }

    pub fn count(&self, outcome: SnapshotOutcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Returns when the swarms were as in the newest one, in milliseconds since 1970, if there is one.
    pub fn created(&self) -> Option<u64> {
        Some(self.created.load(Relaxed)).filter(|created| *created > 0)
    }

    /// Returns how many peers this process began with; `None`: it has restored nothing.
    pub fn restored_peers(&self) -> Option<u64> {
        let Totals { ipv4, ipv6, .. } = (*self.restored.lock())?;
        Some([ipv4, ipv6].iter().map(|family| family.seeders + family.leechers).sum())
    }

    /// Returns the age of the newest one, if there is one.
    pub fn age(&self) -> Option<Duration> {
        let created = self.created()?;
        let now = time::since_1970();
        Some(now.saturating_sub(Duration::from_millis(created)))
    }

    /// Returns the size of the one that this process wrote last, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let created = self.created.load(Relaxed);
        let if_any = |value: f64| Vec::from_iter((created > 0).then_some((vec![], value)));
        let bytes = self.bytes();
        let if_written = |value: f64| Vec::from_iter((bytes > 0).then_some((vec![], value)));
        let outcomes = SnapshotOutcome::ALL.iter().map(|outcome| {
            let count = self.outcomes[*outcome as usize].load(Relaxed);
            (vec![("outcome", outcome.name())], count as f64)
        });
        let restored = *self.restored.lock();
        vec![
            gauge(
                "karuta_snapshot_timestamp_seconds",
                "Time of the newest snapshot, in seconds since 1970.",
                if_any(created as f64 / 1e3),
            ),
            gauge(
                "karuta_snapshot_duration_seconds",
                "Time that the newest snapshot took.",
                if_written(self.microseconds.load(Relaxed) as f64 / 1e6),
            ),
            gauge(
                "karuta_snapshot_size_bytes",
                "Size of the newest snapshot.",
                if_written(bytes as f64),
            ),
            counter("karuta_snapshots_total", "Snapshots, by outcome.", outcomes.collect()),
            gauge(
                "karuta_restored_peers",
                "Peers that were restored at the start.",
                restored.map(peers).unwrap_or_default(),
            ),
        ]
    }
}
