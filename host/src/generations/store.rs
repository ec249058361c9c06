//! The bytes of plugins by their SHA-256, each once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::file;
use crate::state_dir::{Miss, StateDir};

/// The largest plugin, in bytes. A policy of an interpreter has about 20 million.
const MOST: u64 = 256 << 20;

/// A folder of files that are named by the SHA-256 of their bytes.
pub struct Store(StateDir);

impl Store {
    /// Opens the store of a state folder; creates it if it is missing.
    pub fn open(state: &StateDir) -> io::Result<Self> {
        Ok(Self(state.folder("store")?.folder("sha256")?))
    }

    /// Opens it, if there is one.
    pub fn look(state: &StateDir) -> io::Result<Option<Self>> {
        let store = state.existing_folder("store")?;
        let folder = store.map(|store| store.existing_folder("sha256")).transpose()?;
        Ok(folder.flatten().map(Self))
    }

    /// Keeps the bytes of a file, unless they are there. What is damaged is replaced.
    ///
    /// # Errors
    ///
    /// The file has other bytes by now, or they cannot be written.
    pub fn keep(&self, digest: &str, from: &Path) -> io::Result<()> {
        if self.0.open_own(digest).is_ok()
            && digest_of(&self.0.path().join(digest)).is_ok_and(|found| found == digest)
        {
            return Ok(());
        }
        let bytes =
            file::read(from, MOST).map_err(|unread| io::Error::other(unread.to_string()))?;
        if hex::encode(Sha256::digest(&bytes)) != digest {
            let reason = format!("{} has changed since it was loaded", from.display());
            return Err(io::Error::other(reason));
        }
        self.0.write(digest, &bytes)
    }

    /// Returns the path of the file with these bytes, which may be damaged.
    ///
    /// # Errors
    ///
    /// There is none, or another user may have written it.
    pub fn find(&self, digest: &str) -> Result<PathBuf, String> {
        match self.0.open_own(digest) {
            Ok(_) => Ok(self.0.path().join(digest)),
            Err(Miss::Absent) => Err("it is no longer kept".to_owned()),
            Err(Miss::Unfit(reason)) => Err(reason),
        }
    }

    /// Removes all files but these, and what was not finished.
    pub fn retain(&self, digests: &BTreeSet<&str>) -> io::Result<()> {
        for file in fs::read_dir(self.0.path())? {
            let file = file?;
            if !file.file_name().to_str().is_some_and(|name| digests.contains(name)) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}

/// Returns the SHA-256 of a file, in lower-case hexadecimal digits.
///
/// # Errors
///
/// It cannot be read, or is larger than a plugin may be.
pub fn digest_of(path: &Path) -> Result<String, String> {
    let bytes = file::read(path, MOST).map_err(|unread| unread.to_string())?;
    Ok(hex::encode(Sha256::digest(bytes)))
}
