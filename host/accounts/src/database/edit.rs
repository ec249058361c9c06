//! Changes of members, groups, torrents and tokens, all of a request's or none of them.

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::read::{self, MEMBER, TORRENT};
use super::{Database, GONE, group, int, reason, settled, spent, uint};
use crate::change::{Change, MemberChange, TokenChange, TorrentChange};
use crate::records::{Hashes, Member, Torrent};

/// A change that was made, with what workers need to know of it.
#[derive(Debug)]
pub enum Changed {
    Member {
        id: u64,
        /// With what its group may.
        record: Member,
        passkeys: Option<(Option<String>, String)>,
    },
    Torrent {
        id: u64,
        record: Torrent,
        hashes: [Hashes; 2],
    },
    Token {
        pair: (u64, u64),
        exists: bool,
    },
    /// Others that had the passkey or an info-hash of one that comes next.
    GoneMember {
        id: u64,
        passkey: String,
    },
    GoneTorrent {
        id: u64,
        hashes: Hashes,
    },
}

/// Why changes were not made: none of them was.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The change at this index, counted from 0, cannot be made.
    #[error("{reason}")]
    Wrong { index: usize, reason: &'static str },
    #[error("the accounts cannot be written: {}", reason(.0))]
    Unwritten(#[from] rusqlite::Error),
    #[error("the accounts cannot be written: {}", GONE)]
    Gone,
    /// The ledger has ended.
    #[error("stopping")]
    Stopping,
}

/// Why a torrent cannot have an info-hash.
const TAKEN: &str = "the info-hash is another torrent's";

/// Why a change cannot be made.
pub enum Fault {
    Wrong(&'static str),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Database {
    /// Makes changes one after the other, in one transaction. With `takes_over`, others that have a
    /// passkey or an info-hash of theirs are removed; otherwise, that is wrong.
    ///
    /// # Errors
    ///
    /// One of them is wrong, or they cannot be written; then nothing has changed.
    pub fn change(
        &mut self,
        changes: &[Change],
        takes_over: bool,
    ) -> Result<Vec<Changed>, NotChanged> {
        if !self.is_in_place() {
            return Err(NotChanged::Gone);
        }
        let transaction = self.connection.transaction()?;
        let mut made = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            if takes_over {
                take_over(&transaction, change, &mut made)?;
            }
            let changed = match change {
                Change::Member(change) => member(&transaction, change, &mut made),
                Change::Group(change) => group::change(&transaction, change, &mut made),
                Change::Torrent(change) => torrent(&transaction, change, &mut made),
                Change::Token(change) => token(&transaction, *change, takes_over, &mut made),
            };
            changed.map_err(|fault| match fault {
                Fault::Wrong(reason) => NotChanged::Wrong { index, reason },
                Fault::Sql(error) => NotChanged::Unwritten(error),
            })?;
        }
        transaction.commit()?;
        Ok(made)
    }
}

/// Removes others that have a passkey or an info-hash of this one.
fn take_over(
    connection: &Connection,
    change: &Change,
    made: &mut Vec<Changed>,
) -> rusqlite::Result<()> {
    match change {
        Change::Member(MemberChange { id, passkey: Some(passkey), .. }) => {
            let sql = "DELETE FROM member_settled WHERE passkey = ?2 AND id <> ?1 RETURNING id";
            let mut statement = connection.prepare_cached(sql)?;
            let gone = statement.query_map(params![int(*id), passkey], |row| row.get(0))?;
            for id in gone {
                let id = id?;
                // Its totals are gone, also if the id comes back.
                settled::settle_member(connection, id)?;
                made.push(Changed::GoneMember { id: uint(id), passkey: passkey.clone() });
            }
        }
        Change::Torrent(TorrentChange { id, info_hash, info_hash_v2, .. }) => {
            let sql = "DELETE FROM torrent \
                       WHERE (info_hash IN (?2, ?3) OR info_hash_v2 IN (?2, ?3)) AND id <> ?1 \
                       RETURNING id, info_hash, info_hash_v2";
            let mut statement = connection.prepare_cached(sql)?;
            let gone = statement.query_map(params![int(*id), info_hash, info_hash_v2], |row| {
                Ok((row.get("id")?, read::hashes(row)?))
            })?;
            for gone in gone {
                let (id, hashes) = gone?;
                made.push(Changed::GoneTorrent { id: uint(id), hashes });
            }
        }
        _ => {}
    }
    Ok(())
}

fn member(
    connection: &Connection,
    change: &MemberChange,
    made: &mut Vec<Changed>,
) -> Result<(), Fault> {
    let select = format!("SELECT {MEMBER}, passkey FROM member WHERE id = ?1");
    let known = connection
        .prepare_cached(&select)?
        .query_one([int(change.id)], |row| {
            Ok((read::member(row)?, row.get::<_, String>("passkey")?))
        })
        .optional()?;
    let (record, old) =
        known.map_or((Member::default(), None), |(record, old)| (record, Some(old)));
    let passkey = change.passkey.clone().or_else(|| old.clone());
    let passkey = passkey.ok_or(Fault::Wrong("a new member needs a passkey"))?;
    let record = change.onto(record);
    if change.uploaded.is_some() || change.downloaded.is_some() {
        settled::settle_member(connection, int(change.id))?;
    }
    let sql = "INSERT INTO member_settled (id, passkey, enabled, leech, visible, immune, freeleech, \
               double_upload, group_id, slots, uploaded, downloaded) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, coalesce(?11, 0), coalesce(?12, 0)) \
               ON CONFLICT (id) DO UPDATE SET passkey = ?2, enabled = ?3, leech = ?4, visible = ?5, \
               immune = ?6, freeleech = ?7, double_upload = ?8, group_id = ?9, slots = ?10, \
               uploaded = coalesce(?11, uploaded), downloaded = coalesce(?12, downloaded)";
    let values = params![
        int(change.id),
        passkey,
        record.enabled,
        record.leech,
        record.visible,
        record.immune,
        record.freeleech,
        record.double_upload,
        record.group,
        record.slots,
        change.uploaded.map(int),
        change.downloaded.map(int),
    ];
    let written = connection.prepare_cached(sql)?.execute(values);
    taken(written, "the passkey is another member's")?;
    if !record.visible {
        let sql = "UPDATE session SET address = NULL WHERE member = ?1";
        connection.prepare_cached(sql)?.execute([int(change.id)])?;
    }
    let passkeys = (old.as_ref() != Some(&passkey)).then_some((old, passkey));
    let record = record.within(group::find(connection, record.group)?);
    made.push(Changed::Member { id: change.id, record, passkeys });
    Ok(())
}

fn torrent(
    connection: &Connection,
    change: &TorrentChange,
    made: &mut Vec<Changed>,
) -> Result<(), Fault> {
    let select = format!("SELECT {TORRENT}, info_hash, info_hash_v2 FROM torrent WHERE id = ?1");
    let known = connection
        .prepare_cached(&select)?
        .query_one([int(change.id)], |row| Ok((read::torrent(row)?, read::hashes(row)?)))
        .optional()?;
    let (record, old) = known.unwrap_or_default();
    let [first, second] = old;
    let first =
        change.info_hash.or(first).ok_or(Fault::Wrong("a new torrent needs an info-hash"))?;
    let second = change.info_hash_v2.or(second);
    if second == Some(first) {
        return Err(Fault::Wrong(TAKEN));
    }
    succeed_deleted(connection, change.id, [Some(first), second], made)?;
    let record = change.onto(record);
    let sql = "INSERT INTO torrent (id, info_hash, info_hash_v2, status, deleted, featured, reason, \
               upload_percent, download_percent, completed) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, coalesce(?10, 0)) \
               ON CONFLICT (id) DO UPDATE SET info_hash = ?2, info_hash_v2 = ?3, status = ?4, \
               deleted = ?5, featured = ?6, reason = ?7, upload_percent = ?8, \
               download_percent = ?9, completed = coalesce(?10, completed)";
    let values = params![
        int(change.id),
        first,
        second,
        record.status,
        record.deleted,
        record.featured,
        record.reason,
        record.upload_percent,
        record.download_percent,
        change.completed.map(int),
    ];
    connection.prepare_cached(sql)?.execute(values)?;
    let hashes = [old, [Some(first), second]];
    made.push(Changed::Torrent { id: change.id, record, hashes });
    Ok(())
}

/// Has deleted torrents give up the info-hashes that another one takes, as when a site registers anew
/// what it has deleted. They are gone then, but not what was moved at them.
fn succeed_deleted(
    connection: &Connection,
    id: u64,
    [first, second]: Hashes,
    made: &mut Vec<Changed>,
) -> Result<(), Fault> {
    let sql = "SELECT id, deleted, info_hash, info_hash_v2 FROM torrent \
               WHERE (info_hash IN (?2, ?3) OR info_hash_v2 IN (?2, ?3)) AND id <> ?1";
    let mut select = connection.prepare_cached(sql)?;
    let owners = select.query_map(params![int(id), first, second], |row| {
        Ok((uint(row.get("id")?), row.get::<_, bool>("deleted")?, read::hashes(row)?))
    })?;
    for owner in owners.collect::<rusqlite::Result<Vec<_>>>()? {
        let (id, is_deleted, hashes) = owner;
        if !is_deleted {
            return Err(Fault::Wrong(TAKEN));
        }
        connection.prepare_cached("DELETE FROM torrent WHERE id = ?1")?.execute([int(id)])?;
        made.push(Changed::GoneTorrent { id, hashes });
    }
    Ok(())
}

/// A site's database still has a token of which the site has not been told that it is used up; a new
/// one is the site's to give.
fn token(
    connection: &Connection,
    change: TokenChange,
    takes_over: bool,
    made: &mut Vec<Changed>,
) -> Result<(), Fault> {
    let TokenChange { exists, member, torrent } = change;
    let exists = exists && !(takes_over && spent::is_spent(connection, (member, torrent))?);
    let pair = params![int(member), int(torrent)];
    if exists {
        let is_known = |sql, id: u64| connection.prepare_cached(sql)?.exists([int(id)]);
        if !is_known("SELECT 1 FROM member WHERE id = ?1", member)? {
            return Err(Fault::Wrong("there is no such member"));
        }
        if !is_known("SELECT 1 FROM torrent WHERE id = ?1", torrent)? {
            return Err(Fault::Wrong("there is no such torrent"));
        }
        let sql = "INSERT OR IGNORE INTO token (member, torrent) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(pair)?;
        spent::forget(connection, (member, torrent))?;
    } else {
        let sql = "DELETE FROM token WHERE member = ?1 AND torrent = ?2";
        connection.prepare_cached(sql)?.execute(pair)?;
    }
    made.push(Changed::Token { pair: (member, torrent), exists });
    Ok(())
}

/// Says what a value that must be unique belongs to.
fn taken<T>(written: rusqlite::Result<T>, reason: &'static str) -> Result<T, Fault> {
    written.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Fault::Wrong(reason),
        _ => Fault::Sql(error),
    })
}
