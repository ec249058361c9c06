//! Why the daemon does not run, and what its parts share.

use std::io;
use std::time::Duration;

use crate::config;
use crate::policy;

/// Why the daemon did not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the operator wrote cannot be used. The text names file, line and key.
    #[error("{0}")]
    Config(config::Error),
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    #[error("the policy engine: {0}")]
    Engine(#[from] policy::EngineError),
    #[error("the log: {0}")]
    Log(io::Error),
    /// The log has it.
    #[error("told twice to end")]
    Hurried,
}

/// The error of a system call, in words.
pub fn system(what: &str, error: io::Error) -> Error {
    Error::System { what: what.to_owned(), error }
}

/// Whole seconds, at most as many as there are in a `u32`.
pub fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
