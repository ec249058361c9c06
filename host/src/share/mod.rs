//! Swarms that nodes share: the thread that writes and reads the log, in an engine such as Valkey.
//!
//! What is sent and how it is applied is `karuta_swarm::Part`'s; here is when, and where to. One thread
//! has a runtime of its own; no other thread waits for the engine, except for a start that waits until
//! the log has been read.

mod connection;
mod engine;
mod nodes;
mod progress;
mod redis;
mod runner;
mod settings;
#[cfg(test)]
mod stand_in;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use karuta_swarm::{Part, Shared};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::{timeout, timeout_at};

use self::engine::{Log, Table};
use self::nodes::Nodes;
use self::progress::Gate;
pub use self::progress::Progress;
use self::redis::Redis;
use self::runner::{Common, Runner};
pub use self::settings::Settings;
use crate::metrics::Share;

/// What is shared, and where it is shown.
pub struct Ends {
    pub store: Arc<Shared>,
    pub parts: Vec<Part>,
    /// This node's number.
    pub node: u64,
    pub share: Arc<Share>,
    /// When the clock of the store began.
    pub start: Instant,
    /// Until when the store has everything, if it has restored a snapshot.
    pub restored: Option<Instant>,
}

/// The thread while it runs.
pub struct Sharing {
    /// Tells it to end, and how long it may take.
    end: oneshot::Sender<Duration>,
    progress: watch::Receiver<Progress>,
    share: Arc<Share>,
    /// Disconnects when the thread has ended.
    ended: Receiver<()>,
}

/// How long a start waits after the first failure.
const AGAIN: Duration = Duration::from_secs(1);
/// How much longer than it may take the end of the thread is waited for.
const GRACE: Duration = Duration::from_millis(500);

impl Sharing {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// It cannot be started, or the settings cannot be used.
    pub fn start(settings: Settings, ends: Ends) -> io::Result<Self> {
        let (gate, progress) = Gate::new(ends.parts.len());
        let (end, ending) = oneshot::channel();
        let (at_work, ended) = mpsc::channel();
        let (started, starting) = mpsc::channel();
        let share = ends.share.clone();
        let work = move || {
            // What is built on this thread must stay on it.
            let built = Builder::new_current_thread().enable_all().build_local(<_>::default());
            let built = built.and_then(|runtime| {
                let engine = Redis::new(&settings).map_err(io::Error::other)?;
                Ok((runtime, engine))
            });
            match built {
                Ok((runtime, engine)) => {
                    let _ = started.send(Ok(()));
                    runtime.block_on(work(engine, &settings, ends, gate, ending));
                    // What is still under way is not waited for.
                    runtime.shutdown_background();
                }
                Err(error) => drop(started.send(Err(error))),
            }
            drop::<mpsc::Sender<()>>(at_work);
        };
        thread::Builder::new().name("share".into()).spawn(work)?;
        starting.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has ended")))?;
        Ok(Self { end, progress, share, ended })
    }

    /// Waits until the log has been read, or cannot be, at most for a time. What fails may work a
    /// little later.
    ///
    /// # Errors
    ///
    /// No runtime can be made to wait on.
    pub fn wait(&self, limit: Duration) -> io::Result<Progress> {
        let mut progress = self.progress.clone();
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let waiting = async {
            let is_tried = |progress: &Progress| *progress != Progress::Reading;
            if progress.wait_for(is_tried).await.is_ok_and(|progress| *progress == Progress::CutOff)
            {
                let is_over = |progress: &Progress| *progress != Progress::CutOff;
                let _ = timeout(AGAIN, progress.wait_for(is_over)).await;
            }
        };
        // After that time it is as far as it is.
        let _ = runtime.block_on(async { timeout(limit, waiting).await });
        Ok(self.progress.borrow().clone())
    }

    /// Returns what waits until the log has been read, at most until a time.
    pub fn catch_up(&self, until: Instant) -> impl Future<Output = Progress> + 'static {
        let (mut progress, share) = (self.progress.clone(), self.share.clone());
        async move {
            let is_decided =
                |progress: &Progress| matches!(progress, Progress::CaughtUp | Progress::Refused(_));
            let decided = timeout_at(until.into(), progress.wait_for(is_decided)).await;
            // By then it is as far as it is.
            drop(decided);
            share.started();
            progress.borrow().clone()
        }
    }

    /// Sends what waits, within a time, and leaves the table of nodes. Nobody announces any more.
    pub fn end(self, limit: Duration) {
        if self.end.send(limit).is_ok() && self.ended.recv_timeout(limit + GRACE) == TIMED_OUT {
            tracing::warn!("thread of shared swarms did not end in time");
        }
    }
}

const TIMED_OUT: Result<(), mpsc::RecvTimeoutError> = Err(mpsc::RecvTimeoutError::Timeout);

/// Shares the swarms until it is told to end.
async fn work<E: Log + Table + 'static>(
    engine: E,
    settings: &Settings,
    ends: Ends,
    gate: Gate,
    ending: oneshot::Receiver<Duration>,
) {
    let Ends { store, parts, node, share, start, restored } = ends;
    let (every, lifetime) = (settings.every, settings.lifetime);
    let common = Common { engine, store, share, gate, every, lifetime, start, restored };
    let common = Rc::new(common);
    let nodes = Rc::new(Nodes::new(common.clone(), node));
    let staying = spawn_local({
        let nodes = nodes.clone();
        async move { nodes.stay().await }
    });
    let runners = parts.into_iter().map(|part| Rc::new(Runner::new(common.clone(), part)));
    let runners: Vec<_> = runners.collect();
    let sending = runners.iter().map(|runner| {
        let [reads, sends] = [runner.clone(), runner.clone()];
        spawn_local(async move { reads.read().await });
        spawn_local(async move { sends.send().await })
    });
    let sending: Vec<_> = sending.collect();
    // Dropped without a word if the process ends in another way.
    let Ok(limit) = ending.await else { return };
    runners.iter().for_each(|runner| runner.end());
    staying.abort();
    let sent = async {
        for sender in sending {
            // One that has panicked has nothing to send.
            let _ = sender.await;
        }
        nodes.leave().await;
    };
    if timeout(limit, sent).await.is_err() {
        let waiting = common.share.waiting();
        tracing::warn!(bytes = waiting, "ending without having sent all that was announced");
    }
}
