//! What failed clients' hash checks, for a site's database: nothing is credited less for it. Few clients
//! have any, and the others cost nothing here.

use rusqlite::{Connection, params};

use super::entry::Entry;
use super::int;

/// Notes what a session reports, whose row is written, in it and in the `open` batch for the site's
/// database. It adds the difference, up to `most`, if it `goes_on` from what it reported before.
pub fn note(
    connection: &Connection,
    open: Option<i64>,
    entry: &Entry,
    goes_on: bool,
    most: u64,
) -> rusqlite::Result<()> {
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
    let Some(open) = open else { return Ok(()) };
    let added = if goes_on { (said - known).clamp(0, int(most)) } else { 0 };
    let sql = "UPDATE delta SET corrupt = min(corrupt, 9223372036854775807 - ?5) + ?5, \
               total_corrupt = ?6 \
               WHERE batch = ?1 AND member = ?2 AND torrent = ?3 AND peer_id = ?4";
    let values = params![open, member, torrent, peer_id, added, said];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}
