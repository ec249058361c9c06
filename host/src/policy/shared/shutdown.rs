//! The end of the process for control instances: one set of times for all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::policy::shared::inbox::Sender;

/// The times of the shutdown, and the control threads to notify.
#[derive(Default)]
pub struct Shutdown {
    times: OnceLock<Times>,
    /// No more outcomes will arrive.
    last: AtomicBool,
    at_work: Mutex<Vec<(Arc<str>, Sender)>>,
    left: Condvar,
}

#[derive(Clone, Copy)]
struct Times {
    under_way: Instant,
    end: Instant,
}

/// A running control thread. Dropping this marks its end.
pub struct Presence {
    shutdown: Arc<Shutdown>,
    inbox: Sender,
}

impl Shutdown {
    /// Announces the end: no new tick starts. Calls under way are interrupted at `under_way`, later
    /// calls at `end`.
    pub fn begin(&self, under_way: Instant, end: Instant) {
        let _ = self.times.set(Times { under_way, end });
    }

    /// Lets observers receive what is queued, ends their threads, and waits for them until `end`.
    /// Returns the policies whose threads are still running.
    pub fn finish(&self) -> Vec<Arc<str>> {
        self.last.store(true, Ordering::Release);
        let mut at_work = self.at_work.lock();
        for (_, inbox) in &*at_work {
            inbox.wake();
        }
        let end = self.times.get().map_or_else(Instant::now, |times| times.end);
        self.left.wait_while_until(&mut at_work, |at_work| !at_work.is_empty(), end);
        at_work.iter().map(|(policy, _)| policy.clone()).collect()
    }

    pub fn enter(self: &Arc<Self>, policy: Arc<str>, inbox: Sender) -> Presence {
        self.at_work.lock().push((policy, inbox.clone()));
        Presence { shutdown: self.clone(), inbox }
    }

    pub fn has_begun(&self) -> bool {
        self.times.get().is_some()
    }

    /// Returns whether observers receive only what is already queued.
    pub fn is_last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    /// Returns when a call is interrupted. `late`: it began after the end was announced.
    pub fn interrupts(&self, late: bool) -> Option<Instant> {
        self.times.get().map(|times| if late { times.end } else { times.under_way })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.shutdown.at_work.lock().retain(|(_, inbox)| !inbox.is_same(&self.inbox));
        self.shutdown.left.notify_all();
    }
}
