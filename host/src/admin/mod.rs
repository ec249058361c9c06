//! The admin API: metrics, health, status, reload, explain.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

mod client;
mod remote;
mod stall;

pub use client::Client;
pub use remote::{Remote, Unknown};

use self::stall::Stalling;
use crate::accept::Acceptor;
use crate::config::Secret;
use crate::data;
use crate::metrics::Metrics;
use crate::policy::Explanation;
use crate::tls::Handshakes;

/// The admin API's state.
pub struct Admin {
    pub token: Option<Secret>,
    /// If set, connections begin with a TLS handshake.
    pub tls: Option<Handshakes>,
    pub metrics: Arc<Metrics>,
    pub start: Instant,
    pub listeners: Vec<Listener>,
    /// The policies in use.
    pub policies: Arc<Mutex<Vec<ShownPolicy>>>,
    pub reload: mpsc::Sender<AskReload>,
    pub explain: mpsc::Sender<AskExplain>,
    /// Asks for a snapshot; `None` if there are none.
    pub snapshot: Option<Box<dyn Fn(AskSnapshot) + Send + Sync>>,
}

/// A request for a snapshot, with a channel for the result. The error says why there is none.
pub type AskSnapshot = oneshot::Sender<Result<SnapshotReport, String>>;

/// A snapshot that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotReport {
    pub swarms: u64,
    pub peers: u64,
    pub bytes: u64,
    pub milliseconds: u64,
}

/// A reload request, with a channel for the result.
pub type AskReload = oneshot::Sender<Result<Report, Refusal>>;

/// An explain request, with a channel for the answer. The error says what is wrong with the
/// question.
pub type AskExplain = (Question, oneshot::Sender<Result<Answers, String>>);

/// A client's request to explain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The URL of an announce or scrape. For UDP, it is written as if the request came over HTTP.
    pub url: String,
    /// The client's address; `None`: this machine.
    pub from: Option<IpAddr>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// What the policies would do.
#[derive(Serialize)]
pub struct Answers {
    pub transport: String,
    pub action: &'static str,
    pub client: String,
    /// One answer; for a scrape, one for each info-hash.
    pub answers: Vec<Explanation>,
}

/// The changes of a reload. Policies are listed by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The generation in use now.
    pub generation: u64,
    pub added: Vec<String>,
    /// Created again, because the plugin or its configuration has changed.
    pub replaced: Vec<String>,
    /// Kept, with another `when`, `on_error` or `mode`.
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    /// The same policies are called in another order.
    pub reordered: bool,
    /// Intervals, numbers of peers, rate limits or the log level have changed.
    pub settings: bool,
    /// The files of the certificates that are new.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Changed keys that only take effect at a restart.
    pub needs_restart: Vec<String>,
}

/// Why a reload changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// `None`: the configuration itself is wrong.
    pub policy: Option<String>,
    pub stage: String,
    pub reason: String,
}

/// A listener with its bound address.
#[derive(Clone, Serialize)]
pub struct Listener {
    pub transport: &'static str,
    pub address: SocketAddr,
    /// Of a UDP listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<ReceiveBuffer>,
}

/// The kernel's buffer for packets that have not been read yet, in bytes.
#[derive(Clone, Copy, Serialize)]
pub struct ReceiveBuffer {
    pub requested: usize,
    /// At most what net.core.rmem_max allows.
    pub granted: usize,
}

/// A policy's configuration, as the status shows it.
#[derive(Clone)]
pub struct ShownPolicy {
    pub name: String,
    /// SHA-256 of the component, in lower-case hexadecimal digits.
    pub digest: String,
    pub mode: &'static str,
    pub data: data::Sources,
}

impl Report {
    /// Returns whether anything has changed, apart from what waits for a restart.
    pub fn has_changes(&self) -> bool {
        self.needs_generation() || !self.certificates.is_empty()
    }

    /// Returns whether the workers need new rules.
    pub fn needs_generation(&self) -> bool {
        let lists = [&self.added, &self.replaced, &self.changed, &self.removed];
        lists.iter().any(|list| !list.is_empty()) || self.reordered || self.settings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_changes() {
            return f.write_str("nothing has changed");
        }
        let lists = [
            ("added", &self.added),
            ("replaced", &self.replaced),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let mut parts: Vec<_> =
            lists.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
        if self.reordered {
            parts.push("order changed".to_owned());
        }
        if self.settings {
            parts.push("settings changed".to_owned());
        }
        if !self.certificates.is_empty() {
            parts.push(format!("certificates {}", self.certificates.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "policy `{policy}`: {}: {}", self.stage, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

#[derive(Serialize)]
struct Status<'a> {
    generation: u64,
    uptime_seconds: u64,
    listeners: &'a [Listener],
    policies: Vec<PolicyStatus<'a>>,
    /// `None`: there are none.
    snapshot: Option<SnapshotStatus>,
}

#[derive(Serialize)]
struct SnapshotStatus {
    /// Of the newest one; `None`: there is none yet.
    age_seconds: Option<u64>,
    /// Of the last one that this process wrote.
    bytes: Option<u64>,
    /// Why the last attempt failed.
    error: Option<String>,
}

#[derive(Serialize)]
struct PolicyStatus<'a> {
    name: &'a str,
    digest: &'a str,
    mode: &'a str,
    state: &'a str,
    instances: usize,
    restarts: u64,
    memory_bytes: u64,
    data: Vec<DataStatus<'a>>,
}

#[derive(Serialize)]
struct DataStatus<'a> {
    name: &'a str,
    /// 0: there is no data yet.
    version: u64,
    entries: usize,
    age_seconds: Option<u64>,
}

type Reply = Response<Full<Bytes>>;

/// The maximum size of a question, in bytes.
const QUESTION: usize = 64 * 1024;
/// How long the head of a request may take to arrive, including the pause since the last request.
pub const HEAD: Duration = Duration::from_secs(30);
/// How long the body of a request may take to arrive.
const BODY: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread.
const STALL: Duration = Duration::from_secs(30);
/// The most connections at once, so that descriptors are left for everything else.
const CONNECTIONS: usize = 64;
/// The most TLS handshakes at once, so that they leave connections for those who are done.
pub const HANDSHAKES: usize = 32;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

impl Admin {
    /// Serves until the task is dropped. Each connection has its own task.
    pub async fn serve(self, socket: TcpListener) {
        let admin = Arc::new(self);
        let mut acceptor = Acceptor::new(socket, Arc::new(Semaphore::new(CONNECTIONS)), "admin");
        loop {
            let (stream, _, place) = acceptor.next().await;
            let admin = admin.clone();
            tokio::spawn(async move {
                let _place = place;
                match &admin.tls {
                    None => admin.connection(stream).await,
                    Some(handshakes) => {
                        if let Some(stream) = handshakes.accept(stream).await {
                            admin.connection(stream).await;
                        }
                    }
                }
            });
        }
    }

    async fn connection<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: T) {
        let service = service_fn(|request: Request<Incoming>| {
            let (parts, body) = request.into_parts();
            async move { Ok::<_, Infallible>(self.answer(&parts, body).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(Stalling::new(stream, STALL)), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "admin connection failed");
        }
    }

    async fn answer(&self, parts: &Parts, body: Incoming) -> Reply {
        let Parts { method, uri, headers, .. } = parts;
        let path = uri.path();
        let wanted = match path {
            "/healthz" | "/readyz" | "/metrics" | "/api/status" => Method::GET,
            "/api/reload" | "/api/explain" | "/api/snapshot" => Method::POST,
            _ => return text(StatusCode::NOT_FOUND, "not found\n"),
        };
        if let Some(refusal) = self.refusal(path, headers) {
            return refusal;
        }
        let head = *method == Method::HEAD && wanted == Method::GET;
        if *method != wanted && !head {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {wanted}\n"));
            let allow = HeaderValue::from_str(wanted.as_str());
            reply.headers_mut().extend(allow.ok().map(|allow| (ALLOW, allow)));
            return reply;
        }
        match path {
            "/metrics" => reply(StatusCode::OK, PROMETHEUS, self.metrics.render()),
            "/api/status" => self.status(),
            "/api/reload" | "/api/explain" | "/api/snapshot" if !is_json(headers) => {
                text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json\n")
            }
            "/api/reload" => self.reload().await,
            "/api/explain" => self.explain(body).await,
            "/api/snapshot" => self.snapshot().await,
            // Every worker listens before the admin API does, so `/readyz` needs no check for that.
            "/readyz" => match self.hindrance() {
                Some(hindrance) => text(StatusCode::SERVICE_UNAVAILABLE, &hindrance),
                None => text(StatusCode::OK, "ok\n"),
            },
            _ => text(StatusCode::OK, "ok\n"),
        }
    }

    async fn explain(&self, body: Incoming) -> Reply {
        let wrong = |reason: &str| text(StatusCode::BAD_REQUEST, &format!("{reason}\n"));
        let body = match timeout(BODY, Limited::new(body, QUESTION).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return wrong(&error.to_string()),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
        };
        let question = crate::text::decode(&body).map_err(|error| error.to_string());
        let question =
            question.and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
        let question = match question {
            Ok(question) => question,
            Err(reason) => return wrong(&reason),
        };
        let (reply, answer) = oneshot::channel();
        if let Err(TrySendError::Full(_)) = self.explain.try_send((question, reply)) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many questions are waiting\n");
        }
        match answer.await {
            Ok(Ok(answers)) => json(StatusCode::OK, &answers),
            Ok(Err(reason)) => wrong(&reason),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }

    async fn reload(&self) -> Reply {
        let (reply, result) = oneshot::channel();
        // If the receiver is gone, so is the reply.
        let _ = self.reload.send(reply).await;
        match result.await {
            Ok(Ok(report)) => json(StatusCode::OK, &report),
            Ok(Err(refusal)) => json(StatusCode::CONFLICT, &refusal),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }

    async fn snapshot(&self) -> Reply {
        let Some(ask) = &self.snapshot else {
            return text(StatusCode::CONFLICT, "there are no snapshots: `swarms.snapshot`\n");
        };
        let (reply, result) = oneshot::channel();
        ask(reply);
        match result.await {
            Ok(Ok(report)) => json(StatusCode::OK, &report),
            Ok(Err(reason)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{reason}\n")),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }

    /// Returns why access is denied, if it is. Requests need the token, and must not come from a
    /// web page of another origin.
    fn refusal(&self, path: &str, headers: &HeaderMap) -> Option<Reply> {
        // A name that is not text is not a loopback address.
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        let own_origin = |origin: &HeaderValue| {
            let scheme = if self.tls.is_some() { "https://" } else { "http://" };
            let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix(scheme));
            origin.is_some() && origin == host
        };
        if headers.get(ORIGIN).is_some_and(|origin| !own_origin(origin)) {
            return Some(text(
                StatusCode::FORBIDDEN,
                "requests from other origins are not allowed\n",
            ));
        }
        match &self.token {
            None if host.is_some_and(|host| !is_loopback(host)) => Some(text(
                StatusCode::FORBIDDEN,
                "without a token, the host must be a loopback address\n",
            )),
            Some(token) if !matches!(path, "/healthz" | "/readyz") => {
                let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
                if shown.and_then(bearer).is_some_and(|shown| shown.ct_eq(token.expose()).into()) {
                    return None;
                }
                let mut reply = text(StatusCode::UNAUTHORIZED, "a bearer token is required\n");
                let scheme = HeaderValue::from_static("Bearer");
                reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                Some(reply)
            }
            _ => None,
        }
    }

    /// Returns why an enforced policy cannot decide, if any.
    fn hindrance(&self) -> Option<String> {
        let policies = self.policies.lock();
        let mut obeyed = policies.iter().filter(|policy| policy.mode == "enforce");
        obeyed.find_map(|policy| {
            let name = &policy.name;
            if self.metrics.summary(name).failed {
                return Some(format!("the policy `{name}` has failed\n"));
            }
            let missing = policy.data.iter().find(|source| source.is_missing())?;
            let data = &missing.definition().name;
            Some(format!("the policy `{name}` waits for its data `{data}`\n"))
        })
    }

    fn status(&self) -> Reply {
        let policies = self.policies.lock();
        let policies = policies.iter().map(|policy| {
            let summary = self.metrics.summary(&policy.name);
            PolicyStatus {
                name: &policy.name,
                digest: &policy.digest,
                mode: policy.mode,
                state: if summary.failed { "failed" } else { "ready" },
                instances: summary.instances,
                restarts: summary.restarts,
                memory_bytes: summary.memory,
                data: policy.data.iter().map(|source| DataStatus::of(source)).collect(),
            }
        });
        let status = Status {
            generation: self.metrics.generation(),
            uptime_seconds: self.start.elapsed().as_secs(),
            listeners: &self.listeners,
            policies: policies.collect(),
            snapshot: self.snapshot_status(),
        };
        json(StatusCode::OK, &status)
    }
}

impl Admin {
    /// Returns `None` if snapshots are switched off.
    fn snapshot_status(&self) -> Option<SnapshotStatus> {
        let snapshots = self.metrics.snapshots();
        let error = snapshots.error();
        (self.snapshot.is_some() || error.is_some()).then(|| SnapshotStatus {
            age_seconds: snapshots.age().map(|age| age.as_secs()),
            bytes: Some(snapshots.bytes()).filter(|bytes| *bytes > 0),
            error,
        })
    }
}

impl<'a> DataStatus<'a> {
    fn of(source: &'a data::DataSource) -> Self {
        Self {
            name: &source.definition().name,
            version: source.number(),
            entries: source.entries(),
            age_seconds: source.age().map(|age| age.as_secs()),
        }
    }
}

/// Returns the token of an `Authorization` header. The scheme's name is case-insensitive (RFC 9110,
/// 11.1), and more than one blank may follow it.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_first_chunk::<6>()?;
    let begins = scheme.eq_ignore_ascii_case(b"bearer") && token.starts_with(b" ");
    begins.then(|| token.trim_ascii())
}

/// Returns whether the body is JSON, which a web page cannot send to another origin without asking
/// first.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.to_ascii_lowercase().starts_with(b"application/json")
}

/// Returns whether a `Host` header names this machine by a loopback address.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn text(status: StatusCode, body: &str) -> Reply {
    reply(status, TEXT, body.to_owned())
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => reply(status, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn reply(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_bearer_is_read_in_any_case() {
        for header in ["Bearer a b", "bearer a b", "BEARER  a b ", "Bearer \ta b"] {
            assert_eq!(bearer(header.as_bytes()), Some(&b"a b"[..]), "{header}");
        }
        for header in ["", "Bearer", "Bearera b", "Basic a b", "a b", " Bearer a b"] {
            assert_eq!(bearer(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn only_loopback_names_and_addresses_are_loopback_hosts() {
        for host in
            ["localhost", "LOCALHOST:6880", "127.0.0.1:6880", "127.9.9.9", "[::1]:6880", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.org", "127.0.0.1.example.org", "10.0.0.1:6880", "", "[::1", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
