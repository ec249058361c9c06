//! Exports to files.

use std::{
    collections::HashMap,
    fs,
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
    let mut taken = HashMap::new();
    for (at, Export { path, .. }) in exports.iter_mut().enumerate() {
        let key = format!("export[{at}].path");
        *path = folder.join(&*path);
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return problem(key, format!("not a file: `{}`", path.display()));
        };
        let parent = file::folder(path);
        if !parent.is_dir() {
            return problem(key, format!("not a folder: `{}`", parent.display()));
        }
        // However it is written.
        let parent = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        if let Some(other) = taken.insert(parent.join(name), at) {
            let message = format!("already the file of export[{other}], expected another");
            return problem(key, message);
        }
    }
    Ok(())
}
