//! Converts the requests of a file of cases to those of the host's code.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use karuta_bittorrent as bittorrent;
use karuta_swarm as swarm;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::schema::{self, Announce, Ask, Counts, Observe, Place, Rank, Scrape};
use crate::config;
use crate::exchange::Exchange;
use crate::policy::{Answers, Ended, Question, Reply, Verdict};

const ANNOUNCE: &str = "/announce";

/// # Errors
///
/// The part that no request can express.
pub fn of(ask: Ask) -> Result<Question, String> {
    match ask {
        Ask::Announce(announce) => request(announce, ANNOUNCE).map(Question::Announce),
        Ask::Scrape(scrape) => request(&as_announce(scrape), "/scrape").map(Question::Scrape),
        Ask::Rank(Rank { announce, candidates }) => {
            let peers = candidates.iter().map(candidate).collect();
            Ok(Question::Rank(request(announce, ANNOUNCE)?, peers))
        }
        Ask::Observe(Observe::Again) => Ok(Question::ObserveAgain),
        Ask::Observe(Observe::Batch(outcomes)) => {
            outcomes.iter().map(ended).collect::<Result<_, _>>().map(Question::Observe)
        }
        Ask::Tick => Ok(Question::Tick),
    }
}

/// # Errors
///
/// The URL, and the part of its answer that is invalid.
pub fn answers(http: &BTreeMap<Place, schema::Reply>) -> Result<Answers, String> {
    let answer = |(place, reply): (&Place, &schema::Reply)| {
        let url = place.0.clone();
        let schema::Reply { status, headers: lines, body, error } = reply;
        if let Some(error) = error {
            return Ok((url, Err(error.clone())));
        }
        let wrong = |what: String| format!("http `{url}`: {what}");
        let status = StatusCode::from_u16(*status)
            .map_err(|_| wrong(format!("{status} is not a valid status")))?;
        let headers = headers(lines).map_err(wrong)?;
        let body = body.clone().into_bytes();
        Ok((url, Ok(Reply { status, headers, body })))
    };
    http.iter().map(answer).collect()
}

fn candidate(candidate: &schema::Candidate) -> swarm::Candidate {
    let schema::Candidate { peer, seeder, label, age } = *candidate;
    let age = swarm::Seconds::try_from(age.as_secs()).unwrap_or(swarm::Seconds::MAX);
    swarm::Candidate { peer, seeder, label: label.0, age }
}

fn ended(outcome: &schema::Outcome) -> Result<Ended, String> {
    let schema::Outcome { announce, verdict, decided_by } = outcome;
    let mut exchange = request(announce, ANNOUNCE)?;
    exchange.answer.decided_by = decided_by.as_deref().map(Into::into);
    let verdict = match verdict {
        schema::Verdict::Next => Verdict::Next,
        schema::Verdict::Accept => Verdict::Accept,
        schema::Verdict::Reject => Verdict::Reject,
        schema::Verdict::Drop => Verdict::Drop,
    };
    Ok(Ended { exchange, verdict })
}

pub fn counts(counts: Counts) -> bittorrent::Counts {
    let Counts { seeders, leechers, completed } = counts;
    bittorrent::Counts { seeders, leechers, completed, partial_seeds: 0 }
}

fn as_announce(scrape: &Scrape) -> Announce {
    let Scrape { info_hash, address, transport, query, path, headers, attributes, account } =
        scrape.clone();
    Announce {
        info_hash,
        address,
        transport,
        query,
        path,
        headers,
        attributes,
        account,
        ..Announce::default()
    }
}

fn request(from: &Announce, path: &str) -> Result<Box<Exchange>, String> {
    let mut exchange = Box::<Exchange>::default();
    let request = &mut exchange.request;
    let announce = &mut request.announce;
    announce.info_hash = from.info_hash.0;
    announce.peer_id = from.peer_id.0;
    announce.port = from.port;
    announce.event = from.event.into();
    announce.left = from.left;
    announce.uploaded = from.uploaded;
    announce.downloaded = from.downloaded;
    announce.num_want = Some(from.num_want);
    request.transport = from.transport.into();
    request.address = from.address.to_canonical();
    request.client = from.client_address.unwrap_or(from.address).to_canonical();
    request.socket = SocketAddr::new(request.client, from.port);
    request.proxied = from.proxied;
    request.overridden = from.overridden;
    let target = request.target.make();
    let parameters = from.path.iter();
    target.path = parameters.map(|(name, value)| (name.as_str().into(), value.clone())).collect();
    let asked = format!("{path}{}", query(&from.query));
    match from.transport {
        config::Transport::Udp if !from.headers.is_empty() => {
            return Err("a request over UDP has no headers".to_owned());
        }
        config::Transport::Udp => target.over_udp(asked.as_bytes()),
        config::Transport::Http | config::Transport::Https => {
            let uri = asked.parse().map_err(|error| format!("the query: {error}"))?;
            target.over_http(uri, headers(&from.headers)?);
        }
    }
    request.account = from.account.into();
    exchange.answer.reset(from.interval, from.min_interval, from.num_want);
    let attributes = from.attributes.iter();
    exchange.answer.extras.make().attributes =
        attributes.map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(exchange)
}

fn query(parameters: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    parameters.iter().enumerate().fold(String::new(), |query, (at, (name, value))| {
        let mark = if at == 0 { '?' } else { '&' };
        format!("{query}{mark}{}={}", escape(name), escape(value))
    })
}

fn headers(from: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in from {
        let header = HeaderName::try_from(name);
        let header = header.map_err(|_| format!("`{name}` is not a header name"))?;
        let value = HeaderValue::try_from(value);
        let value = value.map_err(|_| format!("the header `{name}` has an invalid value"))?;
        headers.append(header, value);
    }
    Ok(headers)
}
