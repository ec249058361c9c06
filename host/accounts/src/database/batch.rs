//! A batch of announces: what each session reports now, and what that adds, in one transaction.

use std::collections::HashMap;

use karuta_bittorrent::Event;
use rusqlite::{Connection, params};

use super::entry::{Entry, Standing};
use super::pending::{self, Added};
use super::settled::{self, SUMS, Sums};
use super::{Database, corrupt, int, spent, uint};
use crate::pairs::Here;
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
    sums: Sums,
}

impl Session {
    fn is_seeder(&self) -> bool {
        self.remaining == Some(0)
    }
}

impl Database {
    /// Writes a batch, all of it or nothing. What it returns is in the file for good.
    ///
    /// # Errors
    ///
    /// It cannot be written; then nothing has changed.
    pub fn write(&mut self, batch: &[Entry], limits: &Limits) -> rusqlite::Result<Written> {
        let collects = self.collects;
        let transaction = self.connection.transaction()?;
        let mut written = Written::default();
        // In the order of the file. That of a session's own announces stays.
        let mut batch: Vec<&Entry> = batch.iter().collect();
        batch.sort_by_key(|entry| (entry.member, entry.torrent));
        for entry in batch {
            enter(&transaction, collects, entry, limits, &mut written)?;
        }
        transaction.commit()?;
        Ok(written)
    }
}

/// Enters an announce, also into a batch for the site's database if it `collects` them.
fn enter(
    connection: &Connection,
    collects: bool,
    entry: &Entry,
    limits: &Limits,
    written: &mut Written,
) -> rusqlite::Result<()> {
    let sessions = sessions(connection, entry)?;
    let mine = sessions.iter().find(|session| session.peer_id == entry.peer_id.0);
    let others = sessions.iter().filter(|one| one.active && one.peer_id != entry.peer_id.0);
    let mut here = Here::default();
    others.for_each(|one| here.enter(one.is_seeder()));
    // What the swarm has of it is what was let in.
    let before = mine.filter(|mine| entry.peer == Standing::AsBefore && mine.active);
    let active = entry.peer == Standing::Here || before.is_some();
    let left = before.map_or(entry.left.map(int), |before| before.remaining);
    // A `stopped` only counts of a client that counted before.
    let counts = active || (entry.event == Event::Stopped && !mine.is_some_and(|mine| mine.active));
    if counts && here.all() >= limits.per_member_and_torrent {
        written.surplus += 1;
        return Ok(());
    }
    let known = mine.map(|mine| mine.said);
    let Some(said) = entry.said.map(writable).or(known) else { return Ok(()) };
    let is_seeder = left == Some(0);
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
    let seeds = |mine: &&Session| {
        // Who is refused again and again may have left the swarm since.
        before.is_none() && mine.active && mine.is_seeder() && seconds <= limits.lifetime
    };
    let seeded = mine.filter(seeds).map_or(0, |_| seconds);
    let pair = (int(entry.member), int(entry.torrent));
    match mine {
        Some(mine) => {
            let mut sums = mine.sums;
            sums.add(Sums { moved, credited: credit, seed_seconds: seeded });
            sums.keep_small(connection, pair)?;
            let now = Now { said, left, seen_at, active, suspect, spare, sums };
            update_session(connection, entry, &now)?;
        }
        None => {
            written.sessions += 1;
            if sessions.len() >= KEPT
                && let Some(oldest) =
                    sessions.iter().filter(|one| !one.active).min_by_key(|one| one.seen_at)
            {
                written.sessions -= 1;
                let key = (pair.0, pair.1, oldest.peer_id);
                if collects {
                    pending::silence(connection, key, true)?;
                }
                settled::forget(connection, &key)?;
            }
            settled::begin(connection, pair, int(entry.at))?;
            insert_session(connection, entry, said, active, spare)?;
        }
    }
    let completes =
        entry.event == Event::Completed && is_seeder && mine.is_some_and(|mine| !mine.is_seeder());
    if completes {
        let sql = "UPDATE history_settled SET completed_at = coalesce(completed_at, ?3) \
                   WHERE member = ?1 AND torrent = ?2";
        connection.prepare_cached(sql)?.execute([pair.0, pair.1, int(entry.at)])?;
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
    if collects {
        let (credited, seed_seconds) = (credit, seeded);
        let added = Added { moved, credited, seed_seconds, completes, said, left, active, seen_at };
        pending::add(connection, entry, &added)?;
    }
    if entry.corrupt > 0 && entry.said.is_some() {
        let most = limits.rate.saturating_mul(seconds.max(1));
        let goes_on = known.is_some_and(|known| known.goes_on(said));
        let added = corrupt::note(connection, entry, goes_on, most)?;
        if collects {
            pending::add_corrupt(connection, entry, added)?;
        }
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
    let sql = format!(
        "SELECT {SUMS}, peer_id, uploaded, downloaded, remaining, seen_at, active, spare \
         FROM session WHERE member = ?1 AND torrent = ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let read = |row: &rusqlite::Row| {
        Ok(Session {
            sums: Sums::read(row)?,
            peer_id: row.get(5)?,
            said: Bytes { uploaded: uint(row.get(6)?), downloaded: uint(row.get(7)?) },
            remaining: row.get(8)?,
            seen_at: uint(row.get(9)?),
            active: row.get(10)?,
            spare: uint(row.get(11)?),
        })
    };
    statement.query_map([int(entry.member), int(entry.torrent)], read)?.collect()
}

/// What a session that is known has from now on.
struct Now {
    said: Bytes,
    left: Option<i64>,
    seen_at: u64,
    active: bool,
    suspect: bool,
    spare: u64,
    sums: Sums,
}

fn update_session(connection: &Connection, entry: &Entry, now: &Now) -> rusqlite::Result<()> {
    let sql = "UPDATE session SET uploaded = ?4, downloaded = ?5, remaining = ?6, seen_at = ?7, \
               announces = announces + 1, active = ?8, suspect = suspect + ?9, address = ?10, \
               spare = ?11, moved_up = ?12, moved_down = ?13, credited_up = ?14, \
               credited_down = ?15, seed_seconds = ?16 \
               WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3";
    let Now { said, left, seen_at, active, suspect, spare, sums } = now;
    let values = params![
        int(entry.member),
        int(entry.torrent),
        entry.peer_id.0,
        int(said.uploaded),
        int(said.downloaded),
        left,
        int(*seen_at),
        active,
        suspect,
        entry.address.map(|address| address.to_string()),
        int(*spare),
        int(sums.moved.uploaded),
        int(sums.moved.downloaded),
        int(sums.credited.uploaded),
        int(sums.credited.downloaded),
        int(sums.seed_seconds),
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
