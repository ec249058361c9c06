//! The series of the flight recorder.

use std::time::Duration;

use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::{counter, gauge};

/// What is counted of the rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingFigures {
    /// Of all workers.
    pub bytes: usize,
    /// How far back all of them reach; `None`: to the start.
    pub span: Option<Duration>,
    /// Requests that were too long to be recorded.
    pub too_long: u64,
    /// Records of which the recordings are without, because they were overwritten too soon.
    pub missing: u64,
    /// Whether a recording is being made.
    pub is_busy: bool,
}

impl Metrics {
    /// Sets how the rings are looked at. Call it once, if there are any.
    pub fn set_rings(&self, figures: impl Fn() -> RingFigures + Send + Sync + 'static) {
        let _ = self.rings.set(Box::new(figures));
    }

    /// Looks at the rings; `None`: there are none.
    pub fn rings(&self) -> Option<RingFigures> {
        self.rings.get().map(|figures| figures())
    }

    pub(super) fn ring_families(&self) -> Vec<MetricFamily> {
        let Some(RingFigures { bytes, span, too_long, missing, is_busy: _ }) = self.rings() else {
            return Vec::new();
        };
        let span = span.map(|span| (vec![], span.as_secs_f64()));
        vec![
            gauge(
                "karuta_record_ring_bytes",
                "Size of the flight recorder's rings.",
                vec![(vec![], bytes as f64)],
            ),
            gauge(
                "karuta_record_span_seconds",
                "How far back the flight recorder reaches.",
                span.into_iter().collect(),
            ),
            counter(
                "karuta_record_dropped_total",
                "Requests that are not recorded, by reason.",
                vec![
                    (vec![("reason", "long")], too_long as f64),
                    (vec![("reason", "behind")], missing as f64),
                ],
            ),
        ]
    }
}
