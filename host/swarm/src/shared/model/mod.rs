//! Nodes and a log in memory, in any interleaving: what must hold when it is quiet again.

mod node;
mod steps;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use karuta_bittorrent::{Event, PeerId, Peers};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::node::{Entry, Log, Node};
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

/// What is known of a peer: its role, whether it is hidden, its label, its id.
type Known = (Role, bool, u64, [u8; 20]);
/// What nodes without peer ids are told of a peer: its role, whether it is hidden, its label.
type Told = (Role, bool, u64);
/// Peers and downloads by torrent.
type Picture = BTreeMap<u8, (BTreeMap<SocketAddr, Known>, u32)>;

struct World {
    options: Options,
    nodes: Vec<Node>,
    ids: u64,
    log: Log,
    now: Seconds,
    epoch: usize,
    /// The engine has lost something since all was told.
    has_lost: bool,
    /// The last announce of each peer that announces to one node at a time; `None`: it has stopped.
    last: HashMap<(u8, u8), Option<Told>>,
    /// How many downloads there are, at least and at most: who is killed may take some along.
    downloads: HashMap<u8, [u32; 2]>,
    /// Those that a node has counted since all was told.
    counted: [HashMap<u8, u32>; NODES],
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
        let nodes = (0..NODES as u64).map(|id| Node::new(options, id)).collect();
        let mut world = Self {
            options,
            nodes,
            ids: NODES as u64,
            log: Log::default(),
            now: 0,
            epoch: 0,
            has_lost: false,
            last: HashMap::new(),
            downloads: HashMap::new(),
            counted: Default::default(),
            is_planted,
            originals: HashMap::new(),
        };
        // Nobody is new.
        world.be_quiet();
        world.now = 100;
        world
    }

    fn announce(&mut self, torrent: u8, peer: u8, node: usize, mut update: Update) {
        let mut rng = SmallRng::seed_from_u64(1);
        let node = if peer < SETTLED { self.home(peer) } else { node };
        update.now = self.now;
        let store = &self.nodes[node].store;
        let before = store.counts(update.info_hash).map_or(0, |counts| counts.completed);
        let after = store.announce(&update, &mut rng, &mut Peers::default()).unwrap().completed;
        for number in self.downloads.entry(torrent).or_default() {
            *number += after - before;
        }
        *self.counted[node].entry(torrent).or_default() += after - before;
        if peer < SETTLED {
            // Nobody hears where a hidden peer is.
            let label = update.locality.filter(|_| !update.is_hidden).map_or(0, |at| at.label);
            let now = (update.role(), update.is_hidden, label);
            let stays = (update.event != Event::Stopped).then_some(now);
            self.last.insert((torrent, peer), stays);
        }
    }

    /// Returns where a peer announces that announces to one node at a time.
    fn home(&self, peer: u8) -> usize {
        (usize::from(peer) + self.epoch) % NODES
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
        self.has_lost = false;
        self.counted = Default::default();
        for node in &mut self.nodes {
            let (mut walk, mut piece, mut pieces) = (Walk::default(), Piece::default(), Vec::new());
            while node.store.next_piece(&mut walk, self.now, &mut piece) {
                pieces.push(piece.clone());
            }
            node.saved = (pieces, node.read);
        }
    }

    /// A node ends, with what it has not told unless it `is_stopped`. Another takes its place, restores
    /// what it knew when all was told, and begins to read the log so many entries before that.
    fn restart(&mut self, at: usize, is_stopped: bool, snapshot: Option<u64>) {
        // Nobody would send again what only it has sent, and the engine has lost.
        if is_stopped || self.has_lost {
            self.settle();
        }
        self.ids += 1;
        let mut node = Node::new(self.options, self.ids);
        if let Some(overlap) = snapshot {
            let (pieces, read) = std::mem::take(&mut self.nodes[at].saved);
            pieces.iter().for_each(|piece| {
                node.store.restore(piece, self.now);
            });
            node.begin = read.saturating_sub(overlap);
            node.read = node.begin;
            node.is_restored = true;
        }
        self.nodes[at] = node;
        let untold = std::mem::take(&mut self.counted[at]);
        if untold.values().all(|count| *count == 0) && is_stopped {
            return;
        }
        for (torrent, count) in untold {
            self.downloads.entry(torrent).or_default()[0] -= count;
        }
        let epoch = self.epoch;
        self.last.retain(|(_, peer), _| (usize::from(*peer) + epoch) % NODES != at);
        // The engine does not lose what it has told, too.
        self.settle();
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
            Step::Announce { torrent, peer, node, event, seeder, label, is_hidden } => {
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
                    is_hidden,
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
            Step::Restart { node, is_stopped, snapshot } => {
                self.restart(node, is_stopped, snapshot);
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
                let label = candidates[0].label;
                known.insert(peer.address, (peer.role, peer.is_hidden, label, peer.peer_id.0));
            }
            picture.insert(piece.info_hash.0[0], (known, piece.downloads));
        }
        picture
    }

    /// Returns what a node knows that begins to read the log after an entry.
    fn of_log(&self, after: u64) -> Picture {
        let mut fresh = Node::new(self.options, u64::MAX);
        fresh.read = after;
        fresh.read(&self.log, usize::MAX, self.now);
        Self::picture(&fresh.store, self.now)
    }

    /// Returns what is wrong when it is quiet.
    fn check(&mut self) -> Result<(), TestCaseError> {
        self.settle();
        let of_log = self.of_log(0);
        let peers = |picture: &Picture, has_labels: bool| {
            let mut peers = BTreeMap::new();
            for (torrent, (known, _)) in picture.iter().filter(|(_, (known, _))| !known.is_empty())
            {
                let known = known.iter().map(|(address, (role, is_hidden, label, id))| {
                    (*address, (*role, *is_hidden, has_labels.then_some(*label), *id))
                });
                peers.insert(*torrent, known.collect::<BTreeMap<_, _>>());
            }
            peers
        };
        let downloads = |picture: &Picture| {
            let downloads = picture.iter().map(|(torrent, (_, downloads))| (*torrent, *downloads));
            downloads.filter(|(_, downloads)| *downloads > 0).collect::<BTreeMap<_, _>>()
        };
        for (torrent, [least, most]) in &self.downloads {
            let known = downloads(&of_log).get(torrent).copied().unwrap_or(0);
            let range = *least..=*most;
            prop_assert!(
                range.contains(&known),
                "torrent {}: {} not in {:?}",
                torrent,
                known,
                range
            );
        }
        // Nobody who starts now learns less, wherever the log begins.
        for entry in &self.log.entries {
            for (torrent, known) in downloads(&self.of_log(entry.number)) {
                let expected = downloads(&of_log)[&torrent];
                prop_assert_eq!(known, expected, "torrent {} after {}", torrent, entry.number);
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let picture = Self::picture(&node.store, self.now);
            let has_labels = !node.is_restored;
            let [here, there] = [&picture, &of_log].map(|picture| peers(picture, has_labels));
            prop_assert_eq!(here, there, "peers of node {}", at);
            prop_assert_eq!(downloads(&picture), downloads(&of_log), "downloads of node {}", at);
            let waiting = node.part.waiting();
            prop_assert_eq!(waiting, Waiting::default(), "node {}", at);
        }
        for ((torrent, peer), last) in &self.last {
            let known = of_log.get(torrent).and_then(|(known, _)| known.get(&address(*peer)));
            let known = known.map(|(role, is_hidden, label, _)| (*role, *is_hidden, *label));
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
    let announce = |event| Step::Announce {
        torrent: 0,
        peer: 1,
        node: 1,
        event,
        seeder: false,
        label: None,
        is_hidden: false,
    };
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
        is_hidden: false,
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
