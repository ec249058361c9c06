//! Watches files: a change is seen within two seconds, whether the file is replaced by rename or
//! written in place.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::file;

/// How often to check.
pub const POLL: Duration = Duration::from_millis(250);
/// A changed file is read once it has been stable for this long, so that it is not read
/// half-written.
const STILL: Duration = Duration::from_millis(500);

/// What changes with a file's content. The default is that of a missing file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a file was not read.
#[derive(Debug)]
pub enum Unread {
    Gone,
    /// It was being written.
    Changing,
    Unusable(String),
}

impl Unread {
    /// Returns a message for operators.
    pub fn reason(&self, path: &Path) -> String {
        match self {
            Self::Gone => format!("no such file: `{}`", path.display()),
            Self::Changing => format!("`{}` is being written", path.display()),
            Self::Unusable(reason) => reason.clone(),
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns whether the content has been the same for a while, by the time of its last change.
    pub fn is_still(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.modified;
        let part = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
        let since_1970 = u64::try_from(seconds).map_or(Duration::ZERO, Duration::from_secs) + part;
        // The clock may have been set back since.
        let age = now.duration_since(UNIX_EPOCH + since_1970);
        age.map_or_else(|until| until.duration() > STILL, |age| age >= STILL)
    }
}

/// Reads a whole file of at most `max_size` bytes that is not being written.
pub fn read(path: &Path, max_size: u64) -> Result<(Stamp, Vec<u8>), Unread> {
    let unread = |unread: file::Unread| match unread {
        file::Unread::Absent(_) => Unread::Gone,
        other => Unread::Unusable(other.to_string()),
    };
    let unreadable = |error| Unread::Unusable(format!("cannot read `{}`: {error}", path.display()));
    let (file, found) = file::open(path).map_err(unread)?;
    let bytes = file::read_from(&file, &found, max_size).map_err(unreadable)?;
    let bytes = bytes.ok_or_else(|| unread(file::Unread::TooLong(max_size)))?;
    let before = Stamp::of(&found);
    match Stamp::of(&file.metadata().map_err(unreadable)?) == before {
        true => Ok((before, bytes)),
        false => Err(Unread::Changing),
    }
}

/// A file that is checked every [`POLL`].
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    /// Its state when it was last read, successfully or not.
    known: Option<Stamp>,
    /// Its state since it has changed, and from when on.
    moving: Option<(Stamp, Instant)>,
    /// Why it could not be checked last time.
    hidden: Option<io::ErrorKind>,
}

impl Watch {
    /// Watches a file for changes relative to what is `known` of it.
    pub fn new(path: PathBuf, known: Option<Stamp>) -> Self {
        Self { path, known, moving: None, hidden: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the state of the file if it has changed and is now stable.
    ///
    /// # Errors
    ///
    /// Why it cannot be checked, once per reason; a missing file is not an error.
    pub fn look(&mut self) -> Result<Option<Stamp>, String> {
        let found = match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                self.hidden = None;
                Some(Stamp::of(&metadata))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.hidden = None;
                None
            }
            Err(error) => {
                self.moving = None;
                if self.hidden.replace(error.kind()) == Some(error.kind()) {
                    return Ok(None);
                }
                return Err(format!("cannot read `{}`: {error}", self.path.display()));
            }
        };
        Ok(self.is_due(found, Instant::now()).then_some(found).flatten())
    }

    /// Returns whether the file has changed since the last time it was handled.
    pub fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Records that this state of the file has been handled.
    pub fn settle(&mut self, known: Stamp) {
        self.known = Some(known);
    }

    /// Records that it could not be read after all; any state is then a change.
    pub fn forget(&mut self) {
        self.moving = None;
    }

    /// Returns whether a file that is now as `found` should be read.
    fn is_due(&mut self, found: Option<Stamp>, now: Instant) -> bool {
        let Some(found) = found.filter(|found| Some(*found) != self.known) else {
            self.moving = None;
            return false;
        };
        match self.moving {
            Some((stamp, since)) if stamp == found => now.duration_since(since) >= STILL,
            _ => {
                self.moving = Some((found, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { file: (1, 1), size, modified: (0, 0), changed: (0, 0) }
    }

    #[test]
    fn a_file_is_read_once_it_stops_changing() {
        let start = Instant::now();
        let mut watch = Watch::new(PathBuf::new(), Some(stamp(1)));
        let mut due =
            |found: Option<Stamp>, ms| watch.is_due(found, start + Duration::from_millis(ms));
        assert!(!due(Some(stamp(1)), 0), "nothing is new");
        assert!(!due(Some(stamp(2)), 250));
        assert!(!due(Some(stamp(2)), 749));
        assert!(!due(Some(stamp(3)), 750), "it grows");
        assert!(!due(Some(stamp(3)), 1249));
        assert!(due(Some(stamp(3)), 1250));
        assert!(!due(None, 1500), "it is gone");
        assert!(!due(Some(stamp(4)), 1750), "and begins anew");
        assert!(due(Some(stamp(4)), 2250));
        assert!(!due(Some(stamp(1)), 2500), "it is as it was");
        assert!(!due(Some(stamp(4)), 2750));
    }

    #[test]
    fn a_file_is_still_some_time_after_its_last_change() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let modified = |modified| Stamp { modified, ..stamp(1) }.is_still(now);
        assert!(modified((0, 0)) && modified((999, 400_000_000)));
        assert!(!modified((999, 600_000_000)) && !modified((1000, 0)) && !modified((1000, 1)));
        assert!(modified((2000, 0)), "the clock was set back");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_reported_once_for_each_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let mut watch = Watch::new(path.clone(), None);
        assert_eq!(watch.look(), Ok(None), "there is none yet");
        for _ in 0..2 {
            std::os::unix::fs::symlink("list", &path).unwrap();
            let said = watch.look().unwrap_err();
            assert!(said.starts_with("cannot read `"), "{said}");
            assert_eq!(watch.look(), Ok(None), "it was told");
            std::fs::remove_file(&path).unwrap();
            assert_eq!(watch.look(), Ok(None), "it is gone");
        }
        let mut below = Watch::new(path.join("list"), None);
        std::fs::write(&path, "").unwrap();
        assert!(below.look().is_err(), "it is in no folder");
    }

    #[test]
    fn only_regular_files_up_to_the_maximum_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        assert!(matches!(read(&path, 9), Err(Unread::Gone)));
        std::fs::write(&path, "123456789").unwrap();
        let (before, bytes) = read(&path, 9).unwrap();
        assert_eq!(bytes, b"123456789");
        let Err(Unread::Unusable(reason)) = read(&path, 8) else { panic!("it is too long") };
        assert_eq!(reason, "more than 8 bytes");
        let other = folder.path().join("new");
        std::fs::write(&other, "123456789").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(read(&path, 9).unwrap().0, before, "another file of the same size");
        let Err(Unread::Unusable(reason)) = read(folder.path(), 9) else { panic!("a folder") };
        assert!(reason.starts_with("not a file: "), "{reason}");
    }
}
