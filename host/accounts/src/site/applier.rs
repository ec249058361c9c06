//! The thread that uses the site's database.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::apply::{Mark, Play, Unplayed};
use super::connection::{Connection, Fault, Kind, Value};
use super::desk::{Desk, Undone};
use super::figures::Counters;
use super::load::{Books, Load, Unread};
use super::recent::Recent;
use super::{Donors, Site};
use crate::database::{Batches, Database, Key, Reader};
use crate::directory::Directory;
use crate::ledger::unix_seconds;
use crate::presence::Presence;

/// The pauses between two attempts.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The thread's own.
pub struct Applier {
    pub site: Site,
    pub path: PathBuf,
    pub directory: Arc<Directory>,
    pub presence: Arc<Presence>,
    pub desk: Desk,
    pub recent: Arc<Recent>,
    pub donors: Arc<Mutex<Donors>>,
    pub counters: Arc<Counters>,
    /// Those of the books.
    pub books: Arc<crate::figures::Counters>,
    /// Told when many announces have come.
    pub full: Arc<Notify>,
    pub pace: Pace,
    /// The most bytes a second that are credited to a session.
    pub rate: u64,
}

/// When things were done last.
#[derive(Default)]
pub struct Pace {
    /// The last one between two attempts; none if something was achieved since.
    pause: Cell<Duration>,
    /// When all members and torrents were read.
    read_all: Option<Instant>,
    /// When those that changed were, and from when on the next time has to look.
    read: Option<(Instant, i64)>,
}

/// The thread, which ends when this is dropped.
pub struct Running {
    _stop: oneshot::Sender<()>,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("{}", .0.reason())]
    Fault(#[from] Fault),
    #[error("accounts.db: {0}")]
    File(#[from] rusqlite::Error),
    #[error(transparent)]
    Undone(#[from] Undone),
    #[error(transparent)]
    Unplayed(#[from] Unplayed),
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("the table {0} cannot undo a transaction: {1}")]
    Unsafe(String, &'static str),
    #[error(
        "the database has batch {0} of the node `{1}`, which is not ours: accounts.db is an older one, or \
         another tracker uses a copy of it"
    )]
    Foreign(i64, String),
}

impl Halt {
    /// Returns whether a person has to do something.
    fn is_stop(&self) -> bool {
        match self {
            Self::Foreign(..) | Self::Unsafe(..) => true,
            Self::Fault(fault)
            | Self::Unplayed(Unplayed::Fault(fault))
            | Self::Unread(Unread::Fault(fault)) => fault.kind() == Kind::Setup,
            _ => false,
        }
    }
}

/// A connection, and what it is used with.
struct Session {
    connection: Connection,
    reader: Reader,
    /// The node's name with the epoch of the books.
    node: String,
    mark: Mark,
    /// The last batch that is sealed.
    last: i64,
    /// Batches up to this one are known to have been applied before.
    known: i64,
}

impl Applier {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn start(mut self) -> std::io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    // It is told by dropping the other end.
                    _ = stopped => {}
                    () = self.work() => {}
                }
            });
        };
        std::thread::Builder::new().name("applier".to_owned()).spawn(work)?;
        Ok(Running { _stop: stop })
    }

    /// Connects, and works until something fails, again and again.
    async fn work(&mut self) {
        loop {
            let Err(halt) = self.session().await;
            self.counters.fails(halt.to_string(), halt.is_stop());
            // For a lock that two have waited for, the first pause is long enough.
            let pause = (self.pace.pause.get() * 2).clamp(SHORTEST, LONGEST);
            self.pace.pause.set(pause);
            let counted = Reader::open(&self.path).and_then(|reader| {
                let applied = reader.batches()?.applied;
                reader.pending(applied)
            });
            self.counters.set_pending(counted.unwrap_or(0));
            tokio::time::sleep(pause).await;
        }
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, Halt> {
        let reader = Reader::open(&self.path)?;
        let mut connection = self.site.address.connect(self.site.schema).await?;
        let statements = connection.statements;
        if let Some(greeting) = statements.greeting {
            connection.command(greeting).await?;
        }
        if let Some(row) = connection.rows(statements.unsafe_tables, &[]).await?.first() {
            let table = row.text(0)?.unwrap_or_default();
            return Err(Halt::Unsafe(table, connection.unsafe_because()));
        }
        let batches = reader.batches()?;
        let node = format!("{}:{}", self.site.node, batches.epoch);
        let mark = Mark { applied: 0, nonce: 0 };
        let (last, known) = (batches.last, batches.applied);
        let mut session = Session { connection, reader, node, mark, last, known };
        self.look(&mut session, &batches).await?;
        self.counters.set_pending(session.reader.pending(session.mark.applied)?);
        self.counters.set_rejected(session.reader.count_rejected()?);
        if !batches.is_loaded && batches.last == 0 {
            // Before members are known, no announce counts.
            let entered = self.load(&mut session).baselines(&self.site.node, self.rate).await?;
            self.books.add_sessions(i64::try_from(entered).unwrap_or(i64::MAX));
            tracing::info!(clients = entered, "read what clients have reported");
        }
        loop {
            self.read(&mut session).await?;
            self.flush(&mut session).await?;
            self.counters.works();
            self.pace.pause.set(Duration::ZERO);
            let rest = tokio::time::sleep(self.site.flush_every.min(self.site.load_changes));
            tokio::select! {
                () = rest => {}
                () = self.full.notified() => {}
            }
        }
    }

    /// Finds out which batch the database has, and compares that with what is known.
    async fn look(&self, session: &mut Session, batches: &Batches) -> Result<(), Halt> {
        let statements = session.connection.statements;
        let node = [Value::Text(&session.node)];
        let rows = session.connection.rows(statements.look, &node).await?;
        match rows.first() {
            Some(row) => {
                session.mark.applied = row.number(0)?.unwrap_or(0);
                session.mark.nonce = row.number(1)?.unwrap_or(0);
            }
            None => {
                session.connection.execute(statements.enroll, &node).await?;
            }
        }
        let Mark { applied, nonce } = session.mark;
        let ours = session.reader.sealed(applied)?;
        let is_foreign = ours.is_some_and(|ours| ours.nonce != nonce);
        if applied > batches.last || is_foreign {
            return Err(Halt::Foreign(applied, session.node.clone()));
        }
        if applied > batches.applied {
            self.desk.ask(move |books| books.applied(applied, unix_seconds())).await?;
            session.known = applied;
            self.pace.pause.set(Duration::ZERO);
        }
        if applied < batches.applied {
            tracing::warn!(
                has = applied,
                known = batches.applied,
                "the accounts' database is an older one; batches since then are played again"
            );
        }
        if applied + 1 < batches.first {
            self.skip(session, batches.first - 1).await?;
        }
        Ok(())
    }

    /// Goes on after batches that are no longer kept.
    async fn skip(&self, session: &mut Session, to: i64) -> Result<(), Halt> {
        let Mark { applied, nonce } = session.mark;
        let next = session.reader.sealed(to)?.map_or(0, |sealed| sealed.nonce);
        let values = [
            Value::Number(to),
            Value::Number(next),
            Value::Text(&session.node),
            Value::Number(applied),
            Value::Number(nonce),
        ];
        let sql = session.connection.statements.step;
        if session.connection.execute(sql, &values).await? != 1 {
            return Err(Unplayed::Overtaken.into());
        }
        let gone = to - applied;
        self.counters.lost(u64::try_from(gone).unwrap_or(0));
        tracing::error!(
            batches = gone,
            first = applied + 1,
            last = to,
            "the accounts' database lacks batches that are older than `accounts.ledger.keep`; they are lost"
        );
        session.mark = Mark { applied: to, nonce: next };
        Ok(())
    }

    /// Reads members and torrents if it is time to.
    async fn read(&mut self, session: &mut Session) -> Result<(), Halt> {
        let now = Instant::now();
        let is_due = |last: Option<Instant>, every| last.is_none_or(|last| now - last >= every);
        let all = is_due(self.pace.read_all, self.site.load_every);
        let knows_changes = session.connection.statements.now.is_some();
        let changes =
            knows_changes && is_due(self.pace.read.map(|(at, _)| at), self.site.load_changes);
        if !all && !changes {
            return Ok(());
        }
        let since = match self.pace.read {
            Some((_, since)) if !all => since,
            _ => 0,
        };
        let mut load = self.load(session);
        let next = load.now().await?;
        let unusable = match load.read(since).await {
            // What members move is played all the same.
            Err(error @ Unread::Empty(..)) => {
                tracing::error!(%error, "members and torrents are not read");
                None
            }
            read => Some(read?),
        };
        if !session.reader.batches()?.is_loaded {
            self.desk.ask(|books| books.loaded()).await?;
        }
        self.counters.loaded(unusable.filter(|_| since == 0));
        self.pace.read = Some((now, next));
        if all {
            self.pace.read_all = Some(now);
        }
        Ok(())
    }

    fn load<'a>(&'a self, session: &'a mut Session) -> Load<'a> {
        Load {
            connection: &mut session.connection,
            books: Books {
                reader: &session.reader,
                directory: &self.directory,
                presence: &self.presence,
                desk: &self.desk,
                swarms: &*self.site.swarms,
                recent: &self.recent,
                donors: *self.donors.lock(),
            },
        }
    }

    /// Plays all that waits, and what has come since the last time. What comes meanwhile for keys that are
    /// already passed waits for the next time.
    async fn flush(&mut self, session: &mut Session) -> Result<(), Halt> {
        let mut after = Key::default();
        loop {
            while session.mark.applied < session.last {
                // After hours without the database, there are many batches.
                self.read(session).await?;
                self.apply(session).await?;
            }
            let seal = move |books: &mut Database| books.seal(after, unix_seconds());
            let Some((sealed, last)) = self.desk.ask(seal).await? else { break };
            (session.last, after) = (sealed.number, last);
        }
        self.counters.all_in();
        self.counters.set_rejected(session.reader.count_rejected()?);
        Ok(())
    }

    /// Plays the batch after the one that was applied last.
    async fn apply(&self, session: &mut Session) -> Result<(), Halt> {
        let number = session.mark.applied + 1;
        // What is pruned meanwhile is still there in this view of the file.
        let view = session.reader.view()?;
        let Some(batch) = session.reader.playable(number)? else {
            // Pruned since the last look, which the next one will see.
            return Err(Unplayed::Overtaken.into());
        };
        let mut play = Play {
            connection: &mut session.connection,
            reader: &session.reader,
            directory: &self.directory,
            swarms: &*self.site.swarms,
            name: &self.site.node,
            node: &session.node,
            donors: *self.donors.lock(),
        };
        let played = play.play(batch, session.mark).await?;
        drop(view);
        let is_again = number <= session.known;
        // Also what an attempt whose commit failed has set aside is no longer.
        if is_again || !played.rejected.is_empty() || session.reader.has_rejected(number)? {
            if !played.rejected.is_empty() {
                let reason = &played.rejected[0].reason;
                let rows = played.rejected.len();
                tracing::error!(
                    rows,
                    reason,
                    "the accounts' database refuses rows; they are set aside"
                );
            }
            // Before the commit: afterwards, a crash would forget them.
            let rejected = played.rejected;
            let job = move |books: &mut Database| books.reject(number, &rejected, unix_seconds());
            self.desk.ask(job).await?;
        }
        play.commit().await?;
        session.mark = Mark { applied: number, nonce: batch.nonce };
        self.counters.applied(played.rows);
        self.counters.works();
        self.pace.pause.set(Duration::ZERO);
        if is_again {
            self.counters.replayed();
        } else {
            self.desk.ask(move |books| books.applied(number, unix_seconds())).await?;
            session.known = number;
        }
        Ok(())
    }
}
