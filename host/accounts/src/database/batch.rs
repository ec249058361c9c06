//! A batch of announces: what each session reports now, and what that adds, in one transaction.

use std::collections::{BTreeMap, HashMap};

use karuta_bittorrent::Event;
use rusqlite::{Connection, params};

use super::entry::Entry;
use super::pending::{self, Added};
use super::{Database, corrupt, int, spent, uint};
use crate::directory::Here;
use crate::rules::{Bytes, Within, credited, moved, within};

/// What bounds the books.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes a second that are credited to a session.
    pub rate: u64,
    /// How long after its last announce a session is active, in seconds.
    pub lifetime: u64,
    /// The most active sessions of a member at a torrent.
    pub per_member_and_torrent: u32,
    /// Whether a finished download uses its token up.
    pub spends_tokens: bool,
}

/// What a batch has changed, to be obeyed once it is written.
#[derive(Debug, Default)]
pub struct Written {
    /// What members have at torrents now.
    pub(crate) turned: HashMap<(u64, u64), Here>,
    /// Tokens that are used up, by member and torrent.
    pub(crate) spent: Vec<(u64, u64)>,
    /// Sessions that are new, less those that gave way.
    pub sessions: i64,
    /// Announces that exceeded the rate.
    pub suspect: u64,
    /// Announces of more peers than a member may have at a torrent.
    pub surplus: u64,
}

/// The most sessions of a member at a torrent that are kept, active or not: of a client that gets
/// another peer id at each start.
const KEPT: usize = 16;
/// Who is further behind, in seconds, is not late: the clock was set back.
const LATE: u64 = 60;
/// SQLite's largest number.
const MOST: i64 = i64::MAX;

/// A session as it was.
struct Session {
    peer_id: [u8; 20],
    said: Bytes,
    remaining: Option<i64>,
    seen_at: u64,
    active: bool,
    /// What the guard allows beside what follows from the time since `seen_at`.
    spare: u64,
}

impl Session {
    fn is_seeder(&self) -> bool {
        self.remaining == Some(0)
    }
}

/// What a member has moved in a batch.
#[derive(Default)]
struct Sums {
    credited: Bytes,
    moved: Bytes,
}

impl Bytes {
    fn add(&mut self, more: Self) {
        self.uploaded = self.uploaded.saturating_add(more.uploaded);
        self.downloaded = self.downloaded.saturating_add(more.downloaded);
    }
}

impl Database {
    /// Writes a batch, all of it or nothing. What it returns is in the file for good.
    ///
    /// # Errors
    ///
    /// It cannot be written; then nothing has changed.
    pub fn write(&mut self, batch: &[Entry], limits: &Limits) -> rusqlite::Result<Written> {
        let open = self.open;
        let transaction = self.connection.transaction()?;
        let (mut written, mut sums) = (Written::default(), BTreeMap::new());
        // In the order of the file. That of a session's own announces stays.
        let mut batch: Vec<&Entry> = batch.iter().collect();
        batch.sort_by_key(|entry| (entry.member, entry.torrent));
        for entry in batch {
            enter(&transaction, open, entry, limits, &mut written, &mut sums)?;
        }
        add(&transaction, &sums)?;
        transaction.commit()?;
        Ok(written)
    }
}

/// Enters an announce. Sums of members are collected in `sums`; `open` is the batch for the site's
/// database.
fn enter(
    connection: &Connection,
    open: Option<i64>,
    entry: &Entry,
    limits: &Limits,
    written: &mut Written,
    sums: &mut BTreeMap<u64, Sums>,
) -> rusqlite::Result<()> {
    let sessions = sessions(connection, entry)?;
    let mine = sessions.iter().find(|session| session.peer_id == entry.peer_id.0);
    let others = sessions.iter().filter(|one| one.active && one.peer_id != entry.peer_id.0);
    let mut here = Here::default();
    others.for_each(|one| here.enter(one.is_seeder()));
    let active = entry.is_admitted && entry.event != Event::Stopped;
    // A `stopped` only counts of a client that counted before.
    let counts = active || (entry.event == Event::Stopped && !mine.is_some_and(|mine| mine.active));
    if counts && here.all() >= limits.per_member_and_torrent {
        written.surplus += 1;
        return Ok(());
    }
    let known = mine.map(|mine| mine.said);
    let Some(said) = entry.said.map(writable).or(known) else { return Ok(()) };
    let is_seeder = entry.left == Some(0);
    if active {
        here.enter(is_seeder);
    }
    let seconds = mine.map_or(0, |mine| entry.at.saturating_sub(mine.seen_at));
    let moved = moved(known, said);
    // A new client may move in its first second what it may in any other.
    let spare = mine.map_or(limits.rate, |mine| mine.spare);
    let Within { moved, suspect, spare } = within(moved, limits.rate, seconds, spare);
    let credit = credited(moved, entry.terms);
    written.suspect += u64::from(suspect);
    let seen_at = mine.map_or(entry.at, |mine| seen_at(entry, mine));
    match mine {
        Some(_) => {
            update_session(connection, entry, said, seen_at, active, suspect, spare)?;
        }
        None => {
            written.sessions += 1;
            if sessions.len() >= KEPT
                && let Some(oldest) =
                    sessions.iter().filter(|one| !one.active).min_by_key(|one| one.seen_at)
            {
                written.sessions -= 1;
                if let Some(open) = open {
                    let key = (int(entry.member), int(entry.torrent), oldest.peer_id);
                    pending::silence(connection, open, key, true)?;
                }
                delete_session(connection, entry, &oldest.peer_id)?;
            }
            insert_session(connection, entry, said, active, spare)?;
        }
    }
    let seeds = |mine: &&Session| mine.active && mine.is_seeder() && seconds <= limits.lifetime;
    let seeded = mine.filter(seeds).map_or(0, |_| seconds);
    let completes =
        entry.event == Event::Completed && is_seeder && mine.is_some_and(|mine| !mine.is_seeder());
    // A session that is known has a history.
    let sql = if mine.is_some() { UPDATE_HISTORY } else { INSERT_HISTORY };
    note_history(connection, sql, entry, moved, credit, seeded, completes)?;
    if completes {
        let sql = "UPDATE torrent SET completed = min(completed, ?2 - 1) + 1 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![int(entry.torrent), MOST])?;
    }
    if entry.has_token && moved.downloaded > 0 {
        let sql = "UPDATE token SET downloaded = min(downloaded, ?4 - ?3) + ?3 \
                   WHERE member = ?1 AND torrent = ?2";
        let values = params![int(entry.member), int(entry.torrent), int(moved.downloaded), MOST];
        connection.prepare_cached(sql)?.execute(values)?;
    }
    if completes && entry.has_token && limits.spends_tokens {
        let pair = (entry.member, entry.torrent);
        spent::spend(connection, pair)?;
        written.spent.push(pair);
    }
    if let Some(open) = open {
        let (credited, seed_seconds) = (credit, seeded);
        let added = Added { moved, credited, seed_seconds, completes, said, active, seen_at };
        pending::add(connection, open, entry, &added)?;
    }
    if entry.corrupt > 0 && entry.said.is_some() {
        let most = limits.rate.saturating_mul(seconds.max(1));
        corrupt::note(
            connection,
            open,
            entry,
            known.is_some_and(|known| known.goes_on(said)),
            most,
        )?;
    }
    if moved != Bytes::default() {
        let sums = sums.entry(entry.member).or_default();
        sums.credited.add(credit);
        sums.moved.add(moved);
    }
    written.turned.insert((entry.member, entry.torrent), here);
    Ok(())
}

/// Returns what a client says it has moved, as far as it can be written.
fn writable(said: Bytes) -> Bytes {
    let Bytes { uploaded, downloaded } = said;
    Bytes { uploaded: uploaded.min(MOST as u64), downloaded: downloaded.min(MOST as u64) }
}

/// Returns when a session was seen last. Workers hand in what they have a little out of order, and no
/// second may be counted twice.
fn seen_at(entry: &Entry, mine: &Session) -> u64 {
    let is_late = (1..=LATE).contains(&mine.seen_at.saturating_sub(entry.at));
    if is_late { mine.seen_at } else { entry.at }
}

/// Returns all sessions of a member at a torrent.
fn sessions(connection: &Connection, entry: &Entry) -> rusqlite::Result<Vec<Session>> {
    let sql = "SELECT peer_id, uploaded, downloaded, remaining, seen_at, active, spare \
               FROM session \
               WHERE member = ?1 AND torrent = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row| {
        Ok(Session {
            peer_id: row.get(0)?,
            said: Bytes { uploaded: uint(row.get(1)?), downloaded: uint(row.get(2)?) },
            remaining: row.get(3)?,
            seen_at: uint(row.get(4)?),
            active: row.get(5)?,
            spare: uint(row.get(6)?),
        })
    };
    statement.query_map([int(entry.member), int(entry.torrent)], read)?.collect()
}

fn update_session(
    connection: &Connection,
    entry: &Entry,
    said: Bytes,
    seen_at: u64,
    active: bool,
    suspect: bool,
    spare: u64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE session SET uploaded = ?4, downloaded = ?5, remaining = ?6, seen_at = ?7, \
               announces = announces + 1, active = ?8, suspect = suspect + ?9, address = ?10, \
               spare = ?11 \
               WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3";
    let Bytes { uploaded, downloaded } = said;
    let values = params![
        int(entry.member),
        int(entry.torrent),
        entry.peer_id.0,
        int(uploaded),
        int(downloaded),
        entry.left.map(int),
        int(seen_at),
        active,
        suspect,
        entry.address.map(|address| address.to_string()),
        int(spare),
    ];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

fn insert_session(
    connection: &Connection,
    entry: &Entry,
    said: Bytes,
    active: bool,
    spare: u64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO session (member, torrent, peer_id, uploaded, downloaded, remaining, \
               first_at, seen_at, announces, active, address, spare) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 1, ?8, ?9, ?10)";
    let Bytes { uploaded, downloaded } = said;
    let values = params![
        int(entry.member),
        int(entry.torrent),
        entry.peer_id.0,
        int(uploaded),
        int(downloaded),
        entry.left.map(int),
        int(entry.at),
        active,
        entry.address.map(|address| address.to_string()),
        int(spare),
    ];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

fn delete_session(
    connection: &Connection,
    entry: &Entry,
    peer_id: &[u8; 20],
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM session WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3";
    let values = params![int(entry.member), int(entry.torrent), peer_id];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// What a history becomes; the parameters are those of [`note_history`].
macro_rules! added {
    () => {
        "uploaded = min(uploaded, ?10 - ?3) + ?3, \
         downloaded = min(downloaded, ?10 - ?4) + ?4, \
         credited_uploaded = min(credited_uploaded, ?10 - ?5) + ?5, \
         credited_downloaded = min(credited_downloaded, ?10 - ?6) + ?6, \
         seed_seconds = min(seed_seconds, ?10 - ?7) + ?7, announces = announces + 1, \
         last_at = ?8, completed_at = coalesce(completed_at, ?9)"
    };
}

const UPDATE_HISTORY: &str =
    concat!("UPDATE history SET ", added!(), " WHERE member = ?1 AND torrent = ?2");

const INSERT_HISTORY: &str = concat!(
    "INSERT INTO history (member, torrent, uploaded, downloaded, credited_uploaded, \
     credited_downloaded, seed_seconds, announces, first_at, last_at, completed_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8, ?9) \
     ON CONFLICT (member, torrent) DO UPDATE SET ",
    added!()
);

fn note_history(
    connection: &Connection,
    sql: &str,
    entry: &Entry,
    moved: Bytes,
    credit: Bytes,
    seeded: u64,
    completes: bool,
) -> rusqlite::Result<()> {
    let values = params![
        int(entry.member),
        int(entry.torrent),
        int(moved.uploaded),
        int(moved.downloaded),
        int(credit.uploaded),
        int(credit.downloaded),
        int(seeded),
        int(entry.at),
        completes.then_some(int(entry.at)),
        MOST,
    ];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// Adds the sums of members.
fn add(connection: &Connection, sums: &BTreeMap<u64, Sums>) -> rusqlite::Result<()> {
    let sql = "UPDATE member SET uploaded = min(uploaded, ?6 - ?2) + ?2, \
               downloaded = min(downloaded, ?6 - ?3) + ?3, \
               raw_uploaded = min(raw_uploaded, ?6 - ?4) + ?4, \
               raw_downloaded = min(raw_downloaded, ?6 - ?5) + ?5 WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    for (member, Sums { credited, moved }) in sums {
        statement.execute(params![
            int(*member),
            int(credited.uploaded),
            int(credited.downloaded),
            int(moved.uploaded),
            int(moved.downloaded),
            MOST,
        ])?;
    }
    Ok(())
}
