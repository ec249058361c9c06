//! `/api/stats`: the tracker in numbers.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::time::Instant;

use hyper::StatusCode;
use karuta_bittorrent::Transport;
use karuta_swarm::Population;
use nix::unistd::{SysconfVar, sysconf};
use parking_lot::Mutex;
use serde::Serialize;

use super::Admin;
use super::reply::{Reply, json};
use super::request::Request;
use crate::metrics::{Action, Outcome, Requests};

/// The last minute, second by second, the newest first.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<Sample>>);

/// The counters at a time.
pub struct Sample {
    pub at: Instant,
    pub requests: Requests,
    /// What the kernel had dropped of each UDP listener, by its address.
    pub drops: Vec<(String, u64)>,
}

/// How many samples are kept: one more than the seconds that the longest rate is of.
const SAMPLES: usize = 61;

#[derive(Serialize)]
struct Stats {
    uptime_seconds: u64,
    swarms: u64,
    peers: Peers,
    /// By transport and action.
    requests: BTreeMap<&'static str, BTreeMap<&'static str, Kind>>,
    /// Of the last minute; `None`: there were no requests.
    latency_seconds: Option<Latency>,
    memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Peers {
    ipv4: Family,
    ipv6: Family,
}

#[derive(Serialize)]
struct Family {
    seeders: u64,
    leechers: u64,
}

#[derive(Serialize)]
struct Kind {
    /// Since the start, as are those of `by_outcome`.
    total: u64,
    per_second: Rates,
    by_outcome: BTreeMap<&'static str, u64>,
}

/// Requests a second, over the last 10 and 60 seconds, or since the start.
#[derive(Serialize)]
struct Rates {
    #[serde(rename = "10s")]
    ten: f64,
    #[serde(rename = "60s")]
    sixty: f64,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

impl Recent {
    /// Adds what is seen in a second.
    pub fn add(&self, sample: Sample) {
        let mut samples = self.0.lock();
        samples.truncate(SAMPLES - 1);
        samples.push_front(sample);
    }

    /// Returns what the kernel had dropped of each UDP listener about a minute ago.
    pub fn drops_before(&self) -> Vec<(String, u64)> {
        self.0.lock().back().map(|sample| sample.drops.clone()).unwrap_or_default()
    }

    /// Returns the requests of about the last seconds, and of how many they are.
    fn last(&self, seconds: usize, (now, requests): (Instant, Requests)) -> (Requests, f64) {
        let samples = self.0.lock();
        let before = samples.get(seconds).or_else(|| samples.back());
        before.map_or((Requests::default(), 0.0), |before| {
            let seconds = now.saturating_duration_since(before.at).as_secs_f64();
            (requests - before.requests, seconds)
        })
    }
}

/// Answers with all numbers.
pub fn stats(admin: &Admin, _: &Request) -> Reply {
    let totals = admin.metrics.totals();
    let now = (Instant::now(), admin.metrics.request_counts());
    let [ten, sixty] = [10, 60].map(|seconds| admin.recent.last(seconds, now));
    let kinds = |transport| {
        let of_udp = |action: &&Action| **action != Action::Connect || transport == Transport::Udp;
        let actions = Action::ALL.iter().filter(of_udp);
        actions
            .map(|action| (action.name(), kind(transport, *action, [&ten, &sixty], &now.1)))
            .collect()
    };
    let latency = sixty.0.quantile(0.5).zip(sixty.0.quantile(0.99));
    let stats = Stats {
        uptime_seconds: admin.start.elapsed().as_secs(),
        swarms: totals.swarms,
        peers: Peers { ipv4: totals.ipv4.into(), ipv6: totals.ipv6.into() },
        requests: [
            ("udp", kinds(Transport::Udp)),
            ("http", kinds(Transport::Http)),
            ("https", kinds(Transport::Https)),
        ]
        .into(),
        latency_seconds: latency.map(|(p50, p99)| Latency { p50, p99 }),
        memory_bytes: resident(),
    };
    json(StatusCode::OK, &stats)
}

fn kind(
    transport: Transport,
    action: Action,
    recent: [&(Requests, f64); 2],
    all: &Requests,
) -> Kind {
    let rate = |(requests, seconds): &(Requests, f64)| {
        let rate = requests.total(transport, action) as f64 / seconds.max(1.0);
        (rate * 10.0).round() / 10.0
    };
    let [ten, sixty] = recent.map(rate);
    let outcomes = Outcome::ALL.iter();
    Kind {
        total: all.total(transport, action),
        per_second: Rates { ten, sixty },
        by_outcome: outcomes
            .map(|outcome| (outcome.name(), all.count(transport, action, *outcome)))
            .collect(),
    }
}

/// Returns the memory that the process takes, in bytes.
pub fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let size = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(size).ok()?)
}

impl From<Population> for Family {
    fn from(Population { seeders, leechers }: Population) -> Self {
        Self { seeders, leechers }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use karuta_bittorrent::Family;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_rate_is_of_the_time_that_has_passed() {
        let metrics = Metrics::new(Default::default);
        let worker = metrics.worker();
        let recent = Recent::default();
        let start = Instant::now();
        for second in 0..30 {
            let at = start + Duration::from_secs(second);
            recent.add(Sample { at, requests: metrics.request_counts(), drops: Vec::new() });
            for _ in 0..second {
                let took = Duration::from_micros(1);
                worker.request(Transport::Udp, Action::Announce, Family::Ipv4, Outcome::Ok, took);
            }
        }
        let now = (start + Duration::from_secs(30), metrics.request_counts());
        let (of_ten, seconds) = recent.last(10, now);
        assert_eq!(
            (of_ten.total(Transport::Udp, Action::Announce), seconds),
            ((19..30).sum(), 11.0)
        );
        let (of_all, seconds) = recent.last(60, now);
        assert_eq!(
            (of_all.total(Transport::Udp, Action::Announce), seconds),
            ((0..30).sum(), 30.0)
        );
        assert_eq!(Recent::default().last(10, now), (Requests::default(), 0.0));
    }
}
