//! Exports to files, and full scrapes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    problem::{Problem, problem},
    values::{self, show_duration},
};
use crate::export::{Format, Prefix};
use crate::file;

/// A file with all torrents that is written again and again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    pub format: Format,
    /// Its folder existed when the configuration was read. No other export has the same.
    pub path: PathBuf,
    /// How long after an export the next one begins; at least 10 seconds.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub every: Duration,
    /// Torrents with fewer peers are left out.
    #[serde(default)]
    pub min_peers: u32,
    #[serde(default, deserialize_with = "values::prefix", serialize_with = "values::write_prefix")]
    pub prefix: Prefix,
    /// Whether the peers follow each torrent, in a format that can carry them.
    #[serde(default)]
    pub peers: bool,
}

/// What a scrape without an info-hash is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FullScrape {
    /// The first is for those who ask for none; at least one, each once.
    pub formats: Vec<Format>,
    /// How long after a document the next one is made, and how often a client may have one; at least
    /// a minute.
    #[serde(
        default = "min_interval",
        deserialize_with = "values::duration",
        serialize_with = "values::write_duration"
    )]
    pub min_interval: Duration,
    /// Whether the addresses of a network count as one client: 24 bits of IPv4, 48 of IPv6.
    #[serde(default = "per_prefix")]
    pub per_prefix: bool,
}

fn min_interval() -> Duration {
    Duration::from_mins(5)
}

fn per_prefix() -> bool {
    true
}

impl FullScrape {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.min_interval < MIN_FULL_SCRAPE {
            let message =
                format!("{} is too short, expected at least 1m", show_duration(self.min_interval));
            return problem("swarms.full_scrape.min_interval", message);
        }
        if self.formats.is_empty() {
            return problem("swarms.full_scrape.formats", "empty, expected at least one");
        }
        for (at, format) in self.formats.iter().enumerate() {
            if self.formats[..at].contains(format) {
                let message = format!("`{}` is there already", format.name());
                return problem(format!("swarms.full_scrape.formats[{at}]"), message);
            }
        }
        Ok(())
    }
}

const MIN_FULL_SCRAPE: Duration = Duration::from_mins(1);
const MIN_EVERY: Duration = Duration::from_secs(10);
/// Each has series in the metrics.
const MOST: usize = 32;

/// Checks exports by themselves.
pub(super) fn check(exports: &[Export]) -> Result<(), Problem> {
    if exports.len() > MOST {
        return problem(
            "export",
            format!("{} are too many, expected at most {MOST}", exports.len()),
        );
    }
    for (at, export) in exports.iter().enumerate() {
        if export.every < MIN_EVERY {
            let every = show_duration(export.every);
            let message = format!("{every} is too short, expected at least 10s");
            return problem(format!("export[{at}].every"), message);
        }
        if export.peers && export.format != Format::Ndjson {
            let message = "only the format `ndjson` carries peers";
            return problem(format!("export[{at}].peers"), message);
        }
    }
    Ok(())
}

/// Makes paths relative to `folder`, and checks that files can be there.
pub(super) fn resolve(exports: &mut [Export], folder: &Path) -> Result<(), Problem> {
    for (at, Export { path, .. }) in exports.iter_mut().enumerate() {
        let key = format!("export[{at}].path");
        *path = folder.join(&*path);
        if path.file_name().is_none() || path.is_dir() {
            return problem(key, format!("not a file: `{}`", path.display()));
        }
        let parent = file::folder(path);
        if !parent.is_dir() {
            return problem(key, format!("not a folder: `{}`", parent.display()));
        }
    }
    Ok(())
}
