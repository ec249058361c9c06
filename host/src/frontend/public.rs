//! Answers for everyone: full scrapes and statistics.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use url::form_urlencoded;

use super::body::Body;
use crate::export::Format;
use crate::metrics::Outcome;
use crate::public::{FullScrape, PublicStats, Unanswered};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How soon the first document may be there.
const SOON: Duration = Duration::from_secs(5);

/// Answers a scrape without an info-hash.
pub fn full_scrape(
    scrape: &FullScrape,
    query: &[u8],
    client: IpAddr,
    now: Instant,
) -> (Response<Body>, Outcome) {
    let format = form_urlencoded::parse(query).find(|(key, _)| key == "format");
    let format = format.map(|(_, name)| name);
    match scrape.ask(format.as_deref(), client, now) {
        Ok((format, bytes)) => {
            let kind = HeaderValue::from_static(format.content_type());
            (answer(StatusCode::OK, kind, bytes), Outcome::Ok)
        }
        Err(Unanswered::Unknown) => {
            let known: Vec<_> = scrape.formats().map(Format::name).collect();
            let said = format!("format: expected one of {}\n", known.join(", "));
            (answer(StatusCode::BAD_REQUEST, TEXT, said.into()), Outcome::Invalid)
        }
        Err(Unanswered::Unready) => (
            later(StatusCode::SERVICE_UNAVAILABLE, "the full scrape is being made\n", SOON),
            Outcome::Rejected,
        ),
        Err(Unanswered::TooSoon(wait)) => (too_many(wait), Outcome::Rejected),
    }
}

/// Answers a client that must wait.
pub fn too_many(wait: Duration) -> Response<Body> {
    later(StatusCode::TOO_MANY_REQUESTS, "too many requests\n", wait)
}

/// Answers a request for statistics.
pub fn stats(stats: &PublicStats, query: &str) -> Response<Body> {
    if form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == "info_hash") {
        stats.refuse();
        let said = "this is the URL of the tracker's statistics, and not one to announce to\n";
        return answer(StatusCode::BAD_REQUEST, TEXT, Bytes::from_static(said.as_bytes()));
    }
    match stats.page() {
        Some(page) => answer(StatusCode::OK, JSON, page),
        None => later(
            StatusCode::SERVICE_UNAVAILABLE,
            "there are no statistics yet\n",
            Duration::from_secs(1),
        ),
    }
}

fn later(status: StatusCode, said: &'static str, wait: Duration) -> Response<Body> {
    let mut response = answer(status, TEXT, Bytes::from_static(said.as_bytes()));
    // Whole seconds, and not too few.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn answer(status: StatusCode, kind: HeaderValue, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
