//! Nodes and a log in memory, in any interleaving: what must hold when it is quiet again.

mod steps;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use karuta_bittorrent::{Event, PeerId, Peers};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::steps::{Outcome, Step, steps};
use super::batch::{Batch, Header};
use super::kept::KEEP;
use super::*;
use crate::{Locality, Order, Plan, PlanId, PlanName, Role};

const TORRENTS: u8 = 3;
const NODES: usize = 3;
/// The first peers announce to one node at a time, so that their last announce must be what stays.
const SETTLED: u8 = 6;
const PEERS: u8 = 9;

struct Entry {
    number: u64,
    at: Seconds,
    batch: Vec<u8>,
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    last: u64,
}

impl Log {
    fn append(&mut self, batch: Vec<u8>, at: Seconds) {
        self.last += 1;
        self.entries.push(Entry { number: self.last, at, batch });
    }
}

struct Node {
    store: Shared,
    part: Part,
    /// The number of the last entry that it has read.
    read: u64,
    /// The number of the newest entry that it has ever read.
    newest: u64,
    /// When it had read how far.
    trail: Vec<(Seconds, u64)>,
    is_broken: bool,
    /// How many entries it reads again when it notices.
    again: u64,
    late: Vec<Vec<u8>>,
    /// It has been there from the beginning.
    is_first: bool,
}

impl Node {
    fn new(options: Options, id: u64, is_first: bool) -> Self {
        let (store, mut parts) =
            Shared::sharing(options, Sharing { node: id, parts: 1, queue: 1 << 20 });
        let mut part = parts.remove(0);
        // Nothing is sent before the log has been read.
        part.failed(&store);
        Self {
            store,
            part,
            read: 0,
            newest: 0,
            trail: Vec::new(),
            is_broken: false,
            again: 0,
            late: Vec::new(),
            is_first,
        }
    }

    /// Notices that the connection has broken, and whether the log ends before what was read.
    fn notice(&mut self, log: &Log) {
        if std::mem::take(&mut self.is_broken) {
            self.part.failed(&self.store);
            self.read = self.read.saturating_sub(std::mem::take(&mut self.again));
            let end = log.entries.last();
            if self.read > end.map_or(0, |end| end.number) {
                let is_before = |entry: &&Entry| end.is_some_and(|end| entry.at + 1 < end.at);
                let before = log.entries.iter().take_while(is_before).last();
                self.read = before.map_or(0, |entry| entry.number);
            }
        }
    }

    /// Reads some entries, and returns whether they were the last.
    fn read(&mut self, log: &Log, entries: usize, now: Seconds) -> bool {
        self.notice(log);
        if self.part.goes_back() {
            let is_old = |at: Seconds| now.saturating_sub(at) > Part::BACK;
            self.trail.retain(|(at, _)| is_old(*at));
            self.read = self.trail.last().map_or(0, |(_, number)| self.read.min(*number));
        }
        let read = self.read;
        let mut next = log.entries.iter().filter(|entry| entry.number > read);
        for entry in next.by_ref().take(entries) {
            self.read = entry.number;
            let is_first = entry.number > self.newest;
            self.newest = self.newest.max(entry.number);
            let arrival = Arrival { age: now - entry.at, now, is_first };
            self.part.apply(&self.store, &entry.batch, arrival).unwrap();
        }
        self.trail.push((now, self.read));
        let is_end = next.next().is_none();
        if is_end {
            self.part.at_end(now);
        }
        is_end
    }
}

/// What is known of a peer: its role, its label, its id.
type Known = (Role, u64, [u8; 20]);
/// Peers and downloads by torrent.
type Picture = BTreeMap<u8, (BTreeMap<SocketAddr, Known>, u32)>;

struct World {
    options: Options,
    nodes: Vec<Node>,
    ids: u64,
    log: Log,
    now: Seconds,
    epoch: usize,
    has_lost: bool,
    /// The last announce of each peer that announces to one node at a time; `None`: it has stopped.
    last: HashMap<(u8, u8), Option<(Role, u64)>>,
    downloads: HashMap<u8, u32>,
    /// Sends again as the first prototype did.
    is_planted: bool,
    /// What was sent for the first time.
    originals: HashMap<(u64, u64), Vec<u8>>,
}

fn info_hash(torrent: u8) -> InfoHash {
    InfoHash([torrent; 20])
}

fn address(peer: u8) -> SocketAddr {
    match peer % 3 {
        0 => SocketAddr::from(([1; 8], 1000 + u16::from(peer))),
        _ => SocketAddr::from(([10, 0, 0, peer], 1000)),
    }
}

impl World {
    fn new(keep_peer_ids: bool, is_planted: bool) -> Self {
        let options = Options { keep_peer_ids, shards: 2, ..Options::default() };
        let nodes = (0..NODES as u64).map(|id| Node::new(options, id, true)).collect();
        Self {
            options,
            nodes,
            ids: NODES as u64,
            log: Log::default(),
            now: 0,
            epoch: 0,
            has_lost: false,
            last: HashMap::new(),
            downloads: HashMap::new(),
            is_planted,
            originals: HashMap::new(),
        }
    }

    fn announce(&mut self, torrent: u8, peer: u8, node: usize, mut update: Update) {
        let mut rng = SmallRng::seed_from_u64(1);
        let node = match peer < SETTLED {
            true => (usize::from(peer) + self.epoch) % NODES,
            false => node,
        };
        update.now = self.now;
        let store = &self.nodes[node].store;
        let before = store.counts(update.info_hash).map_or(0, |counts| counts.completed);
        let after = store.announce(&update, &mut rng, &mut Peers::default()).unwrap().completed;
        *self.downloads.entry(torrent).or_default() += after - before;
        if peer < SETTLED {
            let label = update.locality.map_or(0, |at| at.label);
            let stays = (update.event != Event::Stopped).then(|| (update.role(), label));
            self.last.insert((torrent, peer), stays);
        }
    }

    /// Returns whether there was something to send.
    fn send(&mut self, node: usize, outcome: Outcome) -> bool {
        self.nodes[node].notice(&self.log);
        let Node { store, part, late, .. } = &mut self.nodes[node];
        let Some(mut batch) = part.next(store, self.now) else { return false };
        let Header { node: id, sequence, again, .. } =
            Batch::read(&batch, |_| true).unwrap().header;
        if again && self.is_planted {
            batch = again_at_once(&self.originals[&(id, sequence)], store);
        } else if !again {
            self.originals.insert((id, sequence), batch.clone());
        }
        let is_in_log = matches!(outcome, Outcome::Appended | Outcome::Unknown);
        if is_in_log && !batch.is_empty() {
            self.log.append(batch, self.now);
        } else if matches!(outcome, Outcome::Late) {
            late.push(batch);
        }
        match outcome {
            Outcome::Appended => part.appended(self.now),
            _ => part.failed(store),
        }
        true
    }

    fn settle(&mut self) {
        for _ in 0..2 {
            self.be_quiet();
            self.now += KEEP + 1;
        }
        self.be_quiet();
    }

    /// Sends and reads until there is nothing more.
    fn be_quiet(&mut self) {
        for at in 0..NODES {
            self.arrive(at);
        }
        let mut rounds = 0;
        while {
            let mut more = false;
            for at in 0..NODES {
                more |= !self.nodes[at].read(&self.log, 2, self.now);
                more |= self.send(at, Outcome::Appended);
            }
            more
        } {
            rounds += 1;
            assert!(rounds < 10_000, "it never ends");
        }
    }

    fn arrive(&mut self, node: usize) {
        for batch in std::mem::take(&mut self.nodes[node].late) {
            if !batch.is_empty() {
                self.log.append(batch, self.now);
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Announce { torrent, peer, node, event, seeder, label } => {
                let locality = label.map(|label| Locality {
                    label: u64::from(label) + 1,
                    plan: Plan::new(&[64], Order::NearFirst, 0).unwrap().with_gateways(1),
                    id: PlanId::of(PlanName([label % 2; 8])),
                });
                let update = Update {
                    info_hash: info_hash(torrent),
                    peer: address(peer),
                    peer_id: PeerId([1 + peer / 2; 20]),
                    event,
                    seeder,
                    want: 0,
                    only: None,
                    locality,
                    now: 0,
                };
                self.announce(torrent, peer, node, update);
            }
            Step::Send { node, outcome } => {
                self.send(node, outcome);
            }
            Step::Late { node } => self.arrive(node),
            Step::Read { node, entries } => {
                self.nodes[node].read(&self.log, entries, self.now);
            }
            Step::Lose { entries } => {
                let is_young = |entry: &&Entry| self.now - entry.at < KEEP;
                let young = self.log.entries.iter().rev().take(entries).take_while(is_young);
                let keep = self.log.entries.len() - young.count();
                self.has_lost |= keep < self.log.entries.len();
                self.log.entries.truncate(keep);
                self.nodes.iter_mut().for_each(|node| node.is_broken = true);
            }
            Step::Break { node, entries } => {
                let node = &mut self.nodes[node];
                (node.is_broken, node.again) = (true, entries);
            }
            Step::Restart { node } => {
                self.settle();
                self.ids += 1;
                self.nodes[node] = Node::new(self.options, self.ids, false);
            }
            Step::Settle => {
                self.settle();
                self.epoch += 1;
            }
            Step::Pass { seconds } => self.now += seconds,
        }
    }

    /// Returns what a store holds.
    fn picture(store: &Shared, now: Seconds) -> Picture {
        let (mut walk, mut piece) = (Walk::default(), Piece::default());
        let mut picture = Picture::new();
        while store.next_piece(&mut walk, now, &mut piece) {
            let mut known = BTreeMap::new();
            for peer in &piece.peers {
                let mut peers = Peers::default();
                peers.insert(0, peer.address);
                let mut candidates = Vec::new();
                store.describe(piece.info_hash, &peers, now, &mut candidates);
                known.insert(peer.address, (peer.role, candidates[0].label, peer.peer_id.0));
            }
            picture.insert(piece.info_hash.0[0], (known, piece.downloads));
        }
        picture
    }

    /// Returns what is wrong when it is quiet.
    fn check(&mut self) -> Result<(), TestCaseError> {
        self.settle();
        let mut fresh = Node::new(self.options, u64::MAX, false);
        fresh.read(&self.log, usize::MAX, self.now);
        let of_log = Self::picture(&fresh.store, self.now);
        let peers = |picture: &Picture| {
            let peers = picture.iter().map(|(torrent, (known, _))| (*torrent, known.clone()));
            peers.filter(|(_, known)| !known.is_empty()).collect::<BTreeMap<_, _>>()
        };
        let expected = self.downloads.iter().map(|(torrent, n)| (*torrent, *n));
        let expected: BTreeMap<_, _> = expected.filter(|(_, n)| *n > 0).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let picture = Self::picture(&node.store, self.now);
            prop_assert_eq!(peers(&picture), peers(&of_log), "peers of node {}", at);
            if node.is_first || !self.has_lost {
                let downloads =
                    picture.iter().map(|(torrent, (_, downloads))| (*torrent, *downloads));
                let downloads: BTreeMap<_, _> = downloads.filter(|(_, n)| *n > 0).collect();
                prop_assert_eq!(&downloads, &expected, "downloads of node {}", at);
            }
            let waiting = node.part.waiting();
            prop_assert_eq!(waiting, Waiting::default(), "node {}", at);
        }
        for ((torrent, peer), last) in &self.last {
            let known = of_log.get(torrent).and_then(|(known, _)| known.get(&address(*peer)));
            let known = known.map(|(role, label, _)| (*role, *label));
            prop_assert_eq!(known, *last, "torrent {}, peer {}", torrent, peer);
        }
        let totals: HashSet<_> = self
            .nodes
            .iter()
            .map(|node| node.store.totals())
            .map(|totals| {
                (
                    totals.swarms,
                    totals.ipv4.seeders,
                    totals.ipv4.leechers,
                    totals.ipv6.seeders,
                    totals.ipv6.leechers,
                )
            })
            .collect();
        prop_assert_eq!(totals.len(), 1, "{:?}", totals);
        Ok(())
    }
}

/// Returns a batch that is sent again as seems right now: without records that are no longer so, but
/// whole where a download was counted.
fn again_at_once(original: &[u8], store: &Shared) -> Vec<u8> {
    let batch = Batch::read(original, |_| true).unwrap();
    let stays = |announced: &Announced| announced.counted || store.memory.is_so(announced);
    let mut records = Vec::new();
    batch.records().filter(|(one, _)| stays(one)).for_each(|(one, _)| one.write(&mut records));
    match records.is_empty() {
        true => Vec::new(),
        false => Header { again: true, ..batch.header }.with(&records),
    }
}

fn run(keep_peer_ids: bool, is_planted: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(keep_peer_ids, is_planted);
    steps.into_iter().for_each(|step| world.take(step));
    world.check()
}

#[test]
fn all_nodes_have_what_the_log_has() {
    // The same ones each time, unless somebody looks for more.
    let cases = std::env::var("KARUTA_CASES").ok().and_then(|n| n.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(1000), failure_persistence: None, ..Config::default() };
    let rng = match cases {
        None => TestRng::deterministic_rng(RngAlgorithm::ChaCha),
        Some(_) => TestRng::from_seed(RngAlgorithm::ChaCha, &rand::random::<[u8; 32]>()),
    };
    let strategy = (any::<bool>(), steps());
    let result =
        TestRunner::new_with_rng(config, rng).run(&strategy, |(ids, steps)| run(ids, false, steps));
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn a_peer_revived_by_sending_again_would_be_noticed() {
    let config =
        Config { cases: 2000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let strategy = (any::<bool>(), steps());
    let result =
        TestRunner::new_with_rng(config, rng).run(&strategy, |(ids, steps)| run(ids, true, steps));
    assert!(result.is_err());
}

/// A peer completes and stops. The engine loses both, after all nodes have read them.
fn completes_and_stops(is_planted: bool) -> Result<(), TestCaseError> {
    let announce =
        |event| Step::Announce { torrent: 0, peer: 1, node: 1, event, seeder: false, label: None };
    let send = || Step::Send { node: 1, outcome: Outcome::Appended };
    let mut steps = Vec::new();
    for event in [Event::Started, Event::Completed, Event::Stopped] {
        steps.extend([announce(event), send()]);
        steps.extend((0..NODES).map(|node| Step::Read { node, entries: 1 }));
    }
    steps.push(Step::Lose { entries: 2 });
    run(false, is_planted, steps)
}

#[test]
fn sending_again_revives_nobody() {
    completes_and_stops(false).unwrap();
    completes_and_stops(true).unwrap_err();
}

/// A peer starts at one node, which reads its announce. Then it is cut off, and the peer stops at
/// another node.
#[test]
fn what_the_log_has_is_not_sent_again() {
    let announce = |node, event| Step::Announce {
        torrent: 0,
        peer: SETTLED,
        node,
        event,
        seeder: false,
        label: None,
    };
    let send = |node| Step::Send { node, outcome: Outcome::Appended };
    let read = |node| Step::Read { node, entries: 9 };
    for is_sent_before in [false, true] {
        let mut world = World::new(false, false);
        let mut steps: Vec<_> = (0..NODES).map(read).collect();
        steps.extend([announce(0, Event::Started), send(0)]);
        steps.extend((0..NODES).map(read));
        steps.push(announce(1, Event::Stopped));
        steps.extend(is_sent_before.then(|| send(1)));
        steps.extend([Step::Break { node: 0, entries: 0 }, send(0), read(0), send(0), send(1)]);
        steps.into_iter().for_each(|step| world.take(step));
        world.check().unwrap();
        for node in &world.nodes {
            let known = World::picture(&node.store, world.now);
            assert!(known.values().all(|(known, _)| known.is_empty()), "{known:?}");
            assert_eq!(node.part.sent().again, 0);
        }
    }
}
