//! A question of the operator's, put to the policies that serve.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::{Transport, query};
use tokio::sync::mpsc;
use url::Url;

use super::site::Site;
use super::version::Version;
use crate::admin::{Answers, AskExplain, Question};
use crate::frontend::Routes;
use crate::metrics::Action;
use crate::policy::{Exchange, Inquiry, THREAD_STACK};

/// Starts the thread that answers all questions, one after the other; it ends when nobody can ask any
/// more.
pub fn start(
    mut questions: mpsc::Receiver<AskExplain>,
    current: Arc<ArcSwap<Version>>,
    site: Site,
) -> io::Result<()> {
    let answer_all = move || {
        while let Some((question, reply)) = questions.blocking_recv() {
            // Who has gone meanwhile costs nothing.
            if !reply.is_closed() {
                let _ = reply.send(answer(&question, &current.load_full(), &site));
            }
        }
    };
    let thread = thread::Builder::new().name("explain".into()).stack_size(THREAD_STACK);
    thread.spawn(answer_all).map(drop)
}

/// Says what the policies would make of a request.
///
/// # Errors
///
/// What of the question is no request.
fn answer(question: &Question, version: &Version, site: &Site) -> Result<Answers, String> {
    let url = Url::parse(&question.url).map_err(|error| format!("not a URL: {error}"))?;
    let (transport, routes) = listener(&url, site)?;
    let tracker = &version.config.tracker;
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
    // A UDP scrape has no path; here it is told by that of HTTP.
    let mut action =
        if url.path().ends_with("/scrape") { Action::Scrape } else { Action::Announce };
    match (transport, routes.find(url.path(), &mut request.path)) {
        (Transport::Udp, found) => {
            request.route = found.as_ref().map(|found| found.route);
            let known = found.is_some() && action == Action::Announce;
            request.over_udp(if known { target.as_bytes() } else { b"" });
        }
        (_, None) => return Err(format!("no listener has a route for `{}`", url.path())),
        (_, Some(found)) => {
            action = found.action;
            request.route = Some(found.route);
            let uri = target.parse().map_err(|error| format!("not a URL: {error}"))?;
            request.over_http(uri, headers(question)?);
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
    let mut inquiry = Inquiry::open(&version.generation);
    let answers = info_hashes.into_iter().map(|info_hash| {
        exchange.request.announce.info_hash = info_hash;
        exchange.answer.reset(
            super::seconds(tracker.announce_interval),
            super::seconds(tracker.min_announce_interval),
            wanted.min(tracker.num_want.max),
        );
        inquiry.explain(&mut exchange, action == Action::Scrape)
    });
    Ok(Answers {
        transport: url.scheme().to_owned(),
        action: action.name(),
        client: client.to_canonical().to_string(),
        answers: answers.collect(),
    })
}

/// The transport of a URL, and the routes of the listener on its port, or else of the first.
fn listener<'s>(url: &Url, site: &'s Site) -> Result<(Transport, &'s Routes), String> {
    let none = |what: &str| format!("there is no {what} listener");
    let port = url.port();
    match url.scheme() {
        "udp" => {
            let on_port = site.udp.iter().find(|(listen, ..)| Some(listen.address.port()) == port);
            let listener = on_port.or(site.udp.first()).ok_or_else(|| none("UDP"))?;
            Ok((Transport::Udp, &listener.1))
        }
        scheme @ ("http" | "https") => {
            let on_port = site.http.iter().find(|(listen, ..)| Some(listen.address.port()) == port);
            let listener = on_port.or(site.http.first()).ok_or_else(|| none("HTTP"))?;
            let transport = if scheme == "https" { Transport::Https } else { Transport::Http };
            Ok((transport, &listener.1))
        }
        other => Err(format!("a URL with {other}, expected http, https or udp")),
    }
}

fn headers(question: &Question) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let name = HeaderName::try_from(name).map_err(|_| "not the name of a header")?;
        let value = HeaderValue::try_from(value).map_err(|_| "not the value of a header")?;
        headers.append(name, value);
    }
    Ok(headers)
}
