//! Batches on disk that wait to be sent, in the order in which they were made.

use std::collections::VecDeque;
use std::fs;
use std::io;

use parking_lot::{Condvar, Mutex};

use crate::state_dir::{Miss, StateDir};
use crate::time;

/// The folder in the state folder.
const FOLDER: &str = "decisions";
/// The longest batch that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// The batches that wait.
pub struct Spool {
    folder: StateDir,
    /// The most bytes of all batches.
    most: u64,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The oldest first.
    batches: VecDeque<Batch>,
    bytes: u64,
    /// The number of the last one.
    last: u64,
}

/// The digits of a batch's number, in the name of its file.
const DIGITS: usize = 16;

/// A batch on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Batch {
    /// Later ones have greater numbers, also those of later processes.
    number: u64,
    /// The number of its lines.
    pub lines: u64,
    bytes: u64,
}

impl Batch {
    fn name(self) -> String {
        format!("{:0DIGITS$}.{}", self.number, self.lines)
    }

    fn of_name(name: &str, bytes: u64) -> Option<Self> {
        let (number, lines) = name.split_once('.')?;
        let lines: u32 = lines.parse().ok()?;
        let number = number.parse().ok().filter(|_| number.len() == DIGITS)?;
        let batch = Self { number, lines: lines.into(), bytes };
        (batch.name() == name).then_some(batch)
    }
}

impl Spool {
    /// Opens the spool, with what an earlier process has left.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or read.
    pub fn open(state: &StateDir, most: u64) -> io::Result<Self> {
        let folder = state.folder(FOLDER)?;
        let mut batches = Vec::new();
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            let bytes = file.metadata()?.len();
            batches.extend(file.file_name().to_str().and_then(|name| Batch::of_name(name, bytes)));
        }
        batches.sort_unstable();
        let waiting = Waiting {
            bytes: batches.iter().map(|batch| batch.bytes).sum(),
            last: batches.last().map_or(0, |batch| batch.number),
            batches: batches.into(),
        };
        Ok(Self { folder, most, waiting: Mutex::new(waiting), changed: Condvar::new() })
    }

    /// Adds a batch.
    ///
    /// # Errors
    ///
    /// There is no room, or it cannot be written.
    pub fn push(&self, content: &[u8], lines: u64) -> io::Result<()> {
        let mut waiting = self.waiting.lock();
        let bytes = content.len() as u64;
        if waiting.bytes + bytes > self.most {
            return Err(io::Error::other("the spool is full"));
        }
        let since_1970 = time::since_1970();
        let now = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let batch = Batch { number: now.max(waiting.last + 1), lines, bytes };
        self.folder.write_sealed(&batch.name(), content)?;
        waiting.last = batch.number;
        waiting.bytes += bytes;
        waiting.batches.push_back(batch);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for a batch, and returns the oldest with its content, or why that is lost.
    pub fn first(&self) -> (Batch, Result<Vec<u8>, String>) {
        let mut waiting = self.waiting.lock();
        let batch = loop {
            if let Some(batch) = waiting.batches.front() {
                break *batch;
            }
            self.changed.wait(&mut waiting);
        };
        drop(waiting);
        let content = self.folder.read_sealed(&batch.name(), LONGEST).map_err(|miss| match miss {
            Miss::Absent => "it has disappeared".to_owned(),
            Miss::Unfit(reason) => reason,
        });
        (batch, content)
    }

    /// Removes a batch that was the first.
    pub fn remove(&self, batch: Batch) {
        let mut waiting = self.waiting.lock();
        if waiting.batches.front() == Some(&batch) {
            waiting.batches.pop_front();
            waiting.bytes -= batch.bytes;
            // It may have disappeared.
            let _ = fs::remove_file(self.folder.path().join(batch.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_back_in_order_also_to_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
        let spool = Spool::open(&state, 1000).unwrap();
        for (content, lines) in [("one", 1), ("two", 2), ("three", 3)] {
            spool.push(content.as_bytes(), lines).unwrap();
        }
        let (batch, content) = spool.first();
        assert_eq!((batch.lines, &*content.unwrap()), (1, &b"one"[..]));
        spool.remove(batch);
        spool.remove(batch);
        drop(spool);
        let inside = state.folder(FOLDER).unwrap();
        for name in ["notes.txt", "18446744073709551615.3", "0000000000000009.4294967296"] {
            fs::write(inside.path().join(name), "mine").unwrap();
        }
        let spool = Spool::open(&state, 1000).unwrap();
        spool.push(b"four", 4).unwrap();
        let rest = [2, 3, 4].map(|lines| {
            let (batch, content) = spool.first();
            spool.remove(batch);
            (batch.lines == lines, content.unwrap().len())
        });
        assert_eq!(rest, [(true, 3), (true, 5), (true, 4)]);
        assert!(inside.path().join("notes.txt").exists());
    }

    #[test]
    fn a_spool_is_bounded_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
        let spool = Spool::open(&state, 10).unwrap();
        spool.push(b"123456", 1).unwrap();
        assert!(spool.push(b"123456", 1).is_err());
        spool.push(b"1234", 1).unwrap();
        let (batch, _) = spool.first();
        let path = state.folder(FOLDER).unwrap().path().join(batch.name());
        fs::write(path, "damaged").unwrap();
        assert!(spool.first().1.is_err());
        spool.remove(batch);
        assert!(spool.first().1.is_ok());
    }
}
