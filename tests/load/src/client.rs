//! The clients, all on one thread.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use crate::http::HttpClient;
use crate::process;
use crate::spread::SpreadClient;
use crate::swarms::{self, Fill, Request, Source, Steady};
use crate::tally::{Report, Tally};
use crate::target::{Target, Transport};
use crate::udp::UdpClient;

/// The requests, and the clients that send them.
#[derive(clap::Args, Clone, Debug)]
pub struct Load {
    /// The number of torrents.
    #[arg(long, default_value_t = Self::DEFAULT.torrents)]
    pub torrents: u32,
    /// The exponent of the Zipf law for the popularity of torrents; 0: all alike.
    #[arg(long, default_value_t = Self::DEFAULT.zipf)]
    pub zipf: f64,
    /// Peers per torrent.
    #[arg(long, default_value_t = Self::DEFAULT.peers)]
    pub peers: u32,
    /// Seeders among them.
    #[arg(long, default_value_t = Self::DEFAULT.seeders)]
    pub seeders: u32,
    /// Peers that an announce asks for; at most the tracker's own maximum.
    #[arg(long, default_value_t = Self::DEFAULT.num_want)]
    pub num_want: u32,
    /// Source addresses, 127.0.1.1 and on. Over UDP, each has one socket.
    #[arg(long, default_value_t = Self::DEFAULT.sockets)]
    pub sockets: u32,
    /// Requests under way from each address at a time. Over HTTP, each has its connection.
    #[arg(long, default_value_t = Self::DEFAULT.outstanding)]
    pub outstanding: u32,
    /// The share of requests that are scrapes, 0 to 1.
    #[arg(long, default_value_t = Self::DEFAULT.scrapes)]
    pub scrapes: f64,
    /// Info-hashes per scrape.
    #[arg(long, default_value_t = Self::DEFAULT.scrape_hashes)]
    pub scrape_hashes: u32,
    /// Requests per second; without it, as many as get answers.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Every peer of every swarm has its own source address, 127.1.0.0 and on; over UDP and IPv4
    /// only. The tracker's connection ids must stay valid for the whole run.
    #[arg(long)]
    pub spread: bool,
    /// Open a connection for each HTTP request.
    #[arg(long)]
    pub close: bool,
}

impl Load {
    pub const DEFAULT: Self = Self {
        torrents: 10_000,
        zipf: 0.0,
        peers: 64,
        seeders: 8,
        num_want: 50,
        sockets: 16,
        outstanding: 8,
        scrapes: 0.0,
        scrape_hashes: 1,
        rate: None,
        spread: false,
        close: false,
    };

    /// Checks that the numbers fit together.
    pub fn check(&self) -> Result<()> {
        // A peer is identified by its address and port, and all peers may share one address.
        let most = if self.spread { 1 << 22 } else { swarms::PORTS };
        ensure!((1..=most).contains(&self.peers), "peers: 1 to {most}");
        ensure!((1..=self.peers).contains(&self.sockets), "sockets: 1 to as many as peers");
        ensure!((1..=256).contains(&self.outstanding), "outstanding: 1 to 256");
        ensure!(self.seeders <= self.peers, "seeders: not more than peers");
        ensure!((0.0..=10.0).contains(&self.zipf), "zipf: 0 to 10");
        ensure!((0.0..=1.0).contains(&self.scrapes), "scrapes: 0 to 1");
        ensure!((1..=74).contains(&self.scrape_hashes), "scrape hashes: 1 to 74");
        ensure!(self.torrents >= self.scrape_hashes, "torrents: as many as one scrape asks about");
        if self.spread {
            ensure!(self.scrapes == 0.0, "spread: without scrapes");
            let all = u64::from(self.torrents) * u64::from(self.peers);
            ensure!(all <= 1 << 22, "spread: at most {} peers in all swarms", 1 << 22);
        }
        ensure!(self.rate.is_none_or(|rate| rate > 0.0), "rate: more than 0");
        Ok(())
    }

    /// Returns whether a peer is a seeder. The first peers of a swarm are.
    pub fn is_seeder(&self, peer: u32) -> bool {
        peer < self.seeders
    }

    /// Returns the seeders and leechers of each full swarm.
    pub fn counts(&self) -> (i64, i64) {
        (self.seeders.into(), (self.peers - self.seeders).into())
    }

    /// Returns whether every client, including seeders, can get as many peers as it wants, all of
    /// them leechers.
    pub fn is_full(&self) -> bool {
        self.num_want < self.peers - self.seeders
    }
}

/// A request and the time when it was due.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub request: Request,
    pub due: Instant,
}

/// A socket or connection with requests under way.
pub trait Client {
    /// Returns the number of its source address.
    fn address(&self) -> u32;
    /// Returns how many more requests it can take.
    fn free(&self) -> usize;
    /// Returns how many requests are under way.
    fn busy(&self) -> usize;
    /// Sends requests, at most as many as [`Self::free`].
    fn send(&mut self, orders: &[Order]) -> Result<()>;
    /// Processes what has arrived.
    fn receive(&mut self, tally: &mut Tally) -> Result<()>;
    /// Gives up requests that were sent before an instant, and returns them.
    fn give_up(&mut self, sent_before: Instant) -> Vec<Order>;
}

/// How long a request may go without an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often requests without an answer are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long the load runs before the measurement.
const SETTLE: Duration = Duration::from_millis(500);

/// Announces every peer once. Returns the number of requests.
pub fn fill(target: &Target, load: &Load) -> Result<u64> {
    let load = Load { close: false, ..load.clone() };
    Clients::new(target, &load)?.fill()
}

/// Measures a steady load for a time.
pub fn measure(target: &Target, load: &Load, time: Duration, pid: Option<u32>) -> Result<Report> {
    Clients::new(target, load)?.measure(time, pid)
}

/// Clients that keep their sockets and connection ids from one measurement to the next.
pub struct Clients {
    load: Rc<Load>,
    epoll: Rc<Epoll>,
    all: Vec<Box<dyn Client>>,
    pace: Pace,
    looked: Instant,
    /// The requests sent, including repeated ones.
    asked: u64,
}

impl Clients {
    pub fn new(target: &Target, load: &Load) -> Result<Self> {
        let epoll = Rc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let load = Rc::new(load.clone());
        let target = Rc::new(target.clone());
        let mut all: Vec<Box<dyn Client>> = Vec::new();
        match target.transport {
            Transport::Udp if load.spread => {
                for address in 0..load.sockets {
                    all.push(Box::new(SpreadClient::new(&target, &load, address, &epoll)?));
                }
            }
            Transport::Udp => {
                for address in 0..load.sockets {
                    all.push(Box::new(UdpClient::new(&target, &load, address, &epoll)?));
                }
            }
            Transport::Http => {
                ensure!(!load.spread, "spread: over UDP only");
                for token in 0..load.sockets * load.outstanding {
                    let client = HttpClient::new(&target, &load, token, &epoll);
                    all.push(Box::new(client));
                }
            }
        }
        Ok(Self { load, epoll, all, pace: Pace::Full, looked: Instant::now(), asked: 0 })
    }

    /// Announces every peer once. Returns the number of requests.
    pub fn fill(&mut self) -> Result<u64> {
        let load = self.load.clone();
        let mut tally = Tally::default();
        let before = self.asked;
        self.drive(&mut Fill::new(&load), None, &mut tally)?;
        if let Some(example) = tally.example() {
            bail!("filling the swarms: {example}");
        }
        Ok(self.asked - before)
    }

    /// Measures a steady load for a time.
    pub fn measure(&mut self, time: Duration, pid: Option<u32>) -> Result<Report> {
        let load = self.load.clone();
        let mut source = Steady::new(&load);
        let mut tally = Tally::default();
        let asked = self.asked;
        if let Some(rate) = load.rate {
            let step = Duration::from_secs_f64(1.0 / rate);
            self.pace = Pace::Rate { next: Instant::now(), step };
        }
        self.drive(&mut source, Some(Instant::now() + SETTLE), &mut tally)?;
        tally.begin();
        let before = pid.map(process::usage).transpose()?;
        let start = Instant::now();
        self.drive(&mut source, Some(start + time), &mut tally)?;
        let elapsed = start.elapsed();
        let after = pid.map(process::usage).transpose()?;
        self.pace = Pace::Full;
        let mut rest = Tally::default();
        self.drain(&mut rest)?;
        tally.take_faults(rest);
        Ok(tally.report(elapsed, self.asked - asked, before.zip(after)))
    }

    /// Sends requests until an instant, or until the source is empty and everything is answered; in
    /// that case, lost requests are sent again.
    fn drive(
        &mut self,
        source: &mut impl Source,
        until: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut orders = Vec::new();
        let mut empty = vec![false; self.all.len()];
        let mut first = 0;
        loop {
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(());
            }
            for step in 0..self.all.len() {
                let at = (first + step) % self.all.len();
                let client = &mut self.all[at];
                orders.clear();
                while !empty[at] && orders.len() < client.free() {
                    let Some(due) = self.pace.due(now) else { break };
                    match source.next(client.address()) {
                        Some(request) => orders.push(Order { request, due }),
                        None => empty[at] = true,
                    }
                }
                if !orders.is_empty() {
                    self.asked += orders.len() as u64;
                    client.send(&orders)?;
                }
            }
            first = (first + 1) % self.all.len();
            if empty.iter().all(|empty| *empty) && self.all.iter().all(|one| one.busy() == 0) {
                return Ok(());
            }
            self.receive(tally, until.is_none())?;
        }
    }

    /// Waits for requests that are still under way.
    fn drain(&mut self, tally: &mut Tally) -> Result<()> {
        while self.all.iter().any(|client| client.busy() > 0) {
            self.receive(tally, false)?;
        }
        Ok(())
    }

    fn receive(&mut self, tally: &mut Tally, again: bool) -> Result<()> {
        let timeout = match self.pace {
            Pace::Full => EpollTimeout::from(10_u8),
            // The next request may be due in microseconds, and the generator has its own core.
            Pace::Rate { .. } => EpollTimeout::ZERO,
        };
        let mut events = [EpollEvent::empty(); 64];
        let ready = match self.epoll.wait(&mut events, timeout) {
            Err(nix::Error::EINTR) => 0,
            ready => ready?,
        };
        for event in &events[..ready] {
            self.all[event.data() as usize].receive(tally)?;
        }
        let now = Instant::now();
        if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            for client in &mut self.all {
                let Some(before) = now.checked_sub(PATIENCE) else { continue };
                let lost = client.give_up(before);
                lost.iter().for_each(|_| tally.lost());
                if again && !lost.is_empty() {
                    self.asked += lost.len() as u64;
                    client.send(&lost)?;
                }
            }
            ensure!(!again || tally.lost_count() < 1000, "the tracker does not answer");
        }
        Ok(())
    }
}

/// When requests are due.
enum Pace {
    Full,
    Rate { next: Instant, step: Duration },
}

impl Pace {
    fn due(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Full => Some(now),
            Self::Rate { next, .. } if *next > now => None,
            Self::Rate { next, step } => {
                let due = *next;
                *next += *step;
                Some(due)
            }
        }
    }
}

/// Opens a socket from a source address to the tracker.
pub fn socket(target: SocketAddr, kind: socket2::Type, address: u32) -> Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(target), kind, None)?;
    // Only the loopback network has that many local addresses.
    if let IpAddr::V4(ip) = target.ip()
        && ip.is_loopback()
    {
        let ip = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + address);
        socket.bind(&SocketAddr::from((ip, 0)).into()).with_context(|| format!("binding {ip}"))?;
    }
    socket.connect(&target.into()).with_context(|| format!("connecting to {target}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
