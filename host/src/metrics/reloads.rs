//! The series of the configuration: which one serves, and how its reloads went.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::render::{counter, gauge};
use super::{Metrics, Reload};

#[derive(Default)]
pub(super) struct Reloads {
    generation: AtomicU64,
    outcomes: [AtomicU64; Reload::ALL.len()],
    /// The generation that serves in place of the configuration file; 0: none does.
    pinned: AtomicU64,
    configured: Mutex<Option<Configured>>,
}

/// The configuration in use.
#[derive(Clone, Copy)]
struct Configured {
    hash: u64,
    since: SystemTime,
    /// The last reload was not refused.
    is_newest: bool,
}

impl Metrics {
    pub fn generation(&self) -> u64 {
        self.reloads.generation.load(Relaxed)
    }

    /// Sets the generation of the configuration in use.
    pub fn set_generation(&self, generation: u64) {
        self.reloads.generation.store(generation, Relaxed);
    }

    /// Returns the generation that serves in place of the configuration file.
    pub fn pinned(&self) -> Option<u64> {
        Some(self.reloads.pinned.load(Relaxed)).filter(|generation| *generation > 0)
    }

    /// Records which generation serves in place of the configuration file.
    pub fn set_pinned(&self, generation: Option<u64>) {
        self.reloads.pinned.store(generation.unwrap_or(0), Relaxed);
    }

    /// Records that a configuration file was accepted. Its hash is a number of at most 53 bits.
    pub fn configured(&self, hash: u64) {
        let configured = Configured { hash, since: SystemTime::now(), is_newest: true };
        *self.reloads.configured.lock() = Some(configured);
    }

    /// Counts a reload.
    pub fn reload(&self, outcome: Reload) {
        self.reloads.outcomes[outcome as usize].fetch_add(1, Relaxed);
        if let (Reload::Refused, Some(one)) = (outcome, &mut *self.reloads.configured.lock()) {
            one.is_newest = false;
        }
    }
}

impl Reloads {
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let configured = *self.configured.lock();
        let if_any = |value: fn(Configured) -> f64| {
            Vec::from_iter(configured.map(|configured| (vec![], value(configured))))
        };
        let outcomes = Reload::ALL.iter().map(|outcome| {
            let count = self.outcomes[*outcome as usize].load(Relaxed);
            (vec![("outcome", outcome.name())], count as f64)
        });
        vec![
            gauge(
                "karuta_generation",
                "Generation of the configuration in use.",
                vec![(vec![], self.generation.load(Relaxed) as f64)],
            ),
            counter(
                "karuta_reloads_total",
                "Configuration reloads, by outcome.",
                outcomes.collect(),
            ),
            gauge(
                "karuta_config_last_reload_successful",
                "Whether the last reload was accepted; 1 if there was none.",
                if_any(|one| f64::from(u8::from(one.is_newest))),
            ),
            gauge(
                "karuta_config_last_reload_success_timestamp_seconds",
                "Time of the start or the last accepted reload, in seconds since 1970.",
                if_any(|one| {
                    one.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
                }),
            ),
            gauge(
                "karuta_configuration_pinned",
                "Whether an earlier generation serves in place of the configuration file.",
                vec![(vec![], f64::from(u8::from(self.pinned.load(Relaxed) > 0)))],
            ),
            gauge(
                "karuta_config_hash",
                "First 48 bits of the SHA-256 of the configuration file in use, as a number.",
                if_any(|one| one.hash as f64),
            ),
        ]
    }
}
