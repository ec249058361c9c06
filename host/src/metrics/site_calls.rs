//! What is counted about the calls of sites that are made for other trackers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::counter;

label! {
    /// What became of a call.
    Obeyed { Done => "done", Nothing => "nothing", Refused => "refused", Failed => "failed" }
}

/// By the action and by what became of it.
type Calls = Mutex<BTreeMap<(&'static str, &'static str), u64>>;

#[derive(Default)]
pub(super) struct SiteCalls {
    gazelle: Calls,
    unit3d: Calls,
    /// Tokens that a Gazelle was told of, and attempts that failed.
    told: AtomicU64,
    not_told: AtomicU64,
}

impl Metrics {
    /// Counts a call of a Gazelle.
    pub fn gazelle_called(&self, action: &'static str, obeyed: Obeyed) {
        count(&self.site_calls.gazelle, action, obeyed);
    }

    /// Counts an attempt to tell the site of tokens that are used up, which it has told of so many.
    pub fn told_spent<E>(&self, told: Result<usize, E>) {
        match told {
            Ok(tokens) => self.site_calls.told.fetch_add(tokens as u64, Relaxed),
            Err(_) => self.site_calls.not_told.fetch_add(1, Relaxed),
        };
    }

    /// Counts a call of a UNIT3D.
    pub fn unit3d_called(&self, action: &'static str, obeyed: Obeyed) {
        count(&self.site_calls.unit3d, action, obeyed);
    }
}

fn count(calls: &Calls, action: &'static str, obeyed: Obeyed) {
    *calls.lock().entry((action, obeyed.name())).or_default() += 1;
}

impl SiteCalls {
    /// Returns nothing of the calls of a site before the first one.
    pub(super) fn families(&self) -> [MetricFamily; 4] {
        let one = |counter: &AtomicU64| vec![(vec![], counter.load(Relaxed) as f64)];
        let family = |name, help, calls: &Calls| {
            let calls = calls.lock();
            let samples = calls.iter().map(|((action, obeyed), count)| {
                (vec![("action", *action), ("result", *obeyed)], *count as f64)
            });
            counter(name, help, samples.collect())
        };
        [
            family(
                "karuta_gazelle_calls_total",
                "Calls of a Gazelle, by what became of them.",
                &self.gazelle,
            ),
            family(
                "karuta_unit3d_calls_total",
                "Calls of a UNIT3D, by what became of them.",
                &self.unit3d,
            ),
            counter(
                "karuta_gazelle_told_tokens_total",
                "Tokens that are used up, of which the site has been told.",
                one(&self.told),
            ),
            counter(
                "karuta_gazelle_told_failures_total",
                "Attempts to tell the site of tokens that are used up that failed.",
                one(&self.not_told),
            ),
        ]
    }
}
