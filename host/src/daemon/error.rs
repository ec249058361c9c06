//! Errors that end the daemon, and helpers that its parts share.

use std::io;
use std::time::Duration;

use crate::config;
use crate::policy;

/// Why the daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used. The text names file, line and key.
    #[error("{0}")]
    Config(config::Error),
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    #[error("cannot start policy engine: {0}")]
    Engine(#[from] policy::EngineError),
    #[error("cannot start log: {0}")]
    Log(io::Error),
    /// The log already says so.
    #[error("received a second signal to stop")]
    Hurried,
}

/// Returns the error of a failed system call.
pub fn system(what: &str, error: io::Error) -> Error {
    Error::System { what: what.to_owned(), error }
}

/// Returns whole seconds, capped at `u32::MAX`.
pub fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
