//! Plays a batch into the site's database: all of it in one transaction, with its number.
//!
//! Rows come in the order of their keys, a part at a time, so that memory does not depend on the size
//! of the batch. A part that the database refuses because of a value is undone and halved until the
//! bad row stands alone; that row is set aside, and the rest goes on in the same transaction.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use karuta_bittorrent::InfoHash;
use serde::Serialize;

use super::connection::{Connection, Fault, Kind, Value};
use super::sql::{BEGIN, COMMIT, KEEP, SAVE, UNDO, Values};
use super::{Donors, Swarms};
use crate::database::{Delta, Key, Reader, Rejection, Sealed};
use crate::directory::Directory;

/// The rows of a part.
const PART: usize = 1000;
/// The characters that are kept of a reason.
const LONGEST: usize = 200;
/// Why a row of a member that is gone is set aside.
const NOBODY: &str = "there is no such member";

/// The batch that a node has applied last, as the database says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    pub applied: i64,
    pub nonce: i64,
}

/// What a batch is played with.
pub struct Play<'a> {
    pub connection: &'a mut Connection,
    pub reader: &'a Reader,
    pub directory: &'a Directory,
    pub swarms: &'a dyn Swarms,
    /// As configured.
    pub name: &'a str,
    /// With the epoch of the file.
    pub node: &'a str,
    pub donors: Donors,
}

/// How the rows of a batch went, before its `COMMIT`.
pub struct Played {
    pub rows: u64,
    pub rejected: Vec<Rejection>,
}

/// Why a batch could not be played.
#[derive(Debug, thiserror::Error)]
pub enum Unplayed {
    #[error("{}", .0.reason())]
    Fault(#[from] Fault),
    /// The database says that another batch was applied last than what we have seen.
    #[error("another transaction was faster")]
    Overtaken,
    #[error("accounts.db: {0}")]
    File(#[from] rusqlite::Error),
}

/// A row as the statements read it: see `sql`.
#[derive(Serialize)]
pub struct Sent {
    m: i64,
    t: i64,
    p: String,
    mu: i64,
    md: i64,
    cu: i64,
    cd: i64,
    ss: i64,
    pub an: i64,
    pub co: i64,
    pub td: i64,
    fa: i64,
    la: i64,
    tu: i64,
    tl: i64,
    re: Option<i64>,
    ac: i64,
    ad: Option<String>,
    po: Option<u16>,
    /// The client's user agent.
    ag: Option<String>,
    pub go: i64,
    /// What failed its hash check: added, and as last reported.
    mc: i64,
    tc: i64,
    /// Torrents that the member seeds and downloads now.
    se: u32,
    le: u32,
    /// Seeders and leechers of the torrent now.
    pub sd: u32,
    lc: u32,
    /// Its place in the batch.
    n: u64,
}

impl Play<'_> {
    /// Plays a batch after the one of `mark`, but for its `COMMIT`.
    pub async fn play(&mut self, batch: Sealed, mark: Mark) -> Result<Played, Unplayed> {
        let statements = self.connection.statements;
        self.connection.command(BEGIN).await?;
        let values = [
            Value::Number(batch.number),
            Value::Number(batch.nonce),
            Value::Text(self.node),
            Value::Number(mark.applied),
            Value::Number(mark.nonce),
        ];
        if self.connection.execute(statements.step, &values).await? != 1 {
            return Err(Unplayed::Overtaken);
        }
        let mut played = Played { rows: 0, rejected: Vec::new() };
        let mut counts = HashMap::new();
        let mut after = Key::default();
        loop {
            let rows = self.reader.deltas(batch.number, after, PART)?;
            let Some(last) = rows.last() else { return Ok(played) };
            after = last.key();
            counts.clear();
            let sent: Vec<_> = rows
                .iter()
                .zip(played.rows..)
                .map(|(row, n)| self.sent(row, n, &mut counts))
                .collect::<Result<_, _>>()?;
            played.rows += rows.len() as u64;
            self.play_part(batch.number, &rows, &sent, &mut played.rejected).await?;
        }
    }

    /// Commits what was played.
    pub async fn commit(self) -> Result<(), Fault> {
        self.connection.command(COMMIT).await
    }

    /// Plays rows, and sets those aside that the database refuses.
    async fn play_part(
        &mut self,
        batch: i64,
        rows: &[Delta],
        sent: &[Sent],
        rejected: &mut Vec<Rejection>,
    ) -> Result<(), Fault> {
        let mut parts: Vec<Range<usize>> = std::iter::once(0..sent.len()).collect();
        while let Some(part) = parts.pop() {
            self.connection.command(SAVE).await?;
            let fault = match self.enter(batch, &sent[part.clone()]).await {
                Ok(unknown) => {
                    self.connection.command(KEEP).await?;
                    let missing = rows[part].iter().filter(|row| unknown.contains(&row.member));
                    let reason = |row: &Delta| (row.key(), NOBODY.to_owned());
                    // Without an announce, there is nothing to keep of them.
                    let missing = missing.filter(|row| row.announces > 0).map(reason);
                    rejected.extend(missing.map(|(key, reason)| Rejection { key, reason }));
                    continue;
                }
                Err(fault) if fault.kind() == Kind::Data => fault,
                Err(fault) => return Err(fault),
            };
            self.connection.command(UNDO).await?;
            if part.len() == 1 {
                let reason = fault.reason().chars().take(LONGEST).collect();
                rejected.push(Rejection { key: rows[part.start].key(), reason });
                continue;
            }
            let middle = part.start + part.len() / 2;
            // What comes first is played first: rows of a member stay in their order.
            parts.push(middle..part.end);
            parts.push(part.start..middle);
        }
        Ok(())
    }

    /// Enters rows into all tables, but for those of members that are unknown, and returns these.
    async fn enter(&mut self, batch: i64, sent: &[Sent]) -> Result<HashSet<i64>, Fault> {
        let statements = self.connection.statements;
        let mut text = json(sent);
        let there = self.connection.rows(statements.members_there, &[Value::Text(&text)]).await?;
        let there: HashSet<i64> = there
            .iter()
            .map(|row| Ok(row.number(0)?.unwrap_or(0)))
            .collect::<Result<_, Fault>>()?;
        let known: Vec<_> = sent.iter().filter(|row| there.contains(&row.m)).collect();
        let unknown: HashSet<_> =
            sent.iter().map(|row| row.m).filter(|member| !there.contains(member)).collect();
        if known.is_empty() {
            return Ok(unknown);
        }
        if !unknown.is_empty() {
            text = json(&known);
        }
        let Self { name, node, donors, .. } = *self;
        let values = Values { rows: &text, name, node, batch, donors, ..Values::default() };
        for step in statements.steps {
            if known.iter().any(|row| step.which.has(row)) {
                self.connection.execute(step.sql, &values.at(step.values)).await?;
            }
        }
        Ok(unknown)
    }

    fn sent(
        &self,
        row: &Delta,
        n: u64,
        counts: &mut HashMap<i64, (u32, u32)>,
    ) -> Result<Sent, rusqlite::Error> {
        let torrent = u64::try_from(row.torrent).unwrap_or(0);
        let (sd, lc) = match counts.get(&row.torrent) {
            Some(known) => *known,
            None => {
                let hashes: Vec<InfoHash> = self.reader.hashes(torrent)?;
                let found = self.swarms.count(&hashes);
                counts.insert(row.torrent, found);
                found
            }
        };
        let member = u64::try_from(row.member).unwrap_or(0);
        let member = self.directory.members.with_id(member).unwrap_or_default();
        Ok(Sent {
            m: row.member,
            t: row.torrent,
            p: hex::encode(row.peer_id),
            mu: row.moved[0],
            md: row.moved[1],
            cu: row.credited[0],
            cd: row.credited[1],
            ss: row.seed_seconds,
            an: row.announces,
            co: row.completed,
            td: row.token_downloaded,
            fa: row.first_at,
            la: row.last_at,
            tu: row.total[0],
            tl: row.total[1],
            re: row.remaining,
            ac: row.active.into(),
            ad: row.address.map(|address| address.ip().to_string()),
            po: row.address.map(|address| address.port()),
            ag: row.agent.clone(),
            go: row.gone.into(),
            mc: row.corrupt[0],
            tc: row.corrupt[1],
            se: member.seeding,
            le: member.leeching,
            sd,
            lc,
            n,
        })
    }
}

fn json(rows: &(impl Serialize + ?Sized)) -> String {
    // Numbers and texts, which can always be written.
    serde_json::to_string(rows).unwrap_or_default()
}

impl Delta {
    pub fn key(&self) -> Key {
        (self.member, self.torrent, self.peer_id)
    }
}
