//! `/api/top`: the torrents with the most peers, seeders, leechers or downloads, or the networks with the
//! most peers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use karuta_bittorrent::{Counts, InfoHash};
use karuta_swarm::Store;
use serde::Serialize;
use url::form_urlencoded;

use super::Admin;
use super::networks::networks;
use super::reply::{Reply, json, line};
use super::request::Request;

/// The most torrents of an answer.
const MOST: usize = 1000;
/// How many there are unless the query says so.
const SOME: usize = 10;
/// How long an answer is given again before the torrents are looked at anew.
const FRESH: Duration = Duration::from_secs(60);

/// The top torrents by each measure, when somebody last asked.
#[derive(Default)]
pub struct Tops(tokio::sync::Mutex<Option<Ranking>>);

struct Ranking {
    at: Instant,
    unix_seconds: u64,
    /// By each measure, the most first.
    lists: [Vec<(u32, InfoHash)>; Measure::ALL.len()],
    sizes: Sizes,
}

/// What torrents are ranked by.
#[derive(Clone, Copy)]
pub enum Measure {
    Peers,
    Seeders,
    Leechers,
    Downloads,
}

/// What is ranked.
#[derive(Clone, Copy)]
enum By {
    Torrents(Measure),
    Network,
}

/// The greatest of many values; the least of them is on top.
struct Greatest(BinaryHeap<Reverse<(u32, InfoHash)>>);

/// The top torrents by a measure.
#[derive(Serialize)]
pub struct Ranked {
    pub by: &'static str,
    /// When the torrents were looked at, in seconds since 1970.
    pub as_of: u64,
    /// How many swarms there are of which size.
    pub sizes: Vec<Size>,
    pub torrents: Vec<Torrent>,
}

#[derive(Serialize)]
pub struct Torrent {
    pub info_hash: String,
    pub complete: u32,
    pub incomplete: u32,
    pub downloaded: u32,
}

/// How many swarms have about as many peers.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub struct Size {
    pub at_least: u32,
    pub at_most: u32,
    pub swarms: u64,
}

/// Swarms by the number of digits of their peers; those without any first.
#[derive(Default)]
struct Sizes([u64; 11]);

impl Measure {
    pub const ALL: [Self; 4] = [Self::Peers, Self::Seeders, Self::Leechers, Self::Downloads];

    pub fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Seeders => "seeders",
            Self::Leechers => "leechers",
            Self::Downloads => "downloads",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }

    fn of(self, counts: &Counts) -> u32 {
        match self {
            Self::Peers => counts.seeders.saturating_add(counts.leechers),
            Self::Seeders => counts.seeders,
            Self::Leechers => counts.leechers,
            Self::Downloads => counts.completed,
        }
    }
}

impl Greatest {
    fn offer(&mut self, value: u32, info_hash: InfoHash) {
        let Self(heap) = self;
        let least = heap.peek().map_or(0, |Reverse((least, _))| *least);
        if value > least || (value > 0 && heap.len() < MOST) {
            heap.push(Reverse((value, info_hash)));
            if heap.len() > MOST {
                heap.pop();
            }
        }
    }

    fn sorted(self) -> Vec<(u32, InfoHash)> {
        self.0.into_sorted_vec().into_iter().map(|Reverse(entry)| entry).collect()
    }
}

impl Sizes {
    fn add(&mut self, peers: u32) {
        let digits = peers.checked_ilog10().map_or(0, |digits| digits as usize + 1);
        self.0[digits] += 1;
    }

    /// Returns the sizes up to the greatest that there is.
    fn listed(&self) -> Vec<Size> {
        let end = self.0.iter().rposition(|swarms| *swarms > 0).map_or(0, |last| last + 1);
        let sizes = self.0[..end].iter().zip(0_u32..).map(|(swarms, digits)| Size {
            at_least: digits.checked_sub(1).map_or(0, |digits| 10_u32.pow(digits)),
            at_most: 10_u32.checked_pow(digits).map_or(u32::MAX, |end| end - 1),
            swarms: *swarms,
        });
        sizes.collect()
    }
}

/// Answers with the top torrents.
pub async fn top(admin: &Admin, request: Request) -> Reply {
    let (measure, count) = match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok((By::Torrents(measure), count)) => (measure, count),
        Ok((By::Network, count)) => return networks(admin, &request, count).await,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    json(StatusCode::OK, &ranked(admin, measure, count).await)
}

/// Returns the top torrents. Others that ask meanwhile wait for the same walk.
pub async fn ranked(admin: &Admin, measure: Measure, count: usize) -> Ranked {
    let store = &*admin.swarms.store;
    let mut ranking = admin.swarms.tops.0.lock().await;
    let fresh = ranking.take().filter(|known| known.at.elapsed() < FRESH);
    let known = match fresh {
        Some(known) => known,
        None => rank(store, admin.swarms.clock().unix_seconds).await,
    };
    let listed = known.lists[measure as usize].iter().take(count);
    let torrents = listed.filter_map(|(_, info_hash)| {
        // As they are now: the order is older.
        let Counts { seeders, leechers, completed, .. } = store.counts(*info_hash)?;
        let info_hash = info_hash.to_string();
        Some(Torrent { info_hash, complete: seeders, incomplete: leechers, downloaded: completed })
    });
    let answer = Ranked {
        by: measure.name(),
        as_of: known.unix_seconds,
        sizes: known.sizes.listed(),
        torrents: torrents.collect(),
    };
    *ranking = Some(known);
    answer
}

/// Looks at all torrents, part by part. Other requests come between.
async fn rank(store: &impl Store, unix_seconds: u64) -> Ranking {
    let mut greatest = Measure::ALL.map(|_| Greatest(BinaryHeap::new()));
    let mut sizes = Sizes::default();
    let mut torrents = Vec::new();
    let mut part = 0;
    while store.list(part, &mut torrents) {
        for some in torrents.chunks(32) {
            store.expect(some);
            for info_hash in some {
                let Some(counts) = store.counts(*info_hash) else { continue };
                sizes.add(Measure::Peers.of(&counts));
                for (greatest, measure) in greatest.iter_mut().zip(Measure::ALL) {
                    greatest.offer(measure.of(&counts), *info_hash);
                }
            }
        }
        torrents.clear();
        part += 1;
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
    Ranking { at: Instant::now(), unix_seconds, lists: greatest.map(Greatest::sorted), sizes }
}

fn wanted(query: &str) -> Result<(By, usize), String> {
    let (mut by, mut count) = (By::Torrents(Measure::Peers), SOME);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "by" if value == "network" => by = By::Network,
            "by" => {
                let names = Measure::ALL.map(Measure::name).join(", ");
                let named = Measure::of_name(&value);
                let named = named.ok_or_else(|| format!("by: expected one of {names}, network"))?;
                by = By::Torrents(named);
            }
            "n" => {
                let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
                count = number.ok_or_else(|| format!("n: expected 1 to {MOST}"))?;
            }
            _ => return Err(format!("unknown parameter `{key}`")),
        }
    }
    Ok((by, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_kept_in_order() {
        let mut greatest = Greatest(BinaryHeap::new());
        for number in 0..5000_u32 {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            greatest.offer(number.wrapping_mul(7919) % 5000, InfoHash(bytes));
        }
        let values: Vec<_> = greatest.sorted().into_iter().map(|(value, _)| value).collect();
        assert_eq!(values, (4000..5000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn swarms_are_counted_by_the_digits_of_their_peers() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.listed(), []);
        [1, 9, 10, u32::MAX].into_iter().for_each(|peers| sizes.add(peers));
        let listed = sizes.listed();
        assert_eq!(listed[0], Size { at_least: 0, at_most: 0, swarms: 0 });
        assert_eq!(listed[1], Size { at_least: 1, at_most: 9, swarms: 2 });
        assert_eq!(listed[2], Size { at_least: 10, at_most: 99, swarms: 1 });
        assert_eq!(listed[10], Size { at_least: 1_000_000_000, at_most: u32::MAX, swarms: 1 });
    }

    #[test]
    fn torrents_without_any_are_not_listed() {
        let mut greatest = Greatest(BinaryHeap::new());
        [0, 3, 0].into_iter().for_each(|value| greatest.offer(value, InfoHash([0; 20])));
        assert_eq!(greatest.sorted().len(), 1);
    }

    #[test]
    fn a_query_is_read_or_refused() {
        let read = |query| {
            wanted(query).map(|(by, count)| match by {
                By::Torrents(measure) => (measure.name(), count),
                By::Network => ("network", count),
            })
        };
        assert_eq!(read(""), Ok(("peers", 10)));
        assert_eq!(read("by=downloads&n=1000"), Ok(("downloads", 1000)));
        assert_eq!(read("by=network"), Ok(("network", 10)));
        for query in ["by=size", "n=0", "n=1001", "n=x", "all"] {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
