//! Counts answers, latencies, faults, and the cost to the tracker.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::client::Load;
use crate::process::Usage;
use crate::swarms::Request;

/// Counts answers. Before [`Tally::begin`], only faults are counted.
#[derive(Default)]
pub struct Tally {
    announces: u64,
    scrapes: u64,
    /// The latency of each answer in nanoseconds, at most 4.2 s.
    latencies: Vec<u32>,
    lost: u64,
    wrong: BTreeMap<&'static str, u64>,
    /// A printable part of the first wrong answer.
    example: Option<String>,
}

impl Tally {
    /// Starts the measurement.
    pub fn begin(&mut self) {
        self.announces = 0;
        self.scrapes = 0;
        self.latencies.clear();
    }

    /// Counts an answer of the right shape.
    pub fn answered(&mut self, request: Request, latency: Duration) {
        match request {
            Request::Announce { .. } => self.announces += 1,
            Request::Scrape { .. } => self.scrapes += 1,
        }
        self.latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Counts a wrong answer, or one to no request.
    pub fn wrong(&mut self, how: &'static str, answer: &[u8]) {
        *self.wrong.entry(how).or_default() += 1;
        self.example.get_or_insert_with(|| {
            let shown = &answer[..answer.len().min(200)];
            format!("{how}: {}", shown.escape_ascii())
        });
    }

    /// Counts a request without an answer in time.
    pub fn lost(&mut self) {
        self.lost += 1;
    }

    pub fn lost_count(&self) -> u64 {
        self.lost
    }

    /// Adds the wrong and missing answers of another count.
    pub fn take_faults(&mut self, other: Self) {
        self.lost += other.lost;
        for (how, count) in other.wrong {
            *self.wrong.entry(how).or_default() += count;
        }
        self.example = self.example.take().or(other.example);
    }

    pub fn total(&self) -> u64 {
        self.announces + self.scrapes
    }

    /// Returns the first wrong answer.
    pub fn example(&self) -> Option<&str> {
        self.example.as_deref()
    }

    /// Compares an announce's answer with what its swarm must contain.
    pub fn check_announce(
        &mut self,
        load: &Load,
        request: Request,
        (complete, incomplete): (i64, i64),
        peers: usize,
        answer: &[u8],
    ) {
        if peers > load.num_want as usize {
            self.wrong("more peers than were wanted", answer);
        }
        if let Request::Announce { started: false, .. } = request {
            if load.counts() != (complete, incomplete) {
                self.wrong("wrong counts", answer);
            } else if load.is_full() && peers != load.num_want as usize {
                self.wrong("fewer peers than were wanted", answer);
            }
        }
    }

    /// Sums up a measurement.
    pub fn report(
        mut self,
        elapsed: Duration,
        asked: u64,
        server: Option<(Usage, Usage)>,
    ) -> Report {
        self.latencies.sort_unstable();
        let requests = self.total();
        let seconds = elapsed.as_secs_f64();
        let at = |share: f64| {
            let last = self.latencies.len().saturating_sub(1);
            let nanoseconds = self.latencies.get((last as f64 * share).round() as usize);
            f64::from(nanoseconds.copied().unwrap_or_default()) / 1000.0
        };
        Report {
            asked,
            seconds,
            requests,
            announces: self.announces,
            scrapes: self.scrapes,
            per_second: requests as f64 / seconds,
            latency_us: Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) },
            server: server.map(|(before, after)| {
                let cpu = after.cpu.saturating_sub(before.cpu);
                let switches = after.switches.saturating_sub(before.switches);
                Server {
                    switches_per_request: switches as f64 / requests as f64,
                    cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests as f64,
                    cpu_share: cpu.as_secs_f64() / seconds,
                    resident_bytes: after.resident_bytes,
                }
            }),
            lost: self.lost,
            wrong: self.wrong,
            example: self.example,
        }
    }
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Requests sent, including those outside of the measured time.
    pub asked: u64,
    pub seconds: f64,
    pub requests: u64,
    pub announces: u64,
    pub scrapes: u64,
    pub per_second: f64,
    pub latency_us: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// Requests without an answer in time.
    pub lost: u64,
    /// Wrong answers, by kind.
    pub wrong: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// Microseconds from the time a request was due to its answer.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// The resources that the tracker's process used.
#[derive(Debug, Serialize)]
pub struct Server {
    pub cpu_us_per_request: f64,
    /// Processor seconds per second.
    pub cpu_share: f64,
    /// How often its threads gave up a core or lost it.
    pub switches_per_request: f64,
    pub resident_bytes: u64,
}

impl Report {
    /// Returns whether every request got a right answer, and there was at least one.
    pub fn is_clean(&self) -> bool {
        self.requests > 0 && self.lost == 0 && self.wrong.is_empty()
    }

    /// Combines what two generators measured of one server at the same time. The latencies are
    /// those of the slower one.
    pub fn beside(mut self, other: Self) -> Self {
        let requests = self.requests + other.requests;
        if let (Some(ours), Some(theirs)) = (&mut self.server, &other.server) {
            // Each counts everything that the server used.
            let total = |server: &Server, report: u64| server.cpu_us_per_request * report as f64;
            let used = f64::midpoint(total(ours, self.requests), total(theirs, other.requests));
            ours.cpu_us_per_request = used / requests as f64;
            let switched = ours.switches_per_request * self.requests as f64;
            ours.switches_per_request = switched / requests as f64;
        }
        let (a, b) = (&self.latency_us, &other.latency_us);
        self.latency_us = Latency {
            p50: a.p50.max(b.p50),
            p99: a.p99.max(b.p99),
            p999: a.p999.max(b.p999),
            max: a.max.max(b.max),
        };
        self.asked += other.asked;
        self.requests = requests;
        self.announces += other.announces;
        self.scrapes += other.scrapes;
        self.per_second += other.per_second;
        self.lost += other.lost;
        for (how, count) in other.wrong {
            *self.wrong.entry(how).or_default() += count;
        }
        self.example = self.example.or(other.example);
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { requests, announces, scrapes, seconds, per_second, .. } = self;
        writeln!(
            f,
            "{requests} answers ({announces} announces, {scrapes} scrapes) in {seconds:.2} s"
        )?;
        writeln!(f, "{per_second:.0} a second")?;
        let Latency { p50, p99, p999, max } = self.latency_us;
        writeln!(f, "latency: p50 {p50:.0} µs, p99 {p99:.0}, p99.9 {p999:.0}, longest {max:.0}")?;
        if let Some(server) = &self.server {
            writeln!(
                f,
                "server: {:.2} µs of CPU a request, {:.0} % of a core, {:.2} context switches a \
                 request, {:.1} MiB resident",
                server.cpu_us_per_request,
                server.cpu_share * 100.0,
                server.switches_per_request,
                server.resident_bytes as f64 / f64::from(1 << 20),
            )?;
        }
        if self.lost > 0 {
            writeln!(f, "{} requests got no answer", self.lost)?;
        }
        for (how, count) in &self.wrong {
            writeln!(f, "{count} answers: {how}")?;
        }
        self.example.iter().try_for_each(|example| writeln!(f, "such as {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCE: Request = Request::Announce { torrent: 0, peer: 0, started: false };

    #[test]
    fn percentiles_are_those_of_the_measured_time() {
        let mut tally = Tally::default();
        tally.answered(ANNOUNCE, Duration::from_secs(3));
        tally.begin();
        for microseconds in (1..=1001).rev() {
            tally.answered(ANNOUNCE, Duration::from_micros(microseconds));
        }
        let report = tally.report(Duration::from_secs(2), 1001, None);
        assert_eq!((report.requests, report.per_second), (1001, 500.5));
        let Latency { p50, p99, p999, max } = report.latency_us;
        assert_eq!((p50, p99, p999, max), (501.0, 991.0, 1000.0, 1001.0));
        assert!(report.is_clean());
    }

    #[test]
    fn answers_are_checked_against_the_swarm() {
        let load = Load { peers: 64, seeders: 8, num_want: 50, ..Load::DEFAULT };
        let mut tally = Tally::default();
        tally.check_announce(&load, ANNOUNCE, (8, 56), 50, b"");
        assert_eq!(tally.example(), None);
        for (counts, peers) in [((8, 55), 50), ((8, 56), 49), ((8, 56), 51)] {
            tally.check_announce(&load, ANNOUNCE, counts, peers, b"\x01");
        }
        assert_eq!(tally.example(), Some("wrong counts: \\x01"));
        let report = tally.report(Duration::from_secs(1), 4, None);
        assert_eq!(report.wrong.values().sum::<u64>(), 4, "{:?}", report.wrong);
    }

    #[test]
    fn what_the_server_used_is_counted_once_for_two_generators() {
        let at =
            |cpu, switches| Usage { cpu: Duration::from_secs(cpu), switches, resident_bytes: 1 };
        let one = |requests, longest| {
            let mut tally = Tally::default();
            (0..requests).for_each(|_| tally.answered(ANNOUNCE, Duration::from_micros(longest)));
            tally.report(Duration::from_secs(2), requests, Some((at(0, 0), at(1, 1000))))
        };
        let both = one(1000, 5).beside(one(3000, 7));
        assert_eq!((both.requests, both.asked, both.per_second), (4000, 4000, 2000.0));
        assert_eq!(both.latency_us.max, 7.0);
        let server = both.server.unwrap();
        assert_eq!((server.cpu_us_per_request, server.switches_per_request), (250.0, 0.25));
    }
}
