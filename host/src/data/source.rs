//! One data source of a policy: what it is, and its newest good version.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::definition::Definition;
use super::format;
use super::set::{Addresses, InfoHashes, Strings};
use crate::config::DataFormat;

/// A source, followed by a thread of its own for as long as somebody holds it.
pub struct DataSource {
    definition: Definition,
    current: ArcSwapOption<Version>,
    /// When the newest good version was read, or was found to be the newest still.
    read: Mutex<Instant>,
    /// The newest good version comes from disk.
    kept: AtomicBool,
    /// Wakes whoever fetches.
    wake: Mutex<Option<Wake>>,
    number: AtomicU64,
    errors: AtomicU64,
    takers: Mutex<Vec<Weak<dyn Taker>>>,
}

struct Wake {
    fetcher: Sender<()>,
    last: Option<Instant>,
}

/// How often a plugin may have a source fetched.
const REFRESH: Duration = Duration::from_secs(10);
/// Bytes of stack: takers of raw data run on the thread of its source.
const STACK: usize = 4 * 1024 * 1024;

/// Whoever reads raw data, and may refuse a version of it.
pub trait Taker: Send + Sync {
    /// Tries a new version of the data.
    ///
    /// # Errors
    ///
    /// Why it is of no use.
    fn try_on(&self, name: &str, number: u64, bytes: &[u8]) -> Result<(), String>;
}

/// A version that could be read.
pub struct Version {
    pub content: Content,
    /// Counted from 1.
    pub number: u64,
}

/// What one version of a source says.
pub enum Content {
    Raw(Vec<u8>),
    InfoHashes(InfoHashes),
    Addresses(Addresses),
    Strings(Strings),
}

impl DataSource {
    /// A source of bytes that are at hand, which nobody follows.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, by its number.
    pub fn given(definition: Definition, bytes: &[u8]) -> Result<Arc<Self>, String> {
        let source = Self::new(definition);
        source.take(bytes)?;
        Ok(Arc::new(source))
    }

    pub(super) fn new(definition: Definition) -> Self {
        Self {
            definition,
            current: ArcSwapOption::empty(),
            read: Mutex::new(Instant::now()),
            kept: AtomicBool::new(false),
            wake: Mutex::default(),
            number: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            takers: Mutex::default(),
        }
    }

    /// Starts the thread that follows the source.
    pub(super) fn spawn(
        self: &Arc<Self>,
        work: impl FnOnce(Weak<Self>) + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("data-{}", self.definition.name);
        let source = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name(name).stack_size(STACK);
        thread.spawn(move || work(source)).map(drop)
    }

    /// Sets what wakes the thread that fetches.
    pub(super) fn set_wake(&self, fetcher: Sender<()>) {
        *self.wake.lock() = Some(Wake { fetcher, last: None });
    }

    /// Whether nothing is there that should be.
    pub fn is_missing(&self) -> bool {
        self.definition.required && self.current().is_none()
    }

    /// Has the source be fetched soon, but not more often than every ten seconds. A file is
    /// followed anyway.
    pub fn refresh(&self) {
        if let Some(Wake { fetcher, last }) = &mut *self.wake.lock() {
            let now = Instant::now();
            if last.is_none_or(|last| now.duration_since(last) >= REFRESH) {
                *last = Some(now);
                let _ = fetcher.send(());
            }
        }
    }

    /// Has a new version of raw data be tried on somebody first, for as long as that lives.
    pub fn add_taker(&self, taker: Weak<dyn Taker>) {
        let mut takers = self.takers.lock();
        takers.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&taker));
        takers.push(taker);
    }

    pub fn is_raw(&self) -> bool {
        self.definition.format == DataFormat::Raw
    }

    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The newest good version, where there is one. The guard is for a moment.
    pub fn current(&self) -> arc_swap::Guard<Option<Arc<Version>>> {
        self.current.load()
    }

    /// The number of the newest good version, which grows also where it stops to count; 0 where
    /// there has been none.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// How long ago the newest good version was read.
    pub fn age(&self) -> Option<Duration> {
        self.current().as_ref().map(|_| self.read.lock().elapsed())
    }

    /// Entries of the newest good version.
    pub fn entries(&self) -> usize {
        self.current().as_ref().map_or(0, |version| version.content.entries())
    }

    /// Versions that could not be used.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Has a new version take the place of the old one for everybody, if it is a good one.
    pub fn offer(&self, bytes: &[u8]) -> Result<(), String> {
        self.take(bytes).inspect_err(|reason| self.refuse(reason))
    }

    /// The newest good version was the newest still, so long ago.
    pub(super) fn renew(&self, age: Duration) {
        *self.read.lock() = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
    }

    /// The newest good version comes from disk.
    pub(super) fn mark_kept(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Forgets what comes from disk and turned out to be of no use; `false`: nothing does.
    pub fn forget_kept(&self) -> bool {
        let kept = self.kept.swap(false, Ordering::Relaxed);
        if kept {
            self.refuse("what was kept on disk is of no use any more");
            self.forget();
        }
        kept
    }

    /// Counts no more what there is, and has nothing in its place.
    pub(super) fn forget(&self) {
        if self.current.swap(None).is_some() {
            self.number.fetch_add(1, Ordering::Release);
        }
    }

    /// Counts a version that could not be read, or is of no use.
    pub(super) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a new version that is of no use, and tells the log.
    pub(super) fn refuse(&self, reason: &str) {
        self.count_error();
        self.log_refusal(reason);
    }

    pub(super) fn log_refusal(&self, reason: &str) {
        let Definition { policy, name: data, .. } = &self.definition;
        tracing::error!(%policy, %data, reason, "data is refused, the last good version stays");
    }

    /// Takes a new version, if it is a good one. Only ever called by one thread at a time.
    pub(super) fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let content = Content::parse(self.definition.format, bytes)?;
        let number = self.number() + 1;
        if let Content::Raw(bytes) = &content {
            let takers: Vec<_> = self.takers.lock().iter().filter_map(Weak::upgrade).collect();
            takers.iter().try_for_each(|one| one.try_on(&self.definition.name, number, bytes))?;
        }
        let version = Version { content, number };
        let Definition { policy, name: data, .. } = &self.definition;
        tracing::info!(%policy, %data, number, entries = version.content.entries(), "data read");
        *self.read.lock() = Instant::now();
        self.kept.store(false, Ordering::Relaxed);
        self.current.store(Some(Arc::new(version)));
        // Behind the content: who has seen the number finds no older content.
        self.number.store(number, Ordering::Release);
        Ok(())
    }
}

impl Content {
    /// # Errors
    ///
    /// The first line that is wrong, by its number.
    pub fn parse(format: DataFormat, bytes: &[u8]) -> Result<Self, String> {
        Ok(match format {
            DataFormat::Raw => Self::Raw(bytes.to_owned()),
            DataFormat::InfoHashes => Self::InfoHashes(format::info_hashes(bytes)?),
            DataFormat::Addresses => Self::Addresses(format::addresses(bytes)?),
            DataFormat::Strings => Self::Strings(format::strings(bytes)?),
        })
    }

    pub fn entries(&self) -> usize {
        match self {
            Self::Raw(_) => 1,
            Self::InfoHashes(set) => set.len(),
            Self::Addresses(set) => set.len(),
            Self::Strings(set) => set.len(),
        }
    }
}
