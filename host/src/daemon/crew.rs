//! The threads that serve, from start to shutdown.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch as watched};

use super::Tracker;
use super::bound::Bound;
use super::error::Error;
use super::worker::{Order, Worker};
use crate::policy::Shutdown;
use crate::service::Pulse;
use crate::tracker::Rules;

/// The time for the whole shutdown, whatever policies and clients do. The documentation promises
/// 10 s: on a busy machine the kernel takes a second or more to remove the threads, because those
/// of control instances have a low priority.
const END: Duration = Duration::from_secs(6);
/// The part of `END` for workers, and for calls of control instances that are under way.
const UNDER_WAY: Duration = Duration::from_secs(4);

/// The workers and the control instances, which end with the daemon.
pub struct Crew {
    /// Sends orders to each worker.
    pub orders: Vec<mpsc::UnboundedSender<Order>>,
    /// The workers' signs of life.
    pub pulses: Vec<Pulse>,
    stop: watched::Sender<bool>,
    /// Disconnects when the last worker has ended.
    done: Receiver<()>,
    shutdown: Arc<Shutdown>,
}

impl Crew {
    /// Starts a worker for each of the `rules`, each with its own sockets. The first one also reads
    /// the sockets of `leaving` empty.
    pub fn start(
        rules: Vec<Rules>,
        sockets: Vec<Bound>,
        mut leaving: Bound,
        tracker: &Tracker,
        shutdown: Arc<Shutdown>,
    ) -> Result<Self, Error> {
        let (stop, stopping) = watched::channel(false);
        let (at_work, done) = channel();
        let (mut senders, mut pulses) = (Vec::new(), Vec::new());
        for (number, (rules, sockets)) in rules.into_iter().zip(sockets).enumerate() {
            let (order, orders) = mpsc::unbounded_channel();
            let pulse = Pulse::default();
            pulses.push(pulse.clone());
            let worker = Worker {
                config: tracker.config.clone(),
                sockets,
                leaving: std::mem::take(&mut leaving),
                pulse,
                store: tracker.store.clone(),
                books: tracker.books.clone(),
                rules,
                recorder: tracker.decisions.recorder(),
                tape: tracker.rings.as_ref().map(|rings| rings.tape()),
                series: tracker.metrics.worker(),
                metrics: tracker.metrics.clone(),
                public: tracker.public.clone(),
                start: tracker.start,
                orders,
                stopping: stopping.clone(),
                at_work: at_work.clone(),
            };
            worker.start(number)?;
            senders.push(order);
        }
        Ok(Self { orders: senders, pulses, stop, done, shutdown })
    }

    /// Stops all threads, and waits for them together. Threads that take longer are abandoned.
    pub fn end(self) {
        let now = Instant::now();
        let under_way = now + UNDER_WAY;
        self.shutdown.begin(under_way, now + END);
        let _ = self.stop.send(true);
        let left = || under_way.saturating_duration_since(Instant::now());
        let mut workers = self.orders.len();
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
        // The workers have queued their last outcomes by now.
        for policy in self.shutdown.finish() {
            let policy = &*policy;
            tracing::warn!(
                policy,
                "control instance did not end in time; its queued outcomes are lost"
            );
        }
    }
}
