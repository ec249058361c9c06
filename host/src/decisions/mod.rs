//! Decisions made visible: who is refused and why, whom a policy in shadow mode would shut out, and
//! a log of both. Workers note decisions, and a thread reads them.

mod book;
mod decision;
mod line;
mod log;
mod record;
mod recorder;
mod spool;
mod tap;
mod upload;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use parking_lot::Mutex;

use self::book::Book;
use self::decision::Key;
#[cfg(test)]
pub use self::decision::tests::entry;
pub use self::decision::{Entry, Mask, Scene, Shown, prefix, time};
use self::log::{Log, Rules, Wish};
use self::recorder::Feed;
pub use self::recorder::Recorder;
use self::tap::Taps;
pub use self::tap::{Filter, Tap};
use crate::config::Config;
use crate::metrics::{Lost, Metrics, Outcome};
use crate::process;

/// What decides beside the policies. No policy has such a name.
pub const LIMITS: [&str; 2] = [TRACKER_LIMITS, SWARM_LIMITS];
pub const TRACKER_LIMITS: &str = "tracker.limits";
pub const SWARM_LIMITS: &str = "swarms.limits";

/// How often decisions are read.
const PAUSE: Duration = Duration::from_millis(100);
/// How many generations are known: decisions of the one before last may still wait.
const GENERATIONS: usize = 8;

/// The decisions of all workers.
pub struct Decisions {
    /// Whether there is a log or a tap.
    watched: AtomicBool,
    /// What the log wants; unset: there is none.
    rules: OnceLock<Rules>,
    taps: Taps,
    feeds: Mutex<Vec<Arc<Feed>>>,
    /// The addresses of the listeners.
    listeners: OnceLock<Vec<Arc<str>>>,
    scenes: Mutex<BTreeMap<u64, Arc<Scene>>>,
    metrics: Arc<Metrics>,
    reading: Mutex<Reading>,
}

/// What the thread needs that reads decisions, whichever it is.
struct Reading {
    /// An empty buffer.
    buffer: Vec<u8>,
    key: Key,
    book: Book,
    log: Option<Log>,
    /// The decisions that were dropped, as far as they are in the metrics.
    counted: u64,
}

/// The thread that reads decisions.
pub struct Reader {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Decisions {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let (buffer, key, book) = (Vec::new(), Key::new(), Book::default());
        Self {
            watched: AtomicBool::new(false),
            rules: OnceLock::new(),
            taps: Taps::default(),
            feeds: Mutex::default(),
            listeners: OnceLock::new(),
            scenes: Mutex::default(),
            metrics,
            reading: Mutex::new(Reading { buffer, key, book, log: None, counted: 0 }),
        }
    }

    /// Sets the addresses of the listeners, which requests name by their position. Call it once.
    pub fn set_listeners(&self, addresses: impl IntoIterator<Item = String>) {
        let _ = self.listeners.set(addresses.into_iter().map(Arc::from).collect());
    }

    /// Says what is in use from a generation on. Differences of policies that are not `in_shadow`
    /// are forgotten.
    pub fn enter(&self, generation: u64, scene: Scene, in_shadow: impl Fn(&str) -> bool) {
        let mut scenes = self.scenes.lock();
        scenes.insert(generation, Arc::new(scene));
        while scenes.len() > GENERATIONS {
            scenes.pop_first();
        }
        drop(scenes);
        self.reading.lock().book.keep(in_shadow);
    }

    /// Opens the log, if there is to be one. Call it once, before there are workers.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open_log(&self, config: &Config) -> io::Result<()> {
        let Some(log) = &config.decision_log else { return Ok(()) };
        self.reading.lock().log = Some(Log::open(log, config, &self.metrics)?);
        let _ = self.rules.set(Rules::new(log));
        self.watched.store(true, Relaxed);
        Ok(())
    }

    /// Adds a worker.
    pub fn recorder(self: &Arc<Self>) -> Recorder {
        let feed = Arc::<Feed>::default();
        self.feeds.lock().push(feed.clone());
        Recorder::new(self.clone(), feed)
    }

    /// Returns whether somebody wants to know of requests that nobody refuses.
    fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    fn wish(&self, outcome: Outcome, is_shadowed: bool, failed: bool) -> Wish {
        self.rules.get().map_or(Wish::No, |rules| rules.wish(outcome, is_shadowed, failed))
    }

    /// Reads what the workers have noted. Any thread but a worker may.
    pub fn read(&self) {
        let mut reading = self.reading.lock();
        let Reading { buffer, key, book, log, counted } = &mut *reading;
        let feeds = self.feeds.lock().clone();
        let mut dropped = 0;
        for feed in &feeds {
            buffer.clear();
            feed.take(buffer);
            dropped += feed.dropped();
            let mut rest = &**buffer;
            while let Some(decision) = record::read(&mut rest) {
                let scene = self.scenes.lock().get(&decision.generation).cloned();
                let listeners = self.listeners.get();
                let listener =
                    listeners.and_then(|all| all.get(usize::from(decision.listener))).cloned();
                let entry = Entry::new(decision, key, listener.unwrap_or_default(), scene);
                let wanted = entry.decision.wanted;
                if wanted.log
                    && let Some(log) = log
                {
                    log.write(&entry, &self.metrics);
                }
                if wanted.taps != 0 {
                    self.taps.send(&entry);
                }
                book.add(entry);
            }
        }
        self.metrics.decisions_lost(Lost::Ring, dropped - *counted);
        *counted = dropped;
        if let Some(log) = log {
            log.count_lost(&self.metrics);
        }
    }

    /// Returns the last refusals, the newest first.
    pub fn refusals(&self) -> Vec<Arc<Entry>> {
        self.read();
        self.reading.lock().book.refusals()
    }

    /// Returns the last requests that a policy in shadow mode would have answered otherwise, the
    /// newest first.
    pub fn differences(&self, policy: &str) -> Vec<Arc<Entry>> {
        self.read();
        self.reading.lock().book.differences(policy)
    }

    /// Returns how many decisions were dropped because they came faster than they were read.
    pub fn lost(&self) -> u64 {
        self.reading.lock().counted
    }

    /// Starts the thread that reads decisions all the time.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn start(self: &Arc<Self>) -> io::Result<Reader> {
        let (stop, stopped) = channel();
        let decisions = self.clone();
        let work = move || {
            // Workers come first.
            process::lower_priority(process::BEHIND);
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                decisions.read();
            }
            decisions.read();
        };
        let thread = thread::Builder::new().name("decisions".into()).spawn(work)?;
        Ok(Reader { stop, thread })
    }
}

impl Reader {
    /// Reads what is left, and ends the thread.
    pub fn end(self) {
        drop(self.stop);
        // A panic has been logged.
        let _ = self.thread.join();
    }
}
