//! The thread that makes the edits of a list: what has been asked for meanwhile goes to the disk
//! together.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::book::Book;
use super::journal::{Journal, Record};
use super::plan::{Change, Outcome, Plan, Refused};
use super::{Done, Edits, Heir, unix_ms};

/// What the thread is told to do.
pub enum Order {
    Change(Change, Done),
    Withdraw(Arc<str>, Done),
    /// All edits end, sooner or later.
    End,
    /// The list is in use from now on.
    Keep,
    Rebase(Sender<()>),
}

/// The thread's state.
pub struct Keeper {
    edits: Weak<Edits>,
    journal: Journal,
    /// When it last wrote.
    wrote: Option<Instant>,
    /// Whether a list went by another version of the list as well, when it was last read, or it
    /// could not be written which edits ended by that.
    unsettled: bool,
    /// Whether all edits should have ended, and that could not be written.
    ends: bool,
}

/// The least time between two writes. A change that comes alone is written at once.
const GROUP: Duration = Duration::from_millis(10);
/// The longest sleep, so that a step of the clock is seen.
const SLEEP: Duration = Duration::from_secs(60);
/// How soon it is looked again whether there is one version of the list.
const SETTLE: Duration = Duration::from_secs(1);

impl Keeper {
    pub fn new(edits: Weak<Edits>, journal: Journal) -> Self {
        Self { edits, journal, wrote: None, unsettled: false, ends: false }
    }

    /// Works until the edits are not used any more.
    pub fn work(mut self, orders: &Receiver<Order>) {
        loop {
            let mut batch = Vec::new();
            match orders.recv_timeout(self.sleep()) {
                Ok(order) => batch.push(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(wrote) = self.wrote.filter(|_| !batch.is_empty()) {
                let end = wrote + GROUP;
                let left = || end.saturating_duration_since(Instant::now());
                while let Ok(order) = orders.recv_timeout(left()) {
                    batch.push(order);
                    if left().is_zero() {
                        break;
                    }
                }
            }
            batch.extend(orders.try_iter());
            let Some(edits) = self.edits.upgrade() else { return };
            self.carry_out(&edits, batch);
        }
    }

    /// Returns how long there is nothing to do by itself.
    fn sleep(&self) -> Duration {
        let Some(edits) = self.edits.upgrade() else { return Duration::ZERO };
        let end = edits.book.read().next_end();
        let end = end.map(|end| Duration::from_millis(end.saturating_sub(unix_ms())));
        let longest = if self.unsettled || self.ends { SETTLE } else { SLEEP };
        end.unwrap_or(longest).min(longest)
    }

    fn carry_out(&mut self, edits: &Edits, batch: Vec<Order>) {
        if batch.iter().any(|order| matches!(order, Order::Keep)) {
            self.keep(edits);
        }
        let heir = edits.heir.lock();
        let hindrance = match &*heir {
            _ if !edits.kept.load(Ordering::Acquire) => Some("the list is not in use yet"),
            Heir::None => None,
            Heir::Prepared(heir) if heir.strong_count() == 0 => None,
            Heir::Prepared(_) | Heir::Kept => Some("the list is getting another format"),
        };
        let refused = || hindrance.map(|reason| Refused::Unwritten(reason.to_owned()));
        let bases: Vec<_> = edits.bases.lock().iter().filter_map(Weak::upgrade).collect();
        let now = unix_ms();
        let book = edits.book.read();
        let mut plan = Plan::new(&book, &bases, edits.version(), now);
        let mut done: Vec<(Done, Result<Outcome, Refused>)> = Vec::new();
        let mut rebased = Vec::new();
        if self.unsettled {
            plan.settle();
        }
        let end = || Arc::from("reload");
        if self.ends {
            plan.withdraw(end());
        }
        for order in batch {
            match order {
                Order::Change(change, reply) => {
                    done.push((reply, refused().map_or_else(|| plan.change(change), Err)));
                }
                Order::Withdraw(who, reply) => {
                    done.push((reply, refused().map_or_else(|| Ok(plan.withdraw(who)), Err)));
                }
                Order::End => {
                    self.ends = true;
                    plan.withdraw(end());
                }
                Order::Keep => {}
                Order::Rebase(reply) => {
                    plan.rebase();
                    rebased.push(reply);
                }
            }
        }
        let settles = self.unsettled || !rebased.is_empty();
        let before = edits.version();
        let written = match hindrance {
            Some(_) => Ok(()),
            None => self.write(edits, &plan.records, &book),
        };
        self.unsettled = settles && (written.is_err() || bases.len() > 1);
        self.ends &= written.is_err();
        if let Err(reason) = written {
            // What happens by itself happens all the same.
            plan = Plan::new(&book, &bases, before, now);
            plan.version += rebased.len() as u64;
            for (_, result) in &mut done {
                if result.as_ref().is_ok_and(|did| did.version > before) {
                    *result = Err(Refused::Unwritten(reason.clone()));
                }
            }
        }
        let Plan { staged, version, .. } = plan;
        drop(book);
        if !staged.is_empty() {
            let mut overlay = edits.overlay().as_ref().clone();
            let mut book = edits.book.write();
            for (key, edit) in staged {
                match &edit {
                    Some(edit) => overlay.set(&key, edit.says),
                    None => overlay.clear(&key),
                }
                book.set(&key, edit, now);
            }
            drop(book);
            edits.overlay.store(Arc::new(overlay));
        }
        // After the content: who sees the version never finds older content.
        edits.version.store(version, Ordering::Release);
        done.into_iter().for_each(|(reply, result)| reply(result));
        for reply in rebased {
            let _ = reply.send(());
        }
    }

    fn keep(&mut self, edits: &Edits) {
        if edits.kept.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(before) = edits.before.upgrade() {
            *before.heir.lock() = Heir::Kept;
            edits.version.fetch_max(before.version() + 1, Ordering::AcqRel);
        }
        if let Err(error) = self.journal.rewrite(&edits.book.read(), edits.version()) {
            let Edits { policy, data, .. } = edits;
            tracing::error!(%policy, %data, %error, "cannot write journal of edits");
        }
    }

    fn write(&mut self, edits: &Edits, records: &[Record], book: &Book) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        let written = self.journal.append(records, book, edits.version());
        self.wrote = Some(Instant::now());
        let mut last = edits.error.lock();
        match written {
            Ok(()) => {
                *last = None;
                Ok(())
            }
            Err(error) => {
                edits.errors.fetch_add(1, Ordering::Relaxed);
                let reason = reason(&error);
                if last.replace(reason.clone()).is_none() {
                    let Edits { policy, data, .. } = edits;
                    tracing::error!(%policy, %data, reason, "cannot write journal of edits; refusing changes");
                }
                Err(reason)
            }
        }
    }
}

fn reason(error: &io::Error) -> String {
    format!("the journal cannot be written: {error}")
}
