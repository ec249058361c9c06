//! UDP (BEP 15), with the URL data of BEP 41.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use karuta_bittorrent::connection_id::ConnectionIds;
use karuta_bittorrent::udp::{self as wire, Header};
use karuta_bittorrent::{Family, Invalid, Transport, canonical_socket, query};
use karuta_swarm::Store;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

pub use super::batch::register;
use super::batch::{Inbox, Outbox, PACKETS, PeerAddr};
use super::{Routes, Scratch};
use crate::accept::Spell;
use crate::exchange::{Answer, Request};
use crate::limits::Limiter;
use crate::metrics::{self, Action, Outcome};
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
}

/// The packets of one call on their way. Its buffers are reused.
struct Turn {
    /// The first of them are those of `waiting`.
    passages: Vec<Passage>,
    /// Announces that are decided together.
    waiting: Vec<(Header, Sender)>,
    outbox: Outbox,
    scratch: Scratch,
    /// The URL data of an announce.
    url: Vec<u8>,
}

/// The source of a packet.
#[derive(Clone, Copy)]
struct Sender {
    client: SocketAddr,
    source: PeerAddr,
}

impl<S: Store> Listener<S> {
    /// Serves until `stopping` is true and everything that has arrived is answered.
    pub async fn serve(self, socket: AsyncFd<UdpSocket>, mut stopping: watch::Receiver<bool>) {
        let (mut inbox, mut turn) = (Inbox::of(socket.get_ref()), Turn::of(socket.get_ref()));
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
            let (unix_seconds, start) = (unix_seconds(), Instant::now());
            for (packet, source) in inbox.packets() {
                if let Some(client) = source.address().map(canonical_socket) {
                    self.read(packet, Sender { client, source }, unix_seconds, start, &mut turn);
                }
            }
            self.announce(start, &mut turn);
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
        packet: &[u8],
        from: Sender,
        unix_seconds: u32,
        start: Instant,
        turn: &mut Turn,
    ) {
        let client = from.client.ip();
        turn.scratch.body.clear();
        let Some(header) = Header::parse(packet) else {
            return self.answer(Action::Connect, Outcome::Invalid, from, start, turn);
        };
        let action = match header.action {
            wire::Action::Announce | wire::Action::AnnounceIpv6 => Action::Announce,
            wire::Action::Scrape => Action::Scrape,
            wire::Action::Connect | wire::Action::Unknown => Action::Connect,
        };
        let issued = |header: &Header| {
            self.connection_ids.check(header.connection_id, unix_seconds, client).is_ok()
        };
        let outcome = match header.action {
            // Never answers an answer: two trackers would go on for ever.
            wire::Action::Unknown if !issued(&header) => Outcome::Invalid,
            wire::Action::Connect => {
                let id = self.connection_ids.issue(unix_seconds, client);
                wire::write_connect(&mut turn.scratch.body, header.transaction, id);
                Outcome::Ok
            }
            _ if !issued(&header) => self.wrong_id(&header, client, start, &mut turn.scratch),
            wire::Action::Announce | wire::Action::AnnounceIpv6 => {
                match self.enter(&header, packet, from, turn) {
                    Ok(()) => return,
                    Err(error) => invalid(&header, error, &mut turn.scratch),
                }
            }
            wire::Action::Scrape => {
                // It comes after the announces that came before it.
                self.announce(start, turn);
                self.scrape(&header, packet, from.client, start, &mut turn.scratch)
            }
            wire::Action::Unknown => invalid(&header, Invalid::Action, &mut turn.scratch),
        };
        self.answer(action, outcome, from, start, turn);
    }

    /// Counts a request, and queues the answer in `turn.scratch.body`, unless it is empty.
    fn answer(
        &self,
        action: Action,
        outcome: Outcome,
        to: Sender,
        start: Instant,
        turn: &mut Turn,
    ) {
        let family = Family::of(to.client.ip());
        self.series.request(Transport::Udp, action, family, outcome, start.elapsed());
        if !turn.scratch.body.is_empty() {
            turn.outbox.push(&mut turn.scratch.body, to.source);
        }
    }

    /// Reports a wrong connection id, if the error budget allows it.
    fn wrong_id(
        &self,
        header: &Header,
        client: IpAddr,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Outcome {
        if self.error_budget.as_ref().is_some_and(|budget| budget.admit(client, now)) {
            invalid(header, Invalid::ConnectionId, scratch);
        }
        Outcome::Invalid
    }

    /// Adds an announce to those that wait.
    fn enter(
        &self,
        header: &Header,
        packet: &[u8],
        from: Sender,
        turn: &mut Turn,
    ) -> Result<(), Invalid> {
        let Turn { passages, waiting, url, .. } = turn;
        let passage = &mut passages[waiting.len()];
        let request = &mut passage.exchange.request;
        request.announce = wire::announce(packet, url)?;
        fill(request, from.client);
        if !url.is_empty() {
            let path = std::str::from_utf8(query::split(url).0).unwrap_or_default();
            // The parameters of an unknown path are ignored.
            if let Some(found) = self.routes.find(path, &mut request.path) {
                request.route = Some(found.route);
                request.over_udp(url);
            }
        }
        let family = Family::of(from.client.ip());
        passage.carries = Carries { only: Some(family), peers: wire::max_peers(family) as u32 };
        waiting.push((*header, from));
        Ok(())
    }

    /// Decides the announces that wait, and queues their answers.
    fn announce(&self, start: Instant, turn: &mut Turn) {
        let Turn { passages, waiting, scratch, outbox, .. } = turn;
        let passages = &mut passages[..waiting.len()];
        if passages.is_empty() {
            return;
        }
        self.tracker.announce(passages, start);
        let mut outcomes = [Outcome::Ok; PACKETS];
        for ((passage, (header, from)), outcome) in
            passages.iter().zip(&*waiting).zip(&mut outcomes)
        {
            let (body, answer) = (&mut scratch.body, &passage.exchange.answer);
            body.clear();
            *outcome = match passage.result {
                Ok(counts) => {
                    let family = Family::of(from.client.ip());
                    let (interval, peers) = (answer.interval, &passage.peers);
                    wire::write_announce(body, header, interval, counts, family, peers);
                    Outcome::Ok
                }
                Err(refused) => refuse(header, refused, answer, body),
            };
            if !body.is_empty() {
                outbox.push(body, from.source);
            }
        }
        let took = start.elapsed();
        for ((_, from), outcome) in waiting.drain(..).zip(outcomes) {
            let family = Family::of(from.client.ip());
            self.series.request(Transport::Udp, Action::Announce, family, outcome, took);
        }
    }

    fn scrape(
        &self,
        header: &Header,
        packet: &[u8],
        client: SocketAddr,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Outcome {
        let info_hashes = match wire::scrape(packet) {
            Ok(info_hashes) => info_hashes,
            Err(error) => return invalid(header, error, scratch),
        };
        let most = self.max_scrape.min(wire::max_scrape(Family::of(client.ip())));
        let Scratch { passage: Passage { exchange, .. }, info_hashes: asked, counts, body } =
            scratch;
        asked.clear();
        asked.extend(info_hashes.take(most));
        fill(&mut exchange.request, client);
        body.clear();
        match self.tracker.scrape(exchange, asked, counts, now) {
            Ok(()) => {
                wire::write_scrape(body, header.transaction, counts.iter().copied());
                Outcome::Ok
            }
            Err(refused) => refuse(header, refused, &exchange.answer, body),
        }
    }
}

impl Turn {
    fn of(socket: &UdpSocket) -> Self {
        Self {
            passages: std::iter::repeat_with(Passage::default).take(PACKETS).collect(),
            waiting: Vec::with_capacity(PACKETS),
            outbox: Outbox::of(socket),
            scratch: Scratch::default(),
            url: Vec::new(),
        }
    }
}

/// Fills in the packet's source.
fn fill(request: &mut Request, client: SocketAddr) {
    request.transport = Transport::Udp;
    request.address = client.ip();
    request.client = client.ip();
    request.socket = client;
    request.route = None;
    request.path.clear();
    request.over_udp(&[]);
}

fn invalid(header: &Header, error: Invalid, scratch: &mut Scratch) -> Outcome {
    wire::write_error(&mut scratch.body, header.transaction, &error.to_string());
    Outcome::Invalid
}

fn refuse(header: &Header, refused: Refused, answer: &Answer, body: &mut Vec<u8>) -> Outcome {
    match refused {
        Refused::Rejected => {
            let reason = answer.failure.as_deref().unwrap_or_default();
            wire::write_error(body, header.transaction, reason);
            Outcome::Rejected
        }
        Refused::Dropped => Outcome::Dropped,
    }
}

/// Returns the time of day. Connection ids are derived from it, so that they survive a restart.
fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
