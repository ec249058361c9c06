//! What waits to be played into the site's database: batches of changes, in the same file and the
//! same transactions as the totals that they come from.
//!
//! An announce goes into the open batch, where a client has one row however long it stays open. What is
//! sealed is moved out of it, a part at a time: of an hour without the database there may be a million
//! rows, which no site could have in one transaction.

use std::net::SocketAddr;

use rusqlite::{Connection, OptionalExtension, params};

use super::entry::{Entry, Key};
use super::waiting::Sealed;
use super::{Database, int, settled};
use crate::rules::Bytes;

/// A row that the database has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub key: Key,
    pub reason: String,
}

/// What a client last reported, as the site's database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    pub key: Key,
    pub total: [i64; 2],
    pub remaining: Option<i64>,
    pub active: bool,
    pub seen_at: i64,
    pub address: Option<SocketAddr>,
    pub corrupt: i64,
}

/// What an announce adds to the open batch.
pub struct Added {
    pub moved: Bytes,
    pub credited: Bytes,
    pub seed_seconds: u64,
    pub completes: bool,
    /// What the client reports.
    pub said: Bytes,
    pub left: Option<i64>,
    pub active: bool,
    pub seen_at: u64,
}

/// How the sums of a row grow; the new ones are `excluded`.
macro_rules! sums {
    () => {
        "moved_up = min(moved_up, 9223372036854775807 - excluded.moved_up) + excluded.moved_up, \
         moved_down = min(moved_down, 9223372036854775807 - excluded.moved_down) \
         + excluded.moved_down, \
         credited_up = min(credited_up, 9223372036854775807 - excluded.credited_up) \
         + excluded.credited_up, \
         credited_down = min(credited_down, 9223372036854775807 - excluded.credited_down) \
         + excluded.credited_down, \
         seed_seconds = seed_seconds + excluded.seed_seconds, \
         announces = announces + excluded.announces, completed = completed + excluded.completed, \
         token_down = min(token_down, 9223372036854775807 - excluded.token_down) \
         + excluded.token_down, \
         corrupt = min(corrupt, 9223372036854775807 - excluded.corrupt) + excluded.corrupt"
    };
}

/// Whether the site's database is known to have a row's batch.
macro_rules! applied {
    () => {
        "batch NOT IN (SELECT number FROM batch WHERE applied_at IS NULL)"
    };
}

const ADD: &str = concat!(
    "INSERT INTO delta (batch, member, torrent, peer_id, moved_up, moved_down, credited_up, \
     credited_down, seed_seconds, announces, completed, token_down, first_at, last_at, total_up, \
     total_down, remaining, active, address, agent, gone) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11, ?12, ?12, ?13, ?14, ?15, ?16, ?17, \
     ?18, 0) \
     ON CONFLICT (batch, member, torrent, peer_id) DO UPDATE SET ",
    sums!(),
    ", last_at = excluded.last_at, total_up = excluded.total_up, \
     total_down = excluded.total_down, remaining = excluded.remaining, \
     active = excluded.active, address = excluded.address, \
     agent = coalesce(excluded.agent, agent), gone = 0"
);

/// A session that says nothing any more, as it was.
const SILENT: &str = "INSERT INTO delta (batch, member, torrent, peer_id, moved_up, moved_down, \
     credited_up, credited_down, seed_seconds, announces, completed, token_down, first_at, last_at, \
     total_up, total_down, remaining, active, address, gone) \
     SELECT ?1, member, torrent, peer_id, 0, 0, 0, 0, 0, 0, 0, 0, first_at, seen_at, uploaded, \
     downloaded, remaining, 0, address, ?5 FROM session \
     WHERE member = ?2 AND torrent = ?3 AND peer_id = ?4 \
     ON CONFLICT (batch, member, torrent, peer_id) DO UPDATE SET active = 0, gone = excluded.gone";

/// Moves a refused row into the open batch. What a client last reported is what its session has now,
/// as far as there is one: a later batch may have told the database so already.
const MOVE: &str = concat!(
    "INSERT INTO delta (batch, member, torrent, peer_id, moved_up, moved_down, credited_up, \
     credited_down, seed_seconds, announces, completed, token_down, first_at, last_at, total_up, \
     total_down, remaining, active, address, gone, agent, corrupt, total_corrupt) \
     SELECT ?1, d.member, d.torrent, d.peer_id, d.moved_up, d.moved_down, d.credited_up, \
     d.credited_down, d.seed_seconds, d.announces, completed, token_down, d.first_at, last_at, \
     coalesce(s.uploaded, total_up), coalesce(s.downloaded, total_down), \
     iif(s.member IS NULL, d.remaining, s.remaining), coalesce(s.active, 0), \
     iif(s.member IS NULL, d.address, s.address), s.member IS NULL, d.agent, d.corrupt, \
     coalesce(s.corrupt, d.total_corrupt) \
     FROM rejected r JOIN delta d USING (batch, member, torrent, peer_id) \
     LEFT JOIN session s USING (member, torrent, peer_id) WHERE ",
    applied!(),
    " ON CONFLICT (batch, member, torrent, peer_id) DO UPDATE SET ",
    sums!()
);

/// The number of the open batch in its rows: above those of all that are sealed.
const OPEN: i64 = i64::MAX;
/// The most rows that are sealed as one batch, and so written into the site's database in one
/// transaction: it locks their members, and in PostgreSQL each version of a torrent's row that it makes
/// slows down the next one.
const LARGEST: u32 = 5000;
/// The rows that are pruned at once.
const AT_ONCE: usize = 6000;

/// Adds an announce to the open batch.
pub fn add(connection: &Connection, entry: &Entry, added: &Added) -> rusqlite::Result<()> {
    let Added { moved, credited, seed_seconds, completes, said, left, active, seen_at } = added;
    let with_token = if entry.has_token { moved.downloaded } else { 0 };
    let values = params![
        OPEN,
        int(entry.member),
        int(entry.torrent),
        entry.peer_id.0,
        int(moved.uploaded),
        int(moved.downloaded),
        int(credited.uploaded),
        int(credited.downloaded),
        int(*seed_seconds),
        completes,
        int(with_token),
        int(*seen_at),
        int(said.uploaded),
        int(said.downloaded),
        left,
        active,
        entry.address.map(|address| address.to_string()),
        entry.agent,
    ];
    connection.prepare_cached(ADD)?.execute(values).map(|_| ())
}

/// Adds what failed a client's hash check to its row in the open batch, if there is one.
pub fn add_corrupt(connection: &Connection, entry: &Entry, added: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE delta SET corrupt = min(corrupt, 9223372036854775807 - ?5) + ?5, \
               total_corrupt = ?6 \
               WHERE batch = ?1 AND member = ?2 AND torrent = ?3 AND peer_id = ?4";
    let (member, torrent, said) = (int(entry.member), int(entry.torrent), int(entry.corrupt));
    let values = params![OPEN, member, torrent, entry.peer_id.0, added, said];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// Notes in the open batch that a session says nothing any more, or is about to be forgotten.
pub fn silence(
    connection: &Connection,
    (member, torrent, peer_id): Key,
    gone: bool,
) -> rusqlite::Result<()> {
    let values = params![OPEN, member, torrent, peer_id, gone];
    connection.prepare_cached(SILENT)?.execute(values).map(|_| ())
}

impl Database {
    /// From now on, what is written is also put into batches for the site's database.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn collect(&mut self) -> rusqlite::Result<()> {
        let epoch = format!("{:016x}", rand::random::<u64>());
        let sql = "INSERT OR IGNORE INTO site (one, epoch, open, is_loaded) VALUES (1, ?1, 1, 0)";
        self.connection.execute(sql, [epoch])?;
        self.collects = true;
        Ok(())
    }

    /// Seals up to `LARGEST` rows of the open batch after a key, in the order of their keys, as a batch
    /// of their own. Returns it and the last of these keys; `None`: there are no such rows.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing has changed.
    pub fn seal(&mut self, after: Key, now: u64) -> rusqlite::Result<Option<(Sealed, Key)>> {
        if !self.collects {
            return Ok(None);
        }
        let transaction = self.connection.transaction()?;
        let sql = "SELECT member, torrent, peer_id FROM \
                   (SELECT member, torrent, peer_id FROM delta \
                   WHERE batch = ?1 AND (member, torrent, peer_id) > (?2, ?3, ?4) \
                   ORDER BY member, torrent, peer_id LIMIT ?5) \
                   ORDER BY member DESC, torrent DESC, peer_id DESC LIMIT 1";
        let (member, torrent, peer_id) = after;
        let last = transaction
            .prepare_cached(sql)?
            .query_one(params![OPEN, member, torrent, peer_id, LARGEST], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some(last): Option<Key> = last else { return Ok(None) };
        let sql = "UPDATE site SET open = open + 1 RETURNING open - 1";
        let number = transaction.prepare_cached(sql)?.query_one([], |row| row.get(0))?;
        let nonce: i64 = rand::random();
        let sql = "INSERT INTO batch (number, nonce, sealed_at) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![number, nonce, int(now)])?;
        let sql = "UPDATE delta SET batch = ?1 \
                   WHERE batch = ?2 AND (member, torrent, peer_id) > (?3, ?4, ?5) \
                   AND (member, torrent, peer_id) <= (?6, ?7, ?8)";
        let values = params![number, OPEN, member, torrent, peer_id, last.0, last.1, last.2];
        transaction.prepare_cached(sql)?.execute(values)?;
        transaction.commit()?;
        Ok(Some((Sealed { number, nonce }, last)))
    }

    /// Notes that the site's database has all batches up to this one.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing has changed.
    pub fn applied(&mut self, number: i64, now: u64) -> rusqlite::Result<()> {
        let sql = "UPDATE batch SET applied_at = ?2 WHERE number <= ?1 AND applied_at IS NULL";
        self.connection.prepare_cached(sql)?.execute(params![number, int(now)])?;
        Ok(())
    }

    /// Replaces what is known of the refused rows of a batch.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing has changed.
    pub fn reject(&mut self, batch: i64, rejected: &[Rejection], now: u64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.prepare_cached("DELETE FROM rejected WHERE batch = ?1")?.execute([batch])?;
        let sql = "INSERT INTO rejected (batch, member, torrent, peer_id, reason, at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        for Rejection { key: (member, torrent, peer_id), reason } in rejected {
            let values = params![batch, member, torrent, peer_id, reason, int(now)];
            transaction.prepare_cached(sql)?.execute(values)?;
        }
        transaction.commit()
    }

    /// Moves all refused rows into the open batch, but those of a batch that the site's database may not
    /// have yet: it is played with them once more. Returns how many there were.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing has changed.
    pub fn again(&mut self) -> rusqlite::Result<u64> {
        if !self.collects {
            return Ok(0);
        }
        let transaction = self.connection.transaction()?;
        transaction.execute(MOVE, [OPEN])?;
        // Or they would be added twice if their batch is played once more.
        let sql = concat!(
            "DELETE FROM delta WHERE (batch, member, torrent, peer_id) IN \
             (SELECT batch, member, torrent, peer_id FROM rejected WHERE ",
            applied!(),
            ")"
        );
        transaction.execute(sql, [])?;
        let sql = concat!("DELETE FROM rejected WHERE ", applied!());
        let moved = transaction.execute(sql, [])?;
        transaction.commit()?;
        Ok(moved as u64)
    }

    /// Forgets some rows of the oldest batches that were applied before `until`, in seconds since 1970,
    /// but those that were refused. Of the last batch that was applied, the nonce stays.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn prune(&mut self, until: u64) -> rusqlite::Result<()> {
        let mut most = if self.collects { AT_ONCE } else { 0 };
        while most > 0
            && let Some(gone) = self.prune_oldest(until, most)?
        {
            // Also a batch without rows costs something.
            most = most.saturating_sub(gone + 1);
        }
        Ok(())
    }

    /// Forgets up to `most` rows of the oldest batch, and returns how many; `None`: there is none.
    fn prune_oldest(&mut self, until: u64, most: usize) -> rusqlite::Result<Option<usize>> {
        let sql = "SELECT number, number < last FROM batch, (SELECT max(number) AS last FROM batch \
                   WHERE applied_at IS NOT NULL) \
                   WHERE applied_at < ?1 AND (is_pruned < 2 OR number < last) \
                   ORDER BY number LIMIT 1";
        let oldest = self
            .connection
            .prepare_cached(sql)?
            .query_one([int(until)], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((number, goes)): Option<(i64, bool)> = oldest.optional()? else { return Ok(None) };
        let transaction = self.connection.transaction()?;
        let sql = "DELETE FROM delta WHERE batch = ?1 AND (member, torrent, peer_id) IN \
                   (SELECT member, torrent, peer_id FROM delta d WHERE batch = ?1 AND NOT EXISTS \
                   (SELECT 1 FROM rejected r WHERE r.batch = d.batch AND r.member = d.member \
                   AND r.torrent = d.torrent AND r.peer_id = d.peer_id) LIMIT ?2)";
        let gone = transaction.prepare_cached(sql)?.execute(params![number, int(most as u64)])?;
        // From its first row on, it can no longer be played.
        let sql = "UPDATE batch SET is_pruned = 1 WHERE number = ?1";
        transaction.prepare_cached(sql)?.execute([number])?;
        if gone < most {
            let sql = match goes {
                true => "DELETE FROM batch WHERE number = ?1",
                false => "UPDATE batch SET is_pruned = 2 WHERE number = ?1",
            };
            transaction.prepare_cached(sql)?.execute([number])?;
        }
        transaction.commit()?;
        Ok(Some(gone))
    }

    /// Enters what clients last reported to the tracker whose books are gone. Those that have
    /// announced since stay as they are. The next announce of each may add up to `rate` bytes however
    /// soon it comes.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing has changed.
    pub fn begin_from(&mut self, baselines: &[Baseline], rate: u64) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let sql = "INSERT OR IGNORE INTO session (member, torrent, peer_id, uploaded, downloaded, \
                   remaining, first_at, seen_at, announces, active, address, spare, corrupt) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 0, ?8, ?9, ?10, ?11)";
        let mut entered = 0;
        for baseline in baselines {
            let Baseline { key, total: [up, down], remaining, active, seen_at, .. } = baseline;
            let (member, torrent, peer_id) = key;
            let address = baseline.address.map(|address| address.to_string());
            let values = params![
                member,
                torrent,
                peer_id,
                up,
                down,
                remaining,
                seen_at,
                active,
                address,
                int(rate),
                baseline.corrupt,
            ];
            entered += transaction.prepare_cached(sql)?.execute(values)? as u64;
            settled::begin(&transaction, (*member, *torrent), *seen_at)?;
        }
        transaction.commit()?;
        Ok(entered)
    }

    /// Notes that members and torrents were read from the site's database.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn loaded(&mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("UPDATE site SET is_loaded = 1")?.execute([]).map(|_| ())
    }
}
