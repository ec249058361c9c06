//! Batches that may have to be sent again.

use std::collections::{HashSet, VecDeque};

use super::batch::{Header, records};
use crate::announced::Announced;
use crate::{Memory, Seconds};

/// The batches of one part that have not come back, or not long ago, in the order in which they are
/// sent.
#[derive(Debug, Default)]
pub struct Kept {
    batches: VecDeque<Batch>,
    /// The peers of doubted records that had come back, except for those of which newer records have
    /// been read since.
    doubted: HashSet<Vec<u8>>,
}

#[derive(Debug)]
pub struct Batch {
    pub sequence: u64,
    pub records: Vec<u8>,
    pub count: u64,
    /// When its last record was added.
    pub last: Seconds,
    is_again: bool,
    /// When it has come back.
    back: Option<Seconds>,
    /// It had come back when it was last judged.
    was_back: bool,
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
    /// It may be in the log or not: reading it again shows.
    Doubted,
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
        self.batches.push_back(Batch {
            sequence,
            records,
            count,
            last,
            is_again: false,
            back: None,
            was_back: false,
            state,
        });
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

    /// Notes that a batch has come back; returns whether that was expected.
    pub fn came_back(&mut self, sequence: u64, now: Seconds) -> bool {
        let at = self.batches.binary_search_by_key(&sequence, |batch| batch.sequence);
        let Some(batch) = at.ok().and_then(|at| self.batches.get_mut(at)) else { return false };
        let is_expected = !matches!(batch.state, State::Back(_));
        batch.state = State::Back(*batch.back.get_or_insert(now));
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

    /// Notes that nobody knows what is in the log, and prepares all batches for being sent again. That
    /// must not revive a peer that has stopped or changed since, nor lose a download. So of each peer
    /// only the last record stays, and if it had come back, only if it is still so; all others as
    /// counts, or not at all. All is decided before the log is read again, or the first batch is sent:
    /// what comes back then would make newer records look outdated.
    pub fn doubt(&mut self, memory: &Memory) {
        let mut decided = VecDeque::with_capacity(self.batches.len());
        self.doubted.clear();
        // Swarms and peers of the records so far, from the last one to the first.
        let mut named = HashSet::new();
        for batch in self.batches.iter().rev() {
            let was_back = matches!(batch.state, State::Back(_));
            let doubted = &mut self.doubted;
            let decided_batch = batch.reduced(|announced, bytes| {
                let name = Announced::name(bytes);
                let stays = named.insert(name) && (!was_back || memory.is_so(announced));
                if stays && was_back {
                    doubted.insert(name.to_vec());
                }
                stays
            });
            if let Some(batch) = decided_batch {
                decided.push_front(Batch { was_back, state: State::Doubted, ..batch });
            }
        }
        self.batches = decided;
    }

    /// Begins once more to find out what is in the log. Returns whether something is in doubt that had
    /// come back.
    pub fn doubt_again(&mut self) -> bool {
        let back = self.batches.iter_mut().filter(|batch| matches!(batch.state, State::Back(_)));
        back.for_each(|batch| batch.state = State::Doubted);
        self.batches.iter().any(|batch| batch.back.is_some())
    }

    /// Notes a record of another node that had not been read before. What this node had sent of the
    /// peer is older, if it had come back.
    pub fn overtake(&mut self, record: &[u8]) {
        if !self.doubted.is_empty() {
            self.doubted.remove(Announced::name(record));
        }
    }

    /// Has all that is still in doubt sent again: the log has been read, and does not have it.
    pub fn again(&mut self) {
        let (batches, doubted) = (std::mem::take(&mut self.batches), &self.doubted);
        let again = |batch: Batch| match (batch.state, batch.was_back) {
            (State::Doubted, false) => Some(Batch { state: State::Waits, back: None, ..batch }),
            (State::Doubted, true) => {
                let stays = |_: &Announced, bytes: &[u8]| doubted.contains(Announced::name(bytes));
                Some(Batch { state: State::Waits, back: None, ..batch.reduced(stays)? })
            }
            _ => Some(batch),
        };
        self.batches = batches.into_iter().filter_map(again).collect();
        self.doubted = HashSet::new();
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

impl Batch {
    /// Returns the batch as it is sent again, with the records that stay, and the counts of others.
    /// They are asked for from the last one to the first.
    fn reduced<'a>(&'a self, mut stays: impl FnMut(&Announced, &'a [u8]) -> bool) -> Option<Self> {
        let mut left: Vec<_> = records(&self.records).collect();
        left.reverse();
        left.retain_mut(|(announced, bytes)| {
            if !announced.is_of_peer() || stays(announced, bytes) {
                return true;
            }
            *announced = announced.count_alone();
            announced.counted
        });
        if left.is_empty() {
            return None;
        }
        let mut records = Vec::with_capacity(self.records.len());
        left.iter().rev().for_each(|(announced, _)| announced.write(&mut records));
        Some(Self { records, count: left.len() as u64, is_again: true, ..*self })
    }
}
