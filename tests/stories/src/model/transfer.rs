//! How a file spreads among hosts that know each other: blocks one after the other from each
//! uploader, rarest pieces first, and few peers served at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::rules::{Rule, Tracker};
use super::{ORIGIN, Shape};

/// Bytes.
pub const BLOCK: u64 = 16 << 10;
/// Blocks.
const PIECE: u8 = 4;
/// How many peers a host serves at a time.
const SLOTS: usize = 8;
/// After so long, a host chooses anew whom it serves. All times are in microseconds.
const TURN: u64 = 15_000_000;
/// How long a host that can send nothing waits before it looks again.
const IDLE: u64 = 10_000;
/// What comes before the first block: announces, connections, the first requests. It is what real
/// clients took longer than the model.
const START: u64 = 4_500_000;
/// A transfer ends then at the latest.
const PATIENCE: u64 = 600_000_000;

/// What is transferred, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub shape: Shape,
    pub rule: Rule,
    /// How many peers a host asks for.
    pub want: usize,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes per second that a host uploads.
    pub upload: u64,
    pub upload_of_origin: u64,
    /// Bytes per second that enter a rack, and as many that leave it.
    pub uplink: Option<u64>,
    /// After how many microseconds all hosts ask again, those that left are known to have left, and
    /// so on.
    pub interval: Option<u64>,
    /// How many gateways leave, each of another rack, when a third of the data is there.
    pub killed: usize,
    pub seed: u64,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Until every host has the file.
    pub seconds: f64,
    /// Whether every host has it.
    pub is_complete: bool,
    pub across: u64,
    pub within: u64,
    /// Of the bytes across racks, those that the origin sent.
    pub of_origin: u64,
}

struct Host {
    has: Vec<bool>,
    pieces: usize,
    /// Blocks of each piece that are here or on their way.
    asked: Vec<u8>,
    /// By piece: how many of the neighbours have it.
    known: Vec<u16>,
    links: Vec<usize>,
    /// The links that are served, by place in `links`.
    served: Vec<usize>,
    turn: usize,
    next_turn: u64,
}

/// A link in one direction: who receives, the piece that is under way, and its blocks.
struct Link {
    to: usize,
    piece: Option<(usize, u8)>,
}

/// When an uploader is free, who it is, and what it has sent: the link, the piece and the block.
type Event = (u64, usize, Option<(usize, usize, u8)>);

struct Run {
    setting: Setting,
    hosts: Vec<Host>,
    links: Vec<Link>,
    tracker: Tracker,
    free_at: Vec<[u64; 2]>,
    rng: SmallRng,
    outcome: Outcome,
}

/// Returns the setting of the releases with real clients.
pub fn story(shape: Shape, rule: Rule, want: usize, killed: usize, seed: u64) -> Setting {
    let interval = (killed > 0).then_some(1_000_000);
    let (size, upload) = (8 << 20, 1 << 20);
    let (upload_of_origin, uplink) = (4 * upload, None);
    Setting { shape, rule, want, size, upload, upload_of_origin, uplink, interval, killed, seed }
}

/// Lets all hosts join, ask once, and exchange the file.
pub fn run(setting: Setting) -> Outcome {
    let pieces = setting.size.div_ceil(BLOCK * u64::from(PIECE)) as usize;
    let shape = setting.shape;
    let host = |at: usize| Host {
        has: vec![at == ORIGIN; pieces],
        pieces: if at == ORIGIN { pieces } else { 0 },
        asked: vec![if at == ORIGIN { PIECE } else { 0 }; pieces],
        known: vec![0; pieces],
        links: Vec::new(),
        served: Vec::new(),
        turn: 0,
        next_turn: 0,
    };
    let mut run = Run {
        setting,
        hosts: (0..shape.all_hosts()).map(host).collect(),
        links: Vec::new(),
        tracker: Tracker::new(shape, setting.rule),
        free_at: vec![[0; 2]; shape.racks + 1],
        rng: SmallRng::seed_from_u64(setting.seed),
        outcome: Outcome::default(),
    };
    (0..shape.all_hosts()).for_each(|host| run.tracker.join(host));
    run.ask_all();
    run.go();
    run.outcome
}

impl Run {
    fn ask_all(&mut self) {
        let mut order: Vec<_> = (0..self.hosts.len()).collect();
        order.shuffle(&mut self.rng);
        for host in order {
            if self.tracker.is_gone[host] {
                continue;
            }
            for peer in self.tracker.ask(host, self.setting.want, &mut self.rng) {
                self.connect(host, peer);
            }
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.hosts[a].links.iter().any(|&link| self.links[link].to == b) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.hosts[from].links.push(self.links.len());
            self.links.push(Link { to, piece: None });
            for piece in 0..self.hosts[from].has.len() {
                self.hosts[to].known[piece] += u16::from(self.hosts[from].has[piece]);
            }
        }
    }

    fn go(&mut self) {
        let mut queue: BinaryHeap<Reverse<Event>> = BinaryHeap::new();
        let mut order: Vec<_> = (0..self.hosts.len()).collect();
        order.shuffle(&mut self.rng);
        order.into_iter().for_each(|host| queue.push(Reverse((START, host, None))));
        let (mut left, mut killed) = (self.hosts.len() - 1, self.setting.killed == 0);
        let mut again = self.setting.interval.map(|interval| START + interval);
        while let Some(Reverse((now, host, sent))) = queue.pop() {
            if let Some(interval) = self.setting.interval
                && again.is_some_and(|at| at <= now)
            {
                again = Some(now + interval);
                self.ask_all();
            }
            if let Some((link, piece, block)) = sent {
                let to: usize = self.links[link].to;
                if self.arrive(host, link, piece, block) && self.hosts[to].pieces == self.pieces() {
                    self.tracker.has_all[to] = true;
                    left -= 1;
                    self.outcome.seconds = now as f64 / 1e6;
                }
            }
            if !killed && self.share() > 33 {
                killed = true;
                left -= self.kill();
            }
            if left == 0 || now > PATIENCE {
                break;
            }
            if self.tracker.is_gone[host] {
                continue;
            }
            match self.send(host, now) {
                Some((until, sent)) => queue.push(Reverse((until, host, Some(sent)))),
                None => queue.push(Reverse((now + IDLE, host, None))),
            }
        }
        self.outcome.is_complete = left == 0;
    }

    fn pieces(&self) -> usize {
        self.hosts[ORIGIN].pieces
    }

    /// Returns how many percent of the data are there.
    fn share(&self) -> usize {
        let there: usize = self.hosts[1..].iter().map(|host| host.pieces).sum();
        100 * there / (self.pieces() * (self.hosts.len() - 1))
    }

    /// Removes one gateway from each of the first racks. Returns how many did not have the file.
    fn kill(&mut self) -> usize {
        let mut without = 0;
        for rack in 1..=self.setting.killed {
            let is_there = |host: &usize| !self.tracker.is_gone[*host];
            let mut of_rack = (1..self.hosts.len())
                .filter(|host| self.setting.shape.rack(*host) == rack)
                .filter(is_there);
            let far = |host: &usize| {
                let links = &self.hosts[*host].links;
                links.iter().any(|&link| self.setting.shape.rack(self.links[link].to) != rack)
            };
            let first = of_rack.clone().find(far).or_else(|| of_rack.next());
            let Some(host) = first else { continue };
            self.tracker.is_gone[host] = true;
            without += usize::from(!self.tracker.has_all[host]);
            for at in 0..self.hosts[host].links.len() {
                let to = self.links[self.hosts[host].links[at]].to;
                for piece in 0..self.pieces() {
                    let has = self.hosts[host].has[piece];
                    self.hosts[to].known[piece] -= u16::from(has);
                }
                // What it was sending is asked of others.
                if let Some((piece, _)) = self.links[self.hosts[host].links[at]].piece.take()
                    && !self.hosts[to].has[piece]
                {
                    self.hosts[to].asked[piece] = 0;
                }
            }
        }
        without
    }

    /// Sends the next block of a host. Returns when it has been sent.
    fn send(&mut self, from: usize, now: u64) -> Option<(u64, (usize, usize, u8))> {
        if self.hosts[from].next_turn <= now {
            self.hosts[from].next_turn = now + TURN;
            self.hosts[from].served.clear();
        }
        let wants = |run: &Self, link: usize| {
            let to = run.links[link].to;
            !run.tracker.is_gone[to] && run.pick(from, link).is_some()
        };
        let served = self.hosts[from].served.clone();
        let mut served: Vec<usize> = served.into_iter().filter(|&link| wants(self, link)).collect();
        if served.len() < SLOTS {
            let mut more = self.hosts[from].links.clone();
            more.shuffle(&mut self.rng);
            for link in more {
                if served.len() < SLOTS && !served.contains(&link) && wants(self, link) {
                    served.push(link);
                }
            }
        }
        self.hosts[from].served.clone_from(&served);
        if served.is_empty() {
            return None;
        }
        self.hosts[from].turn += 1;
        let link = served[self.hosts[from].turn % served.len()];
        let (piece, block) = self.pick(from, link)?;
        let to = self.links[link].to;
        self.hosts[to].asked[piece] = self.hosts[to].asked[piece].max(block + 1);
        self.links[link].piece = Some((piece, block + 1));
        let rate = match from {
            ORIGIN => self.setting.upload_of_origin,
            _ => self.setting.upload,
        };
        let mut until = now + BLOCK * 1_000_000 / rate;
        let racks = [from, to].map(|host| self.setting.shape.rack(host));
        if racks[0] != racks[1]
            && let Some(uplink) = self.setting.uplink
        {
            for (rack, way) in [(racks[0], 0), (racks[1], 1)] {
                if rack > 0 {
                    let end = self.free_at[rack][way].max(now) + BLOCK * 1_000_000 / uplink;
                    self.free_at[rack][way] = end;
                    until = until.max(end);
                }
            }
        }
        Some((until, (link, piece, block)))
    }

    /// Returns the block that the receiver of a link asks for next.
    fn pick(&self, from: usize, link: usize) -> Option<(usize, u8)> {
        let Link { to, piece } = self.links[link];
        let (sender, receiver) = (&self.hosts[from], &self.hosts[to]);
        if let Some((piece, block)) = piece
            && block < PIECE
            && !receiver.has[piece]
        {
            return Some((piece, block));
        }
        let rarest = |asked: bool| {
            let start = (to * 31 + from * 17) % sender.has.len();
            let pieces = (start..sender.has.len()).chain(0..start);
            pieces
                .filter(|&piece| sender.has[piece] && !receiver.has[piece])
                .filter(|&piece| asked || receiver.asked[piece] == 0)
                .min_by_key(|&piece| receiver.known[piece])
        };
        // At the end, pieces are asked for twice.
        rarest(false)
            .or_else(|| if receiver.is_ending() { rarest(true) } else { None })
            .map(|piece| (piece, 0))
    }

    /// Returns whether a piece is complete with this block.
    fn arrive(&mut self, from: usize, link: usize, piece: usize, block: u8) -> bool {
        let to = self.links[link].to;
        if self.tracker.is_gone[to] || self.tracker.is_gone[from] {
            return false;
        }
        let shape = self.setting.shape;
        if shape.rack(from) == shape.rack(to) {
            self.outcome.within += BLOCK;
        } else {
            self.outcome.across += BLOCK;
            self.outcome.of_origin += if from == ORIGIN { BLOCK } else { 0 };
        }
        if block + 1 < PIECE || self.hosts[to].has[piece] {
            return false;
        }
        self.links[link].piece = None;
        self.hosts[to].has[piece] = true;
        self.hosts[to].pieces += 1;
        for at in 0..self.hosts[to].links.len() {
            let neighbour = self.links[self.hosts[to].links[at]].to;
            self.hosts[neighbour].known[piece] += 1;
        }
        true
    }
}

impl Host {
    /// Returns whether every piece that is missing has been asked for.
    fn is_ending(&self) -> bool {
        self.has.len() - self.pieces <= 4 && self.asked.iter().all(|&asked| asked > 0)
    }
}
