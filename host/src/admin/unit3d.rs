//! The calls that a UNIT3D makes of UNIT3D-Announce, on an address of their own: changes of accounts
//! and of a list, and questions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::slice;
use std::time::Instant;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use karuta_accounts::{
    Accounts, Change, Donors, GroupChange, MemberChange, ShownPeer, TokenChange, TorrentChange,
};
use karuta_bittorrent::InfoHash;
use karuta_swarm::Store;

use super::caller::{Caller, Peer as Asker};
use super::rates::Rates;
use super::reload::{self, Terms, Wish};
use super::reply::{Changed, Reply, reply};
use super::request::Request;
use super::site::{self, Failure};
use super::token::Unit3dDoor;
use super::{Admin, accounts};
use crate::config::UNIT3D;
use crate::doors::unit3d::{
    self, Answer, Call, Peer, Peers, Route, ShownTorrent, ShownUser, Target,
};
use crate::entry::Entry;
use crate::metrics::{Obeyed, Outcome};
use crate::time;

/// The largest body of a call, in bytes.
const BODY: usize = 64 << 10;
/// The most peers of a torrent that are shown.
const PEERS: u32 = 10_000;
/// What moderation says of a torrent, by its number.
const STATUSES: [&str; 4] = ["Pending", "Approved", "Rejected", "Postponed"];

/// What became of a call.
struct Done {
    obeyed: Obeyed,
    answer: Answer,
    /// For the audit; without passkeys.
    told: String,
}

impl Done {
    /// What a call removes is not known. A site that repeats a call gets the same answer.
    fn nothing() -> Self {
        let told = "nothing: what it names is not known".to_owned();
        Self { obeyed: Obeyed::Nothing, answer: Answer::done(), told }
    }

    /// What a call is about is not known, so that it cannot be obeyed.
    fn unknown() -> Self {
        Self { answer: Answer::not_found(), ..Self::nothing() }
    }

    fn refused(answer: Answer) -> Self {
        let told = format!("refused: {}", answer.body);
        Self { obeyed: Obeyed::Refused, answer, told }
    }
}

impl From<Result<String, Failure>> for Done {
    fn from(done: Result<String, Failure>) -> Self {
        match done {
            Ok(told) => Self { obeyed: Obeyed::Done, answer: Answer::done(), told },
            Err(Failure::Refused(reason)) => Self::refused(Answer::wrong(&reason)),
            Err(Failure::Failed(status, reason)) => {
                let told = format!("failed: {reason}");
                Self { obeyed: Obeyed::Failed, answer: Answer::failure(status, &reason), told }
            }
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let Answer { status, kind, body } = answer;
        reply(status, HeaderValue::from_static(kind), body)
    }
}

/// Returns who makes the calls, for the audit.
pub fn caller() -> Caller {
    Caller::Token(UNIT3D.to_owned())
}

/// Answers a request.
pub async fn answer(admin: &Admin, request: Request) -> Reply {
    let path = request.head.uri.path().to_owned();
    let (key, rest) = match Target::read(&path) {
        Ok(Target::Ping) => return Answer::pong().into(),
        Ok(Target::Call { key, rest }) => (key, rest),
        Err(answer) => return answer.into(),
    };
    let Asker::Network(from) = request.peer else { return Answer::not_found().into() };
    let door = admin.access.unit3d();
    // Without a door, no key fits.
    let keys = door.as_deref().map(|door| slice::from_ref(&door.key)).unwrap_or_default();
    if let Err(denial) = admin.access.identify(keys, key.as_bytes(), from, Instant::now()) {
        return Answer::failure(site::denied(admin, &denial), "wrong key").into();
    }
    let Some(door) = door else { return Answer::not_found().into() };
    let route = match Route::read(&request.head.method, rest) {
        Ok(route) => route,
        Err(answer) => return answer.into(),
    };
    match route {
        Route::Edit { what, adds, name } => {
            let path = format!("{} /{what}", request.head.method);
            let under_way = admin.audit.begin(request.caller.clone(), path);
            let done = match request.body(BODY).await {
                Ok(body) => match Call::read(what, adds, &body) {
                    Ok(call) => obey(admin, &door, call).await,
                    Err(answer) => Done::refused(answer),
                },
                Err(unread) => Done::refused(Answer::wrong(&unread.to_string())),
            };
            admin.metrics.unit3d_called(name, done.obeyed);
            under_way.end(Changed { reply: done.answer.into(), result: done.told })
        }
        Route::Reload => {
            let under_way = admin.audit.begin(request.caller.clone(), "POST /config/reload");
            let done = reload::change(admin, request.caller, Wish::Reload(Terms::default())).await;
            let is_done = done.reply.status() == StatusCode::OK;
            let obeyed = if is_done { Obeyed::Done } else { Obeyed::Refused };
            admin.metrics.unit3d_called(route.name(), obeyed);
            under_way.end(done)
        }
        Route::Stats => {
            admin.metrics.unit3d_called(route.name(), Obeyed::Done);
            Answer::json(&rates(admin)).into()
        }
        Route::User(id) => shown(admin, route, user(admin, id).await),
        Route::Torrent(id) => shown(admin, route, torrent(admin, id).await),
    }
}

/// Answers a question, and counts it.
fn shown(
    admin: &Admin,
    route: Route,
    found: Result<Option<Answer>, (StatusCode, String)>,
) -> Reply {
    let (obeyed, answer) = match found {
        Ok(Some(answer)) => (Obeyed::Done, answer),
        Ok(None) => (Obeyed::Nothing, Answer::not_found()),
        Err((status, reason)) => (Obeyed::Failed, Answer::failure(status, &reason)),
    };
    admin.metrics.unit3d_called(route.name(), obeyed);
    answer.into()
}

async fn obey(admin: &Admin, door: &Unit3dDoor, call: Call) -> Done {
    // There is no door without accounts.
    let Some(accounts) = &admin.accounts else { return Done::nothing() };
    let adds = match call {
        Call::Agent { adds, entry } => return blacklist(admin, door, adds, entry).await,
        Call::Token { adds, .. }
        | Call::PersonalFreeleech { adds, .. }
        | Call::Featured { adds, .. } => adds,
        _ => false,
    };
    // What a call names is looked up and changed before the next one is.
    let _turn = door.turn.lock().await;
    match change(accounts, door.donors, call) {
        Some(change) => site::change(admin, accounts, vec![change]).await.into(),
        None if adds => Done::unknown(),
        None => Done::nothing(),
    }
}

/// Finds what a call names. What is to be removed and is not known needs no change.
fn change(accounts: &Accounts, donors: Donors, call: Call) -> Option<Change> {
    let directory = accounts.directory();
    let member = |id| directory.has_member(id).then(|| MemberChange { id, ..Default::default() });
    let torrent =
        |id| directory.has_torrent(id).then(|| TorrentChange { id, ..Default::default() });
    Some(match call {
        Call::PutUser { id, group, passkey, leech, donor } => Change::Member(MemberChange {
            id,
            passkey: Some(passkey),
            enabled: Some(true),
            leech: Some(leech),
            group: Some(group),
            double_upload: donors.double_upload.then_some(donor),
            immune: donors.immune.then_some(donor),
            ..MemberChange::default()
        }),
        Call::DeleteUser(id) => {
            Change::Member(MemberChange { enabled: Some(false), ..member(id)? })
        }
        Call::PutTorrent {
            id,
            info_hash,
            status,
            deleted,
            completed,
            upload_percent,
            download_percent,
        } => Change::Torrent(TorrentChange {
            id,
            info_hash: Some(info_hash),
            status: Some(status),
            deleted: Some(deleted),
            reason: Some(0),
            upload_percent: Some(upload_percent),
            download_percent: Some(download_percent),
            // Later, we count them, and the site does not know.
            completed: (!directory.has_torrent(id)).then_some(completed),
            ..TorrentChange::default()
        }),
        Call::DeleteTorrent(id) => {
            Change::Torrent(TorrentChange { deleted: Some(true), ..torrent(id)? })
        }
        Call::PutGroup { id, enabled, slots, immune, freeleech, double_upload } => {
            Change::Group(GroupChange {
                id,
                enabled: Some(enabled),
                immune: Some(immune),
                freeleech: Some(freeleech),
                double_upload: Some(double_upload),
                slots: Some(slots),
            })
        }
        Call::DeleteGroup(id) => Change::Group(GroupChange::gone(id)),
        Call::Token { adds, member: who, torrent: what } => {
            member(who).zip(torrent(what))?;
            Change::Token(TokenChange { exists: adds, member: who, torrent: what })
        }
        Call::PersonalFreeleech { adds, member: id } => {
            Change::Member(MemberChange { freeleech: Some(adds), ..member(id)? })
        }
        Call::Featured { adds, torrent: id } => {
            Change::Torrent(TorrentChange { featured: Some(adds), ..torrent(id)? })
        }
        Call::Agent { .. } => return None,
    })
}

/// Edits the list of the door, and waits until that is on the disk.
async fn blacklist(admin: &Admin, door: &Unit3dDoor, adds: bool, entry: Option<Entry>) -> Done {
    let Some(name) = &door.blacklist else {
        return Done::refused(Answer::wrong("no `blacklist` is configured"));
    };
    // No peer id begins with it.
    let Some(entry) = entry else { return Done::nothing() };
    let (add, remove) = match adds {
        true => (Some(entry), None),
        false => (None, Some(entry.key)),
    };
    site::edit(admin, name, UNIT3D, add, remove).await.into()
}

async fn user(admin: &Admin, id: u64) -> Result<Option<Answer>, (StatusCode, String)> {
    let Some(accounts) = admin.accounts.clone() else { return Ok(None) };
    let found = accounts::in_time(move || accounts.member(id)).await?;
    Ok(found.map(|(member, _)| {
        Answer::json(&ShownUser {
            id,
            group_id: member.record.group,
            passkey: "",
            can_download: member.record.leech,
            num_seeding: member.record.seeding,
            num_leeching: member.record.leeching,
            is_donor: false,
            is_lifetime: false,
        })
    }))
}

async fn torrent(admin: &Admin, id: u64) -> Result<Option<Answer>, (StatusCode, String)> {
    let Some(accounts) = admin.accounts.clone() else { return Ok(None) };
    let read = move || Ok((accounts.torrent(id)?, accounts.peers(id, PEERS)?));
    let (Some(torrent), peers) = accounts::in_time(read).await? else { return Ok(None) };
    let mut hash = [0; 20];
    let counts = match hex::decode_to_slice(&torrent.info_hash, &mut hash) {
        Ok(()) => admin.swarms.store.counts(InfoHash(hash)).unwrap_or_default(),
        Err(_) => Default::default(),
    };
    let status = STATUSES.get(usize::from(torrent.record.status)).copied();
    Ok(Some(Answer::json(&ShownTorrent {
        id,
        status: status.unwrap_or("Unknown"),
        is_deleted: torrent.record.deleted,
        peers: peers.iter().map(|peer| shown_peer(id, peer)).collect::<Peers>(),
        seeders: counts.seeders,
        leechers: counts.leechers,
        times_completed: torrent.completed,
        download_factor: torrent.record.download_percent,
        upload_factor: torrent.record.upload_percent,
    })))
}

fn shown_peer(torrent: u64, peer: &ShownPeer) -> (String, Peer) {
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let address = peer.address.unwrap_or(nobody);
    let key = format!("{}-{}", peer.member, hex::encode(peer.peer_id.0));
    let shown = Peer {
        ip_address: address.ip(),
        user_id: peer.member,
        torrent_id: torrent,
        port: address.port(),
        is_seeder: peer.is_seeder,
        is_active: peer.is_active,
        is_visible: peer.is_active,
        // Nobody tries to connect to it.
        is_connectable: false,
        updated_at: peer.seen_at,
        uploaded: peer.uploaded,
        downloaded: peer.downloaded,
    };
    (key, shown)
}

fn rates(admin: &Admin) -> unit3d::Rates {
    let created_at = time::since_1970().saturating_sub(admin.start.elapsed()).as_secs_f64();
    let (all, answered) =
        (Rates::of(admin, Outcome::ALL), Rates::of(admin, slice::from_ref(&Outcome::Ok)));
    let at = |last: Option<u64>| last.map_or(created_at, |last| last as f64);
    unit3d::Rates {
        created_at,
        last_request_at: at(all.last),
        last_announce_response_at: at(answered.last),
        requests_per_1s: all.over[0],
        requests_per_10s: all.over[1],
        requests_per_60s: all.over[2],
        requests_per_900s: all.over[3],
        requests_per_7200s: all.over[4],
        announce_responses_per_1s: answered.over[0],
        announce_responses_per_10s: answered.over[1],
        announce_responses_per_60s: answered.over[2],
        announce_responses_per_900s: answered.over[3],
        announce_responses_per_7200s: answered.over[4],
    }
}
