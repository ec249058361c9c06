//! Asking the thread that writes the books.

use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

use crate::change::Change;
use crate::database::{Database, GONE, NotChanged, reason};
use crate::ledger::Order;

/// The way to the thread that writes the books.
#[derive(Clone)]
pub struct Desk(pub Sender<Order>);

/// What becomes of changes.
pub struct Answer(oneshot::Receiver<Result<(), NotChanged>>);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    #[error("accounts.db: {0}")]
    Unwritten(String),
    #[error("stopping")]
    Stopping,
}

impl Desk {
    /// Does a transaction, and returns what comes of it.
    pub async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Database) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Undone> {
        let (reply, answer) = oneshot::channel();
        let job = move |database: &mut Database| {
            let done = match database.is_in_place() {
                true => job(database).map_err(|error| reason(&error)),
                false => Err(GONE.to_owned()),
            };
            // Who asked may have gone.
            let _ = reply.send(done);
        };
        self.0.send(Order::Do(Box::new(job))).map_err(|_| Undone::Stopping)?;
        answer.await.map_err(|_| Undone::Stopping)?.map_err(Undone::Unwritten)
    }

    /// Hands in changes, of which all are made or none, after those that were handed in before. With
    /// `takes_over`, what others have of a passkey or an info-hash is taken from them.
    pub fn hand_in(&self, changes: Vec<Change>, takes_over: bool) -> Answer {
        let (reply, answer) = oneshot::channel();
        // If the thread has ended, the answer never comes.
        let _ = self.0.send(Order::Change { changes, takes_over, reply });
        Answer(answer)
    }
}

impl Answer {
    /// Waits until the changes are made.
    pub async fn made(self) -> Result<(), NotChanged> {
        self.0.await.map_err(|_| NotChanged::Stopping)?
    }
}
