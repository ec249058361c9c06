//! `/api/top`: the torrents with the most peers, seeders, leechers or downloads, or the networks with the
//! most peers.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use karuta_bittorrent::Counts;
use karuta_swarm::Store;
use serde::Serialize;
use url::form_urlencoded;

use super::Admin;
use super::growth::Hour;
use super::networks::networks;
use super::ranking::{MOST, Measure, Ranking, Size, rank};
use super::reply::{Reply, json, line};
use super::request::Request;

/// How many there are unless the query says so.
const SOME: usize = 10;
/// How long an answer is given again before the torrents are looked at anew.
const FRESH: Duration = Duration::from_secs(60);

/// The top torrents by each measure.
#[derive(Default)]
pub struct Tops {
    /// When somebody last asked.
    asked: tokio::sync::Mutex<Option<Ranking>>,
    pub hour: Hour,
}

/// What is ranked.
#[derive(Clone, Copy)]
enum By {
    Torrents(Measure),
    Network,
}

/// The top torrents by a measure.
#[derive(Serialize)]
pub struct Ranked {
    pub by: &'static str,
    /// When the torrents were looked at, in seconds since 1970.
    pub as_of: u64,
    /// Since when growth is counted, in seconds since 1970: an hour, or up to 5 minutes more. `None`:
    /// nothing is known from then.
    pub growth_since: Option<u64>,
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
    /// How many more there are of what it is ranked by; `None`: it is not known how many there were.
    pub growth: Option<i64>,
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
    let mut ranking = admin.swarms.tops.asked.lock().await;
    let fresh = ranking.take().filter(|known| known.at.elapsed() < FRESH);
    let known = match fresh {
        Some(known) => known,
        None => rank(store, admin.swarms.clock().unix_seconds).await,
    };
    let before = admin.swarms.tops.hour.before(measure, Instant::now());
    let listed = known.lists[measure as usize].iter().take(count);
    let torrents = listed.filter_map(|(_, info_hash)| {
        // As they are now: the order is older.
        let counts = store.counts(*info_hash)?;
        let growth = before.as_ref().and_then(|before| before.growth(*info_hash, &counts));
        let Counts { seeders, leechers, completed, .. } = counts;
        Some(Torrent {
            info_hash: info_hash.to_string(),
            complete: seeders,
            incomplete: leechers,
            downloaded: completed,
            growth,
        })
    });
    let answer = Ranked {
        by: measure.name(),
        as_of: known.unix_seconds,
        growth_since: before.as_ref().map(|before| before.unix_seconds),
        sizes: known.sizes.listed(),
        torrents: torrents.collect(),
    };
    *ranking = Some(known);
    answer
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
