//! What failed clients' hash checks, for a site's database: nothing is credited less for it. Few clients
//! have any, and the others cost nothing here.

use rusqlite::{Connection, params};

use super::entry::Entry;
use super::int;

/// Notes what a session reports, whose row is written, in it. Returns the difference, up to `most`, if
/// it `goes_on` from what it reported before.
pub fn note(
    connection: &Connection,
    entry: &Entry,
    goes_on: bool,
    most: u64,
) -> rusqlite::Result<i64> {
    let said = int(entry.corrupt);
    let (member, torrent, peer_id) = (int(entry.member), int(entry.torrent), entry.peer_id.0);
    let sql = "SELECT corrupt FROM session WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3";
    let known: i64 = connection
        .prepare_cached(sql)?
        .query_one(params![member, torrent, peer_id], |row| row.get(0))?;
    if said != known {
        let sql = "UPDATE session SET corrupt = ?4 \
                   WHERE member = ?1 AND torrent = ?2 AND peer_id = ?3";
        connection.prepare_cached(sql)?.execute(params![member, torrent, peer_id, said])?;
    }
    Ok(if goes_on { (said - known).clamp(0, int(most)) } else { 0 })
}
