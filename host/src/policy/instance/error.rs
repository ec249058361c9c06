//! Why a policy cannot serve.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::policy::component::Refusal;

/// Why a policy of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("policy `{policy}` ({}): {}: {cause}", file.display(), cause.stage())]
pub struct LoadError {
    /// Its position in the configuration's list.
    pub at: usize,
    pub policy: Arc<str>,
    pub file: PathBuf,
    pub cause: LoadCause,
}

/// What is wrong with a policy, in the order of the checks.
#[derive(Debug, thiserror::Error)]
pub enum LoadCause {
    #[error("{0}")]
    Read(String),
    /// The SHA-256 of the file.
    #[error("the file's SHA-256 is {}, not the one pinned", hex::encode(.0))]
    Digest([u8; 32]),
    #[error("{0}")]
    Compile(Refusal),
    #[error("{0}")]
    Link(Refusal),
    #[error("{name}: {reason}")]
    Data { name: Arc<str>, reason: String },
    #[error("{0}")]
    Init(String),
}

impl LoadCause {
    /// Returns the stage that failed.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Digest(_) => "digest",
            Self::Compile(_) => "compile",
            Self::Link(_) => "link",
            Self::Data { .. } => "data",
            Self::Init(_) => "init",
        }
    }
}

/// Why there is no instance.
#[derive(Clone, Debug)]
pub enum InstanceError {
    /// The plugin's `init` returned an error, or its code failed.
    Init(String),
    /// The plugin refused this data.
    Data { name: Arc<str>, reason: String },
}

impl fmt::Display for InstanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init(reason) => f.write_str(reason),
            Self::Data { name, reason } => write!(f, "{name}: {reason}"),
        }
    }
}

impl From<InstanceError> for LoadCause {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Init(reason) => Self::Init(reason),
            InstanceError::Data { name, reason } => Self::Data { name, reason },
        }
    }
}

impl From<InstanceError> for String {
    fn from(error: InstanceError) -> Self {
        error.to_string()
    }
}
