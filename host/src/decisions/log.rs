//! The log of decisions: which are wanted, how many, and where their lines go.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::decision::{Entry, Mask};
use super::line;
use super::upload::Upload;
use crate::config::{Config, DecisionKind, DecisionLog, DecisionMask, DecisionsTo};
use crate::log::{self, LogFile, Queue, Reader, Stream};
use crate::metrics::{Lost, Metrics, Outcome};
use crate::state_dir::StateDir;

/// The name of its thread, and of its lines in messages.
const NAME: &str = "decision log";

/// Which decisions the log wants.
#[derive(Debug)]
pub struct Rules {
    only: Vec<DecisionKind>,
    /// One in so many of the others that nobody refuses.
    sample: Option<NonZeroU32>,
}

/// Whether a decision is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    No,
    Yes,
    OneIn(NonZeroU32),
}

/// The log, as the thread writes it that reads decisions.
pub struct Log {
    mask: Mask,
    limit: Limit,
    queue: &'static Queue,
    /// The queue is that of the log itself, which counts what it loses.
    is_shared: bool,
    /// What the queue has lost, as far as it is counted.
    counted: [u64; 2],
    line: Vec<u8>,
}

/// So many in each second. Half of them are for those who were refused: a policy in shadow mode that
/// would decide otherwise each time must not hide them.
struct Limit {
    most: u32,
    left: u32,
    since: Instant,
}

impl Rules {
    pub fn new(config: &DecisionLog) -> Self {
        Self { only: config.only.clone(), sample: config.sample.ok }
    }

    pub fn wish(&self, outcome: Outcome, is_shadowed: bool, failed: bool) -> Wish {
        let is_kind = |kind: &DecisionKind| match kind {
            DecisionKind::Rejected => outcome == Outcome::Rejected,
            DecisionKind::Dropped => outcome == Outcome::Dropped,
            DecisionKind::Error => failed,
            DecisionKind::Shadow => is_shadowed,
        };
        match self.sample {
            _ if self.only.iter().any(is_kind) => Wish::Yes,
            Some(many) if outcome == Outcome::Ok => Wish::OneIn(many),
            _ => Wish::No,
        }
    }
}

impl Log {
    /// Opens the log. Its lines stand between those of the daemon's own log if both go to standard
    /// error.
    ///
    /// # Errors
    ///
    /// The file or the spool cannot be opened, or there can be no thread.
    pub fn open(log: &DecisionLog, config: &Config, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let is_shared = log.to == DecisionsTo::Stderr && config.log.file.is_none();
        let queue = match (log.to, log.file(), &log.url) {
            (DecisionsTo::File, Some(file), _) => {
                let opened = LogFile::open(&file, Reader::find());
                let opened = opened.map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", file.path.display()))
                })?;
                log::write_beside(NAME, opened)?
            }
            (DecisionsTo::Url, _, Some(url)) => {
                let state = StateDir::open(config.state_dir.as_deref())?;
                let metrics = metrics.clone();
                let upload = Upload::start(url, &log.headers, log.insecure, &state, metrics)?;
                log::write_beside(NAME, upload)?
            }
            _ if is_shared => log::own_queue(),
            _ => log::write_beside(NAME, Stream(log::stderr()?))?,
        };
        let DecisionMask { client, credential } = log.mask;
        let limit = Limit { most: log.limit.get(), left: 0, since: Instant::now() };
        Ok(Self {
            mask: Mask { client, credential },
            limit: Limit { left: limit.most, ..limit },
            queue,
            is_shared,
            counted: [0; 2],
            line: Vec::new(),
        })
    }

    /// Queues the line of a decision, masked.
    pub fn write(&mut self, entry: &Entry, metrics: &Metrics) {
        let is_refused = entry.decision.outcome != Outcome::Ok;
        if !self.limit.admits(is_refused, Instant::now()) {
            metrics.decisions_lost(Lost::Limit, 1);
            return;
        }
        self.line.clear();
        line::write(&mut self.line, &entry.shown(self.mask));
        self.queue.push("", &self.line);
    }

    /// Counts what the queue has lost since the last time.
    pub fn count_lost(&mut self, metrics: &Metrics) {
        if self.is_shared {
            return;
        }
        let lost = [self.queue.dropped(), self.queue.unwritten()];
        for ((reason, lost), counted) in
            [Lost::Queue, Lost::Write].into_iter().zip(lost).zip(&mut self.counted)
        {
            metrics.decisions_lost(reason, lost - *counted);
            *counted = lost;
        }
    }
}

impl Limit {
    fn admits(&mut self, is_refused: bool, now: Instant) -> bool {
        if now.saturating_duration_since(self.since).as_secs() > 0 {
            (self.left, self.since) = (self.most, now);
        }
        let reserved = if is_refused { 0 } else { self.most / 2 };
        let admits = self.left > reserved;
        self.left -= u32::from(admits);
        admits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn decisions_are_wanted_by_their_kinds_and_others_are_sampled() {
        let rules = |only: &[DecisionKind], sample| Rules {
            only: only.to_vec(),
            sample: NonZeroU32::new(sample),
        };
        let some = rules(&[DecisionKind::Rejected, DecisionKind::Error], 0);
        assert_eq!(some.wish(Outcome::Rejected, false, false), Wish::Yes);
        assert_eq!(some.wish(Outcome::Dropped, true, false), Wish::No);
        assert_eq!(some.wish(Outcome::Ok, false, true), Wish::Yes);
        assert_eq!(some.wish(Outcome::Ok, true, false), Wish::No);
        let sampled = rules(&[DecisionKind::Shadow], 9);
        assert_eq!(sampled.wish(Outcome::Ok, true, false), Wish::Yes);
        let nine = NonZeroU32::new(9).unwrap();
        assert_eq!(sampled.wish(Outcome::Ok, false, false), Wish::OneIn(nine));
        assert_eq!(sampled.wish(Outcome::Rejected, false, false), Wish::No);
    }

    #[test]
    fn so_many_lines_are_admitted_in_a_second() {
        let start = Instant::now();
        let mut limit = Limit { most: 3, left: 3, since: start };
        let mut admitted = |after, is_refused| {
            let now = start + Duration::from_millis(after);
            (0..10).filter(|_| limit.admits(is_refused, now)).count()
        };
        for (after, expected) in [(0, 3), (999, 0), (1000, 3), (1500, 0)] {
            assert_eq!(admitted(after, true), expected);
        }
        assert_eq!([admitted(2500, false), admitted(2500, true)], [2, 1], "some are reserved");
        assert_eq!([admitted(3500, true), admitted(3500, false)], [3, 0]);
    }
}
