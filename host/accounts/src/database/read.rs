//! What is read of the books: all at the start, and a little when somebody asks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use karuta_bittorrent::{InfoHash, PeerId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::Serialize;

use super::{PATIENCE, group, int, uint};
use crate::directory::{Digests, Loaded};
use crate::found::Found;
use crate::pairs::Here;
use crate::records::{Hashes, Member, Torrent};
use crate::rules::Bytes;

/// The columns that [`member`] and [`torrent`] read.
pub const MEMBER: &str =
    "id, enabled, leech, visible, immune, freeleech, double_upload, group_id, slots";
pub const TORRENT: &str = "id, status, deleted, featured, reason, upload_percent, download_percent";

/// The most rows of each kind that are shown of a member.
const ROWS: u32 = 100;

/// Reads the books beside the thread that writes them.
pub struct Reader(pub(super) Connection);

/// A member with what it has moved.
#[derive(Debug, Serialize)]
pub struct ShownMember {
    #[serde(rename = "member")]
    pub id: u64,
    #[serde(flatten)]
    pub record: Member,
    /// As credited.
    pub uploaded: u64,
    pub downloaded: u64,
    /// As moved.
    pub raw_uploaded: u64,
    pub raw_downloaded: u64,
}

/// A torrent with its info-hashes, in hexadecimal digits.
#[derive(Debug, Serialize)]
pub struct ShownTorrent {
    #[serde(rename = "torrent")]
    pub id: u64,
    pub info_hash: String,
    pub info_hash_v2: Option<String>,
    #[serde(flatten)]
    pub record: Torrent,
    pub completed: u64,
}

/// What a member has at torrents, the newest first, and no more than is useful to look at.
#[derive(Debug, Serialize)]
pub struct Page {
    pub sessions: Vec<ShownSession>,
    pub history: Vec<ShownHistory>,
    pub tokens: Vec<u64>,
}

/// A client of a member at a torrent.
#[derive(Debug, Serialize)]
pub struct ShownSession {
    pub torrent: u64,
    /// In hexadecimal digits.
    pub peer_id: String,
    pub uploaded: u64,
    pub downloaded: u64,
    pub left: Option<u64>,
    /// Seconds since 1970.
    pub first_at: u64,
    pub seen_at: u64,
    pub announces: u64,
    pub active: bool,
    /// Announces that exceeded the guard's rate.
    pub suspect: u64,
    pub address: Option<SocketAddr>,
}

/// A client at a torrent, whoever's it is.
#[derive(Debug)]
pub struct ShownPeer {
    pub member: u64,
    pub peer_id: PeerId,
    pub uploaded: u64,
    pub downloaded: u64,
    pub is_seeder: bool,
    pub is_active: bool,
    /// Seconds since 1970.
    pub seen_at: u64,
    /// `None`: the member is not visible.
    pub address: Option<SocketAddr>,
}

/// What a client of a member last reported.
#[derive(Clone, Copy, Debug)]
pub struct LastReport {
    pub member: u64,
    pub torrent: u64,
    pub peer_id: PeerId,
    pub said: Bytes,
    /// Whether it is in the swarm.
    pub is_active: bool,
    /// Seconds since 1970.
    pub seen_at: u64,
}

/// What a member has moved at a torrent.
#[derive(Debug, Serialize)]
pub struct ShownHistory {
    pub torrent: u64,
    pub uploaded: u64,
    pub downloaded: u64,
    pub credited_uploaded: u64,
    pub credited_downloaded: u64,
    pub seed_seconds: u64,
    pub announces: u64,
    /// Seconds since 1970.
    pub first_at: u64,
    pub last_at: u64,
    pub completed_at: Option<u64>,
}

/// Reads a row with the columns of [`MEMBER`].
pub fn member(row: &Row) -> rusqlite::Result<Member> {
    Ok(Member {
        enabled: row.get("enabled")?,
        leech: row.get("leech")?,
        visible: row.get("visible")?,
        immune: row.get("immune")?,
        freeleech: row.get("freeleech")?,
        double_upload: row.get("double_upload")?,
        group: row.get("group_id")?,
        slots: row.get("slots")?,
        ..Member::default()
    })
}

/// Reads a row with the columns of [`TORRENT`].
pub fn torrent(row: &Row) -> rusqlite::Result<Torrent> {
    Ok(Torrent {
        status: row.get("status")?,
        deleted: row.get("deleted")?,
        featured: row.get("featured")?,
        reason: row.get("reason")?,
        upload_percent: row.get("upload_percent")?,
        download_percent: row.get("download_percent")?,
        ..Torrent::default()
    })
}

/// Reads both info-hashes of a row.
pub fn hashes(row: &Row) -> rusqlite::Result<Hashes> {
    Ok([row.get("info_hash")?, row.get("info_hash_v2")?])
}

fn number(row: &Row, name: &str) -> rusqlite::Result<u64> {
    row.get(name).map(uint)
}

fn address(row: &Row) -> rusqlite::Result<Option<SocketAddr>> {
    Ok(row.get::<_, Option<String>>("address")?.and_then(|text| text.parse().ok()))
}

pub fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let digests = Digests::default();
    let count = |sql| connection.query_one(sql, [], |row| row.get::<_, i64>(0));
    let room = |count| usize::try_from(count).unwrap_or(0);
    let members = Found::with_room(room(count("SELECT count(*) FROM member")?));
    let groups: HashMap<_, _> = group::all(connection)?.into_iter().collect();
    let mut statement = connection.prepare(&format!("SELECT {MEMBER}, passkey FROM member"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // As a reference: there may be millions.
        let passkey = row.get_ref("passkey")?.as_str()?;
        let member = member(row)?;
        let group = groups.get(&member.group).copied().unwrap_or_default();
        members.put(&digests.of(passkey), number(row, "id")?, member.within(group));
    }
    let sql = "SELECT count(info_hash) + count(info_hash_v2) FROM torrent";
    let torrents = Found::with_room(room(count(sql)?));
    let sql = format!("SELECT {TORRENT}, info_hash, info_hash_v2 FROM torrent");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for hash in hashes(row)?.iter().flatten() {
            torrents.put(hash, number(row, "id")?, torrent(row)?);
        }
    }
    let mut statement = connection.prepare("SELECT member, torrent FROM token")?;
    let tokens = statement
        .query_map([], |row| Ok((number(row, "member")?, number(row, "torrent")?)))?
        .collect::<Result<_, _>>()?;
    let sql = "SELECT member, torrent, sum(coalesce(remaining = 0, 0)) AS seeding, count(*) AS here \
               FROM session WHERE active = 1 GROUP BY member, torrent";
    let mut statement = connection.prepare(sql)?;
    let here = statement
        .query_map([], |row| {
            let seeding: u16 = row.get("seeding")?;
            let here: u16 = row.get("here")?;
            let here = Here { seeding, leeching: here.saturating_sub(seeding) };
            Ok(((number(row, "member")?, number(row, "torrent")?), here))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Loaded { digests, members, torrents, tokens, here })
}

impl Reader {
    /// Opens the books at `path`.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(Self(connection))
    }

    /// Returns up to `most` members after an id, in the order of their ids.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn members(&self, after: u64, most: u32) -> rusqlite::Result<Vec<ShownMember>> {
        let sql = format!(
            "SELECT {MEMBER}, uploaded, downloaded, raw_uploaded, raw_downloaded FROM member \
             WHERE id > ?1 ORDER BY id LIMIT ?2"
        );
        let mut statement = self.0.prepare(&sql)?;
        let shown = |row: &Row| {
            Ok(ShownMember {
                id: number(row, "id")?,
                record: member(row)?,
                uploaded: number(row, "uploaded")?,
                downloaded: number(row, "downloaded")?,
                raw_uploaded: number(row, "raw_uploaded")?,
                raw_downloaded: number(row, "raw_downloaded")?,
            })
        };
        statement.query_map(params![int(after), most], shown)?.collect()
    }

    /// Returns a member, unless there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn member(&self, id: u64) -> rusqlite::Result<Option<ShownMember>> {
        let found = self.members(id.saturating_sub(1), 1)?;
        Ok(found.into_iter().next().filter(|member| member.id == id))
    }

    /// Returns up to `most` torrents after an id, in the order of their ids.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn torrents(&self, after: u64, most: u32) -> rusqlite::Result<Vec<ShownTorrent>> {
        let sql = format!(
            "SELECT {TORRENT}, info_hash, info_hash_v2, completed FROM torrent \
             WHERE id > ?1 ORDER BY id LIMIT ?2"
        );
        let mut statement = self.0.prepare(&sql)?;
        let shown = |row: &Row| {
            let [first, second] = hashes(row)?;
            Ok(ShownTorrent {
                id: number(row, "id")?,
                info_hash: first.map(hex::encode).unwrap_or_default(),
                info_hash_v2: second.map(hex::encode),
                record: torrent(row)?,
                completed: number(row, "completed")?,
            })
        };
        statement.query_map(params![int(after), most], shown)?.collect()
    }

    /// Returns a torrent, unless there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn torrent(&self, id: u64) -> rusqlite::Result<Option<ShownTorrent>> {
        let found = self.torrents(id.saturating_sub(1), 1)?;
        Ok(found.into_iter().next().filter(|torrent| torrent.id == id))
    }

    /// Returns the info-hashes of a torrent; none if there is no such torrent.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn hashes(&self, torrent: u64) -> rusqlite::Result<Vec<InfoHash>> {
        let sql = "SELECT info_hash, info_hash_v2 FROM torrent WHERE id = ?1";
        let found = self.0.prepare_cached(sql)?.query_one([int(torrent)], hashes).optional()?;
        Ok(found.into_iter().flatten().flatten().map(InfoHash).collect())
    }

    /// Returns up to `most` clients at a torrent, in the order of their members. Looks at all clients.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn peers(&self, torrent: u64, most: u32) -> rusqlite::Result<Vec<ShownPeer>> {
        let sql = "SELECT * FROM session WHERE torrent = ?1 ORDER BY member, peer_id LIMIT ?2";
        let mut statement = self.0.prepare(sql)?;
        let shown = |row: &Row| {
            Ok(ShownPeer {
                member: number(row, "member")?,
                peer_id: PeerId(row.get("peer_id")?),
                uploaded: number(row, "uploaded")?,
                downloaded: number(row, "downloaded")?,
                is_seeder: row.get::<_, Option<i64>>("remaining")? == Some(0),
                is_active: row.get("active")?,
                seen_at: number(row, "seen_at")?,
                address: address(row)?,
            })
        };
        statement.query_map(params![int(torrent), most], shown)?.collect()
    }

    /// Passes what each client last reported to `each`, if it did at `since` or later. Looks at all
    /// clients.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn last_reports(
        &self,
        since: u64,
        mut each: impl FnMut(&LastReport),
    ) -> rusqlite::Result<()> {
        let sql = "SELECT member, torrent, peer_id, uploaded, downloaded, active, seen_at \
                   FROM session WHERE seen_at >= ?1";
        let mut statement = self.0.prepare(sql)?;
        let mut rows = statement.query([int(since)])?;
        while let Some(row) = rows.next()? {
            each(&LastReport {
                member: uint(row.get(0)?),
                torrent: uint(row.get(1)?),
                peer_id: PeerId(row.get(2)?),
                said: Bytes { uploaded: uint(row.get(3)?), downloaded: uint(row.get(4)?) },
                is_active: row.get(5)?,
                seen_at: uint(row.get(6)?),
            });
        }
        Ok(())
    }

    /// Returns what a member has at torrents.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn page(&self, member: u64) -> rusqlite::Result<Page> {
        Ok(Page {
            sessions: self.sessions(member)?,
            history: self.history(member)?,
            tokens: self.tokens(member)?,
        })
    }

    fn sessions(&self, member: u64) -> rusqlite::Result<Vec<ShownSession>> {
        let sql = "SELECT * FROM session WHERE member = ?1 ORDER BY seen_at DESC LIMIT ?2";
        let mut statement = self.0.prepare(sql)?;
        let shown = |row: &Row| {
            Ok(ShownSession {
                torrent: number(row, "torrent")?,
                peer_id: hex::encode(row.get::<_, [u8; 20]>("peer_id")?),
                uploaded: number(row, "uploaded")?,
                downloaded: number(row, "downloaded")?,
                left: row.get::<_, Option<i64>>("remaining")?.map(uint),
                first_at: number(row, "first_at")?,
                seen_at: number(row, "seen_at")?,
                announces: number(row, "announces")?,
                active: row.get("active")?,
                suspect: number(row, "suspect")?,
                address: address(row)?,
            })
        };
        statement.query_map(params![int(member), ROWS], shown)?.collect()
    }

    fn history(&self, member: u64) -> rusqlite::Result<Vec<ShownHistory>> {
        let sql = "SELECT * FROM history WHERE member = ?1 ORDER BY last_at DESC LIMIT ?2";
        let mut statement = self.0.prepare(sql)?;
        let shown = |row: &Row| {
            Ok(ShownHistory {
                torrent: number(row, "torrent")?,
                uploaded: number(row, "uploaded")?,
                downloaded: number(row, "downloaded")?,
                credited_uploaded: number(row, "credited_uploaded")?,
                credited_downloaded: number(row, "credited_downloaded")?,
                seed_seconds: number(row, "seed_seconds")?,
                announces: number(row, "announces")?,
                first_at: number(row, "first_at")?,
                last_at: number(row, "last_at")?,
                completed_at: row.get::<_, Option<i64>>("completed_at")?.map(uint),
            })
        };
        statement.query_map(params![int(member), ROWS], shown)?.collect()
    }

    fn tokens(&self, member: u64) -> rusqlite::Result<Vec<u64>> {
        let sql = "SELECT torrent FROM token WHERE member = ?1 ORDER BY torrent LIMIT ?2";
        let mut statement = self.0.prepare(sql)?;
        statement.query_map(params![int(member), ROWS], |row| number(row, "torrent"))?.collect()
    }
}
