//! A file that is written while other threads have packets to answer.

use std::fs::File;
use std::io::{self, Write};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::process;

/// A new file. The workers may go first after every few pages, and few pages at a time go to the
/// disk: neither a copy into the kernel nor a flush can be interrupted by a worker.
pub struct Gentle {
    file: File,
    /// Bytes that were written, and those of them that are on disk.
    written: u64,
    synced: u64,
}

/// How many bytes are written without giving way.
const AT_ONCE: usize = 8 * 1024;
/// How many bytes may wait for the disk.
const UNSYNCED: u64 = 512 * 1024;

impl Gentle {
    pub fn new(file: File) -> Self {
        Self { file, written: 0, synced: 0 }
    }

    /// Brings all that was written to the disk.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // It will not be read soon; others' files should stay in memory instead.
        let range = (self.synced.cast_signed(), (self.written - self.synced).cast_signed());
        let _ =
            posix_fadvise(&self.file, range.0, range.1, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        self.synced = self.written;
        Ok(())
    }
}

impl Write for Gentle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        process::give_way();
        let written = self.file.write(&bytes[..bytes.len().min(AT_ONCE)])?;
        self.written += written as u64;
        if self.written - self.synced >= UNSYNCED {
            self.sync()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
