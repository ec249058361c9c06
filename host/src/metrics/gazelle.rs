//! What is counted about the calls of a Gazelle.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::counter;

label! {
    /// What became of a call.
    Obeyed { Done => "done", Nothing => "nothing", Refused => "refused", Failed => "failed" }
}

/// By the action and by what became of it.
#[derive(Default)]
pub(super) struct Gazelle(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl Metrics {
    /// Counts a call.
    pub fn called(&self, action: &'static str, obeyed: Obeyed) {
        *self.gazelle.0.lock().entry((action, obeyed.name())).or_default() += 1;
    }
}

impl Gazelle {
    /// Returns nothing before the first call.
    pub(super) fn family(&self) -> MetricFamily {
        let calls = self.0.lock();
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
