//! The queue between the workers and the ledger. It is bounded, and nobody waits for room in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::database::Entry;

/// How many announces may wait. At 150 bytes each, 5 MB.
const ROOM: usize = 32_768;
/// How many of them may be ordinary ones. The rest is kept for those that wait for their transaction.
const ORDINARY: usize = ROOM / 4 * 3;

/// Whoever waits for its receipt is told by dropping this.
pub type Waiting = oneshot::Sender<()>;

/// The receipt of an announce: it is ready as soon as the announce is written, or cannot be.
pub type Receipt = oneshot::Receiver<()>;

/// How long an answer waits for its announce to be written. If the disk stands still, the announce
/// stays queued.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until an announce is written, or cannot be, but not for ever. It is answered all the same.
pub async fn settle(receipt: Receipt) {
    settle_within(receipt, PATIENCE).await;
}

async fn settle_within(receipt: Receipt, patience: Duration) {
    // Either error means that it is not written yet.
    let _ = tokio::time::timeout(patience, receipt).await;
}

/// The end of the workers.
pub struct Outlet {
    queue: SyncSender<(Entry, Option<Waiting>)>,
    waiting: Arc<AtomicUsize>,
}

/// The end of the ledger.
pub struct Inbox {
    queue: Receiver<(Entry, Option<Waiting>)>,
    waiting: Arc<AtomicUsize>,
}

/// There is no room in the queue. The next difference has what the announce would have added.
pub struct Full;

pub fn queue() -> (Outlet, Inbox) {
    let (sender, receiver) = sync_channel(ROOM);
    let waiting = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet { queue: sender, waiting: waiting.clone() };
    (outlet, Inbox { queue: receiver, waiting })
}

impl Outlet {
    /// Queues an ordinary announce.
    pub fn put(&self, entry: Entry) -> Result<(), Full> {
        if self.len() >= ORDINARY {
            return Err(Full);
        }
        self.push((entry, None))
    }

    /// Queues an announce that may be the last of its client, and that nobody waits for.
    pub fn put_last(&self, entry: Entry) -> Result<(), Full> {
        self.push((entry, None))
    }

    /// Queues an announce that is only answered after its transaction.
    pub fn put_and_wait(&self, entry: Entry) -> Result<Receipt, Full> {
        let (waiting, receipt) = oneshot::channel();
        self.push((entry, Some(waiting)))?;
        Ok(receipt)
    }

    fn push(&self, item: (Entry, Option<Waiting>)) -> Result<(), Full> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(item).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            Full
        })
    }

    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Inbox {
    /// Fills a batch up to `most` announces with those that wait.
    pub fn fill(&self, batch: &mut Vec<Entry>, waiting: &mut Vec<Waiting>, most: usize) {
        let before = batch.len();
        let room = most.saturating_sub(before);
        for (entry, waits) in self.queue.try_iter().take(room) {
            batch.push(entry);
            waiting.extend(waits);
        }
        self.waiting.fetch_sub(batch.len() - before, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_does_not_wait_for_ever() {
        let (_waiting, receipt) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(settle_within(receipt, Duration::ZERO));
    }
}
