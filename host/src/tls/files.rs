//! The two files of a certificate, which are replaced one after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use super::certificate::{Certificate, Problem};
use super::provider;
use crate::config::CertificateFiles;
use crate::watch::{self, Stamp, Watch};

/// The watched files of one certificate.
pub struct Files {
    /// Their path in the configuration.
    pub path: String,
    certificate: Watch,
    key: Watch,
    /// Since when they have not belonged together.
    mismatch: Option<Instant>,
}

/// How long a certificate and its key may not belong together while they are being replaced.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The maximum size of a file, in bytes.
const MAX: u64 = 1 << 20;

impl Files {
    /// Reads a certificate for the first time.
    pub fn read(path: String, files: &CertificateFiles) -> Result<(Certificate, Self), Problem> {
        let mut read = Self {
            path,
            certificate: Watch::new(files.certificate.clone(), None),
            key: Watch::new(files.key.clone(), None),
            mismatch: None,
        };
        let certificate = read.again()?;
        Ok((certificate, read))
    }

    /// Returns the new certificate, or once what is wrong with it, if a file has changed and both
    /// are stable now.
    pub fn look(&mut self, now: Instant) -> Option<Result<Certificate, Problem>> {
        let due = match (self.certificate.look(), self.key.look()) {
            (Err(reason), _) => return Some(Err(Problem::Certificate(reason))),
            (_, Err(reason)) => return Some(Err(Problem::Key(reason))),
            (Ok(certificate), Ok(key)) => [certificate, key],
        };
        let watches = [&self.certificate, &self.key];
        if watches.iter().all(|watch| !watch.is_moving()) {
            self.mismatch = None;
            return None;
        }
        // One has changed. It must be stable, and the other one too if it has changed as well.
        if watches.iter().zip(due).any(|(watch, due)| watch.is_moving() && due.is_none()) {
            return None;
        }
        let read = self.again();
        if matches!(read, Err(Problem::Mismatch))
            && now.duration_since(*self.mismatch.get_or_insert(now)) < PATIENCE
        {
            tracing::debug!(key = self.path, "certificate and key do not belong together yet");
            return None;
        }
        self.mismatch = None;
        for (watch, stamp) in [&mut self.certificate, &mut self.key].into_iter().zip(due) {
            if let Some(stamp) = stamp.filter(|_| read.is_err()) {
                watch.settle(stamp);
            }
        }
        Some(read)
    }

    /// Reads both files, and records their states if they can be used.
    fn again(&mut self) -> Result<Certificate, Problem> {
        let (chain_stamp, chain) = read(self.certificate.path()).map_err(Problem::Certificate)?;
        let (key_stamp, key) = read(self.key.path()).map_err(Problem::Key)?;
        let certificate = Certificate::parse(&chain, &key, &provider())?;
        self.certificate.settle(chain_stamp);
        self.key.settle(key_stamp);
        Ok(certificate)
    }
}

fn read(path: &Path) -> Result<(Stamp, Vec<u8>), String> {
    watch::read(path, MAX).map_err(|unread| unread.reason(path))
}
