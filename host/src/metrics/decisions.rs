//! What is counted about the log of decisions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto::MetricFamily;

use super::render::counter;
use super::{Metrics, Would};

label! {
    /// Why a decision is not in the log.
    Lost {
        Ring => "ring",
        Limit => "limit",
        Queue => "queue",
        Write => "write",
        Spool => "spool",
        Refused => "refused",
    }
}

#[derive(Default)]
pub(super) struct Decisions {
    lost: [AtomicU64; Lost::ALL.len()],
}

impl Metrics {
    /// Counts decisions that are not in the log.
    pub fn decisions_lost(&self, reason: Lost, count: u64) {
        self.decisions.lost[reason as usize].fetch_add(count, Relaxed);
    }

    /// Returns what a policy in shadow mode would have done so far, over all threads.
    pub fn shadow_counts(&self, policy: &str) -> [(&'static str, u64); Would::ALL.len()] {
        let policies = self.policies.lock();
        let mut counts = [("", 0); Would::ALL.len()];
        for (count, would) in counts.iter_mut().zip(Would::ALL) {
            let threads = policies.iter().filter(|thread| &*thread.name == policy);
            let sum = threads.map(|thread| thread.shadow[*would as usize].get()).sum();
            *count = (would.name(), sum);
        }
        counts
    }
}

impl Decisions {
    pub(super) fn family(&self) -> MetricFamily {
        let lost = Lost::ALL.iter().map(|reason| {
            let count = self.lost[*reason as usize].load(Relaxed);
            (vec![("reason", reason.name())], count as f64)
        });
        counter(
            "karuta_decision_log_dropped_total",
            "Decisions that are not in the log of decisions, by reason.",
            lost.collect(),
        )
    }
}
