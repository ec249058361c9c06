//! UDP (BEP 15), with the URL data of BEP 41.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use karuta_accounts::Receipt;
use karuta_bittorrent::connection_id::ConnectionIds;
use karuta_bittorrent::udp::{self as wire, Header};
use karuta_bittorrent::{Counts, Family, InfoHash, Invalid, Transport, canonical_socket, query};
use karuta_swarm::Store;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::Routes;
pub use super::batch::register;
use super::batch::{Inbox, Outbox, PACKETS, PeerAddr};
use super::late::{Late, LateAnswer};
use crate::accept::Spell;
use crate::exchange::{Answer, Exchange, Request};
use crate::limits::Limiter;
use crate::metrics::{self, Action, Outcome};
use crate::recording::Came;
use crate::time;
use crate::tracker::{Carries, Passage, Refused, Tracker};

/// One worker's side of a UDP listener.
pub struct Listener<S> {
    pub tracker: Rc<Tracker<S>>,
    pub routes: Routes,
    pub connection_ids: ConnectionIds,
    /// The rate limit for answers to wrong connection ids, per prefix; `None`: no answers.
    pub error_budget: Option<Arc<Limiter>>,
    pub max_scrape: usize,
    pub series: Arc<metrics::Worker>,
    /// Its position among those of the daemon.
    pub number: u16,
}

/// The packets of one call, and their answers. Its buffers are reused.
struct Turn {
    received: Vec<Received>,
    /// The answers to `received`; an empty one is not sent.
    bodies: Vec<Vec<u8>>,
    /// The first of them are those of `announces`.
    passages: Vec<Passage>,
    /// They wait to be decided together.
    announces: Vec<Waiting>,
    scrape: Scrape,
    /// The URL data of an announce.
    url: Vec<u8>,
    outbox: Outbox,
    /// The answers that wait for the books.
    late: Vec<LateAnswer>,
}

/// An announce.
struct Waiting {
    header: Header,
    /// A place in `received`.
    at: usize,
    /// A place in the inbox.
    packet: usize,
}

/// A packet, and what became of it.
struct Received {
    client: SocketAddr,
    source: PeerAddr,
    action: Action,
    outcome: Outcome,
    /// What its answer waits for.
    receipt: Option<Receipt>,
}

/// A packet in the inbox.
#[derive(Clone, Copy)]
struct Packet<'a> {
    inbox: &'a Inbox,
    place: usize,
}

/// The buffers of a scrape.
#[derive(Default)]
struct Scrape {
    exchange: Box<Exchange>,
    info_hashes: Vec<InfoHash>,
    counts: Vec<Counts>,
}

/// When the packets came.
struct Now {
    unix_seconds: u32,
    start: Instant,
}

impl<S: Store> Listener<S> {
    /// Serves until `stopping` is true and everything that has arrived is answered.
    pub async fn serve(self, socket: AsyncFd<UdpSocket>, mut stopping: watch::Receiver<bool>) {
        let socket = Rc::new(socket);
        let (mut inbox, mut turn) = (Inbox::of(socket.get_ref()), Turn::of(socket.get_ref()));
        let open = stopping.clone();
        let mut failing = Spell::default();
        let mut stop = std::pin::pin!(stopping.wait_for(|stop| *stop));
        loop {
            tokio::select! {
                biased;
                ready = socket.readable() => if let Err(error) = ready {
                    tracing::error!(%error, "cannot wait for packets; listener stops");
                    return;
                },
                _ = &mut stop => return,
            }
            let more = match inbox.receive(&socket) {
                Ok(more) => more,
                Err(error) => {
                    failing
                        .met(&error, "udp", "cannot receive packets; they wait in the socket")
                        .await;
                    true
                }
            };
            if failing.is_over() {
                tracing::info!(transport = "udp", "receiving packets again");
            }
            let now = Now { unix_seconds: unix_seconds(), start: Instant::now() };
            for (place, source) in inbox.sources().enumerate() {
                if let Some(client) = source.address().map(canonical_socket) {
                    let packet = Packet { inbox: &inbox, place };
                    self.read(packet, client, source, &now, &mut turn);
                }
            }
            self.announce(&inbox, &now, &mut turn);
            self.finish(&now, &mut turn);
            if !turn.late.is_empty() {
                let late = Late {
                    answers: std::mem::take(&mut turn.late),
                    socket: socket.clone(),
                    series: self.series.clone(),
                    start: now.start,
                    _open: open.clone(),
                };
                tokio::task::spawn_local(late.send());
            }
            turn.outbox.send(&socket).await;
            if more {
                // Under a flood of packets, this worker's connections still get their turn.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Answers a packet. An announce waits in `turn` for the others.
    fn read(
        &self,
        packet: Packet,
        client: SocketAddr,
        source: PeerAddr,
        now: &Now,
        turn: &mut Turn,
    ) {
        turn.bodies[turn.received.len()].clear();
        let header = Header::parse(packet.bytes());
        let action = match header.map(|header| header.action) {
            Some(wire::Action::Announce | wire::Action::AnnounceIpv6) => Action::Announce,
            Some(wire::Action::Scrape) => Action::Scrape,
            Some(wire::Action::Connect | wire::Action::Unknown) | None => Action::Connect,
        };
        let outcome = header
            .map_or(Outcome::Invalid, |header| self.answer(&header, packet, client, now, turn));
        turn.received.push(Received { client, source, action, outcome, receipt: None });
    }

    /// Writes the answer to a packet, unless it is an announce that waits. No answer is an empty
    /// one.
    fn answer(
        &self,
        header: &Header,
        packet: Packet,
        client: SocketAddr,
        now: &Now,
        turn: &mut Turn,
    ) -> Outcome {
        let at = turn.received.len();
        let issued = || {
            self.connection_ids.check(header.connection_id, now.unix_seconds, client.ip()).is_ok()
        };
        match header.action {
            // Never answers an answer: two trackers would go on for ever.
            wire::Action::Unknown if !issued() => Outcome::Invalid,
            wire::Action::Connect => {
                let id = self.connection_ids.issue(now.unix_seconds, client.ip());
                wire::write_connect(&mut turn.bodies[at], header.transaction, id);
                Outcome::Ok
            }
            _ if !issued() => self.wrong_id(header, client.ip(), now, &mut turn.bodies[at]),
            wire::Action::Announce | wire::Action::AnnounceIpv6 => {
                match self.enter(header, packet, client, turn) {
                    Ok(()) => Outcome::Ok,
                    Err(error) => invalid(header, error, &mut turn.bodies[at]),
                }
            }
            wire::Action::Scrape => {
                // It sees the announces that came before it.
                self.announce(packet.inbox, now, turn);
                self.scrape(header, packet.bytes(), client, now, turn)
            }
            wire::Action::Unknown => invalid(header, Invalid::Action, &mut turn.bodies[at]),
        }
    }

    /// Reports a wrong connection id, if the error budget allows it.
    fn wrong_id(&self, header: &Header, client: IpAddr, now: &Now, body: &mut Vec<u8>) -> Outcome {
        if self.error_budget.as_ref().is_some_and(|budget| budget.admit(client, now.start)) {
            invalid(header, Invalid::ConnectionId, body);
        }
        Outcome::Invalid
    }

    /// Adds an announce to those that wait.
    fn enter(
        &self,
        header: &Header,
        packet: Packet,
        client: SocketAddr,
        turn: &mut Turn,
    ) -> Result<(), Invalid> {
        let Turn { received, passages, announces, url, .. } = turn;
        let passage = &mut passages[announces.len()];
        let request = &mut passage.exchange.request;
        request.announce = wire::announce(packet.bytes(), url)?;
        fill(request, client, self.number);
        if !url.is_empty() {
            let path = std::str::from_utf8(query::split(url).0).unwrap_or_default();
            // The parameters of an unknown path are ignored.
            if let Some(found) = self.routes.find(path, &mut request.target.make().path) {
                request.route = Some(found.route);
                request.target.make().over_udp(url);
            }
        }
        let family = Family::of(client.ip());
        passage.carries = Carries { only: Some(family), peers: wire::max_peers(family) as u32 };
        let (at, packet) = (received.len(), packet.place);
        announces.push(Waiting { header: *header, at, packet });
        Ok(())
    }

    /// Decides the announces that wait, if there are any, and writes their answers.
    fn announce(&self, inbox: &Inbox, now: &Now, turn: &mut Turn) {
        let Turn { received, passages, announces, bodies, .. } = turn;
        if announces.is_empty() {
            return;
        }
        let passages = &mut passages[..announces.len()];
        let came = |at: usize| Came::Udp(inbox.packet(announces[at].packet));
        self.tracker.announce(passages, came, now.start);
        for (passage, Waiting { header, at, .. }) in passages.iter_mut().zip(announces.drain(..)) {
            received[at].receipt = passage.receipt.take();
            let Passage { exchange, peers, result, .. } = passage;
            let (answer, body) = (&exchange.answer, &mut bodies[at]);
            match *result {
                Ok(counts) => {
                    let family = Family::of(received[at].client.ip());
                    wire::write_announce(body, &header, answer.interval, counts, family, peers);
                }
                Err(refused) => received[at].outcome = refuse(&header, refused, answer, body),
            }
        }
    }

    fn scrape(
        &self,
        header: &Header,
        packet: &[u8],
        client: SocketAddr,
        now: &Now,
        turn: &mut Turn,
    ) -> Outcome {
        let Turn { received, scrape, bodies, .. } = turn;
        let body = &mut bodies[received.len()];
        let info_hashes = match wire::scrape(packet) {
            Ok(info_hashes) => info_hashes,
            Err(error) => return invalid(header, error, body),
        };
        let most = self.max_scrape.min(wire::max_scrape(Family::of(client.ip())));
        let Scrape { exchange, info_hashes: asked, counts } = scrape;
        asked.clear();
        asked.extend(info_hashes.take(most));
        fill(&mut exchange.request, client, self.number);
        let came = Came::Udp(packet);
        match self.tracker.scrape(exchange, came, asked, counts, now.start) {
            Ok(()) => {
                wire::write_scrape(body, header.transaction, counts.iter().copied());
                Outcome::Ok
            }
            Err(refused) => refuse(header, refused, &exchange.answer, body),
        }
    }

    /// Counts the requests, and queues their answers in the order in which they came.
    fn finish(&self, now: &Now, turn: &mut Turn) {
        let took = now.start.elapsed();
        for (received, body) in turn.received.drain(..).zip(&mut turn.bodies) {
            let Received { client, source, action, outcome, receipt } = received;
            let family = Family::of(client.ip());
            if let Some(receipt) = receipt {
                let body = std::mem::take(body);
                turn.late.push(LateAnswer { receipt, body, source, family, outcome });
                continue;
            }
            self.series.request(Transport::Udp, action, family, outcome, took);
            if !body.is_empty() {
                turn.outbox.push(body, source);
            }
        }
    }
}

impl<'a> Packet<'a> {
    fn bytes(self) -> &'a [u8] {
        self.inbox.packet(self.place)
    }
}

impl Turn {
    fn of(socket: &UdpSocket) -> Self {
        Self {
            received: Vec::with_capacity(PACKETS),
            bodies: vec![Vec::new(); PACKETS],
            passages: std::iter::repeat_with(Passage::default).take(PACKETS).collect(),
            announces: Vec::with_capacity(PACKETS),
            scrape: Scrape::default(),
            url: Vec::new(),
            outbox: Outbox::of(socket),
            late: Vec::new(),
        }
    }
}

/// Fills in the packet's source.
fn fill(request: &mut Request, client: SocketAddr, listener: u16) {
    request.transport = Transport::Udp;
    request.address = client.ip();
    request.client = client.ip();
    request.socket = client;
    request.route = None;
    request.listener = listener;
    request.target.clear();
}

fn invalid(header: &Header, error: Invalid, body: &mut Vec<u8>) -> Outcome {
    wire::write_error(body, header.transaction, &error.to_string());
    Outcome::Invalid
}

fn refuse(header: &Header, refused: Refused, answer: &Answer, body: &mut Vec<u8>) -> Outcome {
    match refused {
        Refused::Rejected => {
            let reason = answer.extras.read().failure.as_deref().unwrap_or_default();
            wire::write_error(body, header.transaction, reason);
            Outcome::Rejected
        }
        Refused::Dropped => Outcome::Dropped,
    }
}

/// Returns the time of day. Connection ids are derived from it, so that they survive a restart.
fn unix_seconds() -> u32 {
    time::since_1970().as_secs() as u32
}
