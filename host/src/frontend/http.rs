//! HTTP (BEP 3, 7, 23, 24, 31, 48) on hyper.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use karuta_bittorrent::http::{AnnounceAnswer, write_failure, write_scrape};
use karuta_bittorrent::{Counts, Family, InfoHash, Invalid, Transport, canonical_socket, query};
use karuta_swarm::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::unconstrained;

use super::Routes;
use super::body::Body;
use super::challenges::Challenges;
use super::connection::{Activity, Timeouts, Watched};
use super::gathering::{Gathering, Seat};
use super::{public, real_ip};
use crate::accept::{Acceptor, Place};
use crate::config::RealIp;
use crate::metrics::{self, Action, ConnectionState, Connections, Outcome, Presence};
use crate::public::{FullScrape, Public};
use crate::recording::Came;
use crate::tls::Handshakes;
use crate::tracker::{Carries, Passage, Refused, Tracker};

/// One worker's side of an HTTP listener.
pub struct Listener<S> {
    pub tracker: Rc<Tracker<S>>,
    /// Decides announces, together with those of the worker's other connections.
    pub gathering: Rc<Gathering<S>>,
    pub routes: Routes,
    /// If set, connections begin with a TLS handshake.
    pub tls: Option<Handshakes>,
    pub challenges: Option<Challenges>,
    pub real_ip: Option<RealIp>,
    /// Whether an announce may set its address with the parameter `ip`.
    pub allow_address_override: bool,
    pub keep_alive: Duration,
    pub header_timeout: Duration,
    /// The maximum size of a request, in bytes.
    pub max_request: usize,
    pub max_scrape: usize,
    /// What it serves to everyone.
    pub public: Public,
    pub series: Arc<metrics::Worker>,
    pub connections: Arc<Connections>,
    /// Its position among those of the daemon.
    pub number: u16,
    /// Buffers that no request is using.
    pub pool: Pool,
}

/// Buffers for requests.
#[derive(Default)]
pub struct Pool(RefCell<Vec<Scratch>>);

/// The buffers of one request, reused for the next.
#[derive(Default)]
struct Scratch {
    /// An announce; for a scrape, only its exchange is used.
    passage: Passage,
    info_hashes: Vec<InfoHash>,
    counts: Vec<Counts>,
    body: Vec<u8>,
}

/// hyper's smallest read buffer, in bytes.
const LEAST_BUFFER: usize = 8192;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The response, and its labels in the metrics. Without a response, the connection closes.
struct Reply {
    response: Option<Response<Body>>,
    counted: Option<(Action, Family, Outcome)>,
}

/// What became of a request's head.
enum Begun {
    Done(Box<Reply>),
    /// An announce to be decided.
    Announce,
}

impl<S: Store> Listener<S> {
    /// Accepts connections until `stopping` is true. Open connections then finish the request under
    /// way. Each connection is a task of its own and holds a clone of `stopping`.
    pub async fn serve(self, mut acceptor: Acceptor, mut stopping: watch::Receiver<bool>) {
        let listener = Rc::new(self);
        loop {
            let (stream, from, place) = tokio::select! {
                accepted = acceptor.next() => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            // An answer is one small write; waiting for more would only delay it.
            let _ = stream.set_nodelay(true);
            let (listener, stopping) = (listener.clone(), stopping.clone());
            // Two kinds of tasks, so that a plain connection has no room for the state of TLS.
            if listener.tls.is_some() {
                tokio::task::spawn_local(listener.secured(stream, from, place, stopping));
            } else {
                tokio::task::spawn_local(listener.connection(stream, from, place, stopping));
            }
        }
    }

    /// Serves a connection over TLS.
    async fn secured(
        self: Rc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Some(handshakes) = &self.tls else { return };
        let presence = Presence::new(&self.connections, ConnectionState::Handshake);
        let secured = tokio::select! {
            secured = handshakes.accept(stream) => secured,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        drop(presence);
        if let Some(stream) = secured {
            self.connection(stream, from, place, stopping).await;
        }
    }

    async fn connection<T: AsyncRead + AsyncWrite + Unpin>(
        self: Rc<Self>,
        stream: T,
        from: SocketAddr,
        _place: Place,
        stopping: watch::Receiver<bool>,
    ) {
        let socket = canonical_socket(from);
        let activity = Activity::new(&self.connections);
        let timeouts = Timeouts { keep_alive: self.keep_alive, header: self.header_timeout };
        let seat = Rc::default();
        let service = service_fn(|request| self.respond(request, socket, &activity, &seat));
        let stream = TokioIo::new(Watched::new(stream, activity.clone()));
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .half_close(true)
                .header_read_timeout(None)
                // An answer is so small that copying it is cheaper than writing a second piece.
                .writev(false)
                .max_buf_size(self.max_request.max(LEAST_BUFFER))
                .serve_connection(stream, service)
        );
        let mut look = std::pin::pin!(tokio::time::sleep_until(activity.deadline(timeouts)));
        let mut told = stopping.clone();
        let mut stop = std::pin::pin!(unconstrained(told.wait_for(|stop| *stop)));
        // The task is nearly always woken for the connection. The other futures are polled once, so
        // that they can wake it, and then only when they have something to say. They are
        // unconstrained, because a connection that has used up the task's budget must not block
        // them.
        let (mut waits, mut listens, mut closing) = (false, false, false);
        poll_fn(|context| {
            loop {
                if connection.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                // Its announce is about to be decided, which wakes it again.
                if activity.is_working() {
                    return Poll::Pending;
                }
                // A phase that ends earlier than the previous one moves the check forward. The
                // others do not touch the timer.
                let deadline = activity.deadline(timeouts);
                if deadline < look.deadline() {
                    look.as_mut().reset(deadline);
                    waits = false;
                }
                while !waits || look.is_elapsed() {
                    waits = unconstrained(look.as_mut()).poll_unpin(context).is_pending();
                    if !waits {
                        let deadline = activity.deadline(timeouts);
                        if deadline <= tokio::time::Instant::now() {
                            return Poll::Ready(());
                        }
                        look.as_mut().reset(deadline);
                    }
                }
                if closing || (listens && matches!(stopping.has_changed(), Ok(false))) {
                    return Poll::Pending;
                }
                listens = true;
                if stop.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
        })
        .await;
    }

    /// Answers a request. Only an announce waits: for others that have arrived at the same time.
    fn respond(
        &self,
        request: Request<Incoming>,
        socket: SocketAddr,
        activity: &Activity,
        seat: &Rc<Seat>,
    ) -> impl Future<Output = Result<Response<Body>, Closed>> {
        activity.working();
        let start = Instant::now();
        let mut scratch = self.pool.0.borrow_mut().pop().unwrap_or_default();
        let begun = self.begin(request, socket, &mut scratch, start);
        if matches!(begun, Begun::Announce) {
            self.gathering.join(std::mem::take(&mut scratch.passage), seat);
        }
        async move {
            let (reply, end) = match begun {
                Begun::Done(reply) => (*reply, Instant::now()),
                Begun::Announce => {
                    scratch.passage = seat.decided().await;
                    if let Some(receipt) = scratch.passage.receipt.take() {
                        karuta_accounts::settle(receipt).await;
                    }
                    let outcome = write_answer(&mut scratch);
                    let end = Instant::now();
                    (self.reply(Action::Announce, outcome, &mut scratch), end)
                }
            };
            self.pool.0.borrow_mut().push(scratch);
            match &reply.response {
                Some(response) if response.body().is_long() => {
                    activity.sending(end.into(), (end + self.patience()).into());
                }
                _ => activity.idle(end.into()),
            }
            if let Some((action, family, outcome)) = reply.counted {
                self.series.request(self.transport(), action, family, outcome, end - start);
            }
            reply.response.ok_or(Closed)
        }
    }

    /// Answers a request, unless it is an announce, which is then ready to be decided.
    fn begin(
        &self,
        request: Request<Incoming>,
        socket: SocketAddr,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Begun {
        let (action, outcome) = match self.enter(request, socket, scratch) {
            Err(reply) => return Begun::Done(reply),
            Ok(Action::Scrape) => match (self.read_scrape(scratch), &self.public.full_scrape) {
                (Err(Invalid::NoInfoHash), Some(full)) => {
                    return Begun::Done(Box::new(self.full_scrape(full, scratch, now)));
                }
                (Err(error), _) => (Action::Scrape, fail(error, &mut scratch.body)),
                (Ok(()), _) => (Action::Scrape, self.scrape(scratch, now)),
            },
            Ok(_) => match self.announce(scratch) {
                Ok(()) => return Begun::Announce,
                Err(error) => (Action::Announce, fail(error, &mut scratch.body)),
            },
        };
        Begun::Done(Box::new(self.reply(action, outcome, scratch)))
    }

    /// Fills in everything from a request's head except the query. The error is a complete reply.
    fn enter(
        &self,
        request: Request<Incoming>,
        socket: SocketAddr,
        scratch: &mut Scratch,
    ) -> Result<Action, Box<Reply>> {
        let (parts, _) = request.into_parts();
        let exchange = &mut scratch.passage.exchange.request;
        if let Some(challenges) = &self.challenges
            && parts.method == Method::GET
            && let Some(answer) = challenges.find(parts.uri.path())
        {
            return Err(Reply::unlisted(StatusCode::OK, answer.into()).into());
        }
        if let Some(stats) = &self.public.stats
            && parts.uri.path() == stats.path()
        {
            return Err(match parts.method {
                Method::GET => {
                    let response = public::stats(stats, parts.uri.query().unwrap_or_default());
                    Reply { response: Some(response), counted: None }
                }
                _ => Reply::only_get(),
            }
            .into());
        }
        let Some(found) = self.routes.find(parts.uri.path(), &mut exchange.target.make().path)
        else {
            return Err(Reply::plain(StatusCode::NOT_FOUND).into());
        };
        if parts.method != Method::GET {
            return Err(Reply::only_get().into());
        }
        let client = real_ip::client(&parts.headers, self.real_ip.as_ref(), socket.ip());
        let (client, proxied) = match client {
            Ok(client) => client,
            Err(error) => {
                scratch.body.clear();
                let counted =
                    (found.action, Family::of(socket.ip()), fail(error, &mut scratch.body));
                let response = Some(text(&scratch.body, parts.headers));
                return Err(Reply { response, counted: Some(counted) }.into());
            }
        };
        exchange.transport = self.transport();
        exchange.socket = socket;
        exchange.route = Some(found.route);
        exchange.listener = self.number;
        exchange.target.make().over_http(parts.uri, parts.headers);
        exchange.client = client;
        exchange.address = client;
        exchange.proxied = proxied;
        exchange.overridden = false;
        scratch.body.clear();
        Ok(found.action)
    }

    fn transport(&self) -> Transport {
        if self.tls.is_some() { Transport::Https } else { Transport::Http }
    }

    fn reply(&self, action: Action, outcome: Outcome, scratch: &mut Scratch) -> Reply {
        let request = &mut scratch.passage.exchange.request;
        let counted = Some((action, Family::of(request.client), outcome));
        // hyper can only reuse its buffer for the next request if nothing refers to this one.
        let headers = request.target.make().take_headers();
        let response = match outcome {
            Outcome::Dropped => None,
            _ => Some(text(&scratch.body, headers)),
        };
        Reply { response, counted }
    }

    /// Fills in an announce.
    fn announce(&self, scratch: &mut Scratch) -> Result<(), Invalid> {
        let passage = &mut scratch.passage;
        let request = &mut passage.exchange.request;
        let (query, parameters) = request.target.make().query();
        request.announce = query::announce(query, parameters)?;
        if self.allow_address_override
            && let Some(address) = request.announce.ip
        {
            request.address = address;
            request.overridden = true;
        }
        passage.carries = Carries { only: None, peers: u32::MAX };
        Ok(())
    }

    /// Reads the info-hashes of a scrape.
    fn read_scrape(&self, scratch: &mut Scratch) -> Result<(), Invalid> {
        let Scratch { passage: Passage { exchange, .. }, info_hashes, .. } = scratch;
        let (query, parameters) = exchange.request.target.make().query();
        query::scrape(query, parameters, self.max_scrape, info_hashes)
    }

    fn full_scrape(&self, full: &FullScrape, scratch: &mut Scratch, now: Instant) -> Reply {
        let request = &mut scratch.passage.exchange.request;
        let client = request.client;
        let (response, outcome) = match self.tracker.admits(client, now) {
            true => {
                let (query, _) = request.target.make().query();
                public::full_scrape(full, query, client, now)
            }
            false => (public::too_many(Duration::from_mins(1)), Outcome::Rejected),
        };
        request.target.make().take_headers();
        let counted = Some((Action::Scrape, Family::of(client), outcome));
        Reply { response: Some(response), counted }
    }

    /// Returns how long a client may take to read a long answer.
    fn patience(&self) -> Duration {
        let full_scrape = self.public.full_scrape.as_ref();
        full_scrape.map_or(self.keep_alive, |full| full.min_interval())
    }

    fn scrape(&self, scratch: &mut Scratch, now: Instant) -> Outcome {
        let Scratch { passage: Passage { exchange, .. }, info_hashes, counts, body } = scratch;
        match self.tracker.scrape(exchange, Came::Http, info_hashes, counts, now) {
            Ok(()) => {
                let files = info_hashes.iter().copied().zip(counts.iter().copied());
                write_scrape(body, &mut files.collect::<Vec<_>>());
                Outcome::Ok
            }
            Err(refused) => refuse(refused, scratch),
        }
    }
}

/// Writes the answer to an announce that is decided.
fn write_answer(scratch: &mut Scratch) -> Outcome {
    let Scratch { passage: Passage { exchange, peers, result, .. }, body, .. } = scratch;
    match *result {
        Ok(counts) => {
            let answer = &exchange.answer;
            let answer = AnnounceAnswer {
                counts,
                interval: answer.interval,
                min_interval: answer.min_interval,
                peers,
                form: exchange.request.announce.form,
                external_ip: Some(exchange.request.client),
                warning: answer.extras.read().warning.as_deref(),
            };
            answer.write(body);
            Outcome::Ok
        }
        Err(refused) => refuse(refused, scratch),
    }
}

impl Reply {
    fn plain(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self::unlisted(status, Bytes::from_static(reason.as_bytes()))
    }

    fn only_get() -> Self {
        let mut reply = Self::plain(StatusCode::METHOD_NOT_ALLOWED);
        if let Some(response) = &mut reply.response {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        reply
    }

    /// Returns a reply to a request that is neither an announce nor a scrape.
    fn unlisted(status: StatusCode, body: Bytes) -> Self {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        Self { response: Some(response), counted: None }
    }
}

/// A policy wants no answer. The error makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("connection closed without an answer")]
struct Closed;

/// Returns a response with a body. It reuses the memory of the request's headers.
fn text(body: &[u8], mut headers: HeaderMap) -> Response<Body> {
    headers.clear();
    headers.insert(CONTENT_TYPE, TEXT);
    let mut response = Response::new(Bytes::copy_from_slice(body).into());
    *response.headers_mut() = headers;
    response
}

fn fail(error: Invalid, body: &mut Vec<u8>) -> Outcome {
    write_failure(body, &error.to_string(), None);
    Outcome::Invalid
}

fn refuse(refused: Refused, scratch: &mut Scratch) -> Outcome {
    match refused {
        Refused::Rejected => {
            let answer = &scratch.passage.exchange.answer;
            let extras = answer.extras.read();
            let reason = extras.failure.as_deref().unwrap_or_default();
            write_failure(&mut scratch.body, reason, extras.retry);
            Outcome::Rejected
        }
        Refused::Dropped => Outcome::Dropped,
    }
}
