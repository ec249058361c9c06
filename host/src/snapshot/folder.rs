//! The folder of the snapshots: the current one, the one before, and a lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::statvfs::statvfs;

use super::unix_ms;
use crate::file::Gentle;
use crate::state_dir::{Miss, StateDir};

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";
const LOCK: &str = "lock";

/// A folder that only this process writes to.
pub struct Folder {
    state: StateDir,
    /// Its lock is released when the process ends.
    _lock: File,
}

/// Why there is no folder.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Another process writes to it.
    #[error("{0}")]
    Taken(String),
    #[error("{0}")]
    Unusable(#[from] io::Error),
}

impl Folder {
    /// Locks a folder until the process ends.
    ///
    /// # Errors
    ///
    /// Another process has locked it, or the lock file cannot be opened.
    pub fn lock(state: StateDir) -> Result<Self, Unavailable> {
        let path = state.path().join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.take(20).read_to_string(&mut holder);
                return Err(Unavailable::Taken(format!(
                    "{}: in use by the tracker with process id {}",
                    state.path().display(),
                    holder.trim()
                )));
            }
        }
        lock.set_len(0)?;
        // Only for the message of another process.
        let _ = lock.write_all(std::process::id().to_string().as_bytes());
        Ok(Self { state, _lock: lock })
    }

    /// Returns the path of the current snapshot in a folder.
    pub fn current(folder: &Path) -> PathBuf {
        folder.join(CURRENT)
    }

    pub fn path(&self) -> &Path {
        self.state.path()
    }

    /// Opens the current snapshot, or else the one before it, which is the newest if the last process
    /// ended between two renames. Returns `None` if there is neither.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or another user may have written it.
    pub fn open(&self) -> Result<Option<File>, String> {
        for name in [CURRENT, PREVIOUS] {
            match self.state.open_own(name) {
                Ok(file) => return Ok(Some(file)),
                Err(Miss::Absent) => {}
                Err(Miss::Unfit(reason)) => return Err(reason),
            }
        }
        Ok(None)
    }

    /// Renames the current snapshot, so that the next one does not replace it. Returns the new name.
    ///
    /// # Errors
    ///
    /// It cannot be renamed.
    pub fn set_aside(&self) -> io::Result<String> {
        let name = format!("{CURRENT}.unreadable-{}", unix_ms() / 1000);
        fs::rename(self.path().join(CURRENT), self.path().join(&name))?;
        Ok(name)
    }

    /// Begins the next snapshot, which will be about as large as the current one.
    ///
    /// # Errors
    ///
    /// There is too little space, or the file cannot be created.
    pub fn begin(&self) -> io::Result<Gentle> {
        let size = fs::metadata(self.path().join(CURRENT)).map_or(0, |found| found.len());
        let found = statvfs(self.path())?;
        let free = found.blocks_available().saturating_mul(found.fragment_size());
        if free < size + size / 5 {
            let reason = format!("{free} bytes free, expected {}", size + size / 5);
            return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
        }
        self.give_up();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(self.path().join(NEXT)).map(Gentle::new)
    }

    /// Removes what is left of a snapshot that was not finished.
    pub fn give_up(&self) {
        let _ = fs::remove_file(self.path().join(NEXT));
    }

    /// Makes the next snapshot the current one. At any moment, a whole file has one of the names.
    ///
    /// # Errors
    ///
    /// The file cannot be written or renamed.
    pub fn finish(&self, mut file: Gentle) -> io::Result<()> {
        file.sync()?;
        let [current, previous, next] =
            [CURRENT, PREVIOUS, NEXT].map(|name| self.path().join(name));
        match fs::rename(&current, previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(next, current)?;
        File::open(self.path())?.sync_all()
    }
}
