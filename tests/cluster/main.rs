//! Trackers that share their swarms over real engines: what they know when nobody announces any
//! more, whatever has failed meanwhile.
//!
//! `cargo test --release --test cluster -- --nocapture` prints figures.

mod engine_faults;
mod kinds;
mod node_faults;
mod refusals;
mod soak;
mod steady;

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use karuta_tests::crowd::{Crowd, Heard, Size};
use karuta_tests::engines::{Cluster, Engine};
use karuta_tests::nodes::{Probe, Swarm, Swarms, become_equal, behind, mistaken, node, start};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, folder};

const NODES: usize = 3;
const PARTS: u8 = 4;

/// Three nodes over a cluster, under load.
struct Scene {
    cluster: Cluster,
    /// The YAML of `swarms`, and what follows.
    swarms: String,
    nodes: Vec<Daemon>,
    crowd: Crowd,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    fn begin(engine: &Engine) -> Self {
        Self::begin_with(engine, "")
    }

    /// Begins with more keys of `swarms.share`.
    fn begin_with(engine: &Engine, share: &str) -> Self {
        Self::begin_as(engine, share, "")
    }

    /// Begins with nodes whose configuration has more, after the keys of `swarms.share`.
    fn begin_as(engine: &Engine, share: &str, more: &str) -> Self {
        let alone = alone();
        eprintln!("with {}", engine.name);
        let cluster = Cluster::start(engine);
        let swarms = cluster.share(share) + more;
        let nodes = start(NODES, &swarms);
        let addresses: Vec<_> = nodes.iter().map(|node| node.udp).collect();
        let crowd = Crowd::start(&addresses, size());
        let scene = Self { cluster, swarms, nodes, crowd, _alone: alone };
        scene.goes_on();
        scene
    }

    /// Waits until as many announces were answered as come in two seconds.
    fn goes_on(&self) {
        let more = 2.0 * size().rate * NODES as f64;
        self.crowd.announces(more as u64);
    }

    /// Measures how long the second node takes to hear of peers at the first one, for each part.
    fn probes(&self) -> Vec<Probe> {
        let [from, to] = [0, 1].map(|node| self.nodes[node].udp);
        (0..PARTS).map(|part| Probe::start(part, from, to)).collect()
    }

    /// Waits until no part of any node is behind.
    fn has_caught_up(&self) {
        let start = Instant::now();
        karuta_tests::eventually("all parts are up to date", || {
            self.nodes.iter().all(|node| behind(node) < 0.5)
        });
        eprintln!("all parts are up to date after {:?}", start.elapsed());
    }

    /// Ends the load, and checks that every announce was answered, that all nodes know the same, what
    /// they were told last, and that a node that is started now knows it too.
    fn ends_well(self) -> Swarms {
        let Self { cluster, swarms, nodes, crowd, _alone } = self;
        let (mut heard, homes) = crowd.stop();
        figures("the rest", &mut heard);
        heard.is_clean();
        let mut all: Vec<_> = nodes.iter().collect();
        become_equal(&all);
        let late = Daemon::start_in(folder(&node(&swarms)));
        all.push(&late);
        let known = become_equal(&all);
        for node in all {
            scrapes_say(node, &known);
        }
        let peers: usize = known.values().map(|swarm| swarm.peers.len()).sum();
        let wrong = mistaken(&known, &homes);
        eprintln!("{peers} peers, {} of {} with a home mistaken", wrong.len(), homes.len());
        assert!(peers > 100 && homes.len() > 100, "hardly anybody has announced");
        assert!(wrong.is_empty(), "{:#?}", &wrong[..wrong.len().min(10)]);
        drop(cluster);
        known
    }
}

/// Checks that a node says the same in scrapes.
fn scrapes_say(node: &Daemon, known: &Swarms) {
    let client = Client::connect(node.udp);
    let hashes: Vec<[u8; 20]> = known.keys().map(|hash| bytes(hash)).collect();
    let pages = hashes.chunks(70).map(|page| client.scrape(page).expect("an answer"));
    let said: Vec<[u32; 3]> = pages.flatten().collect();
    let counts = |swarm: &Swarm| {
        let [seeders, leechers] = swarm.counts;
        [seeders, swarm.downloads, leechers].map(|count| count as u32)
    };
    let expected: Vec<[u32; 3]> = known.values().map(counts).collect();
    assert_eq!(said, expected);
}

/// Returns the bytes of an info-hash in hexadecimal.
fn bytes(hash: &str) -> [u8; 20] {
    let byte = |at: usize| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).expect("hexadecimal");
    std::array::from_fn(byte)
}

/// Returns the guard of the machine: two clusters at a time would be too much for a small one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn size() -> Size {
    let rate = if cfg!(debug_assertions) { 400.0 } else { 5000.0 };
    let rate = std::env::var("KARUTA_RATE").map_or(rate, |rate| rate.parse().expect("a number"));
    Size { torrents: 64, peers: 60, rate }
}

/// Prints what was answered.
fn figures(when: &str, heard: &mut Heard) {
    let [p50, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(|share| heard.latency(share));
    eprintln!(
        "{when}: {} announces, {} unanswered; p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, longest \
         {longest:?}",
        heard.announces, heard.unanswered
    );
}

/// Ends probes, and prints and returns the longest lag of each.
fn lags(probes: Vec<Probe>) -> Vec<Duration> {
    let all = probes.into_iter().map(|probe| {
        let part = probe.part;
        let mut lags = probe.stop();
        lags.sort_unstable();
        let at = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize];
        let count = lags.len();
        eprintln!(
            "part {part}: {count} peers heard of, p50 {:?}, p99 {:?}, longest {:?}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        at(1.0)
    });
    all.collect()
}
