//! A policy's data source: its definition, and its newest good version.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::definition::Definition;
use super::format;
use super::set::{Addresses, InfoHashes, Strings};
use crate::config::{DataFormat, EditMode};
use crate::edits::Edits;

/// The error of a file that is no longer there.
const GONE: &str = "the file is gone; its last version stays in use";

/// A source, kept up to date by its own thread as long as it is in use.
pub struct DataSource {
    definition: Definition,
    current: ArcSwapOption<Version>,
    /// When the newest good version was read, or last confirmed to be current.
    read: Mutex<Instant>,
    news: Mutex<News>,
    /// Whether the newest good version comes from disk.
    kept: AtomicBool,
    /// Wakes the thread that fetches.
    wake: Mutex<Option<Wake>>,
    number: AtomicU64,
    errors: AtomicU64,
    /// What is changed of a list besides its data, if it can be.
    edits: Option<Arc<Edits>>,
    /// Held while edits are written into the file.
    pub(super) folding: Mutex<()>,
    takers: Mutex<Vec<Weak<dyn Taker>>>,
    /// Why other ways to edit the list are not open, by their names.
    door_faults: Mutex<BTreeMap<&'static str, String>>,
}

/// What operators ask about a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// When the newest good version came or expired; before the first one, when the source was opened.
    pub changed: SystemTime,
    /// Why the last attempt to read a version failed, if it did.
    pub error: Option<String>,
    /// When the URL is fetched next.
    pub next: Option<Instant>,
}

struct Wake {
    fetcher: Sender<()>,
    last: Option<Instant>,
}

/// How often a plugin may trigger a fetch of a source.
const REFRESH: Duration = Duration::from_secs(10);
/// The stack size in bytes: takers of raw data run on the thread of its source.
const STACK: usize = 4 * 1024 * 1024;

/// A reader of raw data that may refuse a version of it.
pub trait Taker: Send + Sync {
    /// Tries a new version of the data.
    ///
    /// # Errors
    ///
    /// Why it is unusable.
    fn try_on(&self, name: &str, number: u64, bytes: &[u8]) -> Result<(), String>;
}

/// A version that was parsed.
pub struct Version {
    pub content: Content,
    /// Counted from 1.
    pub number: u64,
}

/// The content of a version.
pub enum Content {
    Raw(Vec<u8>),
    InfoHashes(InfoHashes),
    Addresses(Addresses),
    Strings(Strings),
}

impl DataSource {
    /// Makes a source from given bytes, without a thread.
    ///
    /// # Errors
    ///
    /// The number of the first wrong line.
    pub fn given(definition: Definition, bytes: &[u8]) -> Result<Arc<Self>, String> {
        let source = Self::new(definition, None);
        source.take(bytes)?;
        Ok(Arc::new(source))
    }

    pub(super) fn new(definition: Definition, edits: Option<Arc<Edits>>) -> Self {
        Self {
            definition,
            current: ArcSwapOption::empty(),
            read: Mutex::new(Instant::now()),
            news: Mutex::new(News { changed: SystemTime::now(), error: None, next: None }),
            kept: AtomicBool::new(false),
            wake: Mutex::default(),
            number: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            edits,
            folding: Mutex::default(),
            takers: Mutex::default(),
            door_faults: Mutex::default(),
        }
    }

    /// Starts the thread that keeps the source up to date.
    pub(super) fn spawn(
        self: &Arc<Self>,
        work: impl FnOnce(Weak<Self>) + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("data-{}", self.definition.name);
        let source = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name(name).stack_size(STACK);
        thread.spawn(move || work(source)).map(drop)
    }

    /// Sets the channel that wakes the thread that fetches.
    pub(super) fn set_wake(&self, fetcher: Sender<()>) {
        *self.wake.lock() = Some(Wake { fetcher, last: None });
    }

    /// Returns whether required data is missing.
    pub fn is_missing(&self) -> bool {
        self.definition.required && self.current().is_none()
    }

    /// Requests a fetch soon, at most every ten seconds. Does nothing for a file, which is watched
    /// anyway.
    pub fn refresh(&self) {
        if let Some(Wake { fetcher, last }) = &mut *self.wake.lock() {
            let now = Instant::now();
            if last.is_none_or(|last| now.duration_since(last) >= REFRESH) {
                *last = Some(now);
                let _ = fetcher.send(());
            }
        }
    }

    /// Registers a validator that new versions of raw data must pass, while it is alive.
    pub fn add_taker(&self, taker: Weak<dyn Taker>) {
        let mut takers = self.takers.lock();
        takers.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&taker));
        takers.push(taker);
    }

    pub fn is_raw(&self) -> bool {
        self.definition.format == DataFormat::Raw
    }

    pub fn has_info_hashes(&self) -> bool {
        self.definition.format == DataFormat::InfoHashes
    }

    /// Fetches the memory where these info-hashes would be into the processor's caches.
    pub fn fetch(&self, info_hashes: impl Iterator<Item = [u8; 20]>) {
        if let Some(Version { content: Content::InfoHashes(set), .. }) = self.current().as_deref() {
            info_hashes.for_each(|info_hash| set.fetch(&info_hash));
        }
    }

    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the newest good version, if any. Drop the guard soon.
    pub fn current(&self) -> arc_swap::Guard<Option<Arc<Version>>> {
        self.current.load()
    }

    /// Returns the number of the newest good version, or 0 if there has been none. It also grows
    /// when a version expires. That of a list which can be edited also grows with each change, and
    /// never falls.
    pub fn number(&self) -> u64 {
        match &self.edits {
            Some(edits) => edits.version(),
            None => self.number.load(Ordering::Acquire),
        }
    }

    /// Returns the edits of the list, if it can be edited.
    pub fn edits(&self) -> Option<&Arc<Edits>> {
        self.edits.as_ref()
    }

    /// Returns the time since the newest good version was read.
    pub fn age(&self) -> Option<Duration> {
        self.current().as_ref().map(|_| self.read.lock().elapsed())
    }

    /// Returns the number of entries of the newest good version, with edits.
    pub fn entries(&self) -> usize {
        let current = self.current();
        let content = current.as_ref().map(|version| &version.content);
        let read = content.map_or(0, Content::entries);
        let Some(overlay) = self.overlay() else { return read };
        // An edit may give a range that is listed another value.
        let replaced = match content {
            Some(Content::Addresses(set)) => {
                overlay.ranges().filter(|range| set.value(range).is_some()).count()
            }
            _ => 0,
        };
        (read + overlay.added()).saturating_sub(overlay.removed() + replaced)
    }

    /// Returns the number of edits that the data does not say; `None`: it cannot be edited.
    pub fn edit_count(&self) -> Option<usize> {
        let overlay = self.edits.as_ref()?.overlay();
        Some(overlay.added() + overlay.removed())
    }

    pub fn news(&self) -> News {
        self.news.lock().clone()
    }

    /// Says whether another way to edit the list is open, and why not.
    pub fn set_door_fault(&self, door: &'static str, fault: Option<&str>) {
        let mut faults = self.door_faults.lock();
        match fault {
            Some(fault) => drop(faults.insert(door, fault.to_owned())),
            None => drop(faults.remove(door)),
        }
    }

    /// Returns why other ways to edit the list are not open.
    pub fn door_faults(&self) -> Vec<String> {
        self.door_faults.lock().values().cloned().collect()
    }

    /// Sets when the URL is fetched next.
    pub(super) fn set_next(&self, next: Instant) {
        self.news.lock().next = Some(next);
    }

    /// Returns how many versions could not be used.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Replaces the version for all readers, if the new one is good.
    pub fn offer(&self, bytes: &[u8]) -> Result<(), String> {
        self.take(bytes).inspect_err(|reason| self.refuse(reason))
    }

    /// Sets the time at which the newest good version was confirmed to `age` ago.
    pub(super) fn renew(&self, age: Duration) {
        *self.read.lock() = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        self.news.lock().error = None;
    }

    /// Marks the newest good version as one from disk.
    pub(super) fn mark_kept(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Drops a version from disk that turned out to be unusable; returns whether there was one.
    pub fn forget_kept(&self) -> bool {
        let kept = self.kept.swap(false, Ordering::Relaxed);
        if kept {
            self.refuse("the version cached on disk has become unusable");
            self.forget();
        }
        kept
    }

    /// Drops the current version without a replacement.
    pub(super) fn forget(&self) {
        if self.current.swap(None).is_some() {
            let number = self.number.load(Ordering::Relaxed) + 1;
            self.publish(number);
            self.news.lock().changed = SystemTime::now();
        }
    }

    /// Counts a version that could not be read or used.
    pub(super) fn count_error(&self, reason: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.news.lock().error = Some(reason.to_owned());
    }

    /// Says whether the file of the version that is in use is no longer there.
    pub(super) fn set_gone(&self, is_gone: bool) {
        let error = &mut self.news.lock().error;
        match error.as_deref() {
            None if is_gone && self.current().is_some() => {
                let Definition { policy, name: data, .. } = &self.definition;
                tracing::warn!(%policy, %data, "file is gone; keeping last good version");
                *error = Some(GONE.to_owned());
            }
            Some(GONE) if !is_gone => *error = None,
            _ => {}
        }
    }

    /// Counts and logs a new version that is unusable.
    pub(super) fn refuse(&self, reason: &str) {
        self.count_error(reason);
        self.log_refusal(reason);
    }

    pub(super) fn log_refusal(&self, reason: &str) {
        let Definition { policy, name: data, .. } = &self.definition;
        tracing::error!(%policy, %data, reason, "cannot use new data; keeping last good version");
    }

    /// Installs a new version if it is good. Must only be called by one thread at a time.
    pub(super) fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let content = Content::parse(self.definition.format, bytes)?;
        let number = self.number.load(Ordering::Relaxed) + 1;
        if let Content::Raw(bytes) = &content {
            let takers: Vec<_> = self.takers.lock().iter().filter_map(Weak::upgrade).collect();
            takers.iter().try_for_each(|one| one.try_on(&self.definition.name, number, bytes))?;
        }
        let version = Version { content, number };
        let Definition { policy, name: data, .. } = &self.definition;
        tracing::info!(%policy, %data, number, entries = version.content.entries(), "read new data");
        *self.read.lock() = Instant::now();
        self.kept.store(false, Ordering::Relaxed);
        let is_first = self.current.swap(Some(Arc::new(version))).is_none();
        if !is_first {
            self.end_edits();
        }
        self.publish(number);
        let mut news = self.news.lock();
        (news.changed, news.error) = (SystemTime::now(), None);
        Ok(())
    }

    /// Publishes the number of a new version. After the content: a reader that sees the number never
    /// finds older content.
    fn publish(&self, number: u64) {
        self.number.store(number, Ordering::Release);
        if let Some(edits) = &self.edits {
            edits.rebase();
        }
    }

    /// Has edits be made and written from now on: the list is in use.
    pub fn keep_edits(&self) {
        if let Some(edits) = &self.edits {
            edits.keep();
        }
    }

    /// Ends the edits that hold until the list is read anew, or the configuration.
    pub fn end_edits(&self) {
        if let Some(edits) = &self.edits
            && self.definition.edits == EditMode::UntilReload
            && !edits.overlay().is_empty()
        {
            edits.end();
        }
    }
}

impl Content {
    /// # Errors
    ///
    /// The number of the first wrong line.
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
