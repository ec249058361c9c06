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
use super::batch::{Inbox, Outbox};
use super::{Routes, Scratch};
use crate::accept::Spell;
use crate::exchange::Exchange;
use crate::limits::Limiter;
use crate::metrics::{self, Action, Outcome};
use crate::tracker::{Carries, Refused, Tracker};

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

impl<S: Store> Listener<S> {
    /// Serves until `stopping` is true and everything that has arrived is answered.
    pub async fn serve(self, socket: AsyncFd<UdpSocket>, mut stopping: watch::Receiver<bool>) {
        let (mut inbox, mut outbox) = (Inbox::of(socket.get_ref()), Outbox::of(socket.get_ref()));
        let mut scratch = Scratch::default();
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
            scratch.info_hashes.clear();
            let announced = inbox.packets().filter_map(|(packet, _)| wire::info_hash(packet));
            scratch.info_hashes.extend(announced);
            self.tracker.expect(&scratch.info_hashes);
            let unix_seconds = unix_seconds();
            let mut start = Instant::now();
            for (packet, source) in inbox.packets() {
                let Some(client) = source.address().map(canonical_socket) else { continue };
                let (action, outcome) =
                    self.answer(packet, client, unix_seconds, start, &mut scratch).await;
                let end = Instant::now();
                let (family, took) = (Family::of(client.ip()), end - start);
                self.series.request(Transport::Udp, action, family, outcome, took);
                start = end;
                if !scratch.body.is_empty() {
                    outbox.push(&mut scratch.body, source);
                }
            }
            outbox.send(&socket).await;
            if more {
                // Under a flood of packets, this worker's connections still get their turn.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Writes the answer to a packet to `scratch.body`. An empty body means no answer.
    async fn answer(
        &self,
        packet: &[u8],
        client: SocketAddr,
        unix_seconds: u32,
        now: Instant,
        scratch: &mut Scratch,
    ) -> (Action, Outcome) {
        scratch.body.clear();
        let Some(header) = Header::parse(packet) else {
            return (Action::Connect, Outcome::Invalid);
        };
        let action = match header.action {
            wire::Action::Announce | wire::Action::AnnounceIpv6 => Action::Announce,
            wire::Action::Scrape => Action::Scrape,
            wire::Action::Connect | wire::Action::Unknown => Action::Connect,
        };
        let issued = |header: &Header| {
            self.connection_ids.check(header.connection_id, unix_seconds, client.ip()).is_ok()
        };
        let outcome = match header.action {
            // Never answers an answer: two trackers would go on for ever.
            wire::Action::Unknown if !issued(&header) => Outcome::Invalid,
            wire::Action::Connect => {
                let id = self.connection_ids.issue(unix_seconds, client.ip());
                wire::write_connect(&mut scratch.body, header.transaction, id);
                Outcome::Ok
            }
            _ if !issued(&header) => self.wrong_id(&header, client.ip(), now, scratch),
            wire::Action::Announce | wire::Action::AnnounceIpv6 => {
                self.announce(&header, packet, client, now, scratch).await
            }
            wire::Action::Scrape => self.scrape(&header, packet, client, now, scratch).await,
            wire::Action::Unknown => invalid(&header, Invalid::Action, scratch),
        };
        (action, outcome)
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

    async fn announce(
        &self,
        header: &Header,
        packet: &[u8],
        client: SocketAddr,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Outcome {
        let Scratch { exchange, peers, body, url, .. } = scratch;
        enter(exchange, client);
        let request = &mut exchange.request;
        match wire::announce(packet, url) {
            Ok(announce) => request.announce = announce,
            Err(error) => return invalid(header, error, scratch),
        }
        if !url.is_empty() {
            let path = std::str::from_utf8(query::split(url).0).unwrap_or_default();
            // The parameters of an unknown path are ignored.
            if let Some(found) = self.routes.find(path, &mut request.path) {
                request.route = Some(found.route);
                request.over_udp(url);
            }
        }
        let family = Family::of(client.ip());
        let carries = Carries { only: Some(family), peers: wire::max_peers(family) as u32 };
        match self.tracker.announce(exchange, carries, peers, now).await {
            Ok(counts) => {
                let interval = exchange.answer.interval;
                wire::write_announce(body, header, interval, counts, family, peers);
                Outcome::Ok
            }
            Err(refused) => refuse(header, refused, scratch),
        }
    }

    async fn scrape(
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
        scratch.info_hashes.clear();
        scratch.info_hashes.extend(info_hashes.take(most));
        enter(&mut scratch.exchange, client);
        let Scratch { exchange, info_hashes, counts, body, .. } = scratch;
        match self.tracker.scrape(exchange, info_hashes, counts, now).await {
            Ok(()) => {
                wire::write_scrape(body, header.transaction, counts.iter().copied());
                Outcome::Ok
            }
            Err(refused) => refuse(header, refused, scratch),
        }
    }
}

/// Fills in the packet's source.
fn enter(exchange: &mut Exchange, client: SocketAddr) {
    let request = &mut exchange.request;
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

fn refuse(header: &Header, refused: Refused, scratch: &mut Scratch) -> Outcome {
    match refused {
        Refused::Rejected => {
            let reason = scratch.exchange.answer.failure.as_deref().unwrap_or_default();
            wire::write_error(&mut scratch.body, header.transaction, reason);
            Outcome::Rejected
        }
        Refused::Dropped => Outcome::Dropped,
    }
}

/// Returns the time of day. Connection ids are derived from it, so that they survive a restart.
fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
