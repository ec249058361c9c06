//! Answers `explain` questions with the policies in use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use karuta_accounts::Search;
use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::{Event, Transport, query};
use karuta_swarm::Store;
use tokio::sync::mpsc;
use url::Url;

use super::listeners::Listeners;
use super::loaded::Loaded;
use crate::admin::{Answer, Answers, AskExplain, Question, SwarmsLimits, TrackerLimits};
use crate::books::Books;
use crate::config::RateLimits;
use crate::exchange::Exchange;
use crate::frontend::Routes;
use crate::metrics::Action;
use crate::policy::{Inquiry, THREAD_STACK};
use crate::tracker::TOO_MANY;

/// Starts the thread that answers all questions, one at a time. It ends when all senders are gone.
pub fn start(
    mut questions: mpsc::Receiver<AskExplain>,
    current: Arc<ArcSwap<Loaded>>,
    listeners: Listeners,
    store: Arc<impl Store>,
    books: Option<Books>,
) -> io::Result<()> {
    let answer_all = move || {
        while let Some((question, reply)) = questions.blocking_recv() {
            // Questions whose sender has gone are skipped.
            if !reply.is_closed() {
                let (current, books) = (current.load_full(), books.as_ref());
                let _ = reply.send(answer(&question, &current, &listeners, &*store, books));
            }
        }
    };
    let thread = thread::Builder::new().name("explain".into()).stack_size(THREAD_STACK);
    thread.spawn(answer_all).map(drop)
}

/// Says what the policies and the limits would do with a request.
///
/// # Errors
///
/// The question is not a valid request.
fn answer(
    question: &Question,
    loaded: &Loaded,
    listeners: &Listeners,
    store: &impl Store,
    books: Option<&Books>,
) -> Result<Answers, String> {
    let url = Url::parse(&question.url).map_err(|error| format!("not a URL: {error}"))?;
    let (transport, routes) = listener(&url, listeners)?;
    let tracker = &loaded.config.tracker;
    let mut exchange = Box::<Exchange>::default();
    let client = question.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let request = &mut exchange.request;
    request.transport = transport;
    request.socket = SocketAddr::new(client, 0);
    request.client = client.to_canonical();
    request.address = request.client;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let query = url.query().unwrap_or_default().as_bytes();
    let parameters = Parameters::of(query);
    // A UDP scrape has no path; here it is recognised by HTTP's path.
    let mut action =
        if url.path().ends_with("/scrape") { Action::Scrape } else { Action::Announce };
    let asked = request.target.make();
    match (transport, routes.find(url.path(), &mut asked.path)) {
        (Transport::Udp, found) => {
            request.route = found.as_ref().map(|found| found.route);
            let known = found.is_some() && action == Action::Announce;
            asked.over_udp(if known { target.as_bytes() } else { b"" });
        }
        (_, None) => return Err(format!("no listener has a route for `{}`", url.path())),
        (_, Some(found)) => {
            action = found.action;
            request.route = Some(found.route);
            let uri = target.parse().map_err(|error| format!("not a URL: {error}"))?;
            asked.over_http(uri, headers(question)?);
        }
    }
    let mut info_hashes = Vec::new();
    if action == Action::Scrape {
        let parsed = query::scrape(query, &parameters, tracker.max_scrape, &mut info_hashes);
        parsed.map_err(|error| error.to_string())?;
    } else {
        request.announce =
            query::announce(query, &parameters).map_err(|error| error.to_string())?;
        info_hashes.push(request.announce.info_hash);
    }
    let wanted = exchange.request.announce.num_want.unwrap_or(tracker.num_want.default);
    let mut inquiry = Inquiry::open(&loaded.generation);
    let answers = info_hashes.into_iter().map(|info_hash| {
        exchange.request.announce.info_hash = info_hash;
        exchange.answer.reset(
            super::error::seconds(tracker.announce_interval),
            super::error::seconds(tracker.min_announce_interval),
            wanted.min(tracker.num_want.max),
        );
        if let Some(books) = books {
            books.look_up(std::slice::from_mut(&mut exchange), &mut Search::default());
        }
        let by_policies = inquiry.explain(&mut exchange, action == Action::Scrape);
        let announce = &exchange.request.announce;
        let enters = action == Action::Announce && announce.event != Event::Stopped;
        let swarms_limits = enters.then(|| {
            let peer = SocketAddr::new(exchange.request.address, announce.port);
            SwarmsLimits::of(&store.standing(info_hash, peer))
        });
        Answer { by_policies, swarms_limits: swarms_limits.flatten() }
    });
    Ok(Answers {
        transport: name(transport).to_owned(),
        action: action.name(),
        client: client.to_canonical().to_string(),
        tracker_limits: tracker_limits(client.to_canonical(), loaded),
        answers: answers.collect(),
    })
}

/// Returns what `tracker.limits` says of a client; `None`: there is no such limit.
fn tracker_limits(client: IpAddr, loaded: &Loaded) -> Option<TrackerLimits> {
    let RateLimits { per_second, burst, ipv4_prefix, ipv6_prefix } = loaded.config.tracker.limits;
    let prefix = if client.is_ipv4() { ipv4_prefix } else { ipv6_prefix };
    let network = IpNet::new(client, prefix).ok()?.trunc();
    (per_second > 0).then(|| TrackerLimits {
        refusal: loaded.is_exhausted(client).then(|| TOO_MANY.to_owned()),
        prefix: network.to_string(),
        per_second,
        burst: if burst == 0 { per_second } else { burst },
    })
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Http => "http",
        Transport::Https => "https",
    }
}

/// Returns the transport and the routes of the listener that a URL leads to: the one on its port, or
/// else the first of its scheme. If a proxy ends TLS, there is none for `https`, and `http` serves.
fn listener<'l>(url: &Url, all: &'l Listeners) -> Result<(Transport, &'l Routes), String> {
    let none = |what: &str| format!("there is no {what} listener");
    let port = url.port();
    match url.scheme() {
        "udp" => {
            let on_port = all.udp.iter().find(|one| Some(one.listen.address.port()) == port);
            let listener = on_port.or(all.udp.first()).ok_or_else(|| none("UDP"))?;
            Ok((Transport::Udp, &listener.routes))
        }
        scheme @ ("http" | "https") => {
            let on_port = all.http.iter().find(|one| Some(one.listen.address.port()) == port);
            let of_scheme = || all.http.iter().find(|one| one.transport() == scheme);
            let listener = on_port.or_else(of_scheme).or(all.http.first());
            let listener = listener.ok_or_else(|| none("HTTP"))?;
            let is_secure = listener.tls.is_some();
            let transport = if is_secure { Transport::Https } else { Transport::Http };
            Ok((transport, &listener.routes))
        }
        other => Err(format!("expected a URL with http, https or udp, found {other}")),
    }
}

fn headers(question: &Question) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let name = HeaderName::try_from(name).map_err(|_| "invalid header name")?;
        let value = HeaderValue::try_from(value).map_err(|_| "invalid header value")?;
        headers.append(name, value);
    }
    Ok(headers)
}
