//! The admin API: its endpoints, and which of them answers a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::sync::mpsc;

mod access;
mod audit;
mod caller;
mod changes;
mod client;
mod config;
mod configuration;
mod events;
mod explain;
mod export;
mod exporting;
mod facts;
mod health;
mod log;
mod login;
mod reload;
mod reloads;
mod remote;
mod reply;
mod request;
mod sampler;
mod series;
mod serve;
mod sessions;
mod snapshot;
mod stall;
mod stats;
mod status;
mod streaming;
mod swarm;
mod swarms;
mod top;

use self::reply::{Changed, Pending, Reply, line};
use self::request::Request;

pub use self::access::Access;
pub use self::audit::Audit;
pub use self::client::Client;
pub use self::configuration::ConfigurationFile;
pub use self::events::Events;
pub use self::explain::{Answers, AskExplain, Question};
pub use self::facts::{Listener, ReceiveBuffer, ShownPolicy};
pub use self::reload::{AskReload, Refusal, Report};
pub use self::reloads::{By, Reloads};
pub use self::remote::{Remote, Unknown};
pub use self::serve::{HANDSHAKES, HEAD, Sockets};
pub use self::snapshot::{AskSnapshot, SnapshotReport};
pub use self::stats::Recent;
pub use self::swarms::Swarms;

use crate::config::Right;
use crate::history::History;
use crate::metrics::Metrics;
use crate::tls::Handshakes;

/// All endpoints. A path has one method.
static ENDPOINTS: [Endpoint; 19] = [
    get("/healthz", None, health::alive),
    get("/readyz", None, health::ready),
    get("/metrics", Some(Right::Read), status::metrics),
    get("/api/status", Some(Right::Read), status::status),
    get("/api/stats", Some(Right::Read), stats::stats),
    get("/api/series", Some(Right::Read), series::series),
    get("/api/events", Some(Right::Read), events::events),
    look("/api/top", Right::Read, |admin, asked| Box::pin(top::top(admin, asked))),
    look(swarm::PATH, Right::Read, |admin, asked| Box::pin(swarm::swarm(admin, asked))),
    get("/api/export", Some(Right::Peers), export::export),
    get("/api/audit", Some(Right::Read), audit::audit),
    get("/api/config", Some(Right::Read), config::config),
    get("/api/log", Some(Right::Read), log::log),
    enter("/api/login", |admin, asked| Box::pin(login::login(admin, asked))),
    enter("/api/logout", |admin, asked| Box::pin(login::logout(admin, asked))),
    get("/api/reloads", Some(Right::Read), reloads::reloads),
    change("/api/reload", Right::Reload, |admin, asked| Box::pin(reload::reload(admin, asked))),
    ask("/api/explain", Right::Explain, |admin, asked| Box::pin(explain::explain(admin, asked))),
    change("/api/snapshot", Right::Reload, |admin, _| Box::pin(snapshot::save(admin))),
];

/// What is asked for at a path.
struct Endpoint {
    /// One that ends with `/` is the beginning of longer ones.
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
    /// It may take its time. The body of a `POST` is JSON.
    Ask(for<'a> fn(&'a Admin, Request) -> Pending<'a>),
    /// As above. The body may also be a form.
    Enter(for<'a> fn(&'a Admin, Request) -> Pending<'a>),
    /// As above. It changes something, and is audited.
    Change(for<'a> fn(&'a Admin, Request) -> Pending<'a, Changed>),
}

/// The admin API's state.
pub struct Admin {
    /// Who may use it.
    pub access: Arc<Access>,
    pub audit: Audit,
    /// If set, connections begin with a TLS handshake.
    pub tls: Option<Handshakes>,
    pub metrics: Arc<Metrics>,
    pub start: Instant,
    pub listeners: Vec<Listener>,
    /// The policies in use.
    pub policies: Arc<Mutex<Vec<ShownPolicy>>>,
    pub configuration: ConfigurationFile,
    pub reload: mpsc::Sender<AskReload>,
    pub reloads: Arc<Reloads>,
    pub explain: mpsc::Sender<AskExplain>,
    /// Asks for a snapshot; `None` if there are none.
    pub snapshot: Option<Box<dyn Fn(AskSnapshot) + Send + Sync>>,
    /// The time between two snapshots; `None` if there are none.
    pub snapshot_every: Option<Duration>,
    /// Whether the kernel forbids this process to write elsewhere: `on`, `off` or `unavailable`.
    pub landlock: &'static str,
    pub swarms: Swarms,
    pub recent: Recent,
    pub history: Arc<Mutex<History>>,
    pub events: Events,
}

impl Endpoint {
    fn is_at(&self, path: &str) -> bool {
        match self.path.ends_with('/') {
            true => path.starts_with(self.path),
            false => path == self.path,
        }
    }
}

impl Admin {
    async fn answer(&self, mut request: Request) -> Reply {
        let path = request.head.uri.path();
        let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.is_at(path)) else {
            return line(StatusCode::NOT_FOUND, "not found");
        };
        let judged = self.access.judge(endpoint.right, &request, self.tls.is_some());
        match judged {
            Ok(caller) => request.caller = caller,
            Err(denial) => {
                self.metrics.denied(denial.reason());
                return denial.reply();
            }
        }
        let wanted = &endpoint.method;
        let is_head = request.head.method == Method::HEAD && *wanted == Method::GET;
        if request.head.method != *wanted && !is_head {
            return only(wanted);
        }
        match endpoint.handler {
            Handler::Show(show) => show(self, &request),
            Handler::Ask(_) | Handler::Change(_)
                if *wanted == Method::POST && !request.is_json() =>
            {
                line(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json")
            }
            Handler::Enter(_) if !request.is_form() && !request.is_json() => {
                let expected = "expected application/json or application/x-www-form-urlencoded";
                line(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected)
            }
            Handler::Ask(ask) | Handler::Enter(ask) => ask(self, request).await,
            Handler::Change(change) => {
                let under_way = self.audit.begin(request.caller.clone(), endpoint.path);
                under_way.end(change(self, request).await)
            }
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

const fn look(
    path: &'static str,
    right: Right,
    ask: for<'a> fn(&'a Admin, Request) -> Pending<'a>,
) -> Endpoint {
    Endpoint { path, method: Method::GET, right: Some(right), handler: Handler::Ask(ask) }
}

const fn ask(
    path: &'static str,
    right: Right,
    ask: for<'a> fn(&'a Admin, Request) -> Pending<'a>,
) -> Endpoint {
    Endpoint { path, method: Method::POST, right: Some(right), handler: Handler::Ask(ask) }
}

const fn enter(path: &'static str, ask: for<'a> fn(&'a Admin, Request) -> Pending<'a>) -> Endpoint {
    Endpoint { path, method: Method::POST, right: None, handler: Handler::Enter(ask) }
}

const fn change(
    path: &'static str,
    right: Right,
    change: for<'a> fn(&'a Admin, Request) -> Pending<'a, Changed>,
) -> Endpoint {
    Endpoint { path, method: Method::POST, right: Some(right), handler: Handler::Change(change) }
}

fn only(method: &Method) -> Reply {
    let mut reply = line(StatusCode::METHOD_NOT_ALLOWED, &format!("only {method}"));
    let allow = HeaderValue::from_str(method.as_str());
    reply.headers_mut().extend(allow.ok().map(|allow| (ALLOW, allow)));
    reply
}
