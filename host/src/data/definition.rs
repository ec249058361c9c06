//! The definition of a data source in the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::{DataFormat, EditMode, Secret};
use crate::fetch::Shown;

/// How often a URL is fetched by default, and how long that may take.
pub const EVERY: Duration = Duration::from_mins(5);
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The definition of a source. A source with another definition is another source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    pub policy: Arc<str>,
    /// Unique within the policy.
    pub name: Arc<str>,
    pub origin: Origin,
    pub format: DataFormat,
    /// In bytes.
    pub max_size: u64,
    /// Whether it is an error if there is no data at the start.
    pub required: bool,
    pub edits: EditMode,
}

/// Where the data comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File(PathBuf),
    Url(Remote),
}

impl Origin {
    /// Returns the key of the configuration that names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Url(_) => "url",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Url(remote) => write!(f, "{}", Shown(&remote.url)),
        }
    }
}

/// A URL, and how it is fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    pub url: Url,
    pub every: Duration,
    pub timeout: Duration,
    /// By name.
    pub headers: BTreeMap<String, Secret>,
    /// Whether redirects may lead to another machine without TLS.
    pub insecure: bool,
    /// How long after its fetch the data is valid.
    pub max_age: Option<Duration>,
}
