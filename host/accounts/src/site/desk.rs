//! Asking the thread that writes the books.

use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

use crate::change::Change;
use crate::database::{Database, GONE, NotChanged, reason};
use crate::ledger::Order;

/// The way to the thread that writes the books.
#[derive(Clone)]
pub struct Desk(pub Sender<Order>);

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

    /// Makes changes, all or none. With `takes_over`, what others have of a passkey or an info-hash is
    /// taken from them.
    pub async fn change(&self, changes: Vec<Change>, takes_over: bool) -> Result<(), NotChanged> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Change { changes, takes_over, reply };
        self.0.send(order).map_err(|_| NotChanged::Stopping)?;
        answer.await.map_err(|_| NotChanged::Stopping)?
    }
}
