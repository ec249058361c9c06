//! What is counted about the calls of a Gazelle.

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

#[derive(Default)]
pub(super) struct Gazelle {
    /// By the action and by what became of it.
    calls: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// Tokens that the site was told of, and attempts that failed.
    told: AtomicU64,
    not_told: AtomicU64,
}

impl Metrics {
    /// Counts a call.
    pub fn called(&self, action: &'static str, obeyed: Obeyed) {
        *self.gazelle.calls.lock().entry((action, obeyed.name())).or_default() += 1;
    }

    /// Counts an attempt to tell the site of tokens that are used up, which it has told of so many.
    pub fn told_spent<E>(&self, told: Result<usize, E>) {
        match told {
            Ok(tokens) => self.gazelle.told.fetch_add(tokens as u64, Relaxed),
            Err(_) => self.gazelle.not_told.fetch_add(1, Relaxed),
        };
    }
}

impl Gazelle {
    pub(super) fn families(&self) -> [MetricFamily; 3] {
        let one = |counter: &AtomicU64| vec![(vec![], counter.load(Relaxed) as f64)];
        [
            self.calls(),
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

    /// Returns nothing before the first call.
    fn calls(&self) -> MetricFamily {
        let calls = self.calls.lock();
        let samples = calls.iter().map(|((action, obeyed), count)| {
            (vec![("action", *action), ("result", *obeyed)], *count as f64)
        });
        counter(
            "karuta_gazelle_calls_total",
            "Calls of a Gazelle, by what became of them.",
            samples.collect(),
        )
    }
}
