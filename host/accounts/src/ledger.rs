//! The thread that writes the books: every 50 ms, all announces since the last time in one
//! transaction.
//!
//! Differences are computed here and not where announces come in: what a full queue has dropped is in
//! the next difference of the same client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};

use crate::Options;
use crate::change::Change;
use crate::database::{Changed, Database, Entry, GONE, Key, Limits, NotChanged, Swept, reason};
use crate::directory::Directory;
use crate::figures::Counters;
use crate::presence::Presence;
use crate::queue::{Inbox, Waiting};

/// The most announces in a transaction.
const BATCH: usize = 1000;
/// The most transactions before orders have a turn: enough for all that the queue holds.
const BATCHES: usize = 40;
/// How often the walk over all sessions takes a step.
const STEP: Duration = Duration::from_secs(1);
/// The fewest and the most sessions that a step looks at.
const SESSIONS: std::ops::RangeInclusive<u64> = 1000..=20_000;
/// The time between two attempts to write what could not be written.
const PAUSE: Duration = Duration::from_secs(1);

/// What the thread is asked to do beside writing announces.
pub enum Order {
    Change {
        changes: Vec<Change>,
        /// What others have of a passkey or an info-hash is taken from them.
        takes_over: bool,
        reply: oneshot::Sender<Result<(), NotChanged>>,
    },
    /// A transaction of its own, for the site's database.
    Do(Box<dyn FnOnce(&mut Database) + Send>),
    /// Write what has come, and end.
    End,
}

/// The thread's own.
pub struct Ledger {
    pub database: Database,
    pub directory: Arc<Directory>,
    pub presence: Arc<Presence>,
    pub inbox: Inbox,
    pub orders: Receiver<Order>,
    pub counters: Arc<Counters>,
    pub options: Options,
    pub walk: Walk,
    /// What could not be written yet; first of all it is tried again.
    pub batch: Vec<Entry>,
    /// Who waits for `batch` to be written.
    pub waiting: Vec<Waiting>,
    /// Before this, nothing is tried again.
    pub pause: Option<Instant>,
    /// Who is told that a batch for the site's database has many announces.
    pub full: Option<Full>,
    /// Told when tokens are used up.
    pub spent: Arc<Notify>,
}

/// Tells that many announces have come.
pub struct Full {
    pub notify: Arc<Notify>,
    /// How many are many.
    pub many: u64,
    /// Since it was told the last time.
    pub so_far: u64,
}

/// The walk over all sessions.
#[derive(Default)]
pub struct Walk {
    place: Key,
    /// The shard of the members' peers that is looked at next.
    shard: usize,
    next: Option<Instant>,
    /// By how many halvings sessions are kept for a shorter time, because there are too many.
    halved: u32,
}

impl Ledger {
    /// Writes until it is told to end. Drops `ended` then.
    pub fn run(mut self, ended: Sender<()>) {
        loop {
            let order = self.orders.recv_timeout(self.options.every);
            let ends = matches!(order, Ok(Order::End) | Err(RecvTimeoutError::Disconnected));
            if ends {
                self.pause = None;
            }
            self.write_all();
            self.walk();
            match order {
                Ok(Order::Change { changes, takes_over, reply }) => {
                    // Who asked may have gone.
                    let _ = reply.send(self.change(&changes, takes_over));
                }
                Ok(Order::Do(job)) => {
                    let _under_way = self.counters.begin();
                    self.database.with_reserve(job);
                }
                _ if ends => break,
                _ => {}
            }
        }
        if !self.batch.is_empty() {
            tracing::error!(
                announces = self.batch.len(),
                "accounts were not written; they are lost"
            );
        }
        // The file is closed before anybody hears of the end.
        drop(self);
        drop(ended);
    }

    /// Writes what has come, as long as that is possible.
    fn write_all(&mut self) {
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return;
        }
        for _ in 0..BATCHES {
            self.inbox.fill(&mut self.batch, &mut self.waiting, BATCH);
            if self.batch.is_empty() || !self.write() {
                return;
            }
        }
    }

    /// Writes the batch. Returns whether that was possible.
    fn write(&mut self) -> bool {
        let began = Instant::now();
        let limits = Limits {
            rate: self.options.rate,
            lifetime: self.options.lifetime.as_secs(),
            per_member_and_torrent: self.options.per_member_and_torrent,
            spends_tokens: self.options.spends_tokens,
        };
        let written = attempt(&mut self.database, &self.counters, |database| {
            database.write(&self.batch, &limits)
        });
        // Nobody waits for another attempt.
        let waiting = std::mem::take(&mut self.waiting);
        match written {
            Ok(written) => {
                for (pair, now) in written.turned {
                    self.directory.turn(pair, |here| *here = now);
                }
                self.counters.wrote(self.batch.len(), began.elapsed(), self.database.size());
                for pair in &written.spent {
                    self.directory.enter_token(*pair, false);
                }
                if !written.spent.is_empty() {
                    self.count_spent();
                    self.spent.notify_one();
                }
                self.counters.add_sessions(written.sessions);
                self.counters.met(written.suspect, written.surplus);
                self.tell();
                self.batch.clear();
                self.pause = None;
                drop(waiting);
                true
            }
            Err(error) => {
                self.counters.failed(&error);
                self.pause = Some(Instant::now() + PAUSE);
                drop(waiting);
                false
            }
        }
    }

    /// Notes how many tokens there are of which the site is to be told.
    fn count_spent(&self) {
        // If they cannot be counted, nothing else can be done either, and that is told.
        if let Ok(spent) = self.database.count_spent() {
            self.counters.set_spent(spent);
        }
    }

    /// Tells whoever plays batches that many announces have come.
    fn tell(&mut self) {
        let Some(full) = &mut self.full else { return };
        full.so_far += self.batch.len() as u64;
        if full.so_far >= full.many {
            full.so_far = 0;
            full.notify.notify_one();
        }
    }

    fn change(&mut self, changes: &[Change], takes_over: bool) -> Result<(), NotChanged> {
        let under_way = self.counters.begin();
        let made = self.database.change(changes, takes_over);
        drop(under_way);
        let made = made?;
        if made.iter().any(|changed| matches!(changed, Changed::Token { .. })) {
            self.count_spent();
        }
        for changed in made {
            match changed {
                Changed::Member { id, record, passkeys } => {
                    self.directory.enter_member(id, record, passkeys);
                }
                Changed::Torrent { id, record, hashes } => {
                    self.directory.enter_torrent(id, record, hashes);
                }
                Changed::Token { pair, exists } => self.directory.enter_token(pair, exists),
                Changed::GoneMember { id, passkey } => self.directory.remove_member(id, &passkey),
                Changed::GoneTorrent { id, hashes } => self.directory.remove_torrent(id, hashes),
            }
        }
        Ok(())
    }

    /// Takes a step of the walk over all sessions, which goes round several times in the lifetime of
    /// a peer.
    fn walk(&mut self) {
        let now = Instant::now();
        if self.walk.next.is_some_and(|next| now < next) {
            return;
        }
        self.walk.next = Some(now + STEP);
        // Also if nothing can be written: maybe that makes room.
        self.prune();
        if self.pause.is_some() {
            return;
        }
        self.presence.sweep(self.walk.shard, unix_seconds());
        self.walk.shard = self.walk.shard.wrapping_add(1);
        let lifetime = self.options.lifetime.as_secs();
        let sessions = self.counters.sessions();
        let most = (4 * sessions / lifetime.max(1)).clamp(*SESSIONS.start(), *SESSIONS.end());
        let keep = self.options.keep.as_secs() >> self.walk.halved;
        let (place, most) = (self.walk.place, u32::try_from(most).unwrap_or(u32::MAX));
        let swept = attempt(&mut self.database, &self.counters, |database| {
            database.sweep(place, most, unix_seconds(), lifetime, keep.max(lifetime))
        });
        match swept {
            Ok(Swept { next, silent, forgotten }) => {
                self.walk.place = next.unwrap_or_default();
                self.counters.add_sessions(-i64::try_from(forgotten).unwrap_or(i64::MAX));
                self.silence(silent);
                if next.is_none() {
                    self.walk.adjust(self.counters.sessions() > self.options.max_sessions);
                }
            }
            Err(error) => {
                self.counters.failed(&error);
                self.pause = Some(now + PAUSE);
            }
        }
    }

    /// Forgets batches that the site's database has for long enough, or earlier if they take more than
    /// half of the file.
    fn prune(&mut self) {
        let now = unix_seconds();
        let is_large = self.database.used() > self.options.max_size / 2;
        let until = match is_large {
            true => now,
            false => now.saturating_sub(self.options.keep_batches.as_secs()),
        };
        let mut pruned = Ok(());
        self.database.with_reserve(|database| pruned = database.prune(until));
        if let Err(error) = pruned {
            self.counters.failed(&reason(&error));
        }
    }

    fn silence(&self, silent: Vec<((u64, u64), bool)>) {
        let mut left: HashMap<_, Vec<bool>> = HashMap::new();
        for (pair, is_seeder) in silent {
            left.entry(pair).or_default().push(is_seeder);
        }
        for (pair, seeders) in left {
            self.directory.turn(pair, |here| {
                seeders.into_iter().for_each(|is_seeder| here.leave(is_seeder));
            });
        }
    }
}

/// Does a transaction, unless the file is gone, and lets others see how long it takes. Returns why it
/// failed, as a message for operators.
fn attempt<T>(
    database: &mut Database,
    counters: &Counters,
    transaction: impl FnOnce(&mut Database) -> rusqlite::Result<T>,
) -> Result<T, String> {
    let _under_way = counters.begin();
    match database.is_in_place() {
        true => transaction(database).map_err(|error| reason(&error)),
        false => Err(GONE.to_owned()),
    }
}

impl Walk {
    /// Keeps sessions half as long in the next round if there are too many, and else twice as long.
    fn adjust(&mut self, are_too_many: bool) {
        self.halved = match are_too_many {
            true => (self.halved + 1).min(16),
            false => self.halved.saturating_sub(1),
        };
    }
}

/// Returns the time of day; durations between two are at least 0.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
