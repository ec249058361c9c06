//! One log: what waits to be sent, what has not come back, and what was read.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};

use super::batch::{self, Batch, Header, RefusedBatch, records};
use super::kept::{KEEP, Kept};
use super::seen::Seen;
use super::understated::Understated;
use super::{Shared, part_of};
use crate::Seconds;
use crate::announced::Announced;
use crate::memory::When;

/// One log of a [`Shared`], as the thread that writes and reads it sees it.
///
/// A batch that the log has taken comes back when the log is read; until then, and for 5 s longer, it
/// may have to be sent again. The order of calls:
///
/// * [`next`](Self::next) as often as batches may be sent. If there is one, append it to the log; then
///   [`appended`](Self::appended), or [`failed`](Self::failed) if nobody knows whether it was.
/// * [`apply`](Self::apply) for every entry of the log, in its order, those of this node included.
/// * [`at_end`](Self::at_end) whenever the log has been read to its end.
/// * [`failed`](Self::failed) after any error, also of reading, and if the log ends before what was
///   read. Nothing is sent then until the log has been read to its end, from some time before the
///   error: only what does not come back is sent again.
/// * [`goes_back`](Self::goes_back) before each reading.
#[derive(Debug)]
pub struct Part {
    number: usize,
    parts: usize,
    node: u64,
    /// How many bytes may be kept and queued.
    limit: usize,
    /// The most bytes of the records of a batch.
    most: usize,
    /// What has not been sent yet, a batch each.
    queue: VecDeque<Chunk>,
    kept: Kept,
    next_sequence: u64,
    /// Something has failed since the end of the log was last seen.
    is_in_doubt: bool,
    /// The reader has to go back before the end that it sees is one.
    goes_back: bool,
    /// When the log was last read to its end.
    end: Seconds,
    seen: Seen,
    /// Since when every download that was counted is read here, and none is known in another way;
    /// `None` until the log has been read to its end.
    complete_since: Option<Seconds>,
    understated: Understated,
    sent: Sent,
    room: Vec<u8>,
}

#[derive(Debug, Default)]
struct Chunk {
    records: Vec<u8>,
    count: u64,
    /// When its first and its last record were added.
    first: Seconds,
    last: Seconds,
}

/// What has not come back yet, except for what workers have added since the last
/// [`next`](Part::next).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waiting {
    pub bytes: usize,
    pub records: u64,
}

/// What has been sent, in records since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// For the first time.
    pub first: u64,
    pub again: u64,
    /// Dropped because too much waited. Some of them may have reached the log.
    pub dropped: u64,
}

/// When an entry of the log has come.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// How old it is by the engine's clock.
    pub age: Seconds,
    pub now: Seconds,
    /// It has not been read before.
    pub is_first: bool,
}

/// An entry of the log that has been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    pub records: u64,
    /// This node has sent it.
    pub is_own: bool,
}

/// The longest time between the first and the last record of a batch, in seconds.
const SPAN: Seconds = 10;

impl Part {
    /// How far a reader goes back, in seconds: longer than a batch is kept that has come back, also if
    /// nobody asks for the [`next`](Self::next) one for a while.
    pub const BACK: Seconds = KEEP + 5;

    pub(super) fn new(number: usize, parts: usize, node: u64, limit: usize) -> Self {
        Self {
            number,
            parts,
            node,
            limit,
            most: (limit / 4).clamp(Announced::ROOM, batch::MOST - batch::HEADER),
            queue: VecDeque::new(),
            kept: Kept::default(),
            next_sequence: 0,
            is_in_doubt: false,
            goes_back: false,
            end: 0,
            seen: Seen::default(),
            complete_since: None,
            understated: Understated::default(),
            sent: Sent::default(),
            room: Vec::new(),
        }
    }

    /// Returns the number of the log: 0 is the first.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Collects what has been announced, and returns the next batch to append, at most 64 KiB, if
    /// there is one and none is under way. Load makes batches larger, not more.
    pub fn next(&mut self, store: &Shared, now: Seconds) -> Option<Vec<u8>> {
        self.collect(store, now);
        if self.is_in_doubt || self.kept.is_under_way() {
            return None;
        }
        if self.kept.is_overdue(self.end) {
            self.failed(store);
            return None;
        }
        self.kept.forget(now);
        if !self.kept.has_more()
            && let Some(Chunk { records, count, last, .. }) = self.queue.pop_front()
        {
            self.kept.push(self.next_sequence, records, count, last);
            self.next_sequence += 1;
        }
        let (batch, header) = self.kept.send(self.node, now)?;
        *(if header.again { &mut self.sent.again } else { &mut self.sent.first }) += batch.count;
        Some(header.with(&batch.records))
    }

    /// Notes that the log has taken the batch.
    pub fn appended(&mut self, now: Seconds) {
        self.kept.appended(now);
    }

    /// Notes an error: the batch that was under way may be in the log or not, and what has come back
    /// may be lost. What would be sent again is decided now: older records that are read again would
    /// make newer ones look outdated.
    pub fn failed(&mut self, store: &Shared) {
        self.goes_back = true;
        if !std::mem::replace(&mut self.is_in_doubt, true) {
            self.kept.doubt(&store.memory);
        }
    }

    /// Returns whether all that was read in the last [`BACK`](Self::BACK) seconds is to be read again
    /// before anything else.
    pub fn goes_back(&mut self) -> bool {
        std::mem::take(&mut self.goes_back) && self.kept.doubt_again()
    }

    /// Notes that the log has been read to its end. The first time, this node has caught up.
    pub fn at_end(&mut self, store: &Shared, now: Seconds) {
        self.end = now;
        self.complete_since.get_or_insert(now);
        if self.is_in_doubt && !self.goes_back {
            self.is_in_doubt = false;
            self.kept.again();
        }
        if !self.is_in_doubt {
            self.understated.due(now).into_iter().for_each(|torrent| store.tell_downloads(torrent));
        }
    }

    /// Applies an entry of the log. Peers that have been silent for longer than the lifetime by then are
    /// left out, but not their downloads.
    ///
    /// # Errors
    ///
    /// The entry is no batch that this node can read; nothing of it is applied.
    pub fn apply(
        &mut self,
        store: &Shared,
        entry: &[u8],
        Arrival { age, now, is_first }: Arrival,
    ) -> Result<Applied, RefusedBatch> {
        let (number, parts) = (self.number, self.parts);
        let batch = Batch::read(entry, |info_hash| part_of(info_hash, parts) == number)?;
        let is_own = batch.header.node == self.node;
        let is_new = !is_own && self.seen.insert(batch.header.node, batch.header.sequence);
        let is_expected = !is_own || self.kept.came_back(batch.header.sequence, now);
        if !is_expected && is_first {
            self.collect(store, now);
            self.set_right(store, &batch, now);
        }
        let when = When { age: age.saturating_add(batch.header.waited), now };
        let mut records = 0;
        for (announced, record) in batch.records() {
            if is_new && announced.is_of_peer() {
                self.kept.overtake(record);
            }
            let adds = announced.counted && is_new && self.adds(batch.header, when);
            let said = store.memory.apply(&announced, when, adds);
            if said == Ordering::Greater {
                self.complete_since = self.complete_since.map(|_| now);
            }
            self.understated.note(announced.info_hash, said == Ordering::Less, now);
            records += 1;
        }
        Ok(Applied { records, is_own })
    }

    /// Returns whether the downloads of another node's batch, which is read for the first time, are to
    /// be added to those that are known here. Otherwise they may be among them, because some record
    /// has said so: then it is left to those who know to say a higher number.
    fn adds(&self, header: Header, When { age, now }: When) -> bool {
        let Some(since) = self.complete_since else { return false };
        // What is sent again may have been read by others before, and lost by the engine since.
        !header.again || now.saturating_sub(age.saturating_add(SPAN)) > since
    }

    /// Returns how much has not come back yet.
    pub fn waiting(&self) -> Waiting {
        let (bytes, records) = self.kept.waiting();
        Waiting {
            bytes: bytes + bytes_of(&self.queue),
            records: records + self.queue.iter().map(|chunk| chunk.count).sum::<u64>(),
        }
    }

    /// Returns how much has been sent since the start.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Collects records from the workers, and drops the oldest if there are too many.
    fn collect(&mut self, store: &Shared, now: Seconds) {
        let Some(stripes) = &store.stripes else { return };
        let mut room = std::mem::take(&mut self.room);
        stripes.drain(self.number, &mut room, |added| {
            records(added).for_each(|(_, record)| self.add(record, now));
        });
        self.room = room;
        while self.kept.bytes() + bytes_of(&self.queue) > self.limit {
            let dropped = self.kept.drop_oldest();
            let dropped = dropped.or_else(|| self.queue.pop_front().map(|chunk| chunk.count));
            let Some(dropped) = dropped else { break };
            self.sent.dropped += dropped;
        }
    }

    fn add(&mut self, record: &[u8], now: Seconds) {
        let fits = |chunk: &Chunk| {
            let len = chunk.records.len() + record.len();
            len <= self.most && now.saturating_sub(chunk.first) <= SPAN
        };
        if !self.queue.back().is_some_and(fits) {
            self.queue.push_back(Chunk { first: now, ..Chunk::default() });
        }
        if let Some(chunk) = self.queue.back_mut() {
            chunk.records.extend_from_slice(record);
            chunk.count += 1;
            chunk.last = now;
        }
    }

    /// Tells what is so of the peers of an own batch that is in the log once more than it should be,
    /// because it was thought lost and came late: its records are about to take the place of newer
    /// ones, on all nodes. Peers of which a record waits need nothing, because it comes later still.
    fn set_right(&mut self, store: &Shared, batch: &Batch, now: Seconds) {
        let queued = self.queue.iter().map(|chunk| &chunk.records[..]);
        let waiting = self.kept.waiting_records().chain(queued).flat_map(records);
        let named: HashSet<_> = waiting.map(|(_, record)| Announced::name(record)).collect();
        let is_wrong = |(announced, record): &(Announced, &[u8])| {
            announced.is_of_peer()
                && !named.contains(Announced::name(record))
                && !store.memory.is_so(announced)
        };
        let wrong: Vec<_> = batch.records().filter(is_wrong).collect();
        let mut record = Vec::new();
        for (announced, _) in wrong {
            record.clear();
            // A download may be known here, and its record be collected later.
            let announced = Announced { downloads: 0, ..store.memory.look_up(&announced) };
            announced.write(&mut record);
            self.add(&record, now);
        }
    }
}

fn bytes_of(queue: &VecDeque<Chunk>) -> usize {
    queue.iter().map(|chunk| chunk.records.len()).sum()
}
