//! The series of exports to files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::{counter, gauge};

/// What is known of an export of the configuration.
pub struct ExportSeries {
    pub path: String,
    pub format: &'static str,
    /// The time between two.
    pub every: Duration,
    /// Since when it is in the configuration.
    since: Instant,
    failures: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// The newest file; `None`: this process has written none.
    written: Option<Written>,
    /// Why the last attempt failed.
    error: Option<String>,
}

#[derive(Clone, Copy)]
struct Written {
    at: Instant,
    time: SystemTime,
    bytes: u64,
}

impl ExportSeries {
    pub fn new(path: String, format: &'static str, every: Duration) -> Self {
        Self {
            path,
            format,
            every,
            since: Instant::now(),
            failures: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// Records a new file.
    pub fn written(&self, bytes: u64) {
        let written = Written { at: Instant::now(), time: SystemTime::now(), bytes };
        *self.last.lock() = Last { written: Some(written), error: None };
    }

    /// Records an attempt that failed. Returns whether the one before it did not.
    pub fn failed(&self, reason: String) -> bool {
        self.failures.fetch_add(1, Relaxed);
        self.last.lock().error.replace(reason).is_none()
    }

    /// Returns the age of the newest file, if there is one.
    pub fn age(&self) -> Option<Duration> {
        self.last.lock().written.map(|written| written.at.elapsed())
    }

    /// Returns for how long there should have been a new one.
    pub fn waiting(&self) -> Duration {
        self.age().unwrap_or_else(|| self.since.elapsed())
    }

    /// Returns the size of the newest file in bytes, if there is one.
    pub fn bytes(&self) -> Option<u64> {
        self.last.lock().written.map(|written| written.bytes)
    }

    pub fn error(&self) -> Option<String> {
        self.last.lock().error.clone()
    }
}

impl Metrics {
    /// Sets the exports in use, whose number the configuration bounds.
    pub fn set_exports(&self, exports: Vec<Arc<ExportSeries>>) {
        *self.exports.lock() = exports;
    }

    pub fn exports(&self) -> Vec<Arc<ExportSeries>> {
        self.exports.lock().clone()
    }

    pub(super) fn export_families(&self) -> [MetricFamily; 3] {
        let exports = self.exports();
        let of = |value: &dyn Fn(&ExportSeries) -> Option<f64>| {
            let values = exports.iter().filter_map(|export| {
                let labels = vec![("format", export.format), ("path", &*export.path)];
                value(export).map(|value| (labels, value))
            });
            values.collect::<Vec<_>>()
        };
        let timestamp = |export: &ExportSeries| {
            let Written { time, .. } = export.last.lock().written?;
            Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
        };
        [
            gauge(
                "karuta_export_timestamp_seconds",
                "Time of the last export to a file, in seconds since 1970.",
                of(&timestamp),
            ),
            gauge(
                "karuta_export_size_bytes",
                "Size of the last export to a file.",
                of(&|export| export.bytes().map(|bytes| bytes as f64)),
            ),
            counter(
                "karuta_export_failures_total",
                "Exports to a file that failed.",
                of(&|export| Some(export.failures.load(Relaxed) as f64)),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_a_file_is_written() {
        let metrics = Metrics::new(Default::default);
        let export = Arc::new(ExportSeries::new("a".into(), "txt", Duration::from_secs(10)));
        metrics.set_exports(vec![export.clone()]);
        assert!(export.failed("full".into()));
        assert!(!export.failed("still full".into()));
        assert_eq!((export.error(), export.age()), (Some("still full".into()), None));
        export.written(7);
        assert_eq!((export.error(), export.bytes()), (None, Some(7)));
        assert!(export.failed("full again".into()));
        assert_eq!(export.bytes(), Some(7), "the file is still there");
        let failures = "karuta_export_failures_total{format=\"txt\",path=\"a\"} 3\n";
        assert!(metrics.render().contains(failures), "{}", metrics.render());
    }
}
