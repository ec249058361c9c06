//! What is counted about the admin API.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::counter;

label! {
    /// Why a request to the admin API was refused.
    Denied {
        Origin => "origin",
        Host => "host",
        Missing => "missing",
        Wrong => "wrong",
        Right => "right",
        Limited => "limited",
    }
}

#[derive(Default)]
pub(super) struct Admin {
    denied: [AtomicU64; Denied::ALL.len()],
}

impl Metrics {
    /// Counts a refused request to the admin API.
    pub fn denied(&self, reason: Denied) {
        self.admin.denied[reason as usize].fetch_add(1, Relaxed);
    }
}

impl Admin {
    pub(super) fn family(&self) -> MetricFamily {
        let denied = Denied::ALL.iter().map(|reason| {
            let count = self.denied[*reason as usize].load(Relaxed);
            (vec![("reason", reason.name())], count as f64)
        });
        counter(
            "karuta_admin_failures_total",
            "Requests to the admin API that were refused, by reason.",
            denied.collect(),
        )
    }
}
