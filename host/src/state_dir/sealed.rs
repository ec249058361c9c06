//! Files that only this user can have written, with a digest that detects damage.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::StateDir;

/// The suffix of a file that is being written.
pub const UNFINISHED: &str = ".new";

/// The size in bytes of the digest after the content.
const SEAL: usize = 32;
/// How many bytes are read and hashed at a time, so that they stay in the cache.
const CHUNK: usize = 128 * 1024;

/// Why there is no content.
#[derive(Debug)]
pub enum Miss {
    /// There is no such file.
    Absent,
    /// It is damaged, or another user may have written it.
    Unfit(String),
}

impl StateDir {
    /// Reads and checks a file that [`Self::write_sealed`] wrote, if it has at most `max_size`
    /// bytes.
    pub fn read_sealed(&self, name: &str, max_size: u64) -> Result<Vec<u8>, Miss> {
        let mut content = Vec::new();
        copy(&self.open_file(name)?, name, max_size, &mut content).map_err(unfit)?;
        Ok(content)
    }

    /// Opens a regular file for reading that no other user can have written.
    pub fn open_own(&self, name: &str) -> Result<File, Miss> {
        let file = self.open_file(name)?;
        own(&file).map_err(unfit)?;
        Ok(file)
    }

    /// Updates the modification time of a file.
    pub fn touch(&self, name: &str) -> io::Result<()> {
        let file = self.open_file(name).map_err(|_| io::ErrorKind::NotFound)?;
        file.set_modified(SystemTime::now())
    }

    pub(super) fn open_file(&self, name: &str) -> Result<File, Miss> {
        // Does not follow a link, and does not wait for a pipe.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let path = self.path().join(name);
        match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Miss::Absent),
            opened => opened.map_err(unfit),
        }
    }

    /// Writes a file that appears under its name only when it is complete, so that several
    /// processes may write it at once.
    pub fn write_sealed(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let fresh = self.path().join(format!("{name}.{:016x}{UNFINISHED}", rand::random::<u64>()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(content)?;
            let sum = begin(name).chain_update(content);
            file.write_all(&sum.finalize())?;
            fs::rename(&fresh, self.path().join(name))
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
    }
}

fn unfit(error: io::Error) -> Miss {
    Miss::Unfit(error.to_string())
}

/// Checks that a file is a regular one that no other user can have written.
fn own(file: &File) -> io::Result<Metadata> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if found.uid() != Uid::effective().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("the file is writable by other users"));
    }
    Ok(found)
}

/// Copies the content of a file that only this user can have written, and checks its seal.
fn copy(file: &File, name: &str, max_size: u64, into: impl Write) -> io::Result<()> {
    let wrong = |reason: &str| Err(io::Error::other(reason));
    let found = own(file)?;
    if found.len() > max_size {
        return wrong("it is too large");
    }
    let Some(length) = found.len().checked_sub(SEAL as u64) else {
        return wrong("it is damaged");
    };
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let mut summing = Summing { sum: begin(name), into };
    io::copy(&mut reader.by_ref().take(length), &mut summing)?;
    let mut seal = Vec::with_capacity(SEAL);
    reader.take(SEAL as u64 + 1).read_to_end(&mut seal)?;
    if seal == summing.sum.finalize()[..] { Ok(()) } else { wrong("it is damaged") }
}

/// Hashes bytes while they are written.
struct Summing<W> {
    sum: Sha256,
    into: W,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Begins the digest that follows a content; it covers the file's name and then the content.
fn begin(name: &str) -> Sha256 {
    let length = name.len() as u64;
    Sha256::new().chain_update(length.to_be_bytes()).chain_update(name)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, StateDir) {
        let keep = tempfile::tempdir().unwrap();
        let folder = StateDir::open(Some(keep.path())).unwrap().folder("sealed").unwrap();
        (keep, folder)
    }

    fn content(folder: &StateDir, name: &str) -> Result<Vec<u8>, String> {
        match folder.read_sealed(name, 1000) {
            Ok(content) => Ok(content),
            Err(Miss::Absent) => Err("absent".to_owned()),
            Err(Miss::Unfit(reason)) => Err(reason),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (_keep, folder) = folder();
        assert_eq!(content(&folder, "a"), Err("absent".into()));
        folder.write_sealed("a", b"code").unwrap();
        folder.write_sealed("a", b"better code").unwrap();
        assert_eq!(content(&folder, "a"), Ok(b"better code".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join("a")), 0o600);
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let (_keep, folder) = folder();
        folder.write_sealed("a", b"code").unwrap();
        let path = folder.path().join("a");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(content(&folder, "a"), Err("it is damaged".into()), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(content(&folder, "a"), Err("it is damaged".into()), "{at} bytes");
        }
        fs::write(&path, &whole).unwrap();
        assert!(content(&folder, "a").is_ok());
        fs::rename(&path, folder.path().join("b")).unwrap();
        assert_eq!(content(&folder, "b"), Err("it is damaged".into()), "another's content");
    }

    #[test]
    fn only_private_regular_files_are_read() {
        let (keep, folder) = folder();
        folder.write_sealed("a", b"code").unwrap();
        let path = folder.path().join("a");
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert_eq!(content(&folder, "a"), Err("the file is writable by other users".into()));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(content(&folder, "a").is_ok());
        let elsewhere = keep.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(content(&folder, "a").is_err(), "a link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(content(&folder, "a"), Err("it is not a file".into()));
        fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(content(&folder, "a"), Err("it is not a file".into()), "a pipe");
    }
}
