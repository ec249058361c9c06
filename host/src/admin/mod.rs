//! The admin API: its endpoints, and which of them answers a request.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::sync::mpsc;

mod access;
mod client;
mod explain;
mod health;
mod reload;
mod remote;
mod reply;
mod request;
mod serve;
mod snapshot;
mod stall;
mod status;

use self::access::Right;
use self::reply::{Pending, Reply, line};
use self::request::Request;

pub use self::client::Client;
pub use self::explain::{Answers, AskExplain, Question};
pub use self::reload::{AskReload, Refusal, Report};
pub use self::remote::{Remote, Unknown};
pub use self::serve::{HANDSHAKES, HEAD};
pub use self::snapshot::{AskSnapshot, SnapshotReport};
pub use self::status::{Listener, ReceiveBuffer, ShownPolicy};

use crate::config::Secret;
use crate::metrics::Metrics;
use crate::tls::Handshakes;

/// All endpoints. A path has one method.
static ENDPOINTS: [Endpoint; 7] = [
    get("/healthz", None, health::alive),
    get("/readyz", None, health::ready),
    get("/metrics", Some(Right::Read), status::metrics),
    get("/api/status", Some(Right::Read), status::status),
    post("/api/reload", Right::Reload, |admin, _| Box::pin(reload::reload(admin))),
    post("/api/explain", Right::Explain, |admin, asked| Box::pin(explain::explain(admin, asked))),
    post("/api/snapshot", Right::Reload, |admin, _| Box::pin(snapshot::save(admin))),
];

/// What is asked for at a path.
struct Endpoint {
    path: &'static str,
    method: Method,
    /// What the caller must be allowed; `None`: anyone may ask.
    right: Option<Right>,
    handler: Handler,
}

/// What answers a request to an endpoint.
enum Handler {
    /// At once, without the body.
    Show(fn(&Admin, &Request) -> Reply),
    /// It may wait for other threads. The body is JSON.
    Act(for<'a> fn(&'a Admin, Request) -> Pending<'a>),
}

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
    /// Whether the kernel forbids this process to write elsewhere: `on`, `off` or `unavailable`.
    pub landlock: &'static str,
}

impl Admin {
    async fn answer(&self, request: Request) -> Reply {
        let path = request.head.uri.path();
        let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
            return line(StatusCode::NOT_FOUND, "not found");
        };
        if let Some(refusal) = self.refusal(endpoint.right, &request.head.headers) {
            return refusal;
        }
        let wanted = &endpoint.method;
        let is_head = request.head.method == Method::HEAD && *wanted == Method::GET;
        if request.head.method != *wanted && !is_head {
            return only(wanted);
        }
        match endpoint.handler {
            Handler::Show(show) => show(self, &request),
            Handler::Act(_) if !request.is_json() => {
                line(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json")
            }
            Handler::Act(act) => act(self, request).await,
        }
    }
}

const fn get(
    path: &'static str,
    right: Option<Right>,
    show: fn(&Admin, &Request) -> Reply,
) -> Endpoint {
    Endpoint { path, method: Method::GET, right, handler: Handler::Show(show) }
}

const fn post(
    path: &'static str,
    right: Right,
    act: for<'a> fn(&'a Admin, Request) -> Pending<'a>,
) -> Endpoint {
    Endpoint { path, method: Method::POST, right: Some(right), handler: Handler::Act(act) }
}

fn only(method: &Method) -> Reply {
    let mut reply = line(StatusCode::METHOD_NOT_ALLOWED, &format!("only {method}"));
    let allow = HeaderValue::from_str(method.as_str());
    reply.headers_mut().extend(allow.ok().map(|allow| (ALLOW, allow)));
    reply
}
