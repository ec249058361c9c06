//! Standard error: who reads it, and lines about the log itself.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing::Level;

use super::lines::priority;
use crate::text::Escaped;

/// Who reads standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// A person, who may like colours.
    Terminal,
    /// journald, which knows the time and reads priorities.
    Journal,
    Other,
}

impl Reader {
    /// Determines the reader. systemd puts the device and the inode of its stream to journald into
    /// `$JOURNAL_STREAM`, which children inherit even if their standard error is another one.
    pub fn find() -> Self {
        let stderr = io::stderr();
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        if stderr.is_terminal() {
            Self::Terminal
        } else if fstat(&stderr).is_ok_and(|file| is_stream(&stream, (file.st_dev, file.st_ino))) {
            Self::Journal
        } else {
            Self::Other
        }
    }

    /// Writes an error about the log itself.
    pub fn complain(self, message: impl Display) {
        let prefix = if self == Self::Journal { priority(Level::ERROR) } else { "" };
        // There may be no reader.
        let _ = writeln!(io::stderr(), "{prefix}karuta: {}", Escaped(message));
    }
}

/// Returns a descriptor of standard error, with which no thread waits for the standard library's
/// lock.
pub fn open() -> io::Result<std::fs::File> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// Returns whether `DEVICE:INODE` names a file.
fn is_stream(stream: &str, (device, inode): (u64, u64)) -> bool {
    let parts = stream.split_once(':');
    parts.is_some_and(|(one, other)| one.parse() == Ok(device) && other.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_device_and_inode_are_the_journal() {
        assert!(is_stream("8:21", (8, 21)));
        for other in ["", ":", "8", "8:", "8:22", "9:21", "8:21:1", " 8:21", "8:21\n", "-8:21"] {
            assert!(!is_stream(other, (8, 21)), "{other:?}");
        }
    }
}
