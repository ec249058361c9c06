//! Outgoing HTTP requests, on blocking threads.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{HeaderMap, Method, Request as HttpRequest, Response, StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, AsSendBody, Body, Error};
use url::{Host, Origin, Url};

/// The most redirects that are followed.
const REDIRECTS: usize = 3;
/// The maximum size of the head of an answer in bytes.
const HEAD: usize = 64 * 1024;

/// Decides which servers may be contacted: before anything is sent, and again for each redirect.
pub trait Admit: Send + Sync + 'static {
    /// # Errors
    ///
    /// Why this URL is not requested.
    fn url(&self, url: &Url) -> Result<(), String>;

    /// # Errors
    ///
    /// Why there is no connection to this address of `host`.
    fn address(&self, host: &str, address: IpAddr) -> Result<(), String>;
}

/// Admits servers whose answers nobody else can read or change: over TLS, or on this machine.
pub struct Protected {
    /// Admits all others, too.
    pub insecure: bool,
}

impl Admit for Protected {
    fn url(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "http" if self.insecure => Ok(()),
            _ if is_protected(url) => Ok(()),
            _ => Err(format!("{} is without TLS", Shown(url))),
        }
    }

    fn address(&self, _: &str, _: IpAddr) -> Result<(), String> {
        Ok(())
    }
}

/// Returns whether an HTTP URL is one with TLS, or leads to this machine.
pub fn is_protected(url: &Url) -> bool {
    let is_local = || match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_local())
}

/// Sends requests, each over its own connection.
pub struct Client {
    agent: Agent,
    admit: Arc<dyn Admit>,
}

/// One request.
pub struct Request<'a> {
    pub method: Method,
    pub url: &'a Url,
    pub headers: HeaderMap,
    pub body: &'a [u8],
    /// For the whole request, including redirects and the body of the answer.
    pub timeout: Duration,
    /// The maximum size of the answer's body in bytes.
    pub max_size: u64,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(admit: impl Admit) -> Self {
        let admit: Arc<dyn Admit> = Arc::new(admit);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(provider));
        let config = Config::builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD)
            .max_idle_connections(0)
            .proxy(None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .user_agent(concat!("karuta/", env!("CARGO_PKG_VERSION")))
            .allow_non_standard_methods(true)
            .build();
        let resolver = Guarded { inner: DefaultResolver::default(), admit: admit.clone() };
        Self { agent: Agent::with_parts(config, DefaultConnector::new(), resolver), admit }
    }

    /// Sends a request and waits for the whole answer. Follows redirects of a GET or HEAD, never
    /// from https to http, and without the request's headers to another origin. With other methods,
    /// the redirect is the answer.
    ///
    /// # Errors
    ///
    /// Why there is no answer. It contains no headers, query or password.
    pub fn fetch(&self, request: Request) -> Result<Answer, String> {
        let Request { method, url, mut headers, body, timeout, max_size } = request;
        let end = Instant::now() + timeout;
        let follow = method == Method::GET || method == Method::HEAD;
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            self.admit.url(&url)?;
            let left = end.saturating_duration_since(Instant::now());
            let said = |error: &Error| explain(error, &url, timeout, max_size);
            let answer = match body {
                [] => self.send(&method, &url, &headers, (), left),
                body => self.send(&method, &url, &headers, body, left),
            };
            let answer = answer.map_err(|error| said(&error))?;
            let next = answer.headers().get(header::LOCATION).filter(|_| follow);
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) || next.is_none() {
                let (head, body) = answer.into_parts();
                let body = body.into_with_config().limit(max_size).read_to_vec();
                let body = body.map_err(|error| said(&error))?;
                return Ok(Answer { status: head.status, headers: head.headers, body });
            }
            let next = next.and_then(|next| next.to_str().ok()).and_then(|to| url.join(to).ok());
            let next =
                next.ok_or_else(|| format!("{} redirects to an invalid location", Shown(&url)))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(format!("{} redirects to {} without TLS", Shown(&url), Shown(&next)));
            }
            if !same(url.origin(), next.origin()) {
                headers.clear();
            }
            url = next;
        }
        Err(format!("more than {REDIRECTS} redirects"))
    }

    fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: impl AsSendBody,
        timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        let mut request = HttpRequest::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.as_str().parse().map_err(ureq::http::Error::from)?;
        *request.headers_mut() = headers.clone();
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        self.agent.run(request)
    }
}

/// Resolves names as usual, and uses only the admitted addresses.
struct Guarded {
    inner: DefaultResolver,
    admit: Arc<dyn Admit>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        let mut admitted = self.empty();
        let mut refusal = None;
        for address in found.iter() {
            match self.admit.address(host, address.ip()) {
                Ok(()) => admitted.push(*address),
                Err(reason) => refusal = Some(reason),
            }
        }
        match refusal {
            Some(reason) if admitted.is_empty() => Err(Error::Other(Box::new(Refused(reason)))),
            _ => Ok(admitted),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// Formats a URL without parts that may be secret.
pub struct Shown<'a>(pub &'a Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(url) = self;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

/// Explains an error to operators, with the limits that they configured.
fn explain(error: &Error, url: &Url, timeout: Duration, max_size: u64) -> String {
    let url = Shown(url);
    match error {
        Error::Timeout(_) => format!("{url}: no answer within {timeout:?}"),
        Error::BodyExceedsLimit(_) => format!("{url}: more than {max_size} bytes"),
        Error::HostNotFound => format!("{url}: no such host"),
        Error::Other(refusal) => format!("{url}: {refusal}"),
        // Errors while reading the body are wrapped.
        Error::Io(io) => match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => explain(inner, url.0, timeout, max_size),
            None => format!("{url}: {io}"),
        },
        other => format!("{url}: {other}"),
    }
}

fn same(one: Origin, other: Origin) -> bool {
    one.is_tuple() && one == other
}
