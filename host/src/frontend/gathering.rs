//! The announces of a worker's HTTP connections, decided together.
//!
//! When several connections have something to read, each of them leaves its announce here. The
//! task that decides them runs after all of these, because the runtime wakes tasks in order, and
//! then wakes each connection to write its answer. A lone announce is decided at once, and waits
//! for nobody.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use karuta_swarm::Store;

use crate::recording::Came;
use crate::tracker::{Passage, Tracker};

/// The most announces that are decided together. The policies of a larger batch would displace each
/// other's memory.
const MOST: usize = 32;

/// The announces that wait to be decided.
pub struct Gathering<S> {
    tracker: Rc<Tracker<S>>,
    waiting: RefCell<Waiting>,
    /// Wakes the task that decides.
    judge: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Waiting {
    passages: Vec<Passage>,
    /// Where each of the passages comes back.
    seats: Vec<Rc<Seat>>,
}

/// The place where a connection waits for its announce.
#[derive(Default)]
pub struct Seat {
    decided: Cell<Option<Passage>>,
    connection: Cell<Option<Waker>>,
}

impl<S: Store> Gathering<S> {
    pub fn new(tracker: Rc<Tracker<S>>) -> Self {
        Self { tracker, waiting: RefCell::default(), judge: Cell::default() }
    }

    /// Leaves an announce to be decided, even if its connection ends before that.
    pub fn join(&self, passage: Passage, seat: &Rc<Seat>) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.passages.push(passage);
        waiting.seats.push(seat.clone());
        if let Some(judge) = self.judge.take() {
            judge.wake();
        }
    }

    /// Decides announces as they come, for ever.
    pub async fn serve(self: Rc<Self>) {
        let mut batch = Waiting::default();
        poll_fn::<(), _>(|context| {
            std::mem::swap(&mut batch, &mut self.waiting.borrow_mut());
            for passages in batch.passages.chunks_mut(MOST) {
                self.tracker.announce(passages, |_| Came::Http, Instant::now());
            }
            for (passage, seat) in batch.passages.drain(..).zip(batch.seats.drain(..)) {
                seat.decided.set(Some(passage));
                if let Some(connection) = seat.connection.take() {
                    connection.wake();
                }
            }
            self.judge.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Seat {
    /// Waits until the announce is decided.
    pub async fn decided(&self) -> Passage {
        poll_fn(|context| match self.decided.take() {
            Some(passage) => Poll::Ready(passage),
            None => {
                self.connection.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}
