//! The files that the tracker writes: each is written by one part of it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    decision_log::DecisionsTo,
    problem::{Problem, problem},
    schema::{Config, Fifo},
};
use crate::file;

/// Checks absolute paths.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    let mut taken = HashMap::new();
    for (key, path) in files(config) {
        if let Some(other) = taken.insert(place(path), key.clone()) {
            return problem(key, format!("already the file of `{other}`, expected another"));
        }
    }
    Ok(())
}

/// Returns the files, each with its key.
fn files(config: &Config) -> Vec<(String, &Path)> {
    let sockets = config.admin.sockets().map(|path| ("admin.listen".to_owned(), path));
    let log = config.log.file.iter().map(|file| ("log.file.path".to_owned(), &*file.path));
    let decisions = config.decision_log.iter().filter(|log| log.to == DecisionsTo::File);
    let decisions = decisions.filter_map(|log| log.path.as_deref());
    let exports = config.export.iter().enumerate();
    let mut files: Vec<_> = sockets.chain(log).collect();
    for (at, policy) in config.policies.iter().enumerate() {
        for (name, source) in &policy.data {
            let fifos = source.fifo.iter().flat_map(Fifo::paths);
            files.extend(
                fifos.map(|(way, path)| (format!("policies[{at}].data.{name}.fifo.{way}"), path)),
            );
        }
    }
    files.extend(decisions.map(|path| ("decision_log.path".to_owned(), path)));
    files.extend(exports.map(|(at, export)| (format!("export[{at}].path"), &*export.path)));
    files
}

/// Returns a path that is the same however the file is written.
fn place(path: &Path) -> PathBuf {
    let folder = file::folder(path);
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    folder.join(path.file_name().unwrap_or_default())
}
