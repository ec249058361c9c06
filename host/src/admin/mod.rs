//! The admin API: its endpoints, and which of them answers a request.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, StatusCode};
use karuta_accounts::Accounts;
use parking_lot::Mutex;
use tokio::sync::mpsc;

mod access;
mod accounts;
mod audit;
mod caller;
mod changes;
mod client;
mod config;
mod configuration;
mod doctor;
mod events;
mod explain;
mod export;
mod exporting;
mod facts;
mod gazelle;
mod generations;
mod growth;
mod health;
mod import;
mod lists;
mod log;
mod login;
mod narrow;
mod networks;
mod page;
mod preview;
mod ranking;
mod rates;
mod record;
mod refused;
mod reload;
mod reloads;
mod remote;
mod reply;
mod report;
mod request;
mod rollback;
mod sampler;
mod series;
mod serve;
mod sessions;
mod shadow;
mod share;
mod site;
mod snapshot;
mod spent;
mod stall;
mod stats;
mod status;
mod streaming;
mod swarm;
mod swarms;
mod tap;
mod tapping;
mod token;
mod top;
mod torrust;
mod trial;
mod unit3d;

use self::reply::{Changed, Pending, Reply, line};
use self::request::Request;

pub use self::access::Access;
pub use self::accounts::ChangedAccounts;
pub use self::audit::Audit;
pub use self::client::Client;
pub use self::configuration::ConfigurationFile;
pub use self::doctor::Doctor;
pub use self::events::Events;
pub use self::explain::{Answer, Answers, AskExplain, Question, SwarmsLimits, TrackerLimits};
pub use self::facts::{Listener, ReceiveBuffer, ShownPolicy};
pub use self::generations::{Archive, ShownDifference, ShownHistory, others};
pub use self::import::Imported;
pub use self::narrow::Outcomes;
pub use self::preview::{ChangedPlugin, PluginFacts, Preview, Promoted, difference};
pub use self::record::RecordQuestion;
pub use self::reload::{
    AskReload, Expected, Refusal, Replies, Report, Terms, Trial, WantedReload, Wish,
};
pub use self::reloads::{By, CONFIRM, Reloads, unix_seconds};
pub use self::remote::{Remote, Unknown};
pub use self::rollback::WantedRollback;
pub use self::serve::{HANDSHAKES, HEAD, Sockets};
pub use self::snapshot::{AskSnapshot, SnapshotReport};
pub use self::stats::Recent;
pub use self::swarms::Swarms;
pub use self::tap::TapQuestion;
pub use self::trial::{GuardedPolicy, Guards, OnTrial};

use crate::config::Right;
use crate::decisions::Decisions;
use crate::history::History;
use crate::metrics::Metrics;
use crate::process;
use crate::public::PublicStats;
use crate::recording::Rings;
use crate::tls::Handshakes;

/// All endpoints.
static ENDPOINTS: &[Endpoint] = &[
    site("/", |admin, asked| Box::pin(page::page(admin, asked))),
    get(page::FOLDER, None, page::asset),
    form("/explain", Right::Explain, |admin, asked| Box::pin(page::explain(admin, asked))),
    form("/reload", Right::Reload, |admin, asked| Box::pin(page::reload(admin, asked))),
    form("/preview", Right::Reload, |admin, asked| Box::pin(page::preview(admin, asked))),
    form("/confirm", Right::Reload, |admin, asked| Box::pin(page::confirm(admin, asked))),
    form("/rollback", Right::Reload, |admin, asked| Box::pin(page::rollback(admin, asked))),
    form("/lists", Right::Lists, |admin, asked| Box::pin(page::change_list(admin, asked))),
    form("/doctor", Right::Read, |admin, asked| Box::pin(page::doctor(admin, asked))),
    form("/snapshot", Right::Reload, |admin, asked| Box::pin(page::snapshot(admin, asked))),
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
    get(lists::ALL, Some(Right::Read), lists::all),
    look(lists::PATH, Right::Lists, |admin, asked| Box::pin(lists::read(admin, asked))),
    change(lists::PATH, Right::Lists, |admin, asked| Box::pin(lists::change(admin, asked))),
    delete(lists::PATH, Right::Lists, |admin, asked| Box::pin(lists::withdraw(admin, asked))),
    take("/api/import", Right::Reload, |admin, asked| Box::pin(import::import(admin, asked))),
    look("/api/doctor", Right::Read, |admin, asked| Box::pin(doctor::doctor(admin, asked))),
    look(accounts::ALL, Right::Accounts, |admin, asked| Box::pin(accounts::all(admin, asked))),
    look(accounts::REJECTED, Right::Accounts, |admin, asked| {
        Box::pin(accounts::rejected(admin, asked))
    }),
    take(accounts::REJECTED, Right::Accounts, |admin, asked| {
        Box::pin(accounts::play_again(admin, asked))
    }),
    look(accounts::PATH, Right::Accounts, |admin, asked| Box::pin(accounts::one(admin, asked))),
    take(accounts::ALL, Right::Accounts, |admin, asked| Box::pin(accounts::change(admin, asked))),
    get("/api/audit", Some(Right::Read), audit::audit),
    get("/api/refused", Some(Right::Read), refused::refused),
    get(shadow::PATH, Some(Right::Read), shadow::shadow),
    ask("/api/tap", Right::Peers, |admin, asked| Box::pin(tap::tap(admin, asked))),
    change("/api/record", Right::Peers, |admin, asked| Box::pin(record::record(admin, asked))),
    get("/api/config", Some(Right::Read), config::config),
    get("/api/log", Some(Right::Read), log::log),
    enter("/api/login", |admin, asked| Box::pin(login::login(admin, asked))),
    enter("/api/logout", |admin, asked| Box::pin(login::logout(admin, asked))),
    get("/api/reloads", Some(Right::Read), reloads::reloads),
    change("/api/reload", Right::Reload, |admin, asked| Box::pin(reload::reload(admin, asked))),
    change("/api/confirm", Right::Reload, |admin, asked| Box::pin(trial::confirm(admin, asked))),
    change("/api/rollback", Right::Reload, |admin, asked| {
        Box::pin(rollback::rollback(admin, asked))
    }),
    get("/api/history", Some(Right::Read), generations::history),
    get("/api/diff", Some(Right::Read), generations::diff),
    ask("/api/explain", Right::Explain, |admin, asked| Box::pin(explain::explain(admin, asked))),
    change("/api/snapshot", Right::Reload, |admin, _| Box::pin(snapshot::save(admin))),
];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
/// Lines, in a format that the query names.
const LINES: &str = "application/octet-stream";

/// What is asked for at a path.
struct Endpoint {
    /// One that ends with `/` is the beginning of longer ones, except for `/` itself.
    path: &'static str,
    method: Method,
    /// What the body of a `POST` is: something that a web page cannot send to another origin without
    /// asking first.
    body: &'static str,
    /// What the caller must be allowed; `None`: anyone may ask.
    right: Option<Right>,
    handler: Handler,
}

/// What answers a request to an endpoint.
enum Handler {
    /// At once, without the body.
    Show(fn(&Admin, &Request) -> Reply),
    /// It may take its time.
    Ask(Ask),
    /// As above. The body may also be a form.
    Enter(Ask),
    /// As above, but the body is a form of our page.
    Form(Ask),
    /// As for `Ask`. It changes something, and is audited.
    Change(Change),
}

/// The admin API's state.
pub struct Admin {
    /// Who may use it.
    pub access: Arc<Access>,
    pub audit: Arc<Audit>,
    /// If set, connections begin with a TLS handshake.
    pub tls: Option<Handshakes>,
    pub metrics: Arc<Metrics>,
    pub decisions: Arc<Decisions>,
    /// `None`: requests are not recorded.
    pub rings: Option<Arc<Rings>>,
    pub start: Instant,
    pub listeners: Vec<Listener>,
    /// The policies in use.
    pub policies: Arc<Mutex<Vec<ShownPolicy>>>,
    pub configuration: ConfigurationFile,
    pub reload: mpsc::Sender<AskReload>,
    pub reloads: Arc<Reloads>,
    /// The generations that have served.
    pub archive: Archive,
    pub explain: mpsc::Sender<AskExplain>,
    /// Asks for a snapshot; `None` if there are none.
    pub snapshot: Option<Box<dyn Fn(AskSnapshot) + Send + Sync>>,
    /// What can be wrong around the tracker.
    pub doctor: Doctor,
    /// The time between two snapshots; `None` if there are none.
    pub snapshot_every: Option<Duration>,
    /// Whether the kernel forbids this process to write elsewhere: `on`, `off` or `unavailable`.
    pub landlock: &'static str,
    pub swarms: Swarms,
    /// The books; `None`: there are none.
    pub accounts: Option<Arc<Accounts>>,
    /// The seconds between two announces that a site asks for; 0: it asks for none.
    pub interval: Arc<AtomicU32>,
    pub recent: Recent,
    /// The page of statistics for everyone, if there is one.
    pub public: Option<Arc<PublicStats>>,
    pub history: Arc<Mutex<History>>,
    pub events: Events,
}

impl Endpoint {
    fn is_at(&self, path: &str) -> bool {
        match self.path.ends_with('/') && self.path != "/" {
            true => path.starts_with(self.path),
            false => path == self.path,
        }
    }
}

impl Admin {
    async fn answer(&self, mut request: Request) -> Reply {
        let path = request.head.uri.path();
        if path.starts_with(torrust::PATH)
            && let Some(door) = self.access.torrust()
        {
            return torrust::answer(self, request, &door).await;
        }
        let method = match &request.head.method {
            &Method::HEAD => &Method::GET,
            other => other,
        };
        let there: Vec<_> = ENDPOINTS.iter().filter(|endpoint| endpoint.is_at(path)).collect();
        let wanted = there.iter().find(|endpoint| endpoint.method == *method);
        // What is allowed is said to those who may ask for the first one.
        let Some(endpoint) = wanted.or(there.first()) else {
            return line(StatusCode::NOT_FOUND, "not found");
        };
        let judged = self.access.judge(endpoint.right, &request, self.tls.is_some());
        match judged {
            Ok(caller) => request.caller = caller,
            Err(denial) => {
                if let Handler::Form(_) = endpoint.handler {
                    return page::refused(self, &denial);
                }
                self.metrics.denied(denial.reason());
                return denial.reply();
            }
        }
        if wanted.is_none() {
            return only(&there);
        }
        match endpoint.handler {
            Handler::Show(show) => show(self, &request),
            Handler::Ask(_) | Handler::Change(_)
                if endpoint.method != Method::GET && !request.is(endpoint.body) =>
            {
                let expected = format!("expected {}", endpoint.body);
                line(StatusCode::UNSUPPORTED_MEDIA_TYPE, &expected)
            }
            Handler::Enter(_) if !request.is_form() && !request.is(JSON) => {
                let expected = "expected application/json or application/x-www-form-urlencoded";
                line(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected)
            }
            Handler::Form(_) if !request.is_own_form() => {
                line(StatusCode::FORBIDDEN, "expected a form of this page")
            }
            Handler::Ask(ask) | Handler::Enter(ask) | Handler::Form(ask) => {
                ask(self, request).await
            }
            Handler::Change(change) => {
                let under_way = self.audit.begin(request.caller.clone(), request.head.uri.path());
                under_way.end(change(self, request).await)
            }
        }
    }
}

/// Returns the content type of the body that a path, with its query, expects.
fn body_of(path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default();
    let taken = |endpoint: &&Endpoint| endpoint.method == Method::POST && endpoint.is_at(path);
    ENDPOINTS.iter().find(taken).map_or(JSON, |endpoint| endpoint.body)
}

type Ask = for<'a> fn(&'a Admin, Request) -> Pending<'a>;
type Change = for<'a> fn(&'a Admin, Request) -> Pending<'a, Changed>;

const fn get(
    path: &'static str,
    right: Option<Right>,
    show: fn(&Admin, &Request) -> Reply,
) -> Endpoint {
    Endpoint { path, method: Method::GET, body: JSON, right, handler: Handler::Show(show) }
}

/// The page. Who asks for it need not be known yet: it has a form for that.
const fn site(path: &'static str, ask: Ask) -> Endpoint {
    Endpoint { path, method: Method::GET, body: JSON, right: None, handler: Handler::Ask(ask) }
}

const fn look(path: &'static str, right: Right, ask: Ask) -> Endpoint {
    let handler = Handler::Ask(ask);
    Endpoint { path, method: Method::GET, body: JSON, right: Some(right), handler }
}

const fn ask(path: &'static str, right: Right, ask: Ask) -> Endpoint {
    post(path, JSON, Some(right), Handler::Ask(ask))
}

const fn enter(path: &'static str, ask: Ask) -> Endpoint {
    post(path, JSON, None, Handler::Enter(ask))
}

const fn form(path: &'static str, right: Right, ask: Ask) -> Endpoint {
    post(path, FORM, Some(right), Handler::Form(ask))
}

const fn change(path: &'static str, right: Right, change: Change) -> Endpoint {
    post(path, JSON, Some(right), Handler::Change(change))
}

/// As [`change`], with lines as the body.
const fn take(path: &'static str, right: Right, take: Change) -> Endpoint {
    post(path, LINES, Some(right), Handler::Change(take))
}

const fn post(
    path: &'static str,
    body: &'static str,
    right: Option<Right>,
    handler: Handler,
) -> Endpoint {
    Endpoint { path, method: Method::POST, body, right, handler }
}

const fn delete(path: &'static str, right: Right, change: Change) -> Endpoint {
    let handler = Handler::Change(change);
    Endpoint { path, method: Method::DELETE, body: JSON, right: Some(right), handler }
}

/// Lets the workers go first, and then what else this thread has to do.
async fn give_way() {
    process::give_way();
    tokio::task::yield_now().await;
}

fn only(there: &[&Endpoint]) -> Reply {
    let methods: Vec<_> = there.iter().map(|endpoint| endpoint.method.as_str()).collect();
    let methods = methods.join(", ");
    let mut reply = line(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods}"));
    let allow = HeaderValue::from_str(&methods);
    reply.headers_mut().extend(allow.ok().map(|allow| (ALLOW, allow)));
    reply
}
