//! Batches that may have to be sent again.

use std::collections::{HashSet, VecDeque};

use super::batch::{Header, records};
use crate::announced::{Announced, Change};
use crate::{Memory, Seconds};

/// The batches of one part that have not come back, or not long ago, in the order in which they are
/// sent.
#[derive(Debug, Default)]
pub struct Kept {
    batches: VecDeque<Batch>,
}

#[derive(Debug)]
pub struct Batch {
    pub sequence: u64,
    pub records: Vec<u8>,
    pub count: u64,
    /// When its last record was added.
    pub last: Seconds,
    is_again: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Is to be sent, for the first time or again.
    Waits,
    UnderWay,
    /// The log has taken it.
    Appended(Seconds),
    /// It has come back from the log.
    Back(Seconds),
}

/// How long the log has to show a batch that it has taken, in seconds.
const OVERDUE: Seconds = 2;
/// How long a batch is kept after it has come back, in seconds: an engine may lose what it has
/// acknowledged.
pub const KEEP: Seconds = 5;

impl Kept {
    /// Adds a batch that is to be sent.
    pub fn push(&mut self, sequence: u64, records: Vec<u8>, count: u64, last: Seconds) {
        let state = State::Waits;
        self.batches.push_back(Batch { sequence, records, count, last, is_again: false, state });
    }

    pub fn is_under_way(&self) -> bool {
        self.batches.iter().any(|batch| batch.state == State::UnderWay)
    }

    /// Returns whether a batch is to be sent.
    pub fn has_more(&self) -> bool {
        self.batches.iter().any(|batch| batch.state == State::Waits)
    }

    /// Returns the first batch that is to be sent, which is under way from now on, and whether it
    /// is sent again.
    pub fn send(&mut self, node: u64, now: Seconds) -> Option<(&Batch, Header)> {
        let batch = self.batches.iter_mut().find(|batch| batch.state == State::Waits)?;
        batch.state = State::UnderWay;
        let Batch { sequence, is_again: again, .. } = *batch;
        let waited = now.saturating_sub(batch.last);
        Some((batch, Header { node, sequence, again, waited }))
    }

    /// Notes that the log has taken the batch that was under way.
    pub fn appended(&mut self, now: Seconds) {
        let under_way = self.batches.iter_mut().filter(|batch| batch.state == State::UnderWay);
        under_way.for_each(|batch| batch.state = State::Appended(now));
    }

    /// Notes that nobody knows what has become of the batch that was under way.
    pub fn failed(&mut self) {
        let under_way = self.batches.iter_mut().filter(|batch| batch.state == State::UnderWay);
        under_way.for_each(|batch| batch.state = State::Waits);
    }

    /// Notes that a batch has come back; returns whether that was expected.
    pub fn came_back(&mut self, sequence: u64, now: Seconds) -> bool {
        let at = self.batches.binary_search_by_key(&sequence, |batch| batch.sequence);
        let Some(batch) = at.ok().and_then(|at| self.batches.get_mut(at)) else { return false };
        let is_expected = !matches!(batch.state, State::Back(_));
        batch.state = State::Back(now);
        is_expected
    }

    /// Returns whether the log has taken a batch and does not show it, although it was read to its
    /// end at `end`.
    pub fn is_overdue(&self, end: Seconds) -> bool {
        let is_overdue = |batch: &Batch| match batch.state {
            State::Appended(at) => end.saturating_sub(at) > OVERDUE,
            _ => false,
        };
        self.batches.iter().any(is_overdue)
    }

    /// Forgets what came back some time ago.
    pub fn forget(&mut self, now: Seconds) {
        self.batches.retain(|batch| match batch.state {
            State::Back(at) => now.saturating_sub(at) <= KEEP,
            _ => true,
        });
    }

    /// Prepares all batches for being sent again, while none is under way. That must not revive a
    /// peer that has stopped or changed since, nor lose a download. So of each peer only the last
    /// record is sent again, and if it has come back, only if it is still so; all others as counts, or
    /// not at all. All is decided before the first batch is sent: what comes back of it would make
    /// newer records look outdated.
    pub fn again(&mut self, memory: &Memory) {
        let mut decided = VecDeque::with_capacity(self.batches.len());
        // Swarms and peers of the records so far, from the last one to the first.
        let mut named = HashSet::new();
        for batch in self.batches.iter().rev() {
            let is_back = matches!(batch.state, State::Back(_));
            let mut stays: Vec<_> = records(&batch.records).collect();
            stays.reverse();
            stays.retain_mut(|(announced, bytes)| {
                if announced.change == Change::Nothing {
                    return true;
                }
                let is_last = named.insert(Announced::name(bytes));
                if is_last && (!is_back || memory.is_so(announced)) {
                    return true;
                }
                *announced = announced.count_alone();
                announced.counted
            });
            if stays.is_empty() {
                continue;
            }
            let mut records = Vec::with_capacity(batch.records.len());
            stays.iter().rev().for_each(|(announced, _)| announced.write(&mut records));
            let (sequence, last, count) = (batch.sequence, batch.last, stays.len() as u64);
            let (is_again, state) = (true, State::Waits);
            decided.push_front(Batch { sequence, records, count, last, is_again, state });
        }
        self.batches = decided;
    }

    /// Drops the oldest batch that is not under way, one that has come back if there is one; returns
    /// how many records may be lost, or `None` if there is no such batch.
    pub fn drop_oldest(&mut self) -> Option<u64> {
        let is_back = |batch: &Batch| matches!(batch.state, State::Back(_));
        let back = self.batches.iter().position(is_back);
        let at =
            back.or_else(|| self.batches.iter().position(|batch| batch.state != State::UnderWay))?;
        let batch = self.batches.remove(at)?;
        Some(if is_back(&batch) { 0 } else { batch.count })
    }

    /// Returns the bytes of all batches.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.len()).sum()
    }

    /// Returns the records of each batch that has not come back.
    pub fn waiting_records(&self) -> impl Iterator<Item = &[u8]> {
        let waiting = self.batches.iter().filter(|batch| !matches!(batch.state, State::Back(_)));
        waiting.map(|batch| &batch.records[..])
    }

    /// Returns bytes and records of the batches that have not come back.
    pub fn waiting(&self) -> (usize, u64) {
        let waiting = self.batches.iter().filter(|batch| !matches!(batch.state, State::Back(_)));
        waiting.fold((0, 0), |(bytes, records), batch| {
            (bytes + batch.records.len(), records + batch.count)
        })
    }
}
