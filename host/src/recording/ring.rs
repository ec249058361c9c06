//! A ring of records that one thread writes and any thread reads, without a lock.
//!
//! The writer never waits. Before it overwrites something, it says so; a reader copies first, and
//! looks afterwards whether what it has copied was still there.
//!
//! Everything lies at multiples of 8 bytes. A record is a word with its length (the lower half) and its
//! number modulo 2³² (the upper half), and then its bytes. Positions count words since the start, so
//! they never come again.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use karuta_swarm::fetch;

/// The shared part of a ring.
pub struct Ring {
    words: Box<[AtomicU64]>,
    /// The position of the oldest record that is not overwritten.
    floor: AtomicU64,
    /// The position after the newest record.
    head: AtomicU64,
    /// Records that were too long. Only the writer writes it.
    too_long: AtomicU64,
}

/// The end of a ring that writes.
pub struct Writer {
    ring: Arc<Ring>,
    /// Where the next record begins: a position, and its place in the memory.
    head: u64,
    place: usize,
    floor: u64,
    /// The first record that began in each block or after it, by the block's number modulo their number.
    /// So the floor moves without a look at what it passes, a block at a time.
    firsts: Box<[u64]>,
    /// The block in which the next record that begins is the first.
    next_block: u64,
    /// The number of the next record.
    number: u32,
}

/// A reader's place in a ring.
pub struct Cursor {
    ring: Arc<Ring>,
    position: u64,
    /// The number of the next record; `None`: nothing was read yet.
    number: Option<u32>,
    /// A buffer.
    copy: Vec<u64>,
}

/// The longest record in bytes. It takes a quarter of the smallest ring.
pub const LONGEST: usize = 16 * 1024;
/// The size of the smallest ring in bytes.
pub const SMALLEST: usize = 4 * LONGEST;
/// How many words a reader copies at a time, at least as many as a record may have.
const COPY: u64 = 64 * 1024;
/// A word in bytes.
const WORD: usize = size_of::<u64>();
/// How many words the floor moves by, and a little more.
const BLOCK: u64 = 512;

impl Ring {
    /// Makes a ring of at least [`SMALLEST`] bytes.
    pub fn new(bytes: usize) -> Self {
        let words = bytes.max(SMALLEST) / WORD;
        Self {
            words: std::iter::repeat_with(AtomicU64::default).take(words).collect(),
            floor: AtomicU64::new(0),
            head: AtomicU64::new(0),
            too_long: AtomicU64::new(0),
        }
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.words.len() * WORD
    }

    /// Returns how many records were too long.
    pub fn too_long(&self) -> u64 {
        self.too_long.load(Relaxed)
    }

    /// Returns whether something was overwritten.
    pub fn has_wrapped(&self) -> bool {
        self.floor.load(Relaxed) > 0
    }

    /// Returns the words from a position on, without those that are beyond the end of the memory: `len`
    /// of them are in both parts together.
    fn at(&self, position: u64, len: usize) -> [&[AtomicU64]; 2] {
        let start = (position % self.words.len() as u64) as usize;
        let first = len.min(self.words.len() - start);
        [&self.words[start..start + first], &self.words[..len - first]]
    }
}

/// Returns how many words a record of so many bytes takes.
fn words(len: usize) -> u64 {
    1 + len.div_ceil(WORD) as u64
}

fn length(head: u64) -> usize {
    head as u32 as usize
}

impl Writer {
    pub fn new(ring: Arc<Ring>) -> Self {
        let blocks = ring.words.len() as u64 / BLOCK + 2;
        let firsts = (0..blocks).map(|_| 0).collect();
        Self { ring, head: 0, place: 0, floor: 0, firsts, next_block: 0, number: 0 }
    }

    /// Appends a record, whose bytes are in two parts; the oldest ones make room.
    pub fn push(&mut self, start: &[u8], rest: &[u8]) {
        let len = start.len() + rest.len();
        if len > LONGEST {
            self.ring.too_long.store(self.ring.too_long() + 1, Relaxed);
            return;
        }
        let end = self.head + words(len);
        self.make_room(end);
        let begin = len as u64 | u64::from(self.number) << 32;
        let (before, after) = self.ring.words.split_at(self.place);
        let many = words(len) as usize;
        match after.get(..many) {
            Some(slots) => fill(slots.iter(), begin, start, rest),
            None => fill(after.iter().chain(before), begin, start, rest),
        }
        self.place += many;
        if self.place >= self.ring.words.len() {
            self.place -= self.ring.words.len();
        }
        self.ring.head.store(end, Release);
        self.head = end;
        self.number = self.number.wrapping_add(1);
    }

    /// Prefetches where a record of so many bytes will be after others of so many bytes.
    pub fn expect(&self, others: usize, len: usize) {
        let memory = &self.ring.words;
        let start = (self.place + others / WORD) % memory.len();
        let end = (start + len / WORD).min(memory.len());
        fetch::slice(&memory[start..end]);
    }

    /// Moves the floor so that there is room until `end`, and notes where the next record begins.
    fn make_room(&mut self, end: u64) {
        let blocks = self.firsts.len() as u64;
        while self.next_block * BLOCK <= self.head {
            self.firsts[(self.next_block % blocks) as usize] = self.head;
            self.next_block += 1;
        }
        let lowest = end.saturating_sub(self.ring.words.len() as u64);
        if self.floor < lowest {
            // A record is much shorter than the ring: later ones have begun after this block's start.
            self.floor = self.firsts[(lowest.div_ceil(BLOCK) % blocks) as usize];
            self.ring.floor.store(self.floor, Relaxed);
            // Whoever sees a word of what follows also sees this floor.
            fence(Release);
        }
    }
}

/// Writes a record's first word and its bytes into the slots.
fn fill<'a>(
    mut slots: impl Iterator<Item = &'a AtomicU64>,
    begin: u64,
    start: &[u8],
    mut rest: &[u8],
) {
    let mut put = |word: u64| {
        if let Some(slot) = slots.next() {
            slot.store(word, Relaxed);
        }
    };
    put(begin);
    let (whole, odd) = start.as_chunks::<WORD>();
    whole.iter().for_each(|word| put(u64::from_le_bytes(*word)));
    if !odd.is_empty() {
        // The word in which one part ends and the other begins.
        let (first, after) = rest.split_at(rest.len().min(WORD - odd.len()));
        put(word(odd, first));
        rest = after;
    }
    let (whole, odd) = rest.as_chunks::<WORD>();
    whole.iter().for_each(|word| put(u64::from_le_bytes(*word)));
    if !odd.is_empty() {
        put(word(odd, &[]));
    }
}

/// Returns the word of so many bytes, at most 8 in all, and zeros.
fn word(first: &[u8], second: &[u8]) -> u64 {
    let bytes = first.iter().chain(second);
    (0..).step_by(8).zip(bytes).fold(0, |word, (bit, byte)| word | u64::from(*byte) << bit)
}

impl Cursor {
    /// Begins with the oldest record that is there.
    pub fn at_oldest(ring: &Arc<Ring>) -> Self {
        let position = ring.floor.load(Acquire);
        Self { ring: ring.clone(), position, number: None, copy: Vec::new() }
    }

    /// Begins with the next record that comes.
    pub fn at_end(ring: &Arc<Ring>) -> Self {
        let position = ring.head.load(Acquire);
        Self { ring: ring.clone(), position, number: None, copy: Vec::new() }
    }

    /// Passes some of the next records to `take`. Returns how many were overwritten before they could
    /// be read, and whether there may be more.
    pub fn read(&mut self, mut take: impl FnMut(&[u8])) -> (u64, bool) {
        let Self { ring, position, number, copy } = self;
        let head = ring.head.load(Acquire);
        let start = (*position).max(ring.floor.load(Acquire));
        let len = head.saturating_sub(start).min(COPY);
        copy.clear();
        let [first, second] = ring.at(start, len as usize);
        copy.extend(first.iter().chain(second).map(|word| word.load(Relaxed)));
        fence(Acquire);
        let floor = ring.floor.load(Relaxed);
        *position = start.max(floor);
        // All of it may be gone by now.
        let gone = (*position - start).min(len) as usize;
        let (mut rest, mut lost) = (&copy[gone..], 0);
        let mut bytes = [0; LONGEST + WORD];
        while let Some((begin, content)) = rest.split_first() {
            let length = length(*begin);
            let Some((record, after)) = content.split_at_checked(words(length) as usize - 1) else {
                break;
            };
            let found = (begin >> 32) as u32;
            lost += u64::from(number.map_or(0, |expected| found.wrapping_sub(expected)));
            *number = Some(found.wrapping_add(1));
            let (places, _) = bytes.as_chunks_mut::<WORD>();
            for (place, word) in places.iter_mut().zip(record) {
                *place = word.to_le_bytes();
            }
            take(&bytes[..length]);
            rest = after;
            *position += words(length);
        }
        (lost, *position < head)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn all(cursor: &mut Cursor) -> (Vec<Vec<u8>>, u64) {
        let (mut records, mut lost) = (Vec::new(), 0);
        loop {
            let (more_lost, more) = cursor.read(|record| records.push(record.to_vec()));
            lost += more_lost;
            if !more {
                return (records, lost);
            }
        }
    }

    proptest! {
        #[test]
        fn the_newest_are_there_in_order(lens in prop::collection::vec(0..LONGEST, 1..60)) {
            let ring = Arc::new(Ring::new(0));
            let (mut writer, mut follower) = (Writer::new(ring.clone()), Cursor::at_end(&ring));
            let mut written: Vec<Vec<u8>> = Vec::new();
            let mut lost = 0;
            let mut followed = Vec::new();
            for (number, len) in lens.iter().enumerate() {
                let record: Vec<_> = (0..*len).map(|at| (at + number) as u8).collect();
                let (start, rest) = record.split_at(number * 7 % (len + 1));
                writer.push(start, rest);
                written.push(record);
                if number % 5 == 4 {
                    let (records, more_lost) = all(&mut follower);
                    followed.extend(records);
                    lost += more_lost;
                }
            }
            let (rest, more_lost) = all(&mut follower);
            followed.extend(rest);
            // What is lost before the first one is read, nobody has promised.
            prop_assert!(followed.len() as u64 + lost + more_lost <= written.len() as u64);
            prop_assert!(followed.iter().all(|record| written.contains(record)));
            let (kept, lost) = all(&mut Cursor::at_oldest(&ring));
            prop_assert_eq!(lost, 0);
            prop_assert!(written.ends_with(&kept));
            let bytes: u64 = kept.iter().map(|record| words(record.len()) * 8).sum();
            let more = written.len() - kept.len();
            let next = more.checked_sub(1).map_or(0, |at| words(written[at].len()) * 8);
            let most = ring.len() as u64 - BLOCK * 8;
            prop_assert!(more == 0 || bytes + next > most, "as many as fit, but for a block");
        }
    }

    #[test]
    fn what_is_too_long_is_counted() {
        let ring = Arc::new(Ring::new(0));
        let mut writer = Writer::new(ring.clone());
        writer.push(&[1], &[1; LONGEST]);
        writer.push(&[2], &[2; LONGEST - 1]);
        assert_eq!((ring.too_long(), all(&mut Cursor::at_oldest(&ring)).0.len()), (1, 1));
    }

    #[test]
    fn a_reader_of_a_ring_that_is_written_sees_only_whole_records_and_counts_the_others() {
        const MANY: u32 = 300_000;
        let ring = Arc::new(Ring::new(0));
        let mut cursor = Cursor::at_oldest(&ring);
        let (mut writer, done) = (Writer::new(ring.clone()), AtomicBool::new(false));
        let first = 0_u32.to_le_bytes();
        writer.push(&first, &[]);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..MANY {
                    let len = 1 + number as usize % 300;
                    let record = number.to_le_bytes().repeat(len);
                    writer.push(&record, &[]);
                }
                done.store(true, Release);
            });
            let (mut seen, mut lost) = (0, 0);
            let mut last = None;
            loop {
                let is_done = done.load(Acquire);
                let (more_lost, more) = cursor.read(|record| {
                    let (words, rest) = record.as_chunks::<4>();
                    assert!(rest.is_empty() && words.iter().all(|word| *word == words[0]));
                    let number = u32::from_le_bytes(words[0]);
                    assert_eq!(
                        words.len(),
                        if number == 0 { 1 } else { 1 + number as usize % 300 }
                    );
                    assert!(last.is_none_or(|last| last < number));
                    last = Some(number);
                    seen += 1;
                });
                lost += more_lost;
                if is_done && !more {
                    break;
                }
            }
            assert_eq!(last, Some(MANY - 1), "the newest is always there");
            // The first one may be gone before the first look.
            assert!((seen + lost).abs_diff(u64::from(MANY)) < u64::from(MANY) / 2);
            assert!(seen > 0);
        });
    }
}
