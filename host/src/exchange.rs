//! A request on its way through the tracker, with the answer being built.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use hyper::{HeaderMap, Uri};
use karuta_bittorrent::http::Retry;
use karuta_bittorrent::parameters::{Parameters, Value};
use karuta_bittorrent::{Announce, Event, InfoHash, PeerForm, PeerId, Transport, query};
use karuta_swarm::Locality;

use crate::config::CredentialRule;

/// A request and its answer. Frontends fill it in, and the tracker and the policies work on it. It
/// is reused for the next request.
#[derive(Debug)]
pub struct Exchange {
    pub request: Request,
    pub answer: Answer,
    /// When the request arrived.
    pub now: Instant,
    /// The changes requested by the running hook. They are kept only if the hook returns.
    pub(crate) draft: Draft,
    /// The result of the last [`Exchange::look_up`]; empty: none.
    pub(crate) credential: String,
    /// Whether `credential` belongs to this request.
    looked_up: bool,
    /// The rules that `credential` was looked up by.
    rules: Option<Arc<[CredentialRule]>>,
}

/// A client's request.
#[derive(Debug)]
pub struct Request {
    pub transport: Transport,
    /// The announce. For a scrape, only `info_hash` is used, and it changes from one info-hash to
    /// the next.
    pub announce: Announce,
    /// The announced address: the client's, or the request's own `ip` parameter.
    pub address: IpAddr,
    /// The client's address, whatever address is announced.
    pub client: IpAddr,
    /// The source of the packet or connection, which may be a proxy.
    pub socket: SocketAddr,
    /// `client` was taken from a trusted proxy's header.
    pub proxied: bool,
    /// `address` is the request's own `ip` parameter.
    pub overridden: bool,
    /// The matching route: an index into the configuration's table of routes.
    pub route: Option<u16>,
    /// The named parameters of the route, percent-decoded.
    pub path: Vec<(Arc<str>, String)>,
    source: RequestSource,
    /// The parameters of the query of `source`.
    parameters: Parameters,
}

/// The source of a request's parameters and headers.
#[derive(Debug)]
enum RequestSource {
    Http {
        uri: Uri,
        headers: HeaderMap,
    },
    /// The URL data of a UDP announce (BEP 41), or nothing.
    Udp {
        url: Vec<u8>,
    },
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    pub ruling: Ruling,
    /// Seconds.
    pub interval: u32,
    /// Seconds.
    pub min_interval: u32,
    pub num_want: u32,
    pub warning: Option<String>,
    pub failure: Option<String>,
    /// BEP 31.
    pub retry: Option<Retry>,
    /// Peers to put before the swarm's own.
    pub first: Vec<SocketAddr>,
    /// Peers to put at random places among the swarm's own.
    pub mixed: Vec<SocketAddr>,
    /// Where the announcing peer is.
    pub locality: Option<Locality>,
    /// Attributes that policies have set for later policies.
    pub attributes: Vec<(String, String)>,
    /// For scrapes: answer zeros for this info-hash.
    pub hidden: bool,
    /// The policy that decided, by its verdict or by its `on_error`.
    pub decided_by: Option<Arc<str>>,
}

/// What has been decided on a request so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// Nothing. A request that is still open at the end is admitted.
    Open,
    /// A policy has accepted it, and no other is asked.
    Accepted,
    /// The answer's `failure` and `retry` say why.
    Rejected,
    /// The client gets no answer.
    Dropped,
}

/// The changes that one hook requests. They are kept only if the hook returns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// Whether any of the other fields is set.
    pub any: bool,
    pub failure: Option<String>,
    /// BEP 31.
    pub retry: Option<Retry>,
    pub warning: Option<String>,
    pub interval: Option<u32>,
    pub min_interval: Option<u32>,
    pub num_want: Option<u32>,
    pub first: Vec<SocketAddr>,
    pub mixed: Vec<SocketAddr>,
    pub locality: Option<Locality>,
    pub attributes: Vec<(String, String)>,
    pub hidden: bool,
}

impl Default for RequestSource {
    fn default() -> Self {
        Self::Udp { url: Vec::new() }
    }
}

impl Default for Exchange {
    /// Returns what a plugin sees outside of requests: zeros, empty lists, none.
    fn default() -> Self {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            request: Request {
                transport: Transport::Udp,
                announce: Announce {
                    info_hash: InfoHash([0; 20]),
                    peer_id: PeerId([0; 20]),
                    port: 0,
                    event: Event::None,
                    left: None,
                    uploaded: 0,
                    downloaded: 0,
                    num_want: None,
                    ip: None,
                    form: PeerForm::Compact,
                },
                address: unspecified,
                client: unspecified,
                socket: SocketAddr::new(unspecified, 0),
                proxied: false,
                overridden: false,
                route: None,
                path: Vec::new(),
                source: RequestSource::default(),
                parameters: Parameters::default(),
            },
            answer: Answer {
                ruling: Ruling::Open,
                interval: 0,
                min_interval: 0,
                num_want: 0,
                warning: None,
                failure: None,
                retry: None,
                first: Vec::new(),
                mixed: Vec::new(),
                locality: None,
                attributes: Vec::new(),
                hidden: false,
                decided_by: None,
            },
            now: Instant::now(),
            draft: Draft::default(),
            credential: String::new(),
            looked_up: false,
            rules: None,
        }
    }
}

impl Request {
    /// Sets the target and the headers of an HTTP request.
    pub fn over_http(&mut self, uri: Uri, headers: HeaderMap) {
        self.parameters.split(uri.query().unwrap_or_default().as_bytes());
        self.source = RequestSource::Http { uri, headers };
    }

    /// Sets the URL data of a UDP announce (BEP 41); empty: none.
    pub fn over_udp(&mut self, url: &[u8]) {
        match &mut self.source {
            RequestSource::Udp { url: own } => {
                own.clear();
                own.extend_from_slice(url);
            }
            RequestSource::Http { .. } => self.source = RequestSource::Udp { url: url.to_vec() },
        }
        self.parameters.split(query::split(url).1);
    }

    /// Drops the request's target, and returns its headers.
    pub fn take_headers(&mut self) -> HeaderMap {
        self.parameters.split(b"");
        match std::mem::take(&mut self.source) {
            RequestSource::Http { headers, .. } => headers,
            RequestSource::Udp { .. } => HeaderMap::new(),
        }
    }

    /// Returns the query, still encoded, and the positions of its parameters.
    pub fn query(&self) -> (&[u8], &Parameters) {
        let query = match &self.source {
            RequestSource::Http { uri, .. } => uri.query().unwrap_or_default().as_bytes(),
            RequestSource::Udp { url } => query::split(url).1,
        };
        (query, &self.parameters)
    }

    /// Returns a percent-decoded query parameter, unless it is absent or not UTF-8.
    pub fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let (query, parameters) = self.query();
        match (parameters.get(query, name)?, &self.source) {
            // Known to be UTF-8.
            (Value::Plain(range), RequestSource::Http { uri, .. }) => {
                uri.query()?.get(range).map(Cow::Borrowed)
            }
            (value, _) => match value.bytes(query) {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
                Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
            },
        }
    }

    /// Returns the first header of that name, in any case, unless it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        match &self.source {
            RequestSource::Http { headers, .. } => {
                std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
            }
            RequestSource::Udp { .. } => None,
        }
    }

    /// Returns the first of the rules' values that is present and not empty, without `Bearer` (in
    /// any case).
    pub(crate) fn credential(&self, rules: &[CredentialRule]) -> Option<Cow<'_, str>> {
        rules.iter().find_map(|rule| {
            let found = match rule {
                CredentialRule::Query(name) => self.query_parameter(name)?,
                CredentialRule::Path(name) => self.path_parameter(name)?.into(),
                CredentialRule::Header(name) => self.header(name)?.into(),
            };
            let bare = match found {
                Cow::Borrowed(text) => Cow::Borrowed(without_bearer(text.trim())),
                Cow::Owned(text) => Cow::Owned(without_bearer(text.trim()).to_owned()),
            };
            (!bare.is_empty()).then_some(bare)
        })
    }

    /// Returns a named parameter of the route.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.path.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// Resets the answer for a new request.
    pub fn reset(&mut self, interval: u32, min_interval: u32, num_want: u32) {
        self.ruling = Ruling::Open;
        self.interval = interval;
        self.min_interval = min_interval;
        self.num_want = num_want;
        self.warning = None;
        self.failure = None;
        self.retry = None;
        self.first.clear();
        self.mixed.clear();
        self.locality = None;
        self.attributes.clear();
        self.hidden = false;
        self.decided_by = None;
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Draft {
    /// Moves all changes into an answer, and leaves the draft empty.
    fn merge(&mut self, answer: &mut Answer) {
        // No `..` here and in `bytes`, so that the compiler points out every new field.
        let Self {
            any: _,
            failure,
            retry,
            warning,
            interval,
            min_interval,
            num_want,
            first,
            mixed,
            locality,
            attributes,
            hidden,
        } = self;
        answer.failure = failure.take().or_else(|| answer.failure.take());
        answer.retry = retry.take().or(answer.retry);
        answer.warning = warning.take().or_else(|| answer.warning.take());
        answer.interval = interval.take().unwrap_or(answer.interval);
        answer.min_interval = min_interval.take().unwrap_or(answer.min_interval);
        answer.num_want = num_want.take().unwrap_or(answer.num_want);
        answer.first.append(first);
        answer.mixed.append(mixed);
        answer.locality = locality.take().or(answer.locality);
        for (name, value) in attributes.drain(..) {
            match answer.attributes.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => answer.attributes.push((name, value)),
            }
        }
        answer.hidden |= std::mem::take(hidden);
    }

    /// Returns the approximate number of bytes beyond the struct's own size.
    pub fn bytes(&self) -> usize {
        let Self {
            any: _,
            failure,
            retry: _,
            warning,
            interval: _,
            min_interval: _,
            num_want: _,
            first,
            mixed,
            locality: _,
            attributes,
            hidden: _,
        } = self;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let attributes = attributes.iter().map(|(name, value)| 64 + name.len() + value.len());
        text(failure)
            + text(warning)
            + (first.len() + mixed.len()) * size_of::<SocketAddr>()
            + attributes.sum::<usize>()
    }
}

impl Exchange {
    /// Begins a new request, which the frontend has filled in.
    pub fn begin(&mut self, now: Instant) {
        self.now = now;
        self.looked_up = false;
    }

    /// Looks up the credential by a policy's rules, once for each request and policy.
    pub(crate) fn look_up(&mut self, rules: &Arc<[CredentialRule]>) {
        let same = self.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules));
        if self.looked_up && same {
            return;
        }
        self.credential.clear();
        self.looked_up = !rules.is_empty();
        if !self.looked_up {
            return;
        }
        self.credential.push_str(&self.request.credential(rules).unwrap_or_default());
        if !same {
            self.rules = Some(rules.clone());
        }
    }

    /// Keeps the changes of the hook that has just returned. The last writer wins.
    pub(crate) fn commit(&mut self) {
        if std::mem::take(&mut self.draft.any) {
            self.draft.merge(&mut self.answer);
        }
    }

    /// Discards the changes of a hook that did not return.
    pub(crate) fn discard(&mut self) {
        if self.draft.any {
            self.draft = Draft::default();
        }
    }
}

fn without_bearer(value: &str) -> &str {
    match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
            let token = rest.trim_start();
            // "bearerish" is an ordinary value.
            if token.len() < rest.len() || rest.is_empty() { token } else { value }
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_request_is_left_to_the_next() {
        let mut request = Exchange::default().request;
        let jwt = |request: &Request| request.query_parameter("jwt").map(Cow::into_owned);
        let mut headers = HeaderMap::new();
        headers.insert("x-key", "k".parse().unwrap());
        request.over_http("/announce?jwt=a%2Db".parse().unwrap(), headers);
        assert_eq!(jwt(&request).as_deref(), Some("a-b"));
        assert_eq!(request.take_headers().len(), 1);
        assert_eq!((jwt(&request), request.header("x-key")), (None, None));
        request.over_http("/announce?jwt=abc".parse().unwrap(), HeaderMap::new());
        assert_eq!(jwt(&request).as_deref(), Some("abc"));
        request.over_udp(&[]);
        assert_eq!(jwt(&request), None);
        request.over_udp(b"/announce?port=1&jwt=\xc3\xbc");
        assert_eq!(jwt(&request).as_deref(), Some("ü"));
        request.over_udp(b"/announce?port=1&jwt=\xff\xff");
        assert_eq!(jwt(&request), None, "not UTF-8");
        request.over_http("/announce".parse().unwrap(), HeaderMap::new());
        assert_eq!(jwt(&request), None);
    }

    #[test]
    fn bearer_is_taken_off_in_any_case() {
        assert_eq!(without_bearer("Bearer abc"), "abc");
        assert_eq!(without_bearer("bEARER  abc"), "abc");
        assert_eq!(without_bearer("Bearer"), "");
        assert_eq!(without_bearer("bearerish"), "bearerish");
        assert_eq!(without_bearer("abc"), "abc");
        assert_eq!(without_bearer(""), "");
    }
}
