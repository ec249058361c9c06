//! Sessions that have fallen silent: first they are no longer active, and later they are forgotten.

use rusqlite::params;

use super::entry::Key;
use super::{Database, int, pending, settled, uint};

/// What a step of the walk has found.
#[derive(Debug, Default)]
pub struct Swept {
    /// The session after which the walk goes on. `None`: it is at its end.
    pub next: Option<Key>,
    /// The member and the torrent of each session that is no longer active, and whether it was a
    /// seeder's.
    pub(crate) silent: Vec<((u64, u64), bool)>,
    /// Sessions that are forgotten.
    pub forgotten: u64,
}

/// A session that the walk has met.
struct Met {
    place: Key,
    silent: u64,
    active: bool,
    is_seeder: bool,
}

impl Database {
    /// Looks at the next `most` sessions after `place`. Those without an announce for more than
    /// `lifetime` seconds are no longer active. Those without one for more than `keep` are forgotten.
    ///
    /// # Errors
    ///
    /// It cannot be written; then nothing has changed.
    pub fn sweep(
        &mut self,
        place: Key,
        most: u32,
        now: u64,
        lifetime: u64,
        keep: u64,
    ) -> rusqlite::Result<Swept> {
        let mut swept = Swept::default();
        let met = self.after(place, most, now)?;
        if met.len() == most as usize {
            swept.next = met.last().map(|last| last.place);
        }
        let old = |met: &&Met| met.silent > keep || (met.active && met.silent > lifetime);
        if !met.iter().any(|met| old(&met)) {
            return Ok(swept);
        }
        let collects = self.collects;
        let transaction = self.connection.transaction()?;
        for Met { place, silent, active, is_seeder } in met.iter().filter(old) {
            let (member, torrent, peer_id) = place;
            let goes = *silent > keep;
            if collects {
                pending::silence(&transaction, *place, goes)?;
            }
            if goes {
                settled::forget(&transaction, place)?;
                swept.forgotten += 1;
            } else {
                let sql = "UPDATE session SET active = 0 \
                           WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3";
                transaction.prepare_cached(sql)?.execute(params![member, torrent, peer_id])?;
            }
            if *active {
                swept.silent.push(((uint(*member), uint(*torrent)), *is_seeder));
            }
        }
        transaction.commit()?;
        Ok(swept)
    }

    fn after(&self, place: Key, most: u32, now: u64) -> rusqlite::Result<Vec<Met>> {
        let sql = "SELECT member, torrent, peer_id, max(?5 - seen_at, 0), active, \
                   coalesce(remaining = 0, 0) FROM session \
                   WHERE (member, torrent, peer_id) > (?1, ?2, ?3) \
                   ORDER BY member, torrent, peer_id LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (member, torrent, peer_id) = place;
        let met =
            statement.query_map(params![member, torrent, peer_id, most, int(now)], |row| {
                Ok(Met {
                    place: (row.get(0)?, row.get(1)?, row.get(2)?),
                    silent: uint(row.get(3)?),
                    active: row.get(4)?,
                    is_seeder: row.get(5)?,
                })
            })?;
        met.collect()
    }
}
