//! The page: how the tracker is, and what may be done about it, complete without a script. A panel is a
//! file with its template, and shows what an endpoint answers.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use url::form_urlencoded;

use super::Admin;
use super::access::Denial;
use super::caller::Caller;
use super::explain::Answers;
use super::preview::Preview;
use super::ranking::Measure;
use super::reload::{Expected, Wish};
use super::reply::{Reply, STOPPING, line, reply};
use super::request::Request;
use super::status::Status;
use crate::history::Span;

mod accounts;
mod assets;
mod bar;
mod edits;
mod explain;
mod history;
mod listeners;
mod lists;
mod live;
mod log;
mod machine;
mod now;
mod number;
mod policies;
mod preview;
mod refused;
mod reload;
mod shadow;
mod spark;
mod swarms;
mod viewer;

pub use self::assets::{FOLDER, asset};

use self::assets::{ASSETS, Assets};
use self::bar::Bar;
use self::live::Columns;
use self::viewer::Viewer;

/// The panels, each with its key, its anchor and its name.
const PANELS: [(char, &str, &str); 15] = [
    ('n', "now", "Now"),
    ('p', "policies", "Policies"),
    ('w', "shadow", "Shadow"),
    ('e', "explain", "Explain"),
    ('x', "refused", "Refused"),
    ('s', "swarms", "Swarms"),
    ('d', "lists", "Lists and data"),
    ('i', "edits", "Edit a list"),
    ('r', "reload", "Reload"),
    ('v', "preview", "Preview"),
    ('h', "history", "History"),
    ('l', "listeners", "Listeners"),
    ('c', "accounts", "Accounts"),
    ('m', "machine", "Machine"),
    ('a', "log", "Log and audit"),
];

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    assets: &'static Assets,
    bar: Bar,
    now: now::Now,
    policies: policies::Policies<'a>,
    /// Left out if the page is only brought up to date.
    explain: Option<explain::Explain>,
    shadow: Option<shadow::Shadow<'a>>,
    refused: Option<refused::Refused<'a>>,
    swarms: Option<swarms::Swarms>,
    lists: lists::Lists<'a>,
    edits: Option<edits::Edits>,
    reload: reload::Reload<'a>,
    preview: Option<preview::Preview>,
    history: Option<history::History>,
    listeners: listeners::Listeners<'a>,
    accounts: accounts::Accounts<'a>,
    machine: machine::Machine<'a>,
    log: log::Log,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    assets: &'static Assets,
    /// Why nobody is logged in.
    problem: Option<String>,
}

/// What the page is asked for.
#[derive(Default)]
struct Asked {
    swarms: swarms::Asked,
    refused: refused::Filter,
    explain: explain::Asked,
    edits: edits::Asked,
    /// What a form has changed of the list.
    done: edits::Done,
    log: log::Asked,
    /// What a reload would change, if somebody has looked.
    preview: Option<Result<Preview, String>>,
    history: history::Asked,
    /// The panels that change by themselves are wanted, and no others.
    is_brief: bool,
}

/// A form that somebody has filled in.
struct Filled {
    viewer: Viewer,
    by: Caller,
    form: String,
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// The maximum size of a form, in bytes.
const FORM: usize = 64 * 1024;

/// What every answer to a browser says: it loads nothing from elsewhere, runs no script but our own, and
/// is in no frame. To its own origin it says where a form comes from, which the API asks for.
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Answers with the page, or with a form for a token.
pub async fn page(admin: &Admin, request: Request) -> Reply {
    let asked = Asked::of(request.head.uri.query().unwrap_or_default());
    match Viewer::of(admin, &request) {
        Ok(viewer) => show(admin, &viewer, asked, StatusCode::OK, None).await,
        Err(denial) => refused(admin, &denial),
    }
}

/// Answers with the page and what the policies would do with the request in a form.
pub async fn explain(admin: &Admin, request: Request) -> Reply {
    let Filled { viewer, form, .. } = match Filled::of(admin, request).await {
        Ok(filled) => filled,
        Err(reply) => return reply,
    };
    let asked = Asked::of(&form);
    let result = match asked.explain.question() {
        Ok(question) => super::explain::ask(admin, question).await.map_err(|(_, why)| why),
        Err(reason) => Err(reason),
    };
    let status = if result.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    show(admin, &viewer, asked, status, Some(result)).await
}

/// Reloads or begins a trial, if the file is the one that was looked at, and leads back to the page.
pub async fn reload(admin: &Admin, request: Request) -> Reply {
    let Filled { viewer, by, form } = match Filled::of(admin, request).await {
        Ok(filled) => filled,
        Err(reply) => return reply,
    };
    let wanted = match preview::wanted(&form) {
        Ok(wanted) => wanted,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    let under_way = admin.audit.begin(by.clone(), "/api/reload");
    back_to_reload(under_way.end(super::reload::apply(admin, by, viewer.mask(), &wanted).await))
}

/// Answers with the page and what a reload would change.
pub async fn preview(admin: &Admin, request: Request) -> Reply {
    let Filled { viewer, form, .. } = match Filled::of(admin, request).await {
        Ok(filled) => filled,
        Err(reply) => return reply,
    };
    let mut asked = Asked::of(&form);
    let Some(result) = super::reload::preview(admin, Expected::default(), viewer.mask()).await
    else {
        return line(StatusCode::SERVICE_UNAVAILABLE, STOPPING);
    };
    let status = if result.is_ok() { StatusCode::OK } else { StatusCode::CONFLICT };
    asked.preview = Some(result.map_err(|refusal| refusal.to_string()));
    show(admin, &viewer, asked, status, None).await
}

/// Keeps the generation that is on trial, and leads back to the page.
pub async fn confirm(admin: &Admin, request: Request) -> Reply {
    let by = request.caller;
    let under_way = admin.audit.begin(by.clone(), "/api/confirm");
    back_to_reload(under_way.end(super::reload::change(admin, by, Wish::Confirm).await))
}

/// Takes a trial back, or serves an earlier generation again if the form has the word for that, and leads
/// back to the page.
pub async fn rollback(admin: &Admin, request: Request) -> Reply {
    let Filled { viewer, by, form } = match Filled::of(admin, request).await {
        Ok(filled) => filled,
        Err(reply) => return reply,
    };
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(form.as_bytes());
        fields.find(|(one, _)| one == name).map(|(_, value)| value.trim().to_owned())
    };
    let on_trial = admin.reloads.trial().map(|trial| trial.generation.to_string());
    let is_of_trial = field("trial").is_some();
    let to = field("to").unwrap_or_default();
    let fault = match (is_of_trial, field("trial") == on_trial) {
        // Otherwise the trial is over, and something else would be rolled back.
        (true, false) => Some("the trial is over".to_owned()),
        (false, _) if field("word").as_deref() != Some(&*to) => {
            Some(format!("type {to} to go back"))
        }
        _ => None,
    };
    let to = match to.parse::<u64>() {
        Ok(to) if !is_of_trial => Ok(Some(to)),
        Err(_) if !is_of_trial => Err("expected the number of a generation".to_owned()),
        _ => Ok(None),
    };
    match (fault, to) {
        (None, Ok(to)) => {
            let under_way = admin.audit.begin(by.clone(), "/api/rollback");
            let wish = Wish::Rollback { to, text: false };
            back_to_reload(under_way.end(super::reload::change(admin, by, wish).await))
        }
        (Some(fault), _) | (None, Err(fault)) => {
            let mut asked = Asked::default();
            asked.history.fault = Some(fault);
            asked.history.back = field("to").unwrap_or_default();
            show(admin, &viewer, asked, StatusCode::BAD_REQUEST, None).await
        }
    }
}

/// What was refused is among the reloads that the page shows.
fn back_to_reload(reply: Reply) -> Reply {
    match reply.status() {
        StatusCode::OK | StatusCode::CONFLICT => see_other("/#reload"),
        _ => reply,
    }
}

/// Adds an entry to a list or removes it, or writes its edits into its file, and shows what the list says
/// then.
pub async fn change_list(admin: &Admin, request: Request) -> Reply {
    let Filled { viewer, by, form } = match Filled::of(admin, request).await {
        Ok(filled) => filled,
        Err(reply) => return reply,
    };
    let mut asked = Asked::of(&form);
    let now = admin.swarms.clock().unix_seconds;
    asked.done = asked.edits.change(admin, &form, by, now).await;
    let is_done = asked.done.fault.is_none();
    let status = if is_done { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    show(admin, &viewer, asked, status, None).await
}

/// Writes a snapshot, and leads back to the page.
pub async fn snapshot(admin: &Admin, request: Request) -> Reply {
    let under_way = admin.audit.begin(request.caller.clone(), "/api/snapshot");
    let reply = under_way.end(super::snapshot::save(admin).await);
    match reply.status() {
        // The page shows why.
        StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR => see_other("/#machine"),
        _ => reply,
    }
}

/// Looks for what is wrong around the tracker, and leads back to the page.
pub async fn doctor(admin: &Admin, _: Request) -> Reply {
    match super::doctor::examine(admin).await {
        Some(_) => see_other("/#doctor"),
        None => line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

async fn show(
    admin: &Admin,
    viewer: &Viewer,
    asked: Asked,
    status: StatusCode,
    result: Option<Result<Answers, String>>,
) -> Reply {
    let now = admin.swarms.clock().unix_seconds;
    let known = Status::of(admin);
    let facts = &known.facts;
    let recent = Columns::of(admin, Span::Minutes);
    let is_whole = !asked.is_brief;
    let (shadows, refusals) = match is_whole {
        true => (shadow::entries(admin), admin.decisions.refusals()),
        false => Default::default(),
    };
    let swarms = match is_whole {
        true => Some(swarms::Swarms::of(admin, viewer, asked.swarms).await),
        false => None,
    };
    let page = Page {
        assets: &ASSETS,
        bar: Bar::of(&known, viewer, recent.last_mark(), now),
        now: now::Now::of(admin, &recent, is_whole),
        policies: policies::Policies::of(admin, facts, &recent, now),
        shadow: is_whole.then(|| shadow::Shadow::of(admin, viewer, &shadows)),
        explain: is_whole.then(|| explain::Explain::of(viewer, asked.explain, result)),
        refused: is_whole.then(|| refused::Refused::of(admin, viewer, asked.refused, &refusals)),
        swarms,
        lists: lists::Lists::of(facts, now),
        edits: is_whole.then(|| edits::Edits::of(admin, viewer, asked.edits, asked.done, now)),
        reload: reload::Reload::of(admin, facts, viewer, now),
        preview: is_whole.then(|| preview::Preview::of(viewer, asked.preview)),
        history: is_whole.then(|| history::History::of(admin, viewer, asked.history, now)),
        listeners: listeners::Listeners::of(facts, now),
        accounts: accounts::Accounts::of(facts),
        machine: machine::Machine::of(admin, facts, viewer, &recent, now),
        log: log::Log::of(admin, asked.log, now),
    };
    html(status, &page)
}

fn html(status: StatusCode, page: &impl Template) -> Reply {
    let mut reply = match page.render() {
        Ok(text) => reply(status, HTML, text),
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with_headers(reply)
}

fn see_other(path: &'static str) -> Reply {
    let mut reply = line(StatusCode::SEE_OTHER, path);
    reply.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    reply
}

impl Filled {
    /// Reads a form. The error is the answer.
    async fn of(admin: &Admin, request: Request) -> Result<Self, Reply> {
        let viewer = Viewer::of(admin, &request).map_err(|denial| refused(admin, &denial))?;
        let by = request.caller.clone();
        let form = request.text(FORM).await?;
        Ok(Self { viewer, by, form })
    }
}

impl Asked {
    /// Reads a query or a form. What is not known is left out, because a page is shown in any case.
    fn of(text: &str) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "brief" => asked.is_brief = true,
                "level" => asked.log.level = log::Asked::level_of(&value),
                "target" => asked.log.target = value,
                "by" => asked.swarms.by = Measure::of_name(&value),
                "address" => asked.refused.address = value,
                "info_hash" => asked.refused.info_hash = value,
                "policy" => asked.refused.policy = value,
                "text" => asked.refused.text = value,
                "list" => asked.edits.list = value,
                "entry" => asked.edits.entry = value,
                "note" => asked.edits.note = value,
                "term" => asked.edits.term = value,
                "hash" => asked.swarms.hash = value,
                "back" => asked.history.back = value,
                "diff_from" => asked.history.diff_from = value,
                "diff_to" => asked.history.diff_to = value,
                "url" => asked.explain.url = value,
                "from" => asked.explain.from = value,
                "headers" => asked.explain.headers = value,
                _ => {}
            }
        }
        asked
    }
}

/// Answers with a form for a token, or says which right is missing.
pub fn refused(admin: &Admin, denial: &Denial) -> Reply {
    // Who has not logged in yet has done nothing wrong.
    if *denial != Denial::Missing {
        admin.metrics.denied(denial.reason());
    }
    match denial {
        Denial::Missing => login(StatusCode::OK, None),
        Denial::Wrong => login(StatusCode::UNAUTHORIZED, Some("This token is not known.".into())),
        Denial::Limited => {
            let problem = "Too many wrong tokens. Wait a second.";
            login(StatusCode::TOO_MANY_REQUESTS, Some(problem.into()))
        }
        Denial::Right(token, right) => {
            let right = right.name();
            let problem = format!("The token {token} lacks the right {right}. Show another one.");
            login(StatusCode::FORBIDDEN, Some(problem))
        }
        _ => denial.reply(),
    }
}

fn login(status: StatusCode, problem: Option<String>) -> Reply {
    html(status, &Login { assets: &ASSETS, problem })
}

/// Adds the headers of answers to browsers.
fn with_headers(mut reply: Reply) -> Reply {
    for (name, value) in HEADERS {
        reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply
}
