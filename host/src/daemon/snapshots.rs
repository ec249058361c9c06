//! Snapshots: restored at the start, written while the daemon serves, and at its end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use karuta_swarm::{Shared, Store};

use super::error::{Error, seconds, system};
use super::loaded::Loaded;
use crate::admin::{AskSnapshot, SnapshotReport};
use crate::config::Config;
use crate::metrics::{Metrics, SnapshotOutcome};
use crate::policy::Kept;
use crate::process;
use crate::snapshot::{self, Folder, Restorer, Saved, Unavailable};
use crate::state_dir::StateDir;

/// The snapshots of a daemon, while they are switched on.
pub struct Snapshots {
    folder: Folder,
    every: Duration,
    config: Arc<Config>,
    store: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// When the clock of the store began.
    start: Instant,
}

/// What the thread is told to do. Dropping all senders ends it.
pub enum Order {
    Save(AskSnapshot),
    /// Write the last one, and end.
    End,
}

/// The thread that writes snapshots.
pub struct Writing {
    pub orders: Sender<Order>,
    ended: Receiver<()>,
}

impl Snapshots {
    /// Locks the folder. Returns `None` if snapshots are switched off, or if the folder cannot be
    /// used: a tracker without snapshots is better than none.
    ///
    /// # Errors
    ///
    /// Another tracker uses the folder.
    pub fn open(
        config: &Arc<Config>,
        store: &Arc<Shared>,
        metrics: &Arc<Metrics>,
        start: Instant,
    ) -> Result<Option<Self>, Error> {
        let Some(wanted) = &config.swarms.snapshot else { return Ok(None) };
        let folder = match &wanted.path {
            Some(path) => StateDir::open(Some(path)),
            None => {
                StateDir::open(config.state_dir.as_deref()).and_then(|state| state.folder("swarms"))
            }
        };
        match folder.map_err(Unavailable::from).and_then(Folder::lock) {
            Ok(folder) => Ok(Some(Self {
                folder,
                every: wanted.every,
                config: config.clone(),
                store: store.clone(),
                metrics: metrics.clone(),
                start,
            })),
            Err(Unavailable::Taken(whose)) => {
                Err(system("swarms.snapshot", io::Error::other(whose)))
            }
            Err(Unavailable::Unusable(error)) => {
                tracing::warn!(%error, "cannot use the snapshot folder; swarms will not survive a restart");
                metrics.snapshots().failed(error.to_string());
                Ok(None)
            }
        }
    }

    /// Restores the newest snapshot, as far as it can be read. Returns when the swarms were as in it,
    /// if all of it was restored.
    pub fn restore(&self, policies: &[Kept]) -> Option<Instant> {
        let begin = Instant::now();
        let file = match self.folder.open() {
            Ok(Some(file)) => file,
            Ok(None) => {
                tracing::info!("no snapshot; starting with empty swarms");
                return None;
            }
            Err(reason) => {
                self.refuse(&reason);
                return None;
            }
        };
        let restorer = Restorer {
            store: &*self.store,
            now: seconds(self.start.elapsed()),
            policies,
            unix_ms: snapshot::unix_ms(),
        };
        let outcome = match restorer.restore(file) {
            Ok(outcome) => outcome,
            Err(reason) => {
                self.refuse(&reason.to_string());
                return None;
            }
        };
        let contents = &outcome.contents;
        let totals = self.store.totals();
        self.metrics.snapshots().restored(contents.header.created, totals);
        if !contents.found.is_whole() {
            self.metrics.snapshots().count(SnapshotOutcome::Damaged);
            tracing::warn!(damage = %contents.found, "snapshot is damaged; restored the rest");
        }
        let limited = outcome.peers.refused;
        if limited > 0 {
            tracing::warn!(peers = limited, "swarms.limits leave no room for all restored peers");
        }
        tracing::info!(
            swarms = totals.swarms,
            peers = outcome.peers.entered,
            expired = outcome.peers.expired,
            policy_records = outcome.records,
            policy_records_left_out = outcome.left_out,
            milliseconds = begin.elapsed().as_millis() as u64,
            "restored snapshot"
        );
        let age = snapshot::unix_ms().checked_sub(contents.header.created)?;
        let is_all = contents.found.is_whole() && limited == 0;
        begin.checked_sub(Duration::from_millis(age)).filter(|_| is_all)
    }

    /// Keeps a file that cannot be used out of the way.
    fn refuse(&self, reason: &str) {
        self.metrics.snapshots().count(SnapshotOutcome::Refused);
        let name = self.folder.set_aside();
        let name = name.unwrap_or_else(|error| format!("not renamed: {error}"));
        tracing::warn!(reason, name, "cannot use the snapshot; starting with empty swarms");
    }

    /// Starts the thread that writes a snapshot every so often.
    pub fn serve(self, current: Arc<ArcSwap<Loaded>>) -> Result<Writing, Error> {
        let (orders, waiting) = channel();
        let (at_work, ended) = channel();
        let work = move || {
            // Workers come first. A worker that waits for a lock leaves its processor to this thread.
            process::lower_priority(process::BEHIND);
            self.work(&waiting, &current);
            drop(at_work);
        };
        let thread = thread::Builder::new().name("snapshot".into()).spawn(work);
        thread.map_err(|error| system("cannot start snapshot thread", error))?;
        Ok(Writing { orders, ended })
    }

    fn work(&self, orders: &Receiver<Order>, current: &ArcSwap<Loaded>) {
        let mut next = Instant::now() + self.every;
        loop {
            match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Order::Save(reply)) => {
                    let _ = reply.send(self.save(current).map(|saved| report(&saved)));
                }
                Err(RecvTimeoutError::Timeout) => drop(self.save(current)),
                Ok(Order::End) => {
                    process::work_alone();
                    if let Ok(saved) = self.save(current) {
                        let SnapshotReport { swarms, peers, milliseconds, .. } = report(&saved);
                        tracing::info!(swarms, peers, milliseconds, "wrote the last snapshot");
                    }
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            next = Instant::now() + self.every;
        }
    }

    /// Writes a snapshot. If that fails, the one before stays.
    fn save(&self, current: &ArcSwap<Loaded>) -> Result<Saved, String> {
        let snapshots = self.metrics.snapshots();
        match self.try_save(&current.load_full().generation.kept()) {
            Ok(saved) => {
                snapshots.written(saved.created, saved.took, saved.bytes);
                tracing::debug!(
                    swarms = saved.swarms,
                    bytes = saved.bytes,
                    milliseconds = saved.took.as_millis() as u64,
                    "wrote snapshot"
                );
                Ok(saved)
            }
            Err(error) => {
                self.folder.give_up();
                let reason = error.to_string();
                // The following ones are only counted.
                if snapshots.failed(reason.clone()) {
                    let path = self.folder.path().display();
                    tracing::error!(reason, %path, "cannot write snapshot; the last one stays");
                }
                Err(reason)
            }
        }
    }

    fn try_save(&self, policies: &[Kept]) -> io::Result<Saved> {
        let file = self.folder.begin()?;
        let lifetime = seconds(self.config.tracker.peer_lifetime);
        let about = (lifetime, self.config.swarms.keep_peer_ids, seconds(self.start.elapsed()));
        let (file, saved) = snapshot::write(file, &*self.store, about, policies)?;
        self.folder.finish(file)?;
        Ok(saved)
    }
}

impl Writing {
    /// Writes the last snapshot. Returns when it is on the disk.
    pub fn end(self) {
        let _ = self.orders.send(Order::End);
        let _ = self.ended.recv();
    }
}

fn report(saved: &Saved) -> SnapshotReport {
    SnapshotReport {
        swarms: saved.swarms,
        peers: saved.peers.iter().sum(),
        bytes: saved.bytes,
        milliseconds: u64::try_from(saved.took.as_millis()).unwrap_or(u64::MAX),
    }
}
