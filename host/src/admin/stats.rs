//! `/api/stats`: the tracker in numbers.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::time::Instant;

use bytes::Bytes;
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

/// The requests since the start, and of the last 10 and 60 seconds, with how many seconds those are.
struct Recently {
    all: Requests,
    last: [(Requests, f64); 2],
}

#[derive(Serialize)]
struct Stats {
    #[serde(flatten)]
    totals: Totals,
    /// Of the last minute; `None`: there were no requests.
    latency_seconds: Option<Latency>,
    memory_bytes: Option<u64>,
}

/// What everyone may know, if the configuration says so.
#[derive(Serialize)]
struct Totals {
    uptime_seconds: u64,
    swarms: u64,
    peers: Peers,
    /// By transport and action.
    requests: BTreeMap<&'static str, BTreeMap<&'static str, Kind>>,
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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
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
    let recent = Recently::of(admin);
    let [_, sixty] = &recent.last;
    let latency = sixty.0.quantile(0.5).zip(sixty.0.quantile(0.99));
    let stats = Stats {
        totals: Totals::of(admin, &recent, Outcome::ALL),
        latency_seconds: latency.map(|(p50, p99)| Latency { p50, p99 }),
        memory_bytes: resident(),
    };
    json(StatusCode::OK, &stats)
}

/// Returns the numbers for everyone, as JSON.
pub fn public(admin: &Admin) -> Bytes {
    let totals = Totals::of(admin, &Recently::of(admin), &[]);
    // Numbers and fixed names can always be written.
    serde_json::to_vec(&totals).unwrap_or_default().into()
}

impl Recently {
    fn of(admin: &Admin) -> Self {
        let all = admin.metrics.request_counts();
        let now = (Instant::now(), all);
        Self { last: [10, 60].map(|seconds| admin.recent.last(seconds, now)), all }
    }
}

impl Totals {
    /// Looks at everything; of requests, counts those of `outcomes`.
    fn of(admin: &Admin, recent: &Recently, outcomes: &[Outcome]) -> Self {
        let totals = admin.metrics.totals();
        let kinds = |transport| {
            let of_udp =
                |action: &&Action| **action != Action::Connect || transport == Transport::Udp;
            let actions = Action::ALL.iter().filter(of_udp);
            let kind =
                |action: &Action| (action.name(), Kind::of(transport, *action, recent, outcomes));
            actions.map(kind).collect()
        };
        Self {
            uptime_seconds: admin.start.elapsed().as_secs(),
            swarms: totals.swarms,
            peers: Peers { ipv4: totals.ipv4.into(), ipv6: totals.ipv6.into() },
            requests: [
                ("udp", kinds(Transport::Udp)),
                ("http", kinds(Transport::Http)),
                ("https", kinds(Transport::Https)),
            ]
            .into(),
        }
    }
}

impl Kind {
    fn of(transport: Transport, action: Action, recent: &Recently, outcomes: &[Outcome]) -> Self {
        let rate = |(requests, seconds): &(Requests, f64)| {
            let rate = requests.total(transport, action) as f64 / seconds.max(1.0);
            (rate * 10.0).round() / 10.0
        };
        let [ten, sixty] = recent.last.each_ref().map(rate);
        let count =
            |outcome: &Outcome| (outcome.name(), recent.all.count(transport, action, *outcome));
        Self {
            total: recent.all.total(transport, action),
            per_second: Rates { ten, sixty },
            by_outcome: outcomes.iter().map(count).collect(),
        }
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
