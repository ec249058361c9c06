//! Whether the logs may be used, and how far a start has come.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use tokio::sync::watch;

/// How far a start has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The logs are being read.
    Reading,
    /// A request has failed, and no log has been read to its end since.
    CutOff,
    /// All logs have been read to their ends.
    CaughtUp,
    /// The logs are written in another way.
    Refused(String),
}

/// What keeps the parts from their logs until it is known how these are written.
pub struct Gate {
    is_open: Cell<bool>,
    behind: RefCell<HashSet<usize>>,
    progress: watch::Sender<Progress>,
}

impl Gate {
    /// Makes a closed gate for so many parts, and what follows the progress.
    pub fn new(parts: usize) -> (Self, watch::Receiver<Progress>) {
        let (progress, followed) = watch::channel(Progress::Reading);
        let (is_open, behind) = (Cell::new(false), RefCell::new((0..parts).collect()));
        (Self { is_open, behind, progress }, followed)
    }

    pub fn is_open(&self) -> bool {
        self.is_open.get()
    }

    pub fn open(&self) {
        self.is_open.set(true);
    }

    pub fn refuse(&self, reason: String) {
        self.is_open.set(false);
        self.progress.send_replace(Progress::Refused(reason));
    }

    /// Notes that a part has been read to its end.
    pub fn caught_up(&self, part: usize) {
        let mut behind = self.behind.borrow_mut();
        if behind.remove(&part) && behind.is_empty() {
            self.progress.send_replace(Progress::CaughtUp);
        }
    }

    /// Notes that something has failed.
    pub fn cut_off(&self) {
        self.progress.send_if_modified(|progress| {
            let is_reading = *progress == Progress::Reading;
            if is_reading {
                *progress = Progress::CutOff;
            }
            is_reading
        });
    }
}
