//! What sessions have added to the books. It is in their own rows, until it is settled: then it is in
//! what their member has moved in all, and at the torrent.

use rusqlite::{Connection, Row, params};

use super::entry::Key;
use super::{int, uint};
use crate::rules::Bytes;

/// What a session has added and is not settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    pub moved: Bytes,
    pub credited: Bytes,
    pub seed_seconds: u64,
}

/// The columns that [`Sums::read`] reads.
pub const SUMS: &str = "moved_up, moved_down, credited_up, credited_down, seed_seconds";

/// More than this does not stay in a session: 16 TiB. So those of half a million sessions can be added.
const MUCH: u64 = 1 << 44;
/// SQLite's largest number.
const MOST: i64 = i64::MAX;

impl Sums {
    /// Reads the columns of [`SUMS`], which are the first ones of a row.
    pub fn read(row: &Row) -> rusqlite::Result<Self> {
        let bytes = |up, down| {
            Ok::<_, rusqlite::Error>(Bytes {
                uploaded: uint(row.get(up)?),
                downloaded: uint(row.get(down)?),
            })
        };
        Ok(Self { moved: bytes(0, 1)?, credited: bytes(2, 3)?, seed_seconds: uint(row.get(4)?) })
    }

    pub fn add(&mut self, more: Self) {
        let add = |sum: &mut Bytes, more: Bytes| {
            sum.uploaded = sum.uploaded.saturating_add(more.uploaded);
            sum.downloaded = sum.downloaded.saturating_add(more.downloaded);
        };
        add(&mut self.moved, more.moved);
        add(&mut self.credited, more.credited);
        self.seed_seconds = self.seed_seconds.saturating_add(more.seed_seconds);
    }

    /// Settles them if they are too large for a session.
    pub fn keep_small(
        &mut self,
        connection: &Connection,
        pair: (i64, i64),
    ) -> rusqlite::Result<()> {
        let Self { moved, credited, seed_seconds } = *self;
        let all = [moved.uploaded, moved.downloaded, credited.uploaded, credited.downloaded];
        if all.into_iter().chain([seed_seconds]).all(|sum| sum <= MUCH) {
            return Ok(());
        }
        settle(connection, pair, std::mem::take(self), Past::default())
    }
}

/// What is known of a session that is forgotten.
#[derive(Default)]
struct Past {
    announces: i64,
    seen_at: i64,
}

/// Notes that a member is at a torrent, unless it was there before.
pub fn begin(
    connection: &Connection,
    (member, torrent): (i64, i64),
    at: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO history_settled (member, torrent, uploaded, downloaded, \
               credited_uploaded, credited_downloaded, seed_seconds, announces, first_at, last_at) \
               VALUES (?1, ?2, 0, 0, 0, 0, 0, 0, ?3, ?3)";
    connection.prepare_cached(sql)?.execute([member, torrent, at]).map(|_| ())
}

/// Settles what a session has added, and forgets it.
pub fn forget(connection: &Connection, (member, torrent, peer_id): &Key) -> rusqlite::Result<()> {
    let sql = format!(
        "DELETE FROM session WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3 \
         RETURNING {SUMS}, announces, seen_at"
    );
    let read =
        |row: &Row| Ok((Sums::read(row)?, Past { announces: row.get(5)?, seen_at: row.get(6)? }));
    let mut statement = connection.prepare_cached(&sql)?;
    for gone in statement.query_map(params![member, torrent, peer_id], read)? {
        let (sums, past) = gone?;
        settle(connection, (*member, *torrent), sums, past)?;
    }
    Ok(())
}

/// Settles what the sessions of a member have added.
pub fn settle_member(connection: &Connection, member: i64) -> rusqlite::Result<()> {
    let sql = format!("SELECT {SUMS}, torrent FROM session WHERE member = ?1");
    let mut select = connection.prepare_cached(&sql)?;
    let sessions = select.query_map([member], |row| Ok((Sums::read(row)?, row.get(5)?)))?;
    let sessions: Vec<(Sums, i64)> = sessions.collect::<rusqlite::Result<_>>()?;
    if sessions.is_empty() {
        return Ok(());
    }
    for (sums, torrent) in sessions {
        settle(connection, (member, torrent), sums, Past::default())?;
    }
    let sql = "UPDATE session SET moved_up = 0, moved_down = 0, credited_up = 0, \
               credited_down = 0, seed_seconds = 0 WHERE member = ?1";
    connection.prepare_cached(sql)?.execute([member]).map(|_| ())
}

fn settle(
    connection: &Connection,
    (member, torrent): (i64, i64),
    sums: Sums,
    past: Past,
) -> rusqlite::Result<()> {
    let Sums { moved, credited, seed_seconds } = sums;
    let [moved, credited] =
        [moved, credited].map(|bytes| [int(bytes.uploaded), int(bytes.downloaded)]);
    let sql = "UPDATE history_settled SET uploaded = min(uploaded, ?10 - ?3) + ?3, \
               downloaded = min(downloaded, ?10 - ?4) + ?4, \
               credited_uploaded = min(credited_uploaded, ?10 - ?5) + ?5, \
               credited_downloaded = min(credited_downloaded, ?10 - ?6) + ?6, \
               seed_seconds = min(seed_seconds, ?10 - ?7) + ?7, announces = announces + ?8, \
               last_at = max(last_at, ?9) WHERE member = ?1 AND torrent = ?2";
    connection.prepare_cached(sql)?.execute(params![
        member,
        torrent,
        moved[0],
        moved[1],
        credited[0],
        credited[1],
        int(seed_seconds),
        past.announces,
        past.seen_at,
        MOST,
    ])?;
    if moved == [0; 2] {
        return Ok(());
    }
    let sql = "UPDATE member_settled SET uploaded = min(uploaded, ?6 - ?2) + ?2, \
               downloaded = min(downloaded, ?6 - ?3) + ?3, \
               raw_uploaded = min(raw_uploaded, ?6 - ?4) + ?4, \
               raw_downloaded = min(raw_downloaded, ?6 - ?5) + ?5 WHERE id = ?1";
    let values = [member, credited[0], credited[1], moved[0], moved[1], MOST];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}
