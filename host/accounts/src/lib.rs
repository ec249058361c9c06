//! The books of a private tracker: who its members are, which torrents it has, and what each member
//! has moved.
//!
//! Workers look members and torrents up in memory, without a lock ([`Directory`]), and queue their
//! announces. One thread writes them into a SQLite file: what each client last reported and what that
//! adds to its member's totals, in one transaction. What was not written comes again with the
//! client's next report, so nothing is lost and nothing is counted twice. If a site has a database of
//! its own, another thread plays what is in the file into it, in batches.

#[cfg(test)]
mod batches;
mod change;
mod database;
mod directory;
mod figures;
mod found;
mod ledger;
mod pairs;
mod presence;
mod queue;
mod records;
mod rules;
mod search;
mod site;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tricks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use karuta_bittorrent::InfoHash;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::change::{
    Change, GroupChange, MemberChange, TokenChange, TorrentChange, is_id, is_passkey,
};
pub use self::database::{
    Entry, LastReport, NotChanged, OpenError, Page, ShownMember, ShownPeer, ShownRejection,
    ShownTorrent, Standing,
};
pub use self::directory::Directory;
pub use self::figures::{Failing, Figures};
pub use self::ledger::unix_seconds;
pub use self::queue::{Receipt, settle};
pub use self::records::{Group, Member, Torrent};
pub use self::rules::{Bytes, Terms, moved};
pub use self::search::{Known, Search};
pub use self::site::{
    Address, Donors, Schema, Site, SiteFigures, Swarms, Trouble, Undone, Unlisted, select,
};

use self::database::{Database, Reader};
use self::figures::Counters;
use self::ledger::{Full, Ledger, Order, Walk};
use self::presence::Presence;
use self::queue::Outlet;
use self::site::{Applier, Desk, Recent, Running};

/// What bounds the books.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The time between two transactions.
    pub every: Duration,
    /// The most bytes of the file.
    pub max_size: u64,
    /// How long after its last announce a session is remembered.
    pub keep: Duration,
    /// Sessions beyond this number are remembered for a shorter time.
    pub max_sessions: u64,
    /// The most active sessions of a member at a torrent.
    pub per_member_and_torrent: u32,
    /// The most bytes a second that are credited to a session.
    pub rate: u64,
    /// How long after its last announce a peer is in its swarm.
    pub lifetime: Duration,
    /// How long batches are kept after the site's database has them.
    pub keep_batches: Duration,
    /// Whether a finished download uses its token up, of which the site is to be told.
    pub spends_tokens: bool,
}

/// The books, with the thread that writes them.
pub struct Accounts {
    directory: Arc<Directory>,
    presence: Arc<Presence>,
    outlet: Outlet,
    desk: Desk,
    /// What the site has told lately; `None`: it tells nothing.
    recent: Option<Arc<Recent>>,
    donors: Arc<Mutex<Donors>>,
    /// Told when tokens are used up.
    spent: Arc<Notify>,
    counters: Arc<Counters>,
    site: Option<Arc<site::Counters>>,
    /// `None`: there is no such database, or it is the end.
    applier: Mutex<Option<Running>>,
    path: PathBuf,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl Accounts {
    /// Opens the books in the file at `path`, and starts the thread that writes them, and the one that
    /// uses the database of a site, if there is one.
    ///
    /// # Errors
    ///
    /// The file cannot be used, or there can be no thread.
    pub fn open(path: &Path, options: Options, site: Option<Site>) -> Result<Self, OpenError> {
        let failed = |reason| OpenError { path: path.to_owned(), reason };
        let mut database = Database::open(path, options.max_size)?;
        if let Some(site) = &site {
            database.collect().map_err(|error| failed(error.into()))?;
            if !site.schema.has_groups() {
                database.forget_groups().map_err(|error| failed(error.into()))?;
            }
        }
        let loaded = database.load().map_err(|error| failed(error.into()))?;
        let directory = Arc::new(Directory::from(loaded));
        let counters = Arc::new(Counters::default());
        let sessions = database.count_sessions().map_err(|error| failed(error.into()))?;
        counters.add_sessions(i64::try_from(sessions).unwrap_or(i64::MAX));
        counters.set_bytes(database.size());
        counters.set_spent(database.count_spent().map_err(|error| failed(error.into()))?);
        let presence = Arc::new(Presence::new(directory.pairs.clone(), options.lifetime.as_secs()));
        let now = unix_seconds();
        for (pair, peer, at) in database.active().map_err(|error| failed(error.into()))? {
            presence.enter(pair, peer, false, at.min(now), |_| {});
        }
        let (outlet, inbox) = queue::queue();
        let (order, orders) = channel();
        let (at_work, ended) = channel();
        let desk = Desk(order);
        let recent = Arc::new(Recent::default());
        let spent = Arc::new(Notify::new());
        let donors = site.as_ref().map(|site| site.donors).unwrap_or_default();
        let donors = Arc::new(Mutex::new(donors));
        let is_told = site.as_ref().is_some_and(|site| site.schema.is_told());
        let full = site.as_ref().map(|site| Full {
            notify: Arc::new(Notify::new()),
            many: site.flush_rows,
            so_far: 0,
        });
        let applier = match (site, &full) {
            (Some(site), Some(full)) => {
                let reader = Reader::open(path).map_err(|error| failed(error.into()))?;
                let batches = reader.batches().map_err(|error| failed(error.into()))?;
                Some(Applier {
                    site,
                    path: path.to_owned(),
                    directory: directory.clone(),
                    presence: presence.clone(),
                    desk: desk.clone(),
                    recent: recent.clone(),
                    donors: donors.clone(),
                    counters: Arc::new(site::Counters::new(batches.is_loaded)),
                    books: counters.clone(),
                    full: full.notify.clone(),
                    pace: Default::default(),
                    rate: options.rate,
                })
            }
            _ => None,
        };
        let ledger = Ledger {
            database,
            directory: directory.clone(),
            presence: presence.clone(),
            inbox,
            orders,
            counters: counters.clone(),
            options,
            walk: Walk::default(),
            batch: Vec::new(),
            waiting: Vec::new(),
            pause: None,
            full,
            spent: spent.clone(),
        };
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || ledger.run(at_work))
            .map_err(|error| failed(error.into()))?;
        let site = applier.as_ref().map(|applier| applier.counters.clone());
        let applier =
            applier.map(Applier::start).transpose().map_err(|error| failed(error.into()))?;
        let (path, ended, applier) = (path.to_owned(), Mutex::new(ended), Mutex::new(applier));
        let recent = is_told.then_some(recent);
        Ok(Self {
            directory,
            presence,
            outlet,
            desk,
            recent,
            donors,
            spent,
            counters,
            site,
            applier,
            path,
            ended,
        })
    }

    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Queues an announce. If it has an event, it must only be answered once the receipt is ready: it
    /// may be the last of this client. Others are answered at once, and what they add comes with the
    /// next one if they are lost. While nothing can be written, there is nothing to wait for.
    pub fn enter(&self, entry: Entry) -> Option<Receipt> {
        let queued = match entry.event == karuta_bittorrent::Event::None {
            true => self.outlet.put(entry).map(|()| None),
            false if self.counters.has_failed() => self.outlet.put_last(entry).map(|()| None),
            false => self.outlet.put_and_wait(entry).map(Some),
        };
        queued.unwrap_or_else(|queue::Full| {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            None
        })
    }

    /// Notes that a peer of a member is at a torrent, or leaves it, at a time in seconds since 1970.
    /// Calls `other` with each other peer that the member has there.
    pub fn meet(
        &self,
        (member, torrent): (u64, u64),
        peer: SocketAddr,
        leaves: bool,
        now: u64,
        other: impl FnMut(SocketAddr),
    ) {
        self.presence.enter((member, torrent), peer, leaves, now, other);
    }

    /// Returns whether a member has peers at a torrent, at a time in seconds since 1970.
    #[must_use]
    pub fn has_peers(&self, (member, torrent): (u64, u64), now: u64) -> bool {
        self.presence.has((member, torrent), now)
    }

    /// Takes out the peers of members that are banned, and of torrents that are deleted, by changes
    /// that have been made. Returns them, with the info-hashes of each.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn leaving(&self, changes: &[Change]) -> Result<Vec<(Vec<InfoHash>, SocketAddr)>, String> {
        let gone =
            Reader::open(&self.path).and_then(|reader| self.presence.leaving(&reader, changes));
        gone.map_err(|error| error.to_string())
    }

    /// Makes changes, all of them or none. They are obeyed from the next announce on.
    ///
    /// # Errors
    ///
    /// One of them is wrong, or they cannot be written.
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), NotChanged> {
        let answer = {
            let mut told = self.recent.as_ref().map(|recent| recent.lock());
            if let Some(told) = &mut told {
                told.note(&changes, Instant::now());
            }
            self.desk.hand_in(changes, false)
        };
        answer.made().await
    }

    /// Returns whether members and torrents are ours, or the site tells what it changes of them.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.site.is_none() || self.recent.is_some()
    }

    /// Sets what donors get from the next time on that members are read.
    pub fn set_donors(&self, donors: Donors) {
        *self.donors.lock() = donors;
    }

    /// Returns how the site's database is; `None`: there is none, and members and torrents are ours.
    #[must_use]
    pub fn site(&self) -> Option<SiteFigures> {
        self.site.as_ref().map(|counters| counters.figures())
    }

    /// Returns up to `most` rows that the site's database has refused, the newest first.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn rejected(&self, most: u32) -> Result<Vec<ShownRejection>, String> {
        let rejected = Reader::open(&self.path).and_then(|reader| reader.rejected(most));
        rejected.map_err(|error| error.to_string())
    }

    /// Has the rows that the site's database has refused played once more, and returns how many there
    /// are.
    ///
    /// # Errors
    ///
    /// Why the file cannot be written.
    pub async fn play_again(&self) -> Result<u64, Undone> {
        self.desk.ask(|books| books.again()).await
    }

    /// Returns up to `most` tokens that finished downloads have used up and the site has not been told
    /// of, by member and torrent.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn spent(&self, most: u32) -> Result<Vec<(u64, u64)>, String> {
        let spent = Reader::open(&self.path).and_then(|reader| reader.spent(most));
        spent.map_err(|error| error.to_string())
    }

    /// Waits until a token is used up, also one since the last time.
    pub async fn next_spent(&self) {
        self.spent.notified().await;
    }

    /// Notes that the site has been told of tokens: what it tells of them from now on holds again.
    ///
    /// # Errors
    ///
    /// Why the file cannot be written.
    pub async fn told(&self, tokens: Vec<(u64, u64)>) -> Result<(), Undone> {
        if let Some(recent) = &self.recent {
            let gone = |(member, torrent): &(u64, u64)| {
                let (exists, member, torrent) = (false, *member, *torrent);
                Change::Token(TokenChange { exists, member, torrent })
            };
            let gone: Vec<_> = tokens.iter().map(gone).collect();
            recent.lock().note(&gone, Instant::now());
        }
        let counters = self.counters.clone();
        let told =
            move |books: &mut Database| books.told(&tokens).map(|left| counters.set_spent(left));
        self.desk.ask(told).await
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        self.counters.figures(self.outlet.len())
    }

    /// Returns up to `most` members after an id, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn members(&self, after: u64, most: u32) -> Result<Vec<ShownMember>, String> {
        let members = Reader::open(&self.path).and_then(|reader| reader.members(after, most));
        let mut members = members.map_err(|error| error.to_string())?;
        members.iter_mut().for_each(|member| self.complete(member));
        Ok(members)
    }

    /// Returns a member and what it has at torrents, unless there is no such member.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn member(&self, id: u64) -> Result<Option<(ShownMember, Page)>, String> {
        let read = |reader: Reader| Ok((reader.member(id)?, reader.page(id)?));
        let read = Reader::open(&self.path).and_then(read);
        let (member, page) = read.map_err(|error| error.to_string())?;
        Ok(member.map(|mut member| {
            self.complete(&mut member);
            (member, page)
        }))
    }

    /// Returns a group; one that nobody has changed is the default.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn group(&self, id: u32) -> Result<Group, String> {
        let group = Reader::open(&self.path).and_then(|reader| reader.group(id));
        group.map_err(|error| error.to_string())
    }

    /// Returns up to `most` clients at a torrent. Looks at all clients.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn peers(&self, torrent: u64, most: u32) -> Result<Vec<ShownPeer>, String> {
        let peers = Reader::open(&self.path).and_then(|reader| reader.peers(torrent, most));
        peers.map_err(|error| error.to_string())
    }

    /// Passes what each client last reported to `each`, if it did at `since` or later, in seconds since
    /// 1970. Looks at all clients.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn last_reports(&self, since: u64, each: impl FnMut(&LastReport)) -> Result<(), String> {
        let read = Reader::open(&self.path).and_then(|reader| reader.last_reports(since, each));
        read.map_err(|error| error.to_string())
    }

    /// Returns up to `most` torrents after an id, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn torrents(&self, after: u64, most: u32) -> Result<Vec<ShownTorrent>, String> {
        let torrents = Reader::open(&self.path).and_then(|reader| reader.torrents(after, most));
        torrents.map_err(|error| error.to_string())
    }

    /// Returns a torrent, unless there is none.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub fn torrent(&self, id: u64) -> Result<Option<ShownTorrent>, String> {
        let torrent = Reader::open(&self.path).and_then(|reader| reader.torrent(id));
        torrent.map_err(|error| error.to_string())
    }

    /// Adds what only memory knows of a member.
    fn complete(&self, member: &mut ShownMember) {
        if let Some(known) = self.directory.members.with_id(member.id) {
            member.record = known;
        }
    }

    /// Writes what is queued, and ends the thread. Returns whether it has ended within `patience`.
    pub fn end(&self, patience: Duration) -> bool {
        // What is not in the site's database yet stays in the file.
        drop(self.applier.lock().take());
        // It may have ended already.
        let _ = self.desk.0.send(Order::End);
        let ended = self.ended.lock().recv_timeout(patience);
        !matches!(ended, Err(RecvTimeoutError::Timeout))
    }
}
