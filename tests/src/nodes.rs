//! Trackers that share their swarms: starting them, and comparing what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::announce::Announce;
use crate::crowd::Homes;
use crate::{Daemon, eventually, exchange, folder, udp};

/// Returns the complete YAML of a node on 127.0.0.1, with the YAML of `swarms` and whatever follows.
pub fn node(swarms: &str) -> String {
    let addresses = "listen: '127.0.0.1:0'";
    format!(
        "http: [{{ {addresses} }}]\nudp: [{{ {addresses} }}]\nadmin: {{ {addresses} }}\n{swarms}"
    )
}

/// Starts nodes that have the same YAML of `swarms`.
pub fn start(count: usize, swarms: &str) -> Vec<Daemon> {
    (0..count).map(|_| Daemon::start_in(folder(&node(swarms)))).collect()
}

/// All torrents of a node, by info-hash in hexadecimal.
pub type Swarms = BTreeMap<String, Swarm>;

/// What a node knows of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swarm {
    pub downloads: u64,
    /// Seeders and leechers, as in a scrape.
    pub counts: [u64; 2],
    /// Roles by address.
    pub peers: BTreeMap<SocketAddr, String>,
}

/// Returns all torrents of a node. Those without peers and downloads are not there.
pub fn swarms(node: &Daemon) -> Swarms {
    let request = "GET /api/export?format=ndjson&peers=1 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = exchange(node.admin, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    let text = answer.body_text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let swarms = lines.map(|line| {
        let number = |key: &str| line[key].as_u64().expect("a number");
        let peers = line["peers"].as_array().into_iter().flatten().map(|peer| {
            let text = |key: &str| peer[key].as_str().expect("a text");
            (text("address").parse().expect("an address"), text("role").to_owned())
        });
        let swarm = Swarm {
            downloads: number("downloaded"),
            counts: [number("complete"), number("incomplete")],
            peers: peers.collect(),
        };
        (line["info_hash"].as_str().expect("an info-hash").to_owned(), swarm)
    });
    swarms.filter(|(_, swarm)| swarm.downloads > 0 || !swarm.peers.is_empty()).collect()
}

/// Returns the torrents that two nodes know differently, as lines.
pub fn differences(one: &Swarms, other: &Swarms) -> Vec<String> {
    let hashes: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let mut lines = Vec::new();
    for hash in hashes {
        let [here, there] = [one, other].map(|swarms| swarms.get(hash));
        let count = |swarm: Option<&Swarm>| swarm.map(|swarm| (swarm.downloads, swarm.counts));
        if count(here) != count(there) {
            lines.push(format!("{hash}: {:?} here, {:?} there", count(here), count(there)));
        }
        let peers = |swarm: Option<&Swarm>| swarm.map(|one| one.peers.clone()).unwrap_or_default();
        let [here, there] = [here, there].map(peers);
        let addresses: BTreeSet<_> = here.keys().chain(there.keys()).collect();
        for address in addresses.into_iter().filter(|one| here.get(one) != there.get(one)) {
            let [here, there] = [&here, &there].map(|peers| peers.get(address));
            lines.push(format!("{hash} {address}: {here:?} here, {there:?} there"));
        }
    }
    lines
}

/// Waits until nothing waits at any node and all know the same, and returns what they know.
#[track_caller]
pub fn become_equal(nodes: &[&Daemon]) -> Swarms {
    settle(nodes).unwrap_or_else(|differ| {
        let shown = &differ[..differ.len().min(10)];
        panic!("{} differences, such as {shown:#?}", differ.len())
    })
}

/// Waits until nothing waits at any node and all know the same, and returns what they know, or else
/// in what they differ.
pub fn settle(nodes: &[&Daemon]) -> Result<Swarms, Vec<String>> {
    let deadline = Instant::now() + crate::SOON;
    loop {
        let is_sent = nodes.iter().all(|node| waiting(node) == 0.0);
        let mut all: Vec<_> = nodes.iter().map(|node| swarms(node)).collect();
        let others = all[1..].iter();
        let differ: Vec<_> = others.flat_map(|other| differences(&all[0], other)).collect();
        if differ.is_empty() && is_sent {
            return Ok(all.swap_remove(0));
        }
        if Instant::now() > deadline {
            return Err(differ);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the peers with a home of which a node knows something else than what they announced last.
pub fn mistaken(swarms: &Swarms, homes: &Homes) -> Vec<String> {
    let found = homes.iter().filter_map(|((hash, address), told)| {
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let known = swarms.get(&hash).and_then(|swarm| swarm.peers.get(address));
        let known = known.map(|role| role == "seeder");
        (known != *told).then(|| format!("{hash} {address}: told {told:?}, known {known:?}"))
    });
    found.collect()
}

/// Returns the bytes that wait at a node to be sent.
pub fn waiting(node: &Daemon) -> f64 {
    node.metric("karuta_share_waiting_bytes")
}

/// Returns the longest time that a part of a node is behind.
pub fn behind(node: &Daemon) -> f64 {
    let page = node.admin_page("/metrics");
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix("karuta_share_behind_seconds{")?;
        rest.split(' ').nth(1)?.parse::<f64>().ok()
    });
    values.fold(0.0, f64::max)
}

/// Announces new peers of one part at a node, one after the other, and measures how long it takes
/// until another node knows each.
pub struct Probe {
    pub part: u8,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Probe {
    pub fn start(part: u8, from: SocketAddr, to: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let mut hash = [0x70; 20];
        hash[0] = part;
        let thread = std::thread::spawn(move || {
            let announces = udp::Client::connect(from);
            let scrapes = udp::Client::connect(to);
            let mut lags = Vec::new();
            while lags.is_empty() || !seen.load(Ordering::Relaxed) {
                let number = lags.len() as u16 + 1;
                let peer = Announce::of_hash(hash).port(number).seeder();
                peer.udp(&announces).expect("the peer is let in");
                let start = Instant::now();
                let counts = || scrapes.scrape(&[hash]).expect("an answer")[0][0];
                eventually("the other node has heard", || counts() >= number.into());
                lags.push(start.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            lags
        });
        Self { part, ends, thread }
    }

    /// Returns the times, at least one, in their order.
    pub fn stop(self) -> Vec<Duration> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("the probe ends")
    }
}
