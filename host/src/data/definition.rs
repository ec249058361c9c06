//! What a data source is, as the configuration says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::{DataFormat, Secret};

/// How often a URL is fetched, and how long that may take, where the configuration does not say.
pub const EVERY: Duration = Duration::from_mins(5);
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What makes a source another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    pub policy: Arc<str>,
    /// Among the sources of the policy.
    pub name: Arc<str>,
    pub origin: Origin,
    pub format: DataFormat,
    /// Bytes.
    pub max_size: u64,
    /// Whether it is an error that there is nothing to begin with.
    pub required: bool,
}

/// Where data comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File(PathBuf),
    Url(Remote),
}

/// A URL, and how it is fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    pub url: Url,
    pub every: Duration,
    pub timeout: Duration,
    /// By their names.
    pub headers: BTreeMap<String, Secret>,
    /// Whether redirects may lead to another machine without TLS.
    pub insecure: bool,
    /// How long after it was fetched the data counts.
    pub max_age: Option<Duration>,
}
