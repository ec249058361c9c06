//! `/api/accounts`: members, groups and torrents of a private tracker, and changes of them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use karuta_accounts::{Accounts, Change, NotChanged, Page, ShownMember, Undone};
use karuta_bittorrent::InfoHash;
use karuta_swarm::Shared;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::facts::AccountsStatus;
use super::reply::{Changed, Reply, STOPPING, json, line};
use super::request::Request;
use super::{Admin, give_way};
use crate::books;
use crate::export::Clock;
use crate::text::count;

/// The path of the overview and of changes, and what precedes the path of a member or a torrent.
pub const ALL: &str = "/api/accounts";
pub const PATH: &str = "/api/accounts/";
/// The path of rows that the site's database has refused.
pub const REJECTED: &str = "/api/accounts/rejected";

/// How many peers are taken out before others have a turn.
const AT_ONCE: usize = 64;
/// The most bytes of changes in one request. Announces with an event wait meanwhile.
const LONGEST: usize = 1 << 20;
/// How long reading the file may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most changes that the audit names one by one.
const FEW: usize = 8;
/// The members or torrents in an answer, if none are asked for, and at most.
const SOME: u32 = 100;
const MOST: u32 = 10_000;

/// The most rows that are shown of those that the site's database has refused.
const REFUSED: u32 = 1000;

const NONE: &str = "there are no `accounts` in the configuration";

pub const THEIRS: &str = "members and torrents are those of `accounts.database`: change them there";

/// A member and what it has at torrents.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    member: ShownMember,
    #[serde(flatten)]
    page: Page,
}

/// Changes that were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChangedAccounts {
    pub members: u64,
    pub groups: u64,
    pub torrents: u64,
    pub tokens: u64,
}

impl ChangedAccounts {
    fn of(changes: &[Change]) -> Self {
        let mut changed = Self::default();
        for change in changes {
            *match change {
                Change::Member(_) => &mut changed.members,
                Change::Group(_) => &mut changed.groups,
                Change::Torrent(_) => &mut changed.torrents,
                Change::Token(_) => &mut changed.tokens,
            } += 1;
        }
        changed
    }
}

impl fmt::Display for ChangedAccounts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { members, groups, torrents, tokens } = self;
        let [members, groups, torrents, tokens] =
            [(members, "member"), (groups, "group"), (torrents, "torrent"), (tokens, "token")]
                .map(|(number, noun)| count(*number, noun));
        write!(f, "{members}, {groups}, {torrents}, {tokens}")
    }
}

impl std::ops::AddAssign for ChangedAccounts {
    fn add_assign(&mut self, more: Self) {
        self.members += more.members;
        self.groups += more.groups;
        self.torrents += more.torrents;
        self.tokens += more.tokens;
    }
}

/// Answers with how many there are, and how the books are.
pub async fn all(admin: &Admin, _: Request) -> Reply {
    match &admin.accounts {
        Some(accounts) => json(StatusCode::OK, &AccountsStatus::of(accounts)),
        None => line(StatusCode::NOT_FOUND, NONE),
    }
}

/// Answers with members or torrents, or with one of them, or a group.
pub async fn one(admin: &Admin, request: Request) -> Reply {
    let Some(accounts) = admin.accounts.clone() else {
        return line(StatusCode::NOT_FOUND, NONE);
    };
    let path = request.head.uri.path().strip_prefix(PATH).unwrap_or_default().to_owned();
    let (after, most) = match range(request.head.uri.query().unwrap_or_default()) {
        Ok(range) => range,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    match in_time(move || read(&accounts, &path, after, most)).await {
        Ok(Some(reply)) => reply,
        Ok(None) => line(StatusCode::NOT_FOUND, "not found"),
        Err((status, reason)) => line(status, &reason),
    }
}

/// Reads the file of the accounts, which may take its time.
///
/// # Errors
///
/// It cannot be read, or not in time.
pub async fn in_time<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, (StatusCode, String)> {
    let unavailable = |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(read)) => read.map_err(|reason| (StatusCode::INTERNAL_SERVER_ERROR, reason)),
        Ok(Err(_)) => Err(unavailable(STOPPING)),
        Err(_) => Err(unavailable("the accounts cannot be read in time")),
    }
}

fn read(
    accounts: &Arc<Accounts>,
    path: &str,
    after: u64,
    most: u32,
) -> Result<Option<Reply>, String> {
    let id = |text: &str| text.parse::<u64>().ok();
    Ok(match path.split_once('/') {
        None if path == "members" => Some(json(StatusCode::OK, &accounts.members(after, most)?)),
        None if path == "torrents" => Some(json(StatusCode::OK, &accounts.torrents(after, most)?)),
        Some(("members", member)) => {
            let Some(member) = id(member) else { return Ok(None) };
            let found = accounts.member(member)?;
            found.map(|(member, page)| json(StatusCode::OK, &Whole { member, page }))
        }
        Some(("groups", group)) => {
            let Ok(group) = group.parse() else { return Ok(None) };
            Some(json(StatusCode::OK, &accounts.group(group)?))
        }
        Some(("torrents", torrent)) => {
            let Some(torrent) = id(torrent) else { return Ok(None) };
            accounts.torrent(torrent)?.map(|torrent| json(StatusCode::OK, &torrent))
        }
        _ => None,
    })
}

/// Returns after which id a list begins, and how long it may be.
fn range(query: &str) -> Result<(u64, u32), String> {
    let (mut after, mut most) = (0, SOME);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "after" => after = value.parse().map_err(|_| "after: expected an id".to_owned())?,
            "n" => {
                let n = value.parse().ok().filter(|n| (1..=MOST).contains(n));
                most = n.ok_or_else(|| format!("n: expected 1 to {MOST}"))?;
            }
            _ => return Err(format!("unknown parameter `{key}`")),
        }
    }
    Ok((after, most))
}

/// Answers with the rows that the site's database has refused, the newest first.
pub async fn rejected(admin: &Admin, _: Request) -> Reply {
    let Some(accounts) = admin.accounts.clone() else {
        return line(StatusCode::NOT_FOUND, NONE);
    };
    match in_time(move || accounts.rejected(REFUSED)).await {
        Ok(rejected) => json(StatusCode::OK, &rejected),
        Err((status, reason)) => line(status, &reason),
    }
}

/// Has the rows that the site's database has refused played once more.
pub async fn play_again(admin: &Admin, _: Request) -> Changed {
    let Some(accounts) = &admin.accounts else { return Changed::line(StatusCode::NOT_FOUND, NONE) };
    match accounts.play_again().await {
        Ok(rows) => {
            let told = format!("{rows} rows play again");
            Changed::json(StatusCode::OK, &serde_json::json!({ "rows": rows }), told)
        }
        Err(error @ Undone::Unwritten(_)) => {
            Changed::line(StatusCode::INSUFFICIENT_STORAGE, &error.to_string())
        }
        Err(Undone::Stopping) => Changed::line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

/// Makes the changes of the body, a JSON object on each line, all or none.
pub async fn change(admin: &Admin, request: Request) -> Changed {
    let Some(accounts) = &admin.accounts else { return Changed::line(StatusCode::NOT_FOUND, NONE) };
    if accounts.site().is_some() {
        return Changed::line(StatusCode::CONFLICT, THEIRS);
    }
    let text = match request.text(LONGEST).await {
        Ok(text) => text,
        Err(reply) => return Changed { reply, result: "the body cannot be read".to_owned() },
    };
    let (mut changes, mut numbers) = (Vec::new(), Vec::new());
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        match Change::parse(line) {
            Ok(change) => changes.push(change),
            Err(reason) => return wrong(number, &reason),
        }
        numbers.push(number);
    }
    let changed = ChangedAccounts::of(&changes);
    let told = tell(&changes);
    match make(admin, accounts, changes).await {
        Ok(()) => Changed::json(StatusCode::OK, &changed, told),
        Err(NotChanged::Wrong { index, reason }) => {
            wrong(numbers.get(index).copied().unwrap_or_default(), reason)
        }
        Err(error @ (NotChanged::Unwritten(_) | NotChanged::Gone)) => {
            Changed::line(StatusCode::INSUFFICIENT_STORAGE, &error.to_string())
        }
        Err(NotChanged::Stopping) => Changed::line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

/// Makes changes, all or none, and takes the peers out of their swarms that may not be there any more,
/// even if whoever asked for it is gone meanwhile.
///
/// # Errors
///
/// One of them is wrong, or they cannot be written.
pub async fn make(
    admin: &Admin,
    accounts: &Arc<Accounts>,
    changes: Vec<Change>,
) -> Result<(), NotChanged> {
    let (accounts, store, start) =
        (accounts.clone(), admin.swarms.store.clone(), admin.swarms.start);
    let made = to_its_end(async move {
        accounts.change(changes.clone()).await?;
        match tokio::task::spawn_blocking(move || accounts.leaving(&changes)).await {
            Ok(Ok(gone)) => leave(&store, start, &gone).await,
            Ok(Err(error)) => tracing::warn!(error, "cannot read accounts; peers stay"),
            Err(_) => {}
        }
        Ok(())
    });
    made.await.unwrap_or(Err(NotChanged::Stopping))
}

/// Does what must not end half done, even if nobody waits for it any more: a handler is dropped when
/// its connection is closed. Returns `None` if the process ends.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    tokio::spawn(work).await.ok()
}

/// Says what is changed, without passkeys: each change if there are few.
pub fn tell(changes: &[Change]) -> String {
    if changes.len() <= FEW {
        let told: Vec<_> = changes.iter().map(Change::to_string).collect();
        return told.join("; ");
    }
    ChangedAccounts::of(changes).to_string()
}

/// Takes peers out of their swarms.
async fn leave(store: &Shared, start: Instant, gone: &[(Vec<InfoHash>, SocketAddr)]) {
    let now = Clock::since(start).now;
    for some in gone.chunks(AT_ONCE) {
        books::leave(store, some, now);
        give_way().await;
    }
}

fn wrong(number: usize, reason: &str) -> Changed {
    let reason = format!("line {number}: {reason}; nothing was changed");
    Changed::line(StatusCode::UNPROCESSABLE_ENTITY, &reason)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn what_is_begun_ends_although_nobody_waits() {
        let (go, may_go) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let mut asked = Box::pin(to_its_end(async move {
            may_go.await.unwrap();
            done.send(()).unwrap();
        }));
        // Begins it, and closes the connection before its second half.
        assert!(std::future::poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await.is_pending());
        drop(asked);
        go.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[test]
    fn a_query_is_read_or_refused() {
        assert_eq!(range(""), Ok((0, SOME)));
        assert_eq!(range("after=7&n=10000"), Ok((7, MOST)));
        for query in ["n=0", "n=10001", "after=x", "all=1"] {
            assert!(range(query).is_err(), "{query}");
        }
    }
}
