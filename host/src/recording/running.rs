//! A recording while it is made: a thread reads the rings, and somebody takes the file as it grows.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::file::Recording;
use super::filter::Filter;
use super::hidden::Hidden;
use super::record::Record;
use super::redact::Redactor;
use super::ring::Cursor;
use super::rings::Rings;
use crate::process;
use crate::time;

/// What is to be recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub time: Duration,
    /// The most records; `None`: any number.
    pub most: Option<u64>,
    pub filter: Filter,
    pub hidden: Hidden,
}

/// A recording that is made. Dropping it ends it.
pub struct Running {
    /// The file, piece by piece.
    pub pieces: Receiver<Bytes>,
}

/// How often the rings are read.
const PAUSE: Duration = Duration::from_millis(10);
/// How often what was read is written, and whoever takes it sees that it goes on.
const FLUSH: Duration = Duration::from_secs(1);
/// How many pieces may wait.
const WAITING: usize = 16;

impl Rings {
    /// Begins a recording. `None`: one is being made.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn record(self: &Arc<Self>, wanted: Wanted) -> io::Result<Option<Running>> {
        if self.is_busy.swap(true, AcqRel) {
            return Ok(None);
        }
        let (sender, pieces) = channel(WAITING);
        let (turn, cursors) = (Turn(self.clone()), self.followers());
        let work = move || {
            // Workers come first.
            process::lower_priority(process::BEHIND);
            if let Err(error) = turn.0.write(&wanted, cursors, Pieces(sender)) {
                tracing::debug!(%error, "a recording was not taken to its end");
            }
            drop(turn);
        };
        thread::Builder::new().name("recording".into()).spawn(work)?;
        Ok(Some(Running { pieces }))
    }

    fn write(&self, wanted: &Wanted, mut cursors: Vec<Cursor>, to: Pieces) -> io::Result<()> {
        let unix = time::since_1970();
        let created = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let mut recording = Recording::create(to, created, self.retain, wanted.hidden)?;
        let (mut redactor, mut redacted) = (Redactor::new(wanted.hidden), Vec::new());
        let mut generation = None;
        if let Some(scene) = self.newest_scene() {
            generation = Some(scene.generation as u32);
            redactor.set_routes(&scene.routes);
            recording.scene(&scene)?;
        }
        let is_full = |recording: &Recording<_>| {
            recording.size() >= self.max_size
                || wanted.most.is_some_and(|most| recording.records() >= most)
        };
        let end = Instant::now() + wanted.time;
        let mut flushed = Instant::now();
        loop {
            let is_last = Instant::now() >= end;
            let (mut is_behind, mut failed) = (false, None);
            for cursor in &mut cursors {
                let (missing, more) = cursor.read(|bytes| {
                    let Some(record) = Record::read(bytes) else { return };
                    if generation != Some(record.generation) {
                        generation = Some(record.generation);
                        let scene = self.scene(record.generation).unwrap_or_default();
                        redactor.set_routes(&scene.routes);
                        failed = failed.take().or(recording.scene(&scene).err());
                    }
                    if !is_full(&recording) && wanted.filter.admits(&record) {
                        redacted.clear();
                        redactor.write(&record, &mut redacted);
                        failed = failed.take().or(recording.record(&redacted).err());
                    }
                });
                if let Some(error) = failed.take() {
                    return Err(error);
                }
                if missing > 0 {
                    self.missing.fetch_add(missing, Relaxed);
                    recording.missing(missing)?;
                }
                is_behind |= more;
            }
            if is_last || is_full(&recording) {
                break;
            }
            if flushed.elapsed() >= FLUSH {
                // Also a sign that it goes on, and the way to find out that nobody takes it.
                flushed = Instant::now();
                recording.missing(0)?;
            }
            if !is_behind {
                thread::sleep(PAUSE.min(end.saturating_duration_since(Instant::now())));
            }
        }
        recording.end()?.flush()
    }
}

/// The turn of a recording, given back at its end.
struct Turn(Arc<Rings>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Release);
    }
}

/// Sends what is written.
struct Pieces(Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(piece);
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
