//! One data source of a policy: what it is, and its newest good version.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::file;
use super::format;
use super::set::{Addresses, InfoHashes, Strings};
use crate::config::DataFormat;

/// What makes a source another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    pub policy: Arc<str>,
    /// Among the sources of the policy.
    pub name: Arc<str>,
    pub file: PathBuf,
    pub format: DataFormat,
    /// Bytes.
    pub max_size: u64,
    /// Whether it is an error that there is nothing to begin with.
    pub required: bool,
}

/// A source, followed by a thread of its own for as long as somebody holds it.
pub struct Source {
    definition: Definition,
    current: ArcSwapOption<Version>,
    number: AtomicU64,
    errors: AtomicU64,
    takers: Mutex<Vec<Weak<dyn Taker>>>,
}

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
    read: Instant,
}

/// What one version of a source says.
pub enum Content {
    Raw(Vec<u8>),
    InfoHashes(InfoHashes),
    Addresses(Addresses),
    Strings(Strings),
}

impl Source {
    /// Reads the file and follows it from then on.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, and no file where one is required.
    pub fn open(definition: Definition) -> Result<Arc<Self>, String> {
        let Definition { file, required, max_size, .. } = &definition;
        let first = match file::read(file, *max_size) {
            Ok(first) => Some(first),
            Err(file::Unread::Gone) if !required => None,
            Err(unread) => return Err(unread.reason(file)),
        };
        let source = Arc::new(Self {
            definition,
            current: ArcSwapOption::empty(),
            number: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            takers: Mutex::default(),
        });
        let stamp = match first {
            Some((stamp, bytes)) => {
                source.take(&bytes)?;
                Some(stamp)
            }
            None => {
                let Definition { policy, name: data, file, .. } = source.definition();
                let file = file.display();
                tracing::warn!(%policy, %data, %file, "there is no such file yet");
                None
            }
        };
        file::follow(&source, stamp).map_err(|error| error.to_string())?;
        Ok(source)
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

    /// The number of the newest good version; 0 where there is none.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// How long ago the newest good version was read.
    pub fn age(&self) -> Option<Duration> {
        self.current().as_ref().map(|version| version.read.elapsed())
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
    pub(super) fn offer(&self, bytes: &[u8]) {
        if let Err(reason) = self.take(bytes) {
            self.refuse(&reason);
        }
    }

    /// Counts a new version that is of no use.
    pub(super) fn refuse(&self, reason: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let Definition { policy, name: data, .. } = &self.definition;
        tracing::error!(%policy, %data, reason, "new data is refused, the last good version stays");
    }

    /// Only ever called by one thread at a time.
    fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let content = Content::parse(self.definition.format, bytes)?;
        let number = self.number() + 1;
        if let Content::Raw(bytes) = &content {
            let takers: Vec<_> = self.takers.lock().iter().filter_map(Weak::upgrade).collect();
            takers.iter().try_for_each(|one| one.try_on(&self.definition.name, number, bytes))?;
        }
        let version = Version { content, number, read: Instant::now() };
        let Definition { policy, name: data, .. } = &self.definition;
        tracing::info!(%policy, %data, number, entries = version.content.entries(), "data read");
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

    fn definition(file: PathBuf, required: bool) -> Definition {
        let format = DataFormat::InfoHashes;
        Definition { policy: "p".into(), name: "d".into(), file, format, max_size: 1000, required }
    }

    #[test]
    fn a_broken_version_never_replaces_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, A).unwrap();
        let source = Source::open(definition(file, true)).unwrap();
        assert_eq!((source.number(), source.entries(), source.errors()), (1, 1, 0));
        source.offer(b"\nnonsense");
        source.refuse("whatever");
        assert_eq!((source.number(), source.entries(), source.errors()), (1, 1, 2));
        source.offer(b"# nobody\n");
        assert_eq!((source.number(), source.entries(), source.errors()), (2, 0, 2));
    }

    #[test]
    fn what_is_wrong_at_the_start_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        let open = |required| Source::open(definition(file.clone(), required));
        let source = open(false).unwrap();
        assert_eq!((source.number(), source.age()), (0, None));
        assert!(open(true).err().unwrap().starts_with("no such file: "));
        std::fs::write(&file, format!("{A}\n{A}0\n")).unwrap();
        for required in [false, true] {
            let reason = open(required).err().unwrap();
            assert!(reason.starts_with("line 2: "), "{reason}");
        }
    }
}
