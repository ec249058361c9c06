//! The series about this process and its threads.

use std::time::SystemTime;

use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::{counter, gauge};

/// The commit that the program was built from, if the build was told.
const REVISION: &str = match option_env!("KARUTA_REVISION") {
    Some(revision) if !revision.is_empty() => revision,
    _ => "unknown",
};

impl Metrics {
    pub(super) fn process_families(&self) -> Vec<MetricFamily> {
        // The library computes it from /proc/stat, which is hidden from a hardened service.
        const START: &str = "process_start_time_seconds";
        let start = self.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut families = prometheus::gather();
        families.retain(|family| family.name() != START);
        let help = "Start time of the process since unix epoch in seconds.";
        families.push(gauge(START, help, vec![(vec![], start.as_secs() as f64)]));
        let build = vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", REVISION),
            ("rustc", env!("KARUTA_RUSTC")),
            ("wasmtime", env!("KARUTA_WASMTIME")),
        ];
        families.push(gauge(
            "karuta_build_info",
            "What the program was built from; always 1.",
            vec![(build, 1.0)],
        ));
        families.push(self.busy());
        families
    }

    fn busy(&self) -> MetricFamily {
        let workers = self.workers.lock();
        let busy = workers.iter().enumerate().filter_map(|(number, worker)| {
            // The runtime of a worker has one thread.
            let busy = worker.runtime.get()?.worker_total_busy_duration(0);
            Some((number.to_string(), busy.as_secs_f64()))
        });
        let busy: Vec<_> = busy.collect();
        let samples =
            busy.iter().map(|(number, busy)| (vec![("worker", &**number)], *busy)).collect();
        counter("karuta_worker_busy_seconds_total", "Time that a worker did not wait.", samples)
    }
}

#[cfg(test)]
mod tests {
    use karuta_swarm::Totals;

    use super::*;

    #[test]
    fn the_start_of_the_process_is_known_without_proc_stat() {
        let before = SystemTime::now();
        let text = Metrics::new(Totals::default).render();
        let mut lines =
            text.lines().filter_map(|line| line.strip_prefix("process_start_time_seconds "));
        let start: u64 = lines.next().unwrap().parse().unwrap();
        assert_eq!(lines.next(), None);
        let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!((before..before + 60).contains(&start), "{start}");
    }
}
