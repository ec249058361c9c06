//! The threads that serve, from their start to their end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch as watched};

use super::Tracker;
use super::error::Error;
use super::listeners::Listeners;
use super::worker::{Adopt, Worker};
use crate::policy::Shutdown;
use crate::tracker::Rules;

/// How long everything together may take when the daemon stops, whatever policies and clients do; the
/// documentation promises 10 s.
const END: Duration = Duration::from_secs(8);
/// How much of it workers have, and calls of control instances that are under way.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// The workers and the control instances, which end when the daemon does.
pub struct Crew {
    /// Where each worker is told to adopt new rules.
    pub adopt: Vec<mpsc::UnboundedSender<Adopt>>,
    stop: watched::Sender<bool>,
    /// Disconnected when the last worker is gone.
    done: Receiver<()>,
    shutdown: Arc<Shutdown>,
}

impl Crew {
    /// Starts a worker for each of the `rules`, with sockets of its own.
    pub fn start(
        rules: Vec<Rules>,
        listeners: &Listeners,
        tracker: &Tracker,
        shutdown: Arc<Shutdown>,
    ) -> Result<Self, Error> {
        let (stop, stopping) = watched::channel(false);
        let (at_work, done) = channel();
        let mut adopt = Vec::new();
        for (number, rules) in rules.into_iter().enumerate() {
            let (order, orders) = mpsc::unbounded_channel();
            let worker = Worker {
                config: tracker.config.clone(),
                sockets: listeners.bind()?,
                store: tracker.store.clone(),
                rules,
                series: tracker.metrics.worker(),
                start: tracker.start,
                orders,
                stopping: stopping.clone(),
                at_work: at_work.clone(),
            };
            worker.start(number)?;
            adopt.push(order);
        }
        Ok(Self { adopt, stop, done, shutdown })
    }

    /// Tells all of them to end, and waits for them together. Threads that take longer are abandoned.
    pub fn end(self) {
        let now = Instant::now();
        let under_way = now + UNDER_WAY;
        self.shutdown.begin(under_way, now + END);
        let _ = self.stop.send(true);
        let left = || under_way.saturating_duration_since(Instant::now());
        let mut workers = self.adopt.len();
        loop {
            match self.done.recv_timeout(left()) {
                Ok(()) => workers -= 1,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!(
                        workers,
                        "workers did not end in time; their requests are cut off"
                    );
                    break;
                }
            }
        }
        // By now the workers have queued their last outcomes.
        for policy in self.shutdown.finish() {
            let policy = &*policy;
            tracing::warn!(
                policy,
                "control instance did not end in time; its queued outcomes are lost"
            );
        }
    }
}
