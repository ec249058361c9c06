//! A queue between the threads that log and where the lines go. Only the log's own thread waits for a
//! reader or a disk.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The most bytes that wait. As many again are being written.
const MOST: usize = 1024 * 1024;
/// The pause before another attempt to write to a non-blocking descriptor.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines that wait to be written. Lines that do not fit are dropped and counted.
pub struct Queue {
    /// What the lines belong to.
    name: &'static str,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
    unwritten: AtomicU64,
}

struct Waiting {
    lines: Vec<u8>,
    /// Lines have been taken out and are not yet written.
    writing: bool,
    /// Lines dropped since the last report.
    dropped: u64,
    /// The output is to be looked up again.
    reopen: bool,
}

/// Where lines are written.
pub trait Output {
    /// Writes whole lines. Returns how many of them are lost.
    fn write(&mut self, lines: &[u8]) -> u64;

    /// Opens what may have been replaced, and passes on what was kept back.
    fn reopen(&mut self);

    /// Returns how long it can wait for lines, before it is called without any. `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// A stream that stays the same for ever.
pub struct Stream<W>(pub W);

impl<W: Write> Output for Stream<W> {
    fn write(&mut self, lines: &[u8]) -> u64 {
        match write(&mut self.0, lines) {
            Ok(()) => 0,
            Err(_) => count(lines),
        }
    }

    fn reopen(&mut self) {}
}

/// Counts lines.
pub fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

impl Queue {
    /// Creates the queue of what `name` says, for messages about it.
    pub const fn new(name: &'static str) -> Self {
        let waiting = Waiting { lines: Vec::new(), writing: false, dropped: 0, reopen: false };
        Self {
            name,
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
        }
    }

    /// Returns the number of lines so far that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Returns the number of lines so far that could not be written.
    pub fn unwritten(&self) -> u64 {
        self.unwritten.load(Relaxed)
    }

    /// Queues a line of two parts; drops it if the queue is full. Never waits for the reader.
    pub fn push(&self, prefix: &str, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() + prefix.len() + line.len() > MOST {
            waiting.dropped += 1;
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(prefix.as_bytes());
        waiting.lines.extend_from_slice(line);
        self.changed.notify_all();
    }

    /// Has the output look up again where it writes to.
    pub fn reopen(&self) {
        self.waiting.lock().reopen = true;
        self.changed.notify_all();
    }

    /// Writes queued lines to `out`, for ever.
    pub fn work(&self, mut out: impl Output) {
        let mut lines = Vec::new();
        let mut lost = 0;
        loop {
            let (dropped, reopen) = self.take(&mut lines, out.patience());
            let name = self.name;
            if reopen {
                out.reopen();
            }
            if dropped > 0 {
                // Comes after the lines that were queued before the dropped ones, and before any
                // later line.
                tracing::warn!(
                    lines = dropped,
                    "dropped {name} lines; they came faster than they are read"
                );
            }
            match out.write(&lines) {
                0 if lost > 0 && !lines.is_empty() => {
                    tracing::warn!(lines = lost, "lost {name} lines; they could not be written");
                    lost = 0;
                }
                more => {
                    lost += more;
                    self.unwritten.fetch_add(more, Relaxed);
                }
            }
            lines.clear();
        }
    }

    /// Waits for something to do, but no longer than `patience`. Swaps queued lines into `lines`, and
    /// returns how many were dropped and whether to reopen the output.
    fn take(&self, lines: &mut Vec<u8>, patience: Option<Duration>) -> (u64, bool) {
        let mut waiting = self.waiting.lock();
        waiting.writing = false;
        self.changed.notify_all();
        let idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.reopen;
        match patience {
            Some(patience) => drop(self.changed.wait_while_for(&mut waiting, idle, patience)),
            None => self.changed.wait_while(&mut waiting, idle),
        }
        std::mem::swap(&mut waiting.lines, lines);
        waiting.writing = true;
        (std::mem::take(&mut waiting.dropped), std::mem::take(&mut waiting.reopen))
    }

    /// Waits until everything is written. Returns `false` if that takes longer than `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut waiting = self.waiting.lock();
        let busy =
            |waiting: &mut Waiting| waiting.writing || waiting.reopen || !waiting.lines.is_empty();
        !self.changed.wait_while_until(&mut waiting, busy, end).timed_out()
    }
}

/// Writes all of `lines`, even to a descriptor that another process has made non-blocking.
fn write(out: &mut impl Write, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A reader that takes bytes only when the test does.
    struct Slow(SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.0.send(bytes.to_vec());
            taken.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns a new queue, and the output of its thread.
    fn queue() -> (&'static Queue, Receiver<Vec<u8>>) {
        let queue: &'static Queue = Box::leak(Box::new(Queue::new("log")));
        let (out, written) = sync_channel(0);
        std::thread::spawn(move || queue.work(Stream(Slow(out))));
        (queue, written)
    }

    const SOON: Duration = Duration::from_secs(20);
    const STEP: Duration = Duration::from_millis(10);

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted() {
        let (queue, written) = queue();
        let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
        queue.push("", &line);
        let fits = (MOST / line.len()) as u64;
        for _ in 0..3 * fits {
            queue.push("", &line);
        }
        // The queue holds `fits` lines, and the thread may have taken up to as many before.
        let dropped = queue.dropped();
        assert!((fits..=2 * fits + 1).contains(&dropped), "{dropped}");
        assert!(!queue.flush(Duration::ZERO));
        let mut read = 0;
        while !queue.flush(Duration::ZERO) {
            read += written.recv_timeout(STEP).map_or(0, |bytes| bytes.len());
        }
        assert_eq!(read as u64, (3 * fits + 1 - dropped) * line.len() as u64);
        queue.push("", b"again\n");
        assert_eq!(written.recv_timeout(SOON).unwrap(), b"again\n");
        assert!(queue.flush(SOON));
        assert_eq!(queue.dropped(), dropped);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (queue, written) = queue();
        drop(written);
        queue.push("", b"one\ntwo\n");
        assert!(queue.flush(SOON));
        assert_eq!((queue.dropped(), queue.unwritten()), (0, 2));
    }
}
