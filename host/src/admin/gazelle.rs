//! The calls that a Gazelle makes of Ocelot, on an address of their own: changes of accounts and of a
//! list, and reports.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use karuta_accounts::{Accounts, Change, MemberChange, TokenChange, Torrent, TorrentChange};
use karuta_bittorrent::{InfoHash, Transport};

use super::Admin;
use super::access::Denial;
use super::caller::Caller;
use super::reply::{Changed, Reply, reply};
use super::site::{self, Failure};
use super::token::{GazelleDoor, Token};
use crate::config::{GAZELLE, ReportForm};
use crate::doors::gazelle::{Answer, Price, Report, Reported, Target, Update, Word};
use crate::entry::{Entry, Key};
use crate::metrics::{Action, Obeyed, TRANSPORTS};

/// What became of a call.
struct Done {
    obeyed: Obeyed,
    answer: Answer,
    /// For the audit; without passkeys.
    told: String,
}

impl Done {
    fn told(told: impl Into<String>) -> Self {
        Self { obeyed: Obeyed::Done, answer: Answer::success(), told: told.into() }
    }

    /// Nothing that the call names is known. A site that repeats a call gets the same answer.
    fn nothing() -> Self {
        let told = "nothing: what it names is not known".to_owned();
        Self { obeyed: Obeyed::Nothing, answer: Answer::success(), told }
    }

    fn refused(reason: &str) -> Self {
        let told = format!("refused: {reason}");
        Self { obeyed: Obeyed::Refused, answer: Answer::wrong(reason), told }
    }

    fn failed(status: StatusCode, reason: &str) -> Self {
        let told = format!("failed: {reason}");
        Self { obeyed: Obeyed::Failed, answer: Answer::failure(status, reason), told }
    }
}

impl From<Result<String, Failure>> for Done {
    fn from(done: Result<String, Failure>) -> Self {
        match done {
            Ok(told) => Self::told(told),
            Err(Failure::Refused(reason)) => Self::refused(&reason),
            Err(Failure::Failed(status, reason)) => Self::failed(status, &reason),
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let Answer { status, kind, body } = answer;
        reply(status, HeaderValue::from_static(kind), body)
    }
}

/// Answers a request.
pub async fn answer(admin: &Admin, from: IpAddr, head: &Parts) -> Reply {
    if head.method != Method::GET {
        return Answer::wrong("Malformed announce").into();
    }
    let target = match Target::read(head.uri.path(), head.uri.query()) {
        Ok(target) => target,
        Err(answer) => return answer.into(),
    };
    let door = admin.access.gazelle();
    let door = match judge(admin, door.as_deref(), &target, from) {
        Ok(door) => door,
        Err(denial) => {
            let status = site::denied(admin, &denial);
            return Answer::failure(status, "Authentication failure").into();
        }
    };
    match target.word {
        Word::Report => report(admin, target.report(), door.report_format).into(),
        Word::Update => {
            let action = target.action();
            let caller = Caller::Token(GAZELLE.to_owned());
            let under_way = admin.audit.begin(caller, format!("/update?action={action}"));
            let done = match target.update() {
                Ok(update) => obey(admin, door, update).await,
                Err(reason) => Done::refused(reason),
            };
            admin.metrics.gazelle_called(action, done.obeyed);
            under_way.end(Changed { reply: done.answer.into(), result: done.told })
        }
    }
}

/// Checks the password of a call. Without a door, no password fits.
fn judge<'a>(
    admin: &Admin,
    door: Option<&'a GazelleDoor>,
    target: &Target,
    from: IpAddr,
) -> Result<&'a GazelleDoor, Denial> {
    let tokens: &[Token] = match (door, target.word) {
        (Some(door), Word::Update) => std::slice::from_ref(&door.password),
        (Some(door), Word::Report) => door.report_password.as_slice(),
        (None, _) => &[],
    };
    admin.access.identify(tokens, target.password.as_bytes(), from, Instant::now())?;
    door.ok_or(Denial::Wrong)
}

async fn obey(admin: &Admin, door: &GazelleDoor, update: Update) -> Done {
    // There is no door without accounts.
    let Some(accounts) = &admin.accounts else { return Done::nothing() };
    match update {
        Update::Whitelist { add, remove } => whitelist(admin, door, add, remove).await,
        Update::Interval(seconds) => interval(admin, seconds),
        Update::Info(info_hash) => info(accounts, info_hash),
        Update::Unknown => Done {
            obeyed: Obeyed::Nothing,
            answer: Answer::success(),
            told: "nothing: the action has no meaning here".to_owned(),
        },
        update => {
            // What a call names is looked up and changed before the next one is.
            let _turn = door.turn.lock().await;
            let changes = changes(accounts, update);
            match changes.is_empty() && accounts.is_told() {
                true => Done::nothing(),
                false => site::change(admin, accounts, changes).await.into(),
            }
        }
    }
}

/// Finds what a call names. What is not known needs no change.
fn changes(accounts: &Accounts, update: Update) -> Vec<Change> {
    let directory = accounts.directory();
    let member = |passkey: &str| directory.member(passkey).map(|(id, _)| id);
    // A site that has deleted a torrent does not know it any more.
    let torrent = |info_hash| {
        let found = directory.torrent(info_hash).filter(|(_, torrent)| !torrent.deleted);
        found.map(|(id, _)| id)
    };
    let priced = |id, price: Price| {
        let (upload, download) = price.percent();
        TorrentChange {
            id,
            upload_percent: Some(upload),
            download_percent: Some(download),
            ..TorrentChange::default()
        }
    };
    match update {
        Update::AddUser { id, passkey, visible } => {
            let is_known = directory.has_member(id);
            vec![Change::Member(MemberChange {
                id,
                passkey: Some(passkey),
                enabled: Some(true),
                visible: (!is_known).then_some(visible),
                ..MemberChange::default()
            })]
        }
        Update::SetUser { passkey, leech, visible } => {
            let change = |id| MemberChange {
                id,
                leech: Some(leech),
                visible: Some(visible),
                ..MemberChange::default()
            };
            member(&passkey).map(change).map(Change::Member).into_iter().collect()
        }
        Update::ChangePasskey { old, new } => {
            let change = |id| MemberChange { id, passkey: Some(new), ..MemberChange::default() };
            member(&old).map(change).map(Change::Member).into_iter().collect()
        }
        Update::RemoveUsers(passkeys) => {
            let ban = |id| MemberChange { id, enabled: Some(false), ..MemberChange::default() };
            let known = passkeys.iter().filter_map(|passkey| member(passkey));
            known.map(ban).map(Change::Member).collect()
        }
        Update::AddTorrent { id, info_hash, price } => {
            let change = match torrent(info_hash) {
                // Its number is not another one from now on.
                Some(known) => priced(known, price),
                None => TorrentChange {
                    info_hash: Some(info_hash.0),
                    deleted: Some(false),
                    reason: Some(0),
                    ..priced(id, price)
                },
            };
            vec![Change::Torrent(change)]
        }
        Update::SetTorrents { info_hashes, price } => {
            let known = info_hashes.into_iter().filter_map(torrent);
            known.map(|id| Change::Torrent(priced(id, price))).collect()
        }
        Update::DeleteTorrent { info_hash, reason } => {
            let change = |id| TorrentChange {
                id,
                deleted: Some(true),
                reason: Some(reason),
                ..TorrentChange::default()
            };
            torrent(info_hash).map(change).map(Change::Torrent).into_iter().collect()
        }
        Update::Token { exists, info_hash, member } => {
            let found = torrent(info_hash).filter(|_| directory.has_member(member));
            let change = found.map(|torrent| TokenChange { exists, member, torrent });
            change.map(Change::Token).into_iter().collect()
        }
        Update::Whitelist { .. }
        | Update::Interval(_)
        | Update::Info(_)
        | Update::Nothing
        | Update::Unknown => Vec::new(),
    }
}

/// Edits the list of the door, and waits until that is on the disk.
async fn whitelist(
    admin: &Admin,
    door: &GazelleDoor,
    add: Option<Entry>,
    remove: Option<Key>,
) -> Done {
    match &door.whitelist {
        Some(name) => site::edit(admin, name, GAZELLE, add, remove).await.into(),
        None => Done::refused("no `whitelist` is configured"),
    }
}

/// Sets how long clients wait between two announces, until the tracker ends.
fn interval(admin: &Admin, seconds: u32) -> Done {
    let (config, _) = admin.reloads.config();
    let tracker = &config.tracker;
    let bounds = tracker.min_announce_interval.as_secs()..=tracker.max_interval.as_secs();
    if !bounds.contains(&seconds.into()) {
        let (least, most) = (bounds.start(), bounds.end());
        return Done::refused(&format!("new_announce_interval: expected {least} to {most}"));
    }
    admin.interval.store(seconds, Relaxed);
    Done::told(format!("interval {seconds} s until the end"))
}

fn info(accounts: &Accounts, info_hash: InfoHash) -> Done {
    let found = accounts.directory().torrent(info_hash);
    let Some((id, torrent)) = found.filter(|(_, torrent)| !torrent.deleted) else {
        return Done::nothing();
    };
    let answer = Answer::torrent(info_hash, id, price(&torrent));
    Done { answer, ..Done::told(format!("torrent {id}")) }
}

fn price(torrent: &Torrent) -> Price {
    match torrent {
        torrent if torrent.is_neutral() => Price::Neutral,
        torrent if torrent.is_free() => Price::Free,
        _ => Price::Normal,
    }
}

fn report(admin: &Admin, report: Report, form: ReportForm) -> Answer {
    match report {
        Report::Stats => Answer::stats(&numbers(admin), form),
        Report::User(passkey) => {
            let accounts = admin.accounts.as_ref();
            let member = accounts.and_then(|accounts| accounts.directory().member(&passkey));
            Answer::user(member, form)
        }
        Report::Unknown => Answer::no_report(),
    }
}

fn numbers(admin: &Admin) -> Reported {
    let (totals, requests) = (admin.metrics.totals(), admin.metrics.request_counts());
    let sum =
        |of: &dyn Fn(Transport) -> u64| -> u64 { TRANSPORTS.iter().map(|(one, _)| of(*one)).sum() };
    let ok = |one| requests.count(one, Action::Announce, crate::metrics::Outcome::Ok);
    Reported {
        uptime: admin.start.elapsed(),
        open_connections: admin.metrics.open_connections().iter().map(|(_, count)| count).sum(),
        requests: admin.metrics.requests(),
        announces: sum(&ok),
        failed_announces: sum(&|one| requests.total(one, Action::Announce) - ok(one)),
        scrapes: sum(&|one| requests.total(one, Action::Scrape)),
        leechers: totals.ipv4.leechers + totals.ipv6.leechers,
        seeders: totals.ipv4.seeders + totals.ipv6.seeders,
    }
}
