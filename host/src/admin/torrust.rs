//! `/api/v1`: the calls of torrust-tracker's API, which a site edits lists with.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderValue};
use karuta_bittorrent::{Counts, Family, InfoHash, Transport};
use karuta_swarm::{Shared, Store};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use url::form_urlencoded;

use super::Admin;
use super::access::{Access, Denial, bearer};
use super::caller::{Caller, Peer};
use super::lists::{self, NO_JOURNAL};
use super::reply::{Changed, Reply, STOPPING, line, reply};
use super::request::Request;
use super::token::Door;
use crate::config::TORRUST;
use crate::data::{DataSource, Definition};
use crate::doors::Way;
use crate::doors::torrust::{Answer, Asked, Call, Edit, List, Look, Stats, Wish};
use crate::edits::{Change, Outcome, Refused};
use crate::entry::{Entry, Key};
use crate::metrics::Action;
use crate::process;

pub use crate::doors::torrust::PATH;

/// The largest body of a call, in bytes.
const BODY: usize = 64 << 10;
/// How many torrents are fetched at once.
const AHEAD: usize = 32;

impl Door {
    /// Judges a request. It needs the token of the door, in a header or in the query, except over a
    /// socket file.
    fn judge(&self, access: &Access, request: &Request) -> Result<Caller, Denial> {
        let Peer::Network(from) = request.peer else { return Ok(request.peer.into()) };
        let header = request.head.headers.get(AUTHORIZATION);
        let query = request.head.uri.query().unwrap_or_default();
        let in_query = || {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let (_, token) = pairs.find(|(key, _)| key == "token")?;
            Some(token.into_owned().into_bytes())
        };
        let in_header = header.and_then(|header| bearer(header.as_bytes())).map(<[u8]>::to_vec);
        let shown = in_header.or_else(in_query).ok_or(Denial::Missing)?;
        access.identify(slice::from_ref(&self.token), &shown, from, Instant::now())?;
        Ok(Caller::Token(TORRUST.to_owned()))
    }
}

/// Answers a request.
pub async fn answer(admin: &Admin, mut request: Request, door: &Door) -> Reply {
    match door.judge(&admin.access, &request) {
        Ok(caller) => request.caller = caller,
        Err(denial) => {
            admin.metrics.denied(denial.reason());
            return match denial {
                Denial::Missing => Answer::rejected("unauthorized").into(),
                Denial::Wrong => Answer::rejected("token not valid").into(),
                other => other.reply(),
            };
        }
    }
    let (method, uri) = (request.head.method.as_str(), &request.head.uri);
    let call = match Call::read(method, uri.path(), uri.query().unwrap_or_default()) {
        Ok(call) => call,
        Err(answer) => return answer.into(),
    };
    match call {
        Call::Look(look) => self::look(admin, door, look).await,
        Call::Edit(edit) => {
            let under_way = admin.audit.begin(request.caller.clone(), edit.path());
            under_way.end(change(admin, door, edit, request).await)
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let Answer { status, kind, body } = answer;
        reply(status, HeaderValue::from_static(kind), body)
    }
}

async fn change(admin: &Admin, door: &Door, edit: Edit, request: Request) -> Changed {
    let editor = Editor { admin, door, who: request.caller.to_string().into() };
    let done = match edit {
        Edit::Whitelist(way, info_hash) => editor.whitelist(way, info_hash).await,
        Edit::AddKey => editor.add_key(wish(request).await).await,
        Edit::NewKey(seconds) => editor.add_key(Wish::new(Some(seconds))).await,
        Edit::DeleteKey(key) => editor.delete_key(key.key).await,
    };
    match done {
        Ok((answer, result)) => Changed { reply: answer.into(), result },
        Err(answer) => {
            let result = match answer.status {
                StatusCode::INTERNAL_SERVER_ERROR => answer.body.clone(),
                // It may show a key.
                status => format!("refused with status {}", status.as_u16()),
            };
            Changed { reply: answer.into(), result }
        }
    }
}

/// Reads the body of a call that adds a key.
async fn wish(request: Request) -> Result<Wish, Answer> {
    if !request.is("application/json") {
        let expected = "Expected request with `Content-Type: application/json`".to_owned();
        return Err(Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected));
    }
    let body = request.body(BODY).await.map_err(|unread| Answer::wrong(unread.to_string()))?;
    Wish::read(&body)
}

/// Edits the lists of the door.
struct Editor<'a> {
    admin: &'a Admin,
    door: &'a Door,
    who: Arc<str>,
}

/// An answer, and what is noted in the audit; or that it was not done.
type Done = Result<(Answer, String), Answer>;

impl Editor<'_> {
    async fn whitelist(self, way: Way, info_hash: InfoHash) -> Done {
        let key = Key::InfoHash(info_hash.0);
        let (add, remove, failed) = match way {
            Way::Add => (vec![Entry { key, value: 0 }], Vec::new(), "failed to whitelist torrent"),
            Way::Delete => (Vec::new(), vec![key], "failed to remove torrent from whitelist"),
        };
        let done = self.edit(List::Whitelist, (add, remove), None).await;
        let (_, result) = done.map_err(|reason| rejected(failed, &reason))?;
        Ok((Answer::ok(), result))
    }

    async fn add_key(self, wish: Result<Wish, Answer>) -> Done {
        let Wish { key, ttl, is_new } = wish?;
        let failed = if is_new { "failed to generate key" } else { "failed to add key" };
        let done = self.edit(List::Keys, (vec![key.clone()], Vec::new()), ttl).await;
        let (source, result) = done.map_err(|reason| rejected(failed, &reason))?;
        // What the list itself says does not end.
        let until = source.edits().and_then(|edits| edits.edit(&key.key)?.until);
        Ok((Answer::key(&key.to_string(), until.map(|until| until / 1000)), result))
    }

    async fn delete_key(self, key: Key) -> Done {
        let done = self.edit(List::Keys, (Vec::new(), vec![key]), None).await;
        let (_, result) = done.map_err(|reason| rejected("failed to delete key", &reason))?;
        Ok((Answer::ok(), result))
    }

    /// Changes a list, and waits until that is on the disk.
    async fn edit(
        &self,
        list: List,
        (add, remove): (Vec<Entry>, Vec<Key>),
        ttl: Option<Duration>,
    ) -> Result<(Arc<DataSource>, String), String> {
        let source = find(self.admin, self.door, list)?;
        let edits = source.edits().ok_or(NO_JOURNAL)?;
        let (reply, result) = oneshot::channel();
        let who = self.who.clone();
        let change = Change { add, remove, ttl, if_version: None, who, note: None };
        edits.change(change, Box::new(move |done| drop(reply.send(done))));
        let outcome = result.await.map_err(|_| STOPPING)?.map_err(|refused| match refused {
            Refused::Version(version) => format!("the list has version {version} by now"),
            Refused::Unwritten(reason) => reason,
        })?;
        let Outcome { version, added, removed, .. } = outcome;
        let Definition { policy, name, .. } = source.definition();
        let result =
            format!("{policy}/{name}: added {added}, removed {removed}, version {version}");
        Ok((source, result))
    }
}

fn rejected(failed: &str, reason: &str) -> Answer {
    Answer::rejected(&format!("{failed}: {reason}"))
}

/// Finds a list of the door.
fn find(admin: &Admin, door: &Door, list: List) -> Result<Arc<DataSource>, String> {
    let name = match list {
        List::Whitelist => door.lists.whitelist.as_ref(),
        List::Keys => door.lists.keys.as_ref(),
    };
    let name = name.ok_or("no list is configured for this")?;
    Ok(lists::find(admin, &name.policy, &name.data)?)
}

async fn look(admin: &Admin, door: &Door, look: Look) -> Reply {
    let store = &admin.swarms.store;
    match look {
        Look::Reload(list) => {
            let failed = match list {
                List::Whitelist => "failed to reload whitelist",
                List::Keys => "failed to reload keys",
            };
            match find(admin, door, list) {
                Ok(_) => Answer::ok(),
                Err(reason) => rejected(failed, &reason),
            }
        }
        Look::Torrent(info_hash) => Answer::torrent(info_hash, store.counts(info_hash)),
        Look::Torrents(Asked::These(these)) => Answer::torrents(counted(store, &these)),
        Look::Torrents(Asked::Page { offset, limit }) => {
            return walk(admin, move |store, all| {
                let page = all.get(offset..).unwrap_or_default();
                let page = page.get(..limit).unwrap_or(page);
                Answer::torrents(counted(store, page))
            })
            .await;
        }
        Look::Stats => {
            let stats = requests(admin);
            return walk(admin, move |store, all| {
                let completed = counted(store, all).map(|(_, counts)| u64::from(counts.completed));
                Answer::stats(&Stats { completed: completed.sum(), ..stats })
            })
            .await;
        }
    }
    .into()
}

/// Answers with what all torrents, sorted, come to. One at a time, and in a thread of its own.
async fn walk(
    admin: &Admin,
    answer: impl FnOnce(&Shared, &[InfoHash]) -> Answer + Send + 'static,
) -> Reply {
    let Ok(turn) = admin.swarms.exports.clone().try_acquire_owned() else {
        return line(StatusCode::TOO_MANY_REQUESTS, "another export is under way");
    };
    let store = admin.swarms.store.clone();
    let walked = spawn_blocking(move || {
        let (mut all, mut part) = (Vec::new(), 0);
        while store.list(part, &mut all) {
            part += 1;
            // The workers come first.
            process::give_way();
        }
        all.sort_unstable();
        let answer = answer(&store, &all);
        drop(turn);
        answer
    });
    match walked.await {
        Ok(answer) => answer.into(),
        Err(_) => line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

/// Returns the counts of those of these torrents that there are.
fn counted(store: &Shared, these: &[InfoHash]) -> impl Iterator<Item = (InfoHash, Counts)> {
    these.chunks(AHEAD).flat_map(|chunk| {
        store.expect(chunk);
        process::give_way();
        chunk.iter().filter_map(|info_hash| Some((*info_hash, store.counts(*info_hash)?)))
    })
}

/// Returns all numbers but the downloads.
fn requests(admin: &Admin) -> Stats {
    let totals = admin.metrics.totals();
    let udp = |action, family| admin.metrics.requests_of(Transport::Udp, action, family);
    let tcp = |action, family| {
        let transports = [Transport::Http, Transport::Https].into_iter();
        transports.map(|transport| admin.metrics.requests_of(transport, action, family)).sum()
    };
    let all = |family| tcp(Action::Announce, family) + tcp(Action::Scrape, family);
    Stats {
        torrents: totals.swarms,
        seeders: totals.ipv4.seeders + totals.ipv6.seeders,
        completed: 0,
        leechers: totals.ipv4.leechers + totals.ipv6.leechers,
        tcp4_connections_handled: all(Family::Ipv4),
        tcp4_announces_handled: tcp(Action::Announce, Family::Ipv4),
        tcp4_scrapes_handled: tcp(Action::Scrape, Family::Ipv4),
        tcp6_connections_handled: all(Family::Ipv6),
        tcp6_announces_handled: tcp(Action::Announce, Family::Ipv6),
        tcp6_scrapes_handled: tcp(Action::Scrape, Family::Ipv6),
        udp4_connections_handled: udp(Action::Connect, Family::Ipv4),
        udp4_announces_handled: udp(Action::Announce, Family::Ipv4),
        udp4_scrapes_handled: udp(Action::Scrape, Family::Ipv4),
        udp6_connections_handled: udp(Action::Connect, Family::Ipv6),
        udp6_announces_handled: udp(Action::Announce, Family::Ipv6),
        udp6_scrapes_handled: udp(Action::Scrape, Family::Ipv6),
    }
}
