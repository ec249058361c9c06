//! The requests of all workers, added up.

use std::ops::Sub;
use std::sync::Arc;

use karuta_bittorrent::{Family, Transport};

use super::{Action, BOUNDS, FAMILIES, Metrics, Outcome, TRANSPORTS, Worker, request_index};

const ACTIONS: usize = Action::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
const BUCKETS: usize = BOUNDS.len() + 1;

/// How many requests there were of each kind, and how long they took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Requests {
    counts: [[[u64; OUTCOMES]; ACTIONS]; TRANSPORTS.len()],
    /// Of all requests, by how long they took.
    buckets: Buckets,
}

/// How many took how long: one for each of [`BOUNDS`], and one for the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Buckets(pub [u64; BUCKETS]);

impl Metrics {
    /// Adds up the requests since the start.
    pub fn request_counts(&self) -> Requests {
        let mut all = Requests::default();
        for worker in &*self.workers.lock() {
            for (transport, _) in TRANSPORTS {
                for action in Action::ALL {
                    for outcome in Outcome::ALL {
                        for (family, _) in FAMILIES {
                            let index = request_index(transport, *action, family, *outcome);
                            let Some(histogram) = worker.requests.get(index) else { continue };
                            for (sum, cell) in all.buckets.0.iter_mut().zip(&histogram.buckets) {
                                *sum += cell.get();
                                all.counts[transport as usize][*action as usize]
                                    [*outcome as usize] += cell.get();
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// Adds up the requests of one kind and address family since the start.
    pub fn requests_of(&self, transport: Transport, action: Action, family: Family) -> u64 {
        let workers = self.workers.lock();
        let of_worker = |worker: &Arc<Worker>| -> u64 {
            let histograms = Outcome::ALL.iter().filter_map(|outcome| {
                worker.requests.get(request_index(transport, action, family, *outcome))
            });
            histograms.flat_map(|histogram| &histogram.buckets).map(|cell| cell.get()).sum()
        };
        workers.iter().map(of_worker).sum()
    }
}

impl Requests {
    /// Returns the number of one kind, however they ended.
    pub fn total(&self, transport: Transport, action: Action) -> u64 {
        self.counts[transport as usize][action as usize].iter().sum()
    }

    pub fn count(&self, transport: Transport, action: Action, outcome: Outcome) -> u64 {
        self.counts[transport as usize][action as usize][outcome as usize]
    }

    /// Returns the number of one transport and outcome, whatever was asked.
    pub fn ended(&self, transport: Transport, outcome: Outcome) -> u64 {
        let actions = Action::ALL.iter();
        actions.map(|action| self.count(transport, *action, outcome)).sum()
    }

    /// Returns how long the request took that is slower than a `share` of all, in seconds, to the
    /// precision of the buckets. `None`: there were none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        self.buckets.quantile(share)
    }
}

impl Buckets {
    /// As [`Requests::quantile`].
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        let mut left = share * all as f64;
        let mut lower = 0.0;
        for (count, bound) in self.0.iter().zip(BOUNDS) {
            let (count, upper) = (*count as f64, bound as f64 / 1e9);
            if count > 0.0 && left <= count {
                // As if those of a bucket were spread evenly.
                return Some(lower + (upper - lower) * left / count);
            }
            left -= count;
            lower = upper;
        }
        (all > 0).then_some(lower)
    }
}

impl Sub for Requests {
    type Output = Self;

    /// Returns the requests since an earlier time.
    fn sub(mut self, earlier: Self) -> Self {
        let counts = self.counts.iter_mut().flatten().flatten();
        for (count, before) in counts.zip(earlier.counts.iter().flatten().flatten()) {
            *count = count.saturating_sub(*before);
        }
        self.buckets = self.buckets - earlier.buckets;
        self
    }
}

impl Sub for Buckets {
    type Output = Self;

    fn sub(mut self, earlier: Self) -> Self {
        for (count, before) in self.0.iter_mut().zip(earlier.0) {
            *count = count.saturating_sub(before);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use karuta_bittorrent::Family;

    use super::*;

    #[test]
    fn requests_are_added_up_over_workers_and_families() {
        let metrics = Metrics::new(Default::default);
        let workers = [metrics.worker(), metrics.worker()];
        let took = Duration::from_micros(3);
        for worker in &workers {
            for family in [Family::Ipv4, Family::Ipv6] {
                worker.request(Transport::Udp, Action::Announce, family, Outcome::Ok, took);
            }
        }
        let before = metrics.request_counts();
        assert_eq!(before.count(Transport::Udp, Action::Announce, Outcome::Ok), 4);
        let slow = Duration::from_millis(3);
        workers[0].request(Transport::Http, Action::Scrape, Family::Ipv4, Outcome::Rejected, slow);
        let since = metrics.request_counts() - before;
        assert_eq!(since.total(Transport::Udp, Action::Announce), 0);
        assert_eq!(since.total(Transport::Http, Action::Scrape), 1);
    }

    #[test]
    fn quantiles_are_within_their_buckets() {
        let metrics = Metrics::new(Default::default);
        let worker = metrics.worker();
        assert_eq!(metrics.request_counts().quantile(0.5), None);
        let enter = |count, took| {
            for _ in 0..count {
                worker.request(Transport::Udp, Action::Announce, Family::Ipv4, Outcome::Ok, took);
            }
        };
        enter(98, Duration::from_micros(3));
        enter(2, Duration::from_millis(3));
        let requests = metrics.request_counts();
        let p50 = requests.quantile(0.5).unwrap();
        assert!((2.5e-6..5e-6).contains(&p50), "{p50}");
        let p99 = requests.quantile(0.99).unwrap();
        assert!((1e-3..5e-3).contains(&p99), "{p99}");
        enter(10_000, Duration::from_secs(10));
        assert_eq!(metrics.request_counts().quantile(0.99), Some(1.0), "the last bound");
    }
}
