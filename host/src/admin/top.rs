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
}

/// What torrents are ranked by.
#[derive(Clone, Copy)]
enum Measure {
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

#[derive(Serialize)]
struct Answer {
    by: &'static str,
    /// When the torrents were looked at, in seconds since 1970.
    as_of: u64,
    torrents: Vec<Torrent>,
}

#[derive(Serialize)]
struct Torrent {
    info_hash: String,
    complete: u32,
    incomplete: u32,
    downloaded: u32,
}

impl Measure {
    const ALL: [Self; 4] = [Self::Peers, Self::Seeders, Self::Leechers, Self::Downloads];

    fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Seeders => "seeders",
            Self::Leechers => "leechers",
            Self::Downloads => "downloads",
        }
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

/// Answers with the top torrents. Others that ask meanwhile wait for the same walk.
pub async fn top(admin: &Admin, request: Request) -> Reply {
    let (measure, count) = match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok((By::Torrents(measure), count)) => (measure, count),
        Ok((By::Network, count)) => return networks(admin, &request, count).await,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
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
    let answer =
        Answer { by: measure.name(), as_of: known.unix_seconds, torrents: torrents.collect() };
    *ranking = Some(known);
    json(StatusCode::OK, &answer)
}

/// Looks at all torrents, part by part. Other requests come between.
async fn rank(store: &impl Store, unix_seconds: u64) -> Ranking {
    let mut greatest = Measure::ALL.map(|_| Greatest(BinaryHeap::new()));
    let mut torrents = Vec::new();
    let mut part = 0;
    while store.list(part, &mut torrents) {
        for some in torrents.chunks(32) {
            store.expect(some);
            for info_hash in some {
                let Some(counts) = store.counts(*info_hash) else { continue };
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
    Ranking { at: Instant::now(), unix_seconds, lists: greatest.map(Greatest::sorted) }
}

fn wanted(query: &str) -> Result<(By, usize), String> {
    let (mut by, mut count) = (By::Torrents(Measure::Peers), SOME);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "by" if value == "network" => by = By::Network,
            "by" => {
                let named = Measure::ALL.into_iter().find(|measure| measure.name() == value);
                let names = Measure::ALL.map(Measure::name).join(", ");
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
