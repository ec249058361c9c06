//! The inbox of a control instance: outcomes in a bounded queue, and commands that bypass it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver as Queue, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use crate::policy::shared::outcome::Outcome;

/// The most outcomes that may wait for their observer, and the most bytes of them.
const OUTCOMES: usize = 16 * 1024;
const BYTES: usize = 16 * 1024 * 1024;

/// `None` only wakes the receiver.
type Message = Option<Box<Outcome>>;

/// The sending end for outcomes and commands. Never waits.
#[derive(Clone)]
pub struct Sender {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// The receiving end.
pub struct Receiver {
    queue: Queue<Message>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    bytes: AtomicUsize,
    commands: Mutex<Commands>,
}

/// Commands for a control thread.
#[derive(Clone, Copy, Default)]
pub struct Commands {
    /// Set the tick interval.
    pub every: Option<Duration>,
    /// Call the observer once more, and end.
    pub end: bool,
}

/// Creates an inbox, and returns its two ends.
pub fn inbox() -> (Sender, Receiver) {
    let (sender, queue) = sync_channel(OUTCOMES);
    let shared = Arc::<Shared>::default();
    (Sender { queue: sender, shared: shared.clone() }, Receiver { queue, shared })
}

impl Sender {
    /// Queues an outcome. Returns `false` if there is no room.
    pub fn tell(&self, outcome: Outcome) -> bool {
        let size = outcome.size();
        // Other threads may push at the same time; the bound need not be exact.
        if self.shared.bytes.load(Relaxed) + size > BYTES {
            return false;
        }
        self.shared.bytes.fetch_add(size, Relaxed);
        let taken = self.queue.try_send(Some(outcome.into())).is_ok();
        if !taken {
            self.shared.bytes.fetch_sub(size, Relaxed);
        }
        taken
    }

    /// Gives a command. The receiver sees it before its next call.
    pub fn command(&self, command: impl FnOnce(&mut Commands)) {
        command(&mut self.shared.commands.lock());
        self.wake();
    }

    /// Wakes the receiver.
    pub fn wake(&self) {
        // If the queue is full, the receiver is not waiting.
        let _ = self.queue.try_send(None);
    }

    /// Returns whether both are senders of the same inbox.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Receiver {
    /// Waits for an outcome until woken, or until the time is over.
    pub fn wait(&self, time: Duration) -> Option<Box<Outcome>> {
        self.queue.recv_timeout(time).ok().and_then(|message| self.take(message))
    }

    /// Returns the next queued outcome.
    pub fn next(&self) -> Option<Box<Outcome>> {
        self.queue.try_iter().find_map(|message| self.take(message))
    }

    /// Takes the commands given since the last time. The command to end stays set.
    pub fn commands(&self) -> Commands {
        let mut commands = self.shared.commands.lock();
        Commands { every: commands.every.take(), end: commands.end }
    }

    fn take(&self, message: Message) -> Message {
        if let Some(outcome) = &message {
            self.shared.bytes.fetch_sub(outcome.size(), Relaxed);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Exchange;
    use crate::policy::contract::Verdict;

    fn outcome(bytes: usize) -> Outcome {
        let mut outcome = Outcome::new(&Exchange::default(), &[], Verdict::Next);
        outcome.attributes.push((String::new(), "x".repeat(bytes)));
        outcome
    }

    fn fill(sender: &Sender, bytes: usize) -> usize {
        (0..).take_while(|_| sender.tell(outcome(bytes))).count()
    }

    #[test]
    fn an_inbox_is_full_by_number_and_by_bytes() {
        let (sender, receiver) = inbox();
        assert_eq!(fill(&sender, 0), OUTCOMES);
        assert!(receiver.next().is_some());
        assert_eq!(fill(&sender, 0), 1);
        while receiver.next().is_some() {}
        let few = fill(&sender, 1024 * 1024);
        assert!((14..16).contains(&few), "{few}");
        while receiver.next().is_some() {}
        assert_eq!(fill(&sender, 1024 * 1024), few, "what was taken out does not count");
    }

    #[test]
    fn commands_do_not_wait_behind_outcomes() {
        let (sender, receiver) = inbox();
        fill(&sender, 0);
        sender.command(|commands| commands.every = Some(Duration::from_secs(1)));
        sender.command(|commands| commands.end = true);
        let commands = receiver.commands();
        assert_eq!((commands.every, commands.end), (Some(Duration::from_secs(1)), true));
        let commands = receiver.commands();
        assert_eq!((commands.every, commands.end), (None, true));
    }

    #[test]
    fn a_waiting_receiver_is_woken() {
        let (sender, receiver) = inbox();
        let waiting =
            std::thread::spawn(move || receiver.wait(Duration::from_secs(3600)).is_none());
        sender.wake();
        assert!(waiting.join().unwrap());
    }
}
