//! Peers that announce at several trackers under load, over UDP, and know what must have become of
//! them. Unlike those of `karuta-load`, they start, complete and stop, and their trackers may die.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::announce::Announce;
use crate::udp;

/// The address of all peers. Each has a port of its own.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const FIRST_PORT: u16 = 2000;
/// Each node hears from as many sockets, so that all of its workers have something to do.
const SOCKETS: usize = 4;
/// How many requests a node may owe an answer to. More might not fit into its sockets' buffers.
const WINDOW: usize = 64;
/// How long a living node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a thread sleeps when nothing has arrived.
const REST: Duration = Duration::from_micros(200);
/// How often a connection id is renewed.
const RENEW: Duration = Duration::from_secs(50);

/// How many peers there are, and how often they announce.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// In every second torrent, a peer announces at one node only, its home. In the others, any
    /// peer announces at any node.
    pub torrents: u16,
    /// Peers of a torrent.
    pub peers: u16,
    /// Announces a second at each node.
    pub rate: f64,
}

/// The running load, a thread for each node.
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    size: Size,
    nodes: Vec<Mutex<Node>>,
}

/// What the test says about a node, and what its thread has found out.
struct Node {
    address: SocketAddr,
    /// Counts up with each change of the address.
    epoch: u32,
    state: State,
    heard: Heard,
    /// All announces that were answered.
    announces: u64,
    homes: Homes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Living,
    /// It may leave requests without an answer.
    Dying,
    /// The load is over.
    Done,
}

/// What was answered.
#[derive(Clone, Default, Debug)]
pub struct Heard {
    pub announces: u64,
    /// Requests without an answer from a node that lives.
    pub unanswered: u64,
    /// Errors and malformed answers.
    pub wrong: Vec<String>,
    /// From when each announce was due to its answer, in µs.
    latencies: Vec<u32>,
}

/// The peers that announce at one node only: whether each is a seeder, or gone.
pub type Homes = HashMap<([u8; 20], SocketAddr), Option<bool>>;

impl Heard {
    /// Returns the latency below which this share of the answers came.
    pub fn latency(&mut self, share: f64) -> Duration {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1) as f64;
        let found = self.latencies.get((last * share) as usize);
        Duration::from_micros(found.copied().unwrap_or_default().into())
    }

    /// Adds what was answered at another time.
    pub fn add(&mut self, other: Self) {
        self.announces += other.announces;
        self.unanswered += other.unanswered;
        self.wrong.extend(other.wrong);
        self.latencies.extend(other.latencies);
    }

    /// Checks that every announce was answered as it must be.
    #[track_caller]
    pub fn is_clean(&self) {
        assert!(self.announces > 0, "no announce was answered");
        assert_eq!(self.unanswered, 0, "announces without an answer, of {}", self.announces);
        assert!(self.wrong.is_empty(), "{:?}", self.wrong);
    }
}

impl Crowd {
    /// Begins to announce at nodes.
    pub fn start(nodes: &[SocketAddr], size: Size) -> Self {
        let node = |address: &SocketAddr| {
            Mutex::new(Node {
                address: *address,
                epoch: 0,
                state: State::Living,
                heard: Heard::default(),
                announces: 0,
                homes: Homes::new(),
            })
        };
        let shared = Arc::new(Shared { size, nodes: nodes.iter().map(node).collect() });
        let thread = |me| {
            let shared = shared.clone();
            std::thread::spawn(move || Thread::new(me, &shared).run())
        };
        let threads = (0..nodes.len()).map(thread).collect();
        Self { shared, threads }
    }

    /// Says that a node is about to die. Its requests may stay without an answer until it is back,
    /// and what becomes of the peers whose home it is is unknown.
    pub fn dies(&self, node: usize) {
        self.shared.nodes[node].lock().unwrap().state = State::Dying;
    }

    /// Says that a node is back.
    pub fn lives(&self, node: usize, address: SocketAddr) {
        let mut node = self.shared.nodes[node].lock().unwrap();
        node.state = State::Living;
        node.address = address;
        node.epoch += 1;
    }

    /// Returns what was answered since the last time.
    pub fn lap(&self) -> Heard {
        let mut all = Heard::default();
        for node in &self.shared.nodes {
            all.add(std::mem::take(&mut node.lock().unwrap().heard));
        }
        all
    }

    /// Waits until so many more announces are answered.
    pub fn announces(&self, count: u64) {
        let answered = || {
            let nodes = self.shared.nodes.iter();
            nodes.map(|node| node.lock().unwrap().announces).sum::<u64>()
        };
        let before = answered();
        crate::eventually("the nodes answer", || answered() >= before + count);
    }

    /// Ends when all is answered. Returns what was answered since the last lap, and what must have
    /// become of the peers that have a home.
    pub fn stop(self) -> (Heard, Homes) {
        for node in &self.shared.nodes {
            node.lock().unwrap().state = State::Done;
        }
        for thread in self.threads {
            thread.join().expect("the load's thread ends");
        }
        let mut homes = Homes::new();
        let mut all = Heard::default();
        for node in &self.shared.nodes {
            let mut node = node.lock().unwrap();
            homes.extend(std::mem::take(&mut node.homes));
            all.add(std::mem::take(&mut node.heard));
        }
        (all, homes)
    }
}

/// Announces at one node.
struct Thread<'a> {
    me: usize,
    shared: &'a Shared,
    random: u64,
    /// What this node was told of each peer: whether it is a seeder, or gone.
    told: HashMap<(u16, u16), Option<bool>>,
}

/// Sockets to a node, and the requests that it owes an answer to.
struct Line {
    sockets: Vec<(UdpSocket, u64)>,
    since: Instant,
    due: HashMap<u32, Instant>,
}

impl<'a> Thread<'a> {
    fn new(me: usize, shared: &'a Shared) -> Self {
        Self { me, shared, random: 0x9e37_79b9 + me as u64, told: HashMap::new() }
    }

    fn run(mut self) {
        let step = Duration::from_secs_f64(1.0 / self.shared.size.rate);
        let mut epoch = 0;
        let mut line: Option<Line> = None;
        let mut next = Instant::now();
        let mut transaction = 0;
        loop {
            let (address, state) = {
                let node = self.shared.nodes[self.me].lock().unwrap();
                if node.epoch != epoch {
                    epoch = node.epoch;
                    line = None;
                    next = Instant::now();
                }
                (node.address, node.state)
            };
            if state == State::Dying {
                self.told.retain(|(torrent, _), _| !has_home(*torrent));
            }
            let line = line.get_or_insert_with(|| Line::open(address));
            let mut heard = Heard::default();
            if line.sockets.is_empty() {
                // It may have been said meanwhile that it dies, or even that it is back.
                let is_dying = {
                    let node = self.shared.nodes[self.me].lock().unwrap();
                    node.state == State::Dying || node.epoch != epoch
                };
                if !is_dying {
                    self.note(Heard { wrong: vec!["the node is gone".to_owned()], ..heard });
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            if !line.receive(&mut heard) {
                std::thread::sleep(REST);
            }
            let now = Instant::now();
            let late = line.due.len();
            line.due.retain(|_, due| now < *due + PATIENCE);
            heard.unanswered += (late - line.due.len()) as u64;
            if state == State::Dying {
                heard.unanswered = 0;
                heard.wrong.clear();
            }
            self.note(heard);
            if state == State::Done {
                if line.due.is_empty() {
                    break;
                }
                continue;
            }
            let waits = state == State::Living && now > line.since + RENEW;
            if waits && line.due.is_empty() {
                *line = Line::open(address);
            }
            while next <= now && line.due.len() < WINDOW && !waits {
                transaction += 1;
                let (announce, socket) = self.announce();
                line.send(socket, &announce, transaction, next);
                next += step;
            }
            // What could not be sent in time is not made up for at once.
            next = next.max(now.checked_sub(Duration::from_millis(100)).unwrap_or(now));
        }
        let mut node = self.shared.nodes[self.me].lock().unwrap();
        for ((torrent, peer), role) in self.told.drain().filter(|((one, _), _)| has_home(*one)) {
            node.homes.insert((info_hash(torrent), (ADDRESS, FIRST_PORT + peer).into()), role);
        }
    }

    fn note(&self, heard: Heard) {
        let mut node = self.shared.nodes[self.me].lock().unwrap();
        node.announces += heard.announces;
        node.heard.add(heard);
    }

    /// Returns the next announce, and the number of the socket that sends it: always the same one
    /// for a peer, so that its announces arrive in order.
    fn announce(&mut self) -> (Announce, usize) {
        let Size { torrents, peers, .. } = self.shared.size;
        let nodes = self.shared.nodes.len() as u16;
        let torrent = self.below(torrents);
        let peer = match has_home(torrent) {
            true => self.below(peers / nodes) * nodes + self.me as u16,
            false => self.below(peers),
        };
        let before = self.told.get(&(torrent, peer)).copied().flatten();
        let (event, role) = match (self.below(100), before) {
            (0..3, Some(_)) => ("stopped", None),
            (3..7, _) | (_, None) => ("started", Some(false)),
            (7..10, _) => ("completed", Some(true)),
            (_, Some(is_seeder)) => ("", Some(is_seeder)),
        };
        self.told.insert((torrent, peer), role);
        let left = u64::from(role != Some(true));
        let announce = Announce::of_hash(info_hash(torrent)).port(FIRST_PORT + peer);
        (announce.left(left).event(event).want(20), usize::from(peer) % SOCKETS)
    }

    fn below(&mut self, end: u16) -> u16 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word >> 32) % u64::from(end)) as u16
    }
}

impl Line {
    /// Opens sockets to a node; none if nobody listens there.
    fn open(node: SocketAddr) -> Self {
        let socket = |_| {
            let client = match udp::Client::try_connect_from(ADDRESS.into(), node) {
                Ok(client) => client,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return None,
                Err(error) => panic!("no connection id from {node}: {error}"),
            };
            let (socket, id) = client.into_parts();
            socket.set_nonblocking(true).expect("it can be polled");
            Some((socket, id))
        };
        let sockets = (0..SOCKETS).map(socket).collect::<Option<Vec<_>>>();
        Self { sockets: sockets.unwrap_or_default(), since: Instant::now(), due: HashMap::new() }
    }

    fn send(&mut self, socket: usize, announce: &Announce, transaction: u32, due: Instant) {
        let Some((socket, id)) = self.sockets.get(socket) else { return };
        self.due.insert(transaction, due);
        if socket.send(&announce.packet(*id, transaction)).is_err() {
            self.is_gone();
        }
    }

    /// Nobody listens there any more.
    fn is_gone(&mut self) {
        self.sockets.clear();
    }

    /// Takes what has arrived. Returns whether there was anything.
    fn receive(&mut self, heard: &mut Heard) -> bool {
        let mut packet = [0; 2048];
        let before = heard.announces;
        for at in 0..self.sockets.len() {
            loop {
                match self.sockets[at].0.recv(&mut packet) {
                    Ok(length) => self.take(&packet[..length], heard),
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        self.is_gone();
                        return true;
                    }
                    Err(_) => break,
                }
            }
        }
        heard.announces > before
    }

    fn take(&mut self, answer: &[u8], heard: &mut Heard) {
        let word = |at: usize| {
            let bytes = answer.get(at..at + 4)?;
            Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        };
        let due = word(4).and_then(|transaction| self.due.remove(&transaction));
        let is_right =
            word(0) == Some(udp::ANNOUNCE) && answer.len() >= 20 && answer.len() % 6 == 2;
        match due {
            Some(due) if is_right => {
                heard.announces += 1;
                heard.latencies.push(due.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
            }
            _ => heard.wrong.push(answer.escape_ascii().to_string()),
        }
    }
}

/// Returns whether the peers of a torrent announce at one node only.
fn has_home(torrent: u16) -> bool {
    torrent % 2 == 1
}

/// Returns the info-hash of a torrent. One after the other, they are of the next part.
fn info_hash(torrent: u16) -> [u8; 20] {
    let mut hash = [0x5a; 20];
    hash[0] = (torrent / 2) as u8;
    hash[1..3].copy_from_slice(&torrent.to_be_bytes());
    hash
}
