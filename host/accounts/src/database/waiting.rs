//! Reads what waits to be played into the site's database, and what was played and is kept.

use std::collections::HashSet;
use std::net::SocketAddr;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::entry::Key;
use super::{Reader, uint};

/// A batch that is sealed: nothing is added to it any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    pub number: i64,
    /// Tells it from the batch of the same number that a copy of this file makes.
    pub nonce: i64,
}

/// Which batches there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Made with the file, and random.
    pub epoch: String,
    /// The last one that is sealed; 0 if there is none.
    pub last: i64,
    /// The last one that the database is known to have; 0 if there is none.
    pub applied: i64,
    /// The first one that can be played; `last + 1` if there is none.
    pub first: i64,
    /// Whether members and torrents were read from the database at least once.
    pub is_loaded: bool,
}

/// What a client has added, and what it last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    pub member: i64,
    pub torrent: i64,
    pub peer_id: [u8; 20],
    pub moved: [i64; 2],
    pub credited: [i64; 2],
    pub seed_seconds: i64,
    pub announces: i64,
    /// Finished downloads.
    pub completed: i64,
    /// Moved with a token.
    pub token_downloaded: i64,
    pub first_at: i64,
    pub last_at: i64,
    /// What the client last reported.
    pub total: [i64; 2],
    pub remaining: Option<i64>,
    pub active: bool,
    pub address: Option<SocketAddr>,
    /// The client's user agent; `None`: not known.
    pub agent: Option<String>,
    /// Whether its session is forgotten.
    pub gone: bool,
    /// What failed its hash check: added, and as last reported.
    pub corrupt: [i64; 2],
}

/// A row that the database has refused, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct ShownRejection {
    pub batch: u64,
    pub member: u64,
    pub torrent: u64,
    /// In hexadecimal digits.
    pub peer_id: String,
    /// As credited.
    pub uploaded: u64,
    pub downloaded: u64,
    pub reason: String,
    /// Seconds since 1970.
    pub at: u64,
}

const COLUMNS: &str = "member, torrent, peer_id, moved_up, moved_down, credited_up, credited_down, \
                       seed_seconds, announces, completed, token_down, first_at, last_at, \
                       total_up, total_down, remaining, active, address, gone, agent, corrupt, \
                       total_corrupt";

impl Reader {
    /// Returns which batches there are.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn batches(&self) -> rusqlite::Result<Batches> {
        let sql = "SELECT epoch, is_loaded, open - 1, \
                   coalesce((SELECT max(number) FROM batch WHERE applied_at IS NOT NULL), 0), \
                   coalesce((SELECT min(number) FROM batch WHERE is_pruned = 0), open) FROM site";
        self.0.prepare_cached(sql)?.query_one([], |row| {
            Ok(Batches {
                epoch: row.get(0)?,
                is_loaded: row.get(1)?,
                last: row.get(2)?,
                applied: row.get(3)?,
                first: row.get(4)?,
            })
        })
    }

    /// Returns a batch that is sealed.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn sealed(&self, number: i64) -> rusqlite::Result<Option<Sealed>> {
        let sql = "SELECT nonce FROM batch WHERE number = ?1";
        let read = |row: &Row| Ok(Sealed { number, nonce: row.get(0)? });
        self.0.prepare_cached(sql)?.query_one([number], read).optional()
    }

    /// Returns a batch that is sealed, if it is still whole.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn playable(&self, number: i64) -> rusqlite::Result<Option<Sealed>> {
        let sql = "SELECT nonce FROM batch WHERE number = ?1 AND is_pruned = 0";
        let read = |row: &Row| Ok(Sealed { number, nonce: row.get(0)? });
        self.0.prepare_cached(sql)?.query_one([number], read).optional()
    }

    /// Until this is dropped, the file is seen as it is at the next read.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn view(&self) -> rusqlite::Result<Transaction<'_>> {
        self.0.unchecked_transaction()
    }

    /// Returns up to `most` rows of a batch after a key, in the order of their keys.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn deltas(&self, batch: i64, after: Key, most: usize) -> rusqlite::Result<Vec<Delta>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM delta WHERE batch = ?1 AND (member, torrent, peer_id) > (?2, ?3, ?4) \
             ORDER BY member, torrent, peer_id LIMIT ?5"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let (member, torrent, peer_id) = after;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        statement.query_map(params![batch, member, torrent, peer_id, most], delta)?.collect()
    }

    /// Returns how many rows wait, in batches after this one.
    ///
    /// # Errors
    ///
    /// They cannot be counted.
    pub fn pending(&self, applied: i64) -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM delta WHERE batch > ?1";
        self.0.prepare_cached(sql)?.query_one([applied], |row| row.get(0).map(uint))
    }

    /// Returns whether rows of a batch are refused.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn has_rejected(&self, batch: i64) -> rusqlite::Result<bool> {
        self.0.prepare_cached("SELECT 1 FROM rejected WHERE batch = ?1 LIMIT 1")?.exists([batch])
    }

    /// Returns how many rows are refused.
    ///
    /// # Errors
    ///
    /// They cannot be counted.
    pub fn count_rejected(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM rejected";
        self.0.prepare_cached(sql)?.query_one([], |row| row.get(0).map(uint))
    }

    /// Returns up to `most` refused rows, the newest first.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn rejected(&self, most: u32) -> rusqlite::Result<Vec<ShownRejection>> {
        let sql = "SELECT batch, member, torrent, peer_id, credited_up, credited_down, reason, at \
                   FROM rejected JOIN delta USING (batch, member, torrent, peer_id) \
                   ORDER BY batch DESC, member LIMIT ?1";
        let mut statement = self.0.prepare(sql)?;
        let shown = |row: &Row| {
            Ok(ShownRejection {
                batch: uint(row.get(0)?),
                member: uint(row.get(1)?),
                torrent: uint(row.get(2)?),
                peer_id: hex::encode(row.get::<_, [u8; 20]>(3)?),
                uploaded: uint(row.get(4)?),
                downloaded: uint(row.get(5)?),
                reason: row.get(6)?,
                at: uint(row.get(7)?),
            })
        };
        statement.query_map([most], shown)?.collect()
    }

    /// Returns the ids of members that are enabled, or of torrents that are not deleted, after one id
    /// and up to another.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn ids(&self, what: What, after: i64, to: i64) -> rusqlite::Result<HashSet<i64>> {
        let sql = match what {
            What::Members => "SELECT id FROM member WHERE enabled = 1 AND id > ?1 AND id <= ?2",
            What::Torrents => "SELECT id FROM torrent WHERE deleted = 0 AND id > ?1 AND id <= ?2",
        };
        self.0.prepare_cached(sql)?.query_map([after, to], |row| row.get(0))?.collect()
    }

    /// Returns all tokens, by member and torrent.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn all_tokens(&self) -> rusqlite::Result<HashSet<(i64, i64)>> {
        let mut statement = self.0.prepare_cached("SELECT member, torrent FROM token")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }
}

/// What has ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Members,
    Torrents,
}

/// Reads a row with the columns of [`COLUMNS`].
fn delta(row: &Row) -> rusqlite::Result<Delta> {
    Ok(Delta {
        member: row.get(0)?,
        torrent: row.get(1)?,
        peer_id: row.get(2)?,
        moved: [row.get(3)?, row.get(4)?],
        credited: [row.get(5)?, row.get(6)?],
        seed_seconds: row.get(7)?,
        announces: row.get(8)?,
        completed: row.get(9)?,
        token_downloaded: row.get(10)?,
        first_at: row.get(11)?,
        last_at: row.get(12)?,
        total: [row.get(13)?, row.get(14)?],
        remaining: row.get(15)?,
        active: row.get(16)?,
        address: row.get::<_, Option<String>>(17)?.and_then(|text| text.parse().ok()),
        gone: row.get(18)?,
        agent: row.get(19)?,
        corrupt: [row.get(20)?, row.get(21)?],
    })
}
