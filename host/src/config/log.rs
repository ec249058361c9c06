//! What is logged, and where.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    problem::{Problem, problem},
    values,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Levels other than that, of `plugin`, `policy.NAME` or `karuta::MODULE`.
    pub levels: BTreeMap<String, LogLevel>,
    /// If `None`, standard error.
    pub file: Option<LogFile>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// A file instead of standard error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogFile {
    /// Its folder existed when the configuration was read.
    pub path: PathBuf,
    /// The size in bytes at which it is rotated; 0 for never.
    #[serde(default = "max_size", deserialize_with = "values::size")]
    pub max_size: u64,
    /// How many older files are kept, 1 to 1000.
    #[serde(default = "keep")]
    pub keep: u32,
}

pub(super) fn max_size() -> u64 {
    64 << 20
}

pub(super) fn keep() -> u32 {
    7
}

/// Room for the longest lines.
const MIN_SIZE: u64 = 64 << 10;
const MAX_KEEP: u32 = 1000;

impl Log {
    /// Checks the log by itself. `is_policy` says whether there is a policy of a name.
    pub(super) fn check(&self, is_policy: impl Fn(&str) -> bool) -> Result<(), Problem> {
        for key in self.levels.keys() {
            let path = format!("log.levels.{key}");
            if let Some(name) = key.strip_prefix("policy.") {
                if !is_policy(name) {
                    return problem(path, format!("no policy has the name `{name}`"));
                }
            } else if key != "plugin" && key != "audit" && !is_module(key) {
                let message = format!(
                    "unknown target `{key}`, expected plugin, policy.NAME, audit or karuta::MODULE"
                );
                return problem(path, message);
            }
        }
        match self.file {
            Some(LogFile { max_size, keep, .. }) => check_rotation("log.file", max_size, keep),
            None => Ok(()),
        }
    }

    /// Makes the path relative to `folder`, and checks that a log file can be there.
    pub(super) fn resolve(&mut self, folder: &Path) -> Result<(), Problem> {
        match &mut self.file {
            Some(LogFile { path, .. }) => resolve_file("log.file.path", path, folder),
            None => Ok(()),
        }
    }
}

/// Checks when a file is rotated; `path` is that of both keys.
pub(super) fn check_rotation(path: &str, max_size: u64, keep: u32) -> Result<(), Problem> {
    if (1..MIN_SIZE).contains(&max_size) {
        return problem(
            format!("{path}.max_size"),
            "too small, expected at least 64KiB, or 0B for no rotation",
        );
    }
    if !(1..=MAX_KEEP).contains(&keep) {
        let message = format!("{keep} is out of range, expected 1 to {MAX_KEEP}");
        return problem(format!("{path}.keep"), message);
    }
    Ok(())
}

/// Makes the path of a file relative to `folder`, and checks that lines can be appended there.
pub(super) fn resolve_file(key: &str, path: &mut PathBuf, folder: &Path) -> Result<(), Problem> {
    *path = folder.join(&*path);
    let parent = match (path.parent(), path.file_name()) {
        (Some(parent), Some(_)) if parent == Path::new("") => Path::new("."),
        (Some(parent), Some(_)) => parent,
        _ => return problem(key, format!("not a file: `{}`", path.display())),
    };
    if !parent.is_dir() {
        return problem(key, format!("not a folder: `{}`", parent.display()));
    }
    match fs::symlink_metadata(&*path) {
        Ok(found) if !found.is_file() => {
            problem(key, format!("not a regular file: `{}`", path.display()))
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            problem(key, values::unreadable(path, &error))
        }
        _ => Ok(()),
    }
}

/// Returns whether a target may be one of Karuta's.
fn is_module(target: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let mut names = target.split("::");
    names.next() == Some("karuta") && names.all(|name| !name.is_empty() && name.bytes().all(letter))
}
