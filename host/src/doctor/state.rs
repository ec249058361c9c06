//! The state folder: whose it is, what is mounted there, how much fits, what is kept.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Uid;

use crate::config::{Config, Snapshot};
use crate::finding::Finding;
use crate::snapshot::{Folder, look};
use crate::state_dir::StateDir;

/// Less than this is soon used up by compiled policies and data, in bytes.
const LITTLE: u64 = 64 << 20;

/// Examines the folder, and reads the newest snapshot.
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = folder(config);
    let state = StateDir::existing(config.state_dir.as_deref()).ok().flatten();
    if let (Some(state), Some(snapshot)) = (state, &config.swarms.snapshot) {
        findings.push(newest(&Folder::current(&snapshots(snapshot, &state)), snapshot.every));
    }
    findings
}

/// Examines the folder, and whether a snapshot fits.
pub fn folder(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let state = StateDir::existing(config.state_dir.as_deref());
    findings.push(owner(config, &state));
    let Ok(Some(state)) = state else { return findings };
    findings.extend(mount(state.path()));
    let Some(snapshot) = &config.swarms.snapshot else { return findings };
    let folder = snapshots(snapshot, &state);
    let current = Folder::current(&folder);
    let size = fs::metadata(&current).map_or(0, |found| found.len());
    let existing = if folder.is_dir() { &*folder } else { state.path() };
    findings.extend(
        statvfs(existing).ok().map(|found| {
            space(found.blocks_available().saturating_mul(found.fragment_size()), size)
        }),
    );
    findings
}

/// Returns the folder of snapshots.
fn snapshots(snapshot: &Snapshot, state: &StateDir) -> PathBuf {
    snapshot.path.clone().unwrap_or_else(|| state.path().join("swarms"))
}

fn owner(config: &Config, state: &io::Result<Option<StateDir>>) -> Finding {
    const SUBJECT: &str = "state folder";
    // Root can be asked about a tracker that runs as somebody else.
    let path = StateDir::find(config.state_dir.as_deref());
    let owner = path.and_then(fs::metadata).map(|found| found.uid());
    let is_anothers = Uid::effective().is_root() && owner.is_ok_and(|owner| owner != 0);
    match state {
        Ok(Some(state)) if !state.path().is_dir() => Finding::wrong(
            SUBJECT,
            format!("{} is not a folder", state.path().display()),
            "remove the file, or set `state_dir` to another folder",
        ),
        Ok(Some(state)) => {
            let user = Uid::effective();
            match nix::unistd::access(state.path(), nix::unistd::AccessFlags::W_OK) {
                Ok(()) => Finding::ok(
                    SUBJECT,
                    format!(
                        "{} belongs to this user ({user}), and only to it",
                        state.path().display()
                    ),
                ),
                Err(error) => Finding::wrong(
                    SUBJECT,
                    format!("cannot write into {}: {error}", state.path().display()),
                    "mount it for writing; for a service, see `StateDirectory=` and `ReadWritePaths=`",
                ),
            }
        }
        Ok(None) => Finding::ok(SUBJECT, "does not exist yet; `karuta run` creates it"),
        Err(error) if is_anothers => Finding::look(
            SUBJECT,
            format!("{error}"),
            "run this as the user that the tracker runs as, with `runuser -u USER -- karuta doctor`",
        ),
        Err(error) if config.state_dir.is_none() => Finding::look(
            SUBJECT,
            format!("{error}; without it, snapshots and compiled policies are not kept"),
            "set `state_dir`",
        ),
        Err(error) => Finding::wrong(
            SUBJECT,
            format!("{error}"),
            "give the folder to this user, with mode 0700",
        ),
    }
}

fn mount(folder: &Path) -> Option<Finding> {
    let flags = statvfs(folder).ok()?.flags();
    Some(match flags {
        _ if flags.contains(FsFlags::ST_RDONLY) => Finding::wrong(
            "mount",
            format!("{} is on a file system that is mounted read-only", folder.display()),
            "mount it for writing, or set `state_dir` to another folder",
        ),
        // Compiled policies are copied into memory before they are made executable.
        _ if flags.contains(FsFlags::ST_NOEXEC) => {
            Finding::ok("mount", "noexec, which does no harm here")
        }
        _ => Finding::ok("mount", "can be written to"),
    })
}

/// Judges the free space, in bytes. A snapshot is written beside the last two.
fn space(free: u64, snapshot: u64) -> Finding {
    const SUBJECT: &str = "free space";
    let advice = "make room, or set `swarms.snapshot.path` or `state_dir` to a larger file system";
    let found = format!("{} MiB, and a snapshot of {} MiB", free >> 20, snapshot.div_ceil(1 << 20));
    match free {
        _ if free < snapshot + snapshot / 5 => {
            Finding::wrong(SUBJECT, format!("{found}: the next one does not fit"), advice)
        }
        _ if free < (2 * snapshot).max(LITTLE) => Finding::look(SUBJECT, found, advice),
        _ => Finding::ok(SUBJECT, found),
    }
}

fn newest(current: &PathBuf, every: Duration) -> Finding {
    const SUBJECT: &str = "snapshot";
    let file = match File::open(current) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(SUBJECT, "there is none yet");
        }
        Err(error) => {
            return Finding::wrong(
                SUBJECT,
                format!("cannot read {}: {error}", current.display()),
                "give it to the user that the tracker runs as",
            );
        }
    };
    let written = file.metadata().and_then(|found| found.modified());
    let contents = look(file);
    let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
    match contents {
        Ok(contents) if contents.found.is_whole() => age_of(age.unwrap_or_default(), every),
        Ok(contents) => Finding::wrong(
            SUBJECT,
            format!("{} is damaged: {}", current.display(), contents.found),
            "look for errors of the disk; the next start restores the rest",
        ),
        Err(error) => Finding::wrong(
            SUBJECT,
            format!("{} cannot be used: {error}", current.display()),
            "the next start begins with empty swarms, and keeps the file under another name",
        ),
    }
}

fn age_of(age: Duration, every: Duration) -> Finding {
    let found = format!("the newest one is whole, and {} s old", age.as_secs());
    match age > 3 * every {
        true => Finding::look(
            "snapshot",
            format!("{found}, although one is due every {} s", every.as_secs()),
            "if the tracker runs, its log and `karuta status` say why there is none",
        ),
        false => Finding::ok("snapshot", found),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;
    use crate::finding::Level;

    #[test]
    fn ages_and_space_are_judged() {
        let seconds = Duration::from_secs;
        for (found, level) in [
            (space(1 << 40, 0), Level::Ok),
            (space(LITTLE - 1, 0), Level::Look),
            (space(300 << 20, 200 << 20), Level::Look),
            (space(239 << 20, 200 << 20), Level::Wrong),
            (age_of(seconds(900), seconds(300)), Level::Ok),
            (age_of(seconds(901), seconds(300)), Level::Look),
            (newest(&"/nowhere".into(), seconds(1)), Level::Ok),
        ] {
            assert_eq!(found.level, level, "{found}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("current");
        fs::write(&file, "not a snapshot").unwrap();
        assert_eq!(newest(&file, seconds(1)).level, Level::Wrong);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_dir: Some(folder.path().to_owned()), ..Config::default() };
        let look = || owner(&config, &StateDir::existing(config.state_dir.as_deref()));
        assert_eq!(look().level, Level::Ok);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let found = look();
        assert_eq!(found.level, Level::Wrong);
        assert!(found.found.contains("writable by other users"), "{found}");
    }

    /// Needs root; without it, there is nothing to test.
    #[test]
    fn mounts_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let succeeds =
            |command: &mut Command| command.output().is_ok_and(|done| done.status.success());
        for (option, level, word) in
            [("noexec", Level::Ok, "noexec"), ("ro", Level::Wrong, "read-only")]
        {
            let mut tmpfs = Command::new("mount");
            if !succeeds(tmpfs.args(["-t", "tmpfs", "-o", option, "tmpfs"]).arg(path)) {
                return;
            }
            let found = mount(path);
            assert!(succeeds(Command::new("umount").arg(path)));
            let found = found.unwrap();
            assert_eq!(found.level, level, "{found}");
            assert!(found.found.contains(word), "{found}");
        }
    }
}
