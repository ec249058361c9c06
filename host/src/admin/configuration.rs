//! The configuration file: what serves, and what is on the disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::Admin;
use super::reloads::Pinned;
use crate::config;

/// The file, read again now and then.
pub struct ConfigurationFile {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

/// What was found in the file: its digest, or why it cannot be read.
struct Read {
    at: Instant,
    /// The digest of what served then.
    serving: [u8; 32],
    found: Result<[u8; 32], String>,
}

/// The file as the status shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Configuration {
    pub path: String,
    pub sha256_serving: String,
    /// `None`: it cannot be read, and `error` says why.
    pub sha256_on_disk: Option<String>,
    pub error: Option<String>,
    /// Whether the file is another one than what serves.
    pub changed_on_disk: bool,
    /// An earlier generation serves in its place.
    pub pinned: Option<Pinned>,
}

/// How often the file is read at most.
const EVERY: Duration = Duration::from_secs(1);

impl ConfigurationFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::new(None) }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Returns the digest of the file. After a reload it is read at once, for what was found before is
    /// older than what serves.
    fn digest(&self, serving: [u8; 32], now: Instant) -> Result<[u8; 32], String> {
        let mut read = self.read.lock();
        let is_fresh = |read: &&Read| {
            read.serving == serving && now.saturating_duration_since(read.at) < EVERY
        };
        if let Some(fresh) = read.as_ref().filter(is_fresh) {
            return fresh.found.clone();
        }
        let found = config::digest(&self.path).map_err(|error| error.to_string());
        *read = Some(Read { at: now, serving, found: found.clone() });
        found
    }
}

impl Configuration {
    pub fn of(admin: &Admin) -> Self {
        let serving = admin.reloads.serving();
        let on_disk = admin.configuration.digest(serving, Instant::now());
        Self {
            path: admin.configuration.path(),
            sha256_serving: hex::encode(serving),
            sha256_on_disk: on_disk.as_ref().ok().map(hex::encode),
            changed_on_disk: on_disk.as_ref().is_ok_and(|digest| *digest != serving),
            error: on_disk.err(),
            pinned: admin.reloads.pinned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_once_a_second_and_after_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let file = ConfigurationFile::new(path.clone());
        let start = Instant::now();
        let at = |serving: u8, now| file.digest([serving; 32], now);
        assert!(at(0, start).unwrap_err().contains("no such file"));
        std::fs::write(&path, "landlock: true").unwrap();
        assert!(at(0, start + EVERY / 2).is_err());
        let digest = at(0, start + EVERY).unwrap();
        std::fs::write(&path, "landlock: false").unwrap();
        assert_eq!(at(0, start + EVERY), Ok(digest));
        assert_ne!(at(0, start + 2 * EVERY), Ok(digest));
        std::fs::write(&path, "landlock: true").unwrap();
        assert_eq!(at(1, start + 2 * EVERY), Ok(digest), "a reload has read it since");
    }
}
