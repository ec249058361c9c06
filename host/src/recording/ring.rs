//! A ring of records that one thread writes and any thread reads, without a lock.
//!
//! The writer never waits for a reader. Before it overwrites something, it says so; a reader copies first, and
//! looks afterwards whether what it has copied was still there.
//!
//! Everything lies at multiples of 8 bytes. A record is a word with its length (the lower half) and its
//! number modulo 2³² (the upper half), and then its bytes. Positions count words since the start, so
//! they never come again.
//!
//! Records come into the ring together, a cache line at a time, and each line once: see [`stream`]. Until then
//! they are in a small buffer of the writer's. Unless they end with a line, a word after them says that its rest
//! is left out.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use super::bytes::Put;
use super::stream::{self, LINE, Line, WORDS};

/// The shared part of a ring.
pub struct Ring {
    lines: Box<[Line]>,
    /// The position of the oldest record that is not overwritten.
    floor: AtomicU64,
    /// The position after the newest record that can be read.
    head: AtomicU64,
    /// Records that were too long. Only the writer writes it.
    too_long: AtomicU64,
}

/// The end of a ring that writes.
pub struct Writer {
    ring: Arc<Ring>,
    /// What is not in the ring yet, from the beginning of a line on.
    stage: Box<Stage>,
    /// How many bytes of it are used.
    staged: usize,
    /// The line in which it begins.
    line: usize,
    /// Where the next record begins.
    head: u64,
    floor: u64,
    /// The first record that began in each block or after it, by the block's number modulo their number.
    /// So the floor moves without a look at what it passes, a block at a time.
    firsts: Box<[u64]>,
    /// The block in which the next record that begins is the first.
    next_block: u64,
    /// The number of the next record.
    number: u32,
}

/// Room for records that fill it, and one more.
#[repr(align(64))]
struct Stage([u8; FULL + WORD + LONGEST + LINE]);

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
/// So many bytes go into the ring, even if there are more to come. They fit into any processor's first cache.
const FULL: usize = 8 * 1024;
/// How many words a reader copies at a time, at least as many as a record may have.
const COPY: u64 = 64 * 1024;
/// The word after which the rest of a line is left out. No record is so long.
const SKIP: u64 = u64::MAX;
/// A word in bytes.
const WORD: usize = size_of::<u64>();
/// How many words the floor moves by, and a little more.
const BLOCK: u64 = 512;

impl Ring {
    /// Makes a ring of at least [`SMALLEST`] bytes.
    pub fn new(bytes: usize) -> Self {
        let lines = bytes.max(SMALLEST) / LINE;
        Self {
            lines: std::iter::repeat_with(Line::default).take(lines).collect(),
            floor: AtomicU64::new(0),
            head: AtomicU64::new(0),
            too_long: AtomicU64::new(0),
        }
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Returns the size in words.
    fn words(&self) -> u64 {
        (self.lines.len() * WORDS) as u64
    }

    /// Returns how many records were too long.
    pub fn too_long(&self) -> u64 {
        self.too_long.load(Relaxed)
    }

    /// Returns whether something was overwritten.
    pub fn has_wrapped(&self) -> bool {
        self.floor.load(Relaxed) > 0
    }

    /// Copies `len` words from a position on.
    fn copy(&self, position: u64, len: usize, to: &mut Vec<u64>) {
        let start = (position % self.words()) as usize;
        let (before, after) = self.lines.split_at(start / WORDS);
        // The copy begins with the line, so that there are only whole ones.
        let more = start % WORDS;
        let lines = after.iter().chain(before).take((more + len).div_ceil(WORDS));
        to.clear();
        lines.for_each(|line| to.extend(line.0.each_ref().map(|word| word.load(Relaxed))));
        to.truncate(more + len);
        to.drain(..more);
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
        let blocks = ring.words() / BLOCK + 2;
        Self {
            ring,
            stage: Box::new(Stage([0; _])),
            staged: 0,
            line: 0,
            head: 0,
            floor: 0,
            firsts: (0..blocks).map(|_| 0).collect(),
            next_block: 0,
            number: 0,
        }
    }

    /// Appends the record that `write` writes. It can be read when it is published.
    pub fn push(&mut self, write: impl FnOnce(&mut Put)) {
        let (begin, rest) = self.stage.0[self.staged..].split_at_mut(WORD);
        let mut put = Put::new(&mut rest[..LONGEST]);
        write(&mut put);
        let Some(len) = put.len() else {
            self.ring.too_long.store(self.ring.too_long() + 1, Relaxed);
            return;
        };
        begin.copy_from_slice(&(len as u64 | u64::from(self.number) << 32).to_le_bytes());
        let blocks = self.firsts.len() as u64;
        while self.next_block * BLOCK <= self.head {
            self.firsts[(self.next_block % blocks) as usize] = self.head;
            self.next_block += 1;
        }
        self.staged += words(len) as usize * WORD;
        self.head += words(len);
        self.number = self.number.wrapping_add(1);
        if self.staged >= FULL {
            self.publish();
        }
    }

    /// Lets readers see all records. The oldest ones make room.
    pub fn publish(&mut self) {
        let end = self.staged.next_multiple_of(LINE);
        if self.staged < end {
            self.stage.0[self.staged..][..WORD].copy_from_slice(&SKIP.to_le_bytes());
            self.head += ((end - self.staged) / WORD) as u64;
        }
        self.staged = 0;
        self.make_room();
        for bytes in self.stage.0[..end].as_chunks().0 {
            stream::line(&self.ring.lines[self.line], bytes);
            self.line += 1;
            if self.line == self.ring.lines.len() {
                self.line = 0;
            }
        }
        stream::settle();
        self.ring.head.store(self.head, Release);
    }

    /// Moves the floor so that there is room for what is staged.
    fn make_room(&mut self) {
        let lowest = self.head.saturating_sub(self.ring.words());
        if self.floor < lowest {
            // What can be staged is much shorter than the ring: records have begun after this block's start.
            let blocks = self.firsts.len() as u64;
            self.floor = self.firsts[(lowest.div_ceil(BLOCK) % blocks) as usize];
            self.ring.floor.store(self.floor, Relaxed);
            // Whoever sees a word of what follows also sees this floor.
            stream::settle();
        }
    }
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
        ring.copy(start, len as usize, copy);
        fence(Acquire);
        let floor = ring.floor.load(Relaxed);
        *position = start.max(floor);
        // All of it may be gone by now.
        let gone = (*position - start).min(len) as usize;
        let (mut rest, mut lost) = (&copy[gone..], 0);
        let mut bytes = [0; LONGEST + WORD];
        while let Some((begin, content)) = rest.split_first() {
            if *begin == SKIP {
                let skipped = (*position + 1).next_multiple_of(WORDS as u64) - *position;
                rest = rest.get(skipped as usize..).unwrap_or_default();
                *position += skipped;
                continue;
            }
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

    fn push(writer: &mut Writer, record: &[u8]) {
        writer.push(|put| put.put(record));
    }

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
        fn the_newest_are_there_in_order(
            lens in prop::collection::vec(prop_oneof![0..LONGEST, 0..200_usize], 1..100),
            together in 1..10_usize,
        ) {
            let ring = Arc::new(Ring::new(0));
            let (mut writer, mut follower) = (Writer::new(ring.clone()), Cursor::at_end(&ring));
            let mut written: Vec<Vec<u8>> = Vec::new();
            let mut lost = 0;
            let mut followed = Vec::new();
            for (number, len) in lens.iter().enumerate() {
                let record: Vec<_> = (0..*len).map(|at| (at + number) as u8).collect();
                push(&mut writer, &record);
                written.push(record);
                if number % together == 0 {
                    writer.publish();
                }
                if number % 5 == 4 {
                    let (records, more_lost) = all(&mut follower);
                    followed.extend(records);
                    lost += more_lost;
                }
            }
            writer.publish();
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
            // The rests of lines, of what was published and of what was too much to wait.
            let rests = kept.len() / together + 2 + ring.len() / FULL;
            let most = (ring.len() - rests * (LINE - WORD)) as u64 - BLOCK * 8;
            prop_assert!(more == 0 || bytes + next > most, "as many as fit, but for a block");
        }
    }

    #[test]
    fn what_is_too_long_is_counted() {
        let ring = Arc::new(Ring::new(0));
        let mut writer = Writer::new(ring.clone());
        let expected = [vec![1], vec![3; LONGEST]];
        push(&mut writer, &expected[0]);
        push(&mut writer, &[2; LONGEST + 1]);
        writer.push(|put| (0..=LONGEST).for_each(|_| put.put(&[2])));
        push(&mut writer, &expected[1]);
        writer.publish();
        assert_eq!((ring.too_long(), all(&mut Cursor::at_oldest(&ring)).0), (2, expected.into()));
    }

    #[test]
    fn records_are_seen_once_they_are_published_or_too_many_wait() {
        let ring = Arc::new(Ring::new(0));
        let (mut writer, mut cursor) = (Writer::new(ring.clone()), Cursor::at_oldest(&ring));
        // Several in a line, and one that ends with it.
        for record in [&[1; 8][..], &[2; 5], &[3; 24], &[4; 50]] {
            push(&mut writer, record);
            assert!(all(&mut cursor).0.is_empty());
            writer.publish();
            writer.publish();
            assert_eq!(all(&mut cursor).0, [record]);
        }
        let mut waiting = 0;
        while all(&mut cursor).0.is_empty() && waiting < 1000 {
            push(&mut writer, &[waiting as u8; 100]);
            waiting += 1;
        }
        assert_eq!(waiting, FULL.div_ceil(words(100) as usize * WORD));
    }

    #[test]
    fn a_reader_of_a_ring_that_is_written_sees_only_whole_records_and_counts_the_others() {
        const MANY: u32 = 300_000;
        let ring = Arc::new(Ring::new(0));
        let mut cursor = Cursor::at_oldest(&ring);
        let (mut writer, done) = (Writer::new(ring.clone()), AtomicBool::new(false));
        push(&mut writer, &0_u32.to_le_bytes());
        writer.publish();
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..MANY {
                    let len = 1 + number as usize % 300;
                    push(&mut writer, &number.to_le_bytes().repeat(len));
                    if number % 100 < 10 || number % 100 == 42 {
                        writer.publish();
                    }
                }
                writer.publish();
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
