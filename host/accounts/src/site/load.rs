//! Reads members, torrents and tokens from the site's database, and what clients last reported if the
//! books are new.
//!
//! Rows are compared with what is known as they come, and only what differs is written.

use std::collections::hash_map::Entry::Vacant;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use futures_util::TryStreamExt;
use karuta_bittorrent::InfoHash;

use super::connection::{Connection, Fault, Row, in_time};
use super::desk::{Desk, Undone};
use super::recent::Recent;
use super::sql::Values;
use super::{Donors, Swarms};
use crate::change::{Change, GroupChange, MemberChange, TokenChange, TorrentChange, is_passkey};
use crate::database::{Baseline, NotChanged, Reader, What};
use crate::directory::Directory;
use crate::presence::Presence;
use crate::records::{Group, Member, STATUSES, Torrent};

/// What a load works with.
pub struct Load<'a> {
    pub connection: &'a mut Connection,
    pub books: Books<'a>,
}

/// The books, as a load compares with them and changes them.
#[derive(Clone, Copy)]
pub struct Books<'a> {
    pub reader: &'a Reader,
    pub directory: &'a Directory,
    pub presence: &'a Presence,
    pub desk: &'a Desk,
    pub swarms: &'a dyn Swarms,
    /// What the site has told lately, against which rows may be old.
    pub recent: &'a Recent,
    pub donors: Donors,
}

/// Why not all was read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("{}", .0.reason())]
    Fault(#[from] Fault),
    #[error("accounts.db: {0}")]
    File(#[from] rusqlite::Error),
    #[error(transparent)]
    Undone(#[from] Undone),
    #[error("{0}")]
    Unchanged(NotChanged),
    /// As if somebody had emptied it by mistake.
    #[error("the table {0} is empty, and {1} are known: they stay as they are")]
    Empty(&'static str, usize),
}

/// The rows that are looked at together.
const PAGE: usize = 2000;
/// The changes that are made at once.
const AT_ONCE: usize = 500;
/// How far two reads overlap, in microseconds: what a transaction changes is seen at its end, with the
/// time of its beginning.
const OVERLAP: i64 = 60_000_000;
/// The bytes of a whole info-hash of version 2, of which the first 20 count.
const WHOLE: usize = 32;

/// A row of the database, or nothing if it makes no sense.
type Parsed<T> = Option<T>;

/// What all members of each group may, as the tables say; `None`: they have no groups.
type Groups = Option<HashMap<u32, Group>>;

impl Load<'_> {
    /// Returns the time from which on the next read has to look, in microseconds since 1970; 0: all
    /// has to be read again.
    pub async fn now(&mut self) -> Result<i64, Fault> {
        let Some(sql) = self.connection.statements.now else { return Ok(0) };
        let rows = self.connection.rows(sql, &[]).await?;
        let now = rows.first().map_or(Ok(None), |row| row.number(0))?;
        Ok(now.unwrap_or(0).saturating_sub(OVERLAP).max(0))
    }

    /// Reads what clients last reported to this node, into books that are new.
    pub async fn baselines(&mut self, name: &str, rate: u64) -> Result<u64, Unread> {
        let listing = &self.connection.statements.peers;
        let values = Values { name, ..Values::default() }.at(listing.values);
        let books = self.books;
        let mut rows = self.connection.stream(listing.sql, &values);
        let (mut page, mut entered) = (Vec::new(), 0);
        loop {
            let row = in_time(rows.try_next()).await?;
            let is_last = row.is_none();
            if let Some(row) = row {
                page.extend(baseline(&row)?);
            }
            if page.len() >= PAGE || is_last {
                let some = std::mem::take(&mut page);
                entered += books.desk.ask(move |books| books.begin_from(&some, rate)).await?;
            }
            if is_last {
                return Ok(entered);
            }
        }
    }

    /// Reads what has changed since a time in microseconds since 1970; 0: all, and what is no longer
    /// there is disabled. Returns how many rows make no sense.
    pub async fn read(&mut self, since: i64) -> Result<u64, Unread> {
        self.books.recent.lock().begin(Instant::now());
        let read = self.read_kinds(since).await;
        self.books.recent.lock().end();
        read
    }

    async fn read_kinds(&mut self, since: i64) -> Result<u64, Unread> {
        let (mut groups, unusable) = self.groups().await?;
        let members = self.kind(What::Members, since, &mut groups).await?;
        let torrents = self.kind(What::Torrents, since, &mut None).await?;
        Ok(unusable + members + torrents + self.tokens(since).await?)
    }

    /// Reads what all members of a group may, if the database has groups. Returns them, and how many rows
    /// make no sense.
    async fn groups(&mut self) -> Result<(Groups, u64), Unread> {
        let (mut groups, mut page, mut unusable) = (HashMap::new(), Vec::new(), 0);
        let Some(listing) = &self.connection.statements.groups else { return Ok((None, 0)) };
        let (books, mut any) = (self.books, false);
        let mut rows = self.connection.stream(listing.sql, &[]);
        while let Some(row) = in_time(rows.try_next()).await? {
            any = true;
            let Some(change) = group(&row)? else {
                unusable += 1;
                makes_no_sense(listing.table, row.number(0)?.unwrap_or(0));
                continue;
            };
            let known = books.reader.group(change.id)?;
            let wanted = change.onto(Group::default());
            groups.insert(change.id, wanted);
            if known != wanted {
                page.push(Change::Group(change));
            }
        }
        drop(rows);
        let known = books.directory.members();
        if !any && known > 0 {
            return Err(Unread::Empty(listing.table, known));
        }
        unusable += books.make(&mut page).await?;
        Ok((Some(groups), unusable))
    }

    async fn kind(&mut self, what: What, since: i64, groups: &mut Groups) -> Result<u64, Unread> {
        let statements = self.connection.statements;
        let listing = match what {
            What::Members => &statements.members,
            What::Torrents => &statements.torrents,
        };
        let (books, table) = (self.books, listing.table);
        let values = Values { since, donors: books.donors, ..Values::default() };
        let values = values.at(listing.values);
        let mut rows = self.connection.stream(listing.sql, &values);
        let (mut page, mut seen) = (Vec::new(), HashSet::new());
        let (mut after, mut any, mut unusable) = (0, false, 0);
        loop {
            let row = in_time(rows.try_next()).await?;
            let is_last = row.is_none();
            if let Some(row) = row {
                any = true;
                let id = row.number(0)?.unwrap_or(0);
                seen.insert(id);
                let change = match what {
                    What::Members => member(&row)?.map(Change::Member),
                    What::Torrents => torrent(&row)?.map(Change::Torrent),
                };
                page.extend(books.missing(change.as_ref(), groups)?);
                match change {
                    Some(change) if books.directory.has(&change, groups) => {}
                    Some(change) => page.push(change),
                    None => {
                        unusable += 1;
                        makes_no_sense(table, id);
                    }
                }
            }
            if seen.len() >= PAGE || is_last {
                let known = match what {
                    What::Members => books.directory.members(),
                    What::Torrents => books.directory.torrents(),
                };
                if is_last && !any && since == 0 && known > 0 {
                    return Err(Unread::Empty(table, known));
                }
                let to =
                    if is_last { i64::MAX } else { seen.iter().copied().max().unwrap_or(after) };
                if since == 0 {
                    let known = books.reader.ids(what, after, to)?;
                    page.extend(known.difference(&seen).map(|id| gone(what, *id)));
                }
                unusable += books.make(&mut page).await?;
                (after, seen) = (to, HashSet::new());
            }
            if is_last {
                return Ok(unusable);
            }
        }
    }

    async fn tokens(&mut self, since: i64) -> Result<u64, Unread> {
        let listing = &self.connection.statements.tokens;
        let values = Values { since, ..Values::default() }.at(listing.values);
        let books = self.books;
        let mut gone = match since {
            0 => books.reader.all_tokens()?,
            _ => HashSet::new(),
        };
        let mut rows = self.connection.stream(listing.sql, &values);
        let (mut page, mut unusable) = (Vec::new(), 0);
        loop {
            let row = in_time(rows.try_next()).await?;
            let is_last = row.is_none();
            if let Some(row) = row {
                let [member, torrent, valid] =
                    [row.number(0)?, row.number(1)?, row.number(2)?].map(Option::unwrap_or_default);
                gone.remove(&(member, torrent));
                if let (Some(member), Some(torrent)) = (id(member), id(torrent)) {
                    page.push(Change::Token(TokenChange { exists: valid == 1, member, torrent }));
                } else {
                    unusable += 1;
                }
            } else {
                let gone = gone.drain().map(|(member, torrent)| {
                    let [member, torrent] =
                        [member, torrent].map(|id| u64::try_from(id).unwrap_or(0));
                    Change::Token(TokenChange { exists: false, member, torrent })
                });
                page.extend(gone);
            }
            page.retain(|change| !books.directory.has(change, &None));
            if page.len() >= PAGE || is_last {
                unusable += books.make(&mut page).await?;
            }
            if is_last {
                return Ok(unusable);
            }
        }
    }
}

impl Books<'_> {
    /// Returns what becomes of the group of a member if it is not among those of the tables, and notes
    /// that it is known from now on: nobody may anything because of a group that is not there.
    fn missing(
        &self,
        change: Option<&Change>,
        groups: &mut Groups,
    ) -> rusqlite::Result<Option<Change>> {
        let Some(Change::Member(MemberChange { group: Some(id), .. })) = change else {
            return Ok(None);
        };
        let Some(Vacant(place)) = groups.as_mut().map(|groups| groups.entry(*id)) else {
            return Ok(None);
        };
        let gone = GroupChange::gone(*id);
        let wanted = *place.insert(gone.onto(Group::default()));
        tracing::warn!(
            group = id,
            "the accounts' database has no such group that makes sense: its members are disabled"
        );
        Ok((self.reader.group(*id)? != wanted).then_some(Change::Group(gone)))
    }

    /// Makes changes, but for those that cannot be made, and returns how many these are.
    async fn make(&self, page: &mut Vec<Change>) -> Result<u64, Unread> {
        let mut unusable = 0;
        for part in page.chunks(AT_ONCE) {
            let mut part = part.to_vec();
            loop {
                let answer = {
                    let told = self.recent.lock();
                    part.retain(|change| !told.has(change));
                    self.desk.hand_in(part.clone(), true)
                };
                match answer.made().await {
                    Ok(()) => {
                        let gone = self.presence.leaving(self.reader, &part)?;
                        if !gone.is_empty() {
                            self.swarms.leave(&gone);
                        }
                        break;
                    }
                    Err(NotChanged::Wrong { index, reason }) => {
                        unusable += 1;
                        let change = part.remove(index);
                        tracing::warn!(%change, reason, "a row of the accounts' database makes no sense");
                    }
                    Err(error) => return Err(Unread::Unchanged(error)),
                }
            }
        }
        page.clear();
        Ok(unusable)
    }
}

fn makes_no_sense(table: &str, id: i64) {
    tracing::warn!(table, id, "a row of the accounts' database makes no sense");
}

/// What becomes of one that is no longer there.
fn gone(what: What, id: i64) -> Change {
    let id = u64::try_from(id).unwrap_or(0);
    match what {
        What::Members => {
            Change::Member(MemberChange { id, enabled: Some(false), ..MemberChange::default() })
        }
        What::Torrents => {
            Change::Torrent(TorrentChange { id, deleted: Some(true), ..TorrentChange::default() })
        }
    }
}

fn id(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|id| *id > 0)
}

/// Returns a number that must be there, and fit.
fn small<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<Parsed<T>, Fault> {
    Ok(row.number(column)?.and_then(|number| T::try_from(number).ok()))
}

fn flag(row: &Row, column: usize) -> Result<Option<bool>, Fault> {
    Ok(row.number(column)?.map(|number| number != 0))
}

fn group(row: &Row) -> Result<Parsed<GroupChange>, Fault> {
    let slots = row.number(5)?.map(u32::try_from).transpose();
    let (Some(id), Some(enabled), Ok(slots)) = (small(row, 0)?, flag(row, 1)?, slots) else {
        return Ok(None);
    };
    Ok(Some(GroupChange {
        id,
        enabled: Some(enabled),
        immune: flag(row, 2)?,
        freeleech: flag(row, 3)?,
        double_upload: flag(row, 4)?,
        slots: Some(slots),
    }))
}

fn member(row: &Row) -> Result<Parsed<MemberChange>, Fault> {
    let passkey = row.text(1)?.filter(|passkey| is_passkey(passkey));
    let slots = match row.number(9)? {
        None => Some(None),
        Some(slots) => u32::try_from(slots).ok().map(Some),
    };
    let change = MemberChange {
        id: row.number(0)?.and_then(id).unwrap_or(0),
        passkey,
        enabled: flag(row, 2)?,
        leech: flag(row, 3)?,
        visible: flag(row, 4)?,
        immune: flag(row, 5)?,
        freeleech: flag(row, 6)?,
        double_upload: flag(row, 7)?,
        group: small(row, 8)?,
        slots,
        uploaded: None,
        downloaded: None,
    };
    let makes_sense = change.id > 0
        && change.passkey.is_some()
        && change.group.is_some()
        && change.slots.is_some();
    Ok(makes_sense.then_some(change))
}

fn torrent(row: &Row) -> Result<Parsed<TorrentChange>, Fault> {
    let hash = |bytes: Vec<u8>| match bytes.len() {
        20 | WHOLE => bytes.first_chunk().copied(),
        _ => None,
    };
    let second = row.bytes(2)?;
    let has_second = second.is_some();
    let change = TorrentChange {
        id: row.number(0)?.and_then(id).unwrap_or(0),
        info_hash: row.bytes(1)?.and_then(hash),
        info_hash_v2: second.and_then(hash),
        status: small(row, 3)?.filter(|status| *status <= STATUSES),
        deleted: flag(row, 4)?,
        featured: flag(row, 5)?,
        reason: small(row, 6)?,
        upload_percent: small(row, 7)?,
        download_percent: small(row, 8)?,
        completed: None,
    };
    let makes_sense = change.id > 0
        && change.info_hash.is_some()
        && (change.info_hash_v2.is_some() || !has_second)
        && change.status.is_some()
        && change.reason.is_some()
        && change.upload_percent.is_some()
        && change.download_percent.is_some();
    Ok(makes_sense.then_some(change))
}

fn baseline(row: &Row) -> Result<Parsed<Baseline>, Fault> {
    let peer_id = row.text(2)?.and_then(|text| hex::decode(text).ok());
    let Some(peer_id) = peer_id.and_then(|bytes| bytes.try_into().ok()) else { return Ok(None) };
    let number = |column| Ok::<_, Fault>(row.number(column)?.unwrap_or(0));
    let address: Option<IpAddr> = row.text(8)?.and_then(|text| text.parse().ok());
    let port: Option<u16> = small(row, 9)?;
    Ok(Some(Baseline {
        key: (number(0)?, number(1)?, peer_id),
        total: [number(3)?.max(0), number(4)?.max(0)],
        remaining: row.number(5)?,
        active: number(6)? != 0,
        seen_at: number(7)?,
        address: address.zip(port).map(Into::into),
        corrupt: number(10)?.max(0),
    }))
}

impl Directory {
    /// Returns whether all is already as a change of the site's database wants it, which has these groups.
    fn has(&self, change: &Change, groups: &Groups) -> bool {
        match change {
            Change::Member(change) => {
                let passkey = change.passkey.as_deref().unwrap_or_default();
                let Some((id, known)) = self.member(passkey) else { return false };
                let Member { seeding, leeching, version, .. } = known;
                let wanted = change.onto(Member::default());
                let wanted = Member { seeding, leeching, version, ..wanted };
                let group = groups.as_ref().and_then(|groups| groups.get(&wanted.group));
                let wanted = wanted.within(group.copied().unwrap_or_default());
                (id, known) == (change.id, wanted)
            }
            Change::Torrent(change) => {
                let hashes = [change.info_hash, change.info_hash_v2];
                let is_known = |hash: [u8; 20]| {
                    self.torrent(InfoHash(hash)).is_some_and(|(id, known)| {
                        let wanted = change.onto(Torrent::default());
                        id == change.id && known == Torrent { version: known.version, ..wanted }
                    })
                };
                hashes.into_iter().flatten().all(is_known)
            }
            // They are compared with the file.
            Change::Group(_) => false,
            Change::Token(TokenChange { exists, member, torrent }) => {
                self.has_token(*member, *torrent) == *exists
            }
        }
    }
}
