//! Gives up what the daemon needs only until its sockets are bound.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::prctl;
use nix::unistd::geteuid;

use super::error::{Error, system};
use crate::config::{Config, DecisionLog, EditMode, LogFile, RunAs};
use crate::confine::{self, WRITABLE, Wall};
use crate::file;
use crate::log;
use crate::state_dir::StateDir;

/// Becomes the user of `run_as`, and forbids writing where nothing has to be written. Must be called
/// while there is one thread. `file` is the configuration.
pub fn confine(config: &Config, file: &Path) -> Result<Wall, Error> {
    match &config.run_as {
        Some(run_as) => become_user(config, run_as, file)?,
        None if confine::is_root() => {
            tracing::warn!(
                "keeping the privileges of root; set `run_as`, or start as another user"
            );
        }
        None => {}
    }
    prctl::set_no_new_privs().map_err(|error| system("cannot give up privileges", error.into()))?;
    let wall = match config.landlock {
        true => Wall::raise(writable(config)),
        false => Wall::Off,
    };
    let reason = match &wall {
        Wall::Missing(reason) => Some(reason),
        Wall::Up(_) | Wall::Off => None,
    };
    tracing::info!(user = geteuid().as_raw(), landlock = wall.name(), reason, "confined");
    Ok(wall)
}

/// Checks that this process is the user of `run_as`, or root.
pub fn check(config: &Config) -> Result<(), Error> {
    let Some(RunAs { user: name, ids, .. }) = &config.run_as else { return Ok(()) };
    let current = geteuid();
    if current.is_root() || current.as_raw() == ids.user {
        return Ok(());
    }
    let message = format!("only root can become `{name}`, and this is user {current}");
    Err(Error::Config(config.source.error("run_as", message)))
}

fn become_user(config: &Config, run_as: &RunAs, file: &Path) -> Result<(), Error> {
    let RunAs { user: name, ids, .. } = run_as;
    if geteuid().as_raw() == ids.user {
        return Ok(());
    }
    let failed = |what: &str, error: io::Error| system(&format!("run_as: {what}"), error);
    for folder in config.state_dir.iter().chain(snapshots(config)) {
        confine::make_folder(folder, ids.user, ids.group)
            .map_err(|error| failed(&format!("cannot make {}", folder.display()), error))?;
    }
    for LogFile { path, .. } in log_files(config) {
        log::create_for(&path, ids.user, ids.group)
            .map_err(|error| failed(&format!("cannot make {}", path.display()), error))?;
    }
    confine::become_user(name, ids.user, ids.group)
        .map_err(|error| failed(&format!("cannot become `{name}`"), error))?;
    if let Err(error) = File::open(file) {
        let file = file.display();
        tracing::warn!(%file, %error, user = name, "cannot read the configuration any more; reloads will be refused");
    }
    Ok(())
}

/// Returns the files of the log and of the log of decisions.
fn log_files(config: &Config) -> impl Iterator<Item = LogFile> {
    let decisions = config.decision_log.as_ref().and_then(DecisionLog::file);
    config.log.file.clone().into_iter().chain(decisions)
}

fn snapshots(config: &Config) -> Option<&PathBuf> {
    config.swarms.snapshot.as_ref()?.path.as_ref()
}

/// Returns the files and folders that the daemon writes to. Folders for state are made, because only
/// what exists can be named.
fn writable(config: &Config) -> Vec<PathBuf> {
    let wanted =
        [Some(config.state_dir.as_deref()), snapshots(config).map(|path| Some(path.as_path()))];
    // One that cannot be used is refused later, or done without.
    let state = wanted.into_iter().flatten().filter_map(|path| StateDir::open(path).ok());
    let logs: Vec<_> = log_files(config).map(|file| file.path).collect();
    let logs = logs.iter().map(PathBuf::as_path);
    // Where logs rotate, and socket files are removed at the end.
    let beside = logs.chain(config.admin.sockets()).chain(edited(config)).map(file::folder);
    let own = WRITABLE.iter().map(PathBuf::from);
    own.chain(state.map(|state| state.path().to_owned()))
        .chain(beside.map(Path::to_owned))
        .chain(granted(config).map(Path::to_owned))
        .chain(exported(config).map(Path::to_owned))
        .collect()
}

/// Returns the files of lists that can be edited, into which edits may be written, and their fifos.
fn edited(config: &Config) -> impl Iterator<Item = &Path> {
    let sources = config.policies.iter().flat_map(|policy| policy.data.values());
    let edited = sources.filter(|source| source.edits != EditMode::Off);
    edited.flat_map(|source| {
        let fifo = source.fifo.as_ref();
        let add = fifo.and_then(|fifo| fifo.add.as_deref());
        let delete = fifo.and_then(|fifo| fifo.delete.as_deref());
        [source.file.as_deref(), add, delete].into_iter().flatten()
    })
}

/// Returns the folders that policies may write to.
pub fn granted(config: &Config) -> impl Iterator<Item = &Path> {
    let folders = config.policies.iter().flat_map(|policy| &policy.allow.folders);
    folders.filter(|folder| folder.write).map(|folder| folder.path.as_path())
}

/// Returns the folders of exports.
pub fn exported(config: &Config) -> impl Iterator<Item = &Path> {
    config.export.iter().map(|export| file::folder(&export.path))
}
