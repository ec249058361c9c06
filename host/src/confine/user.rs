//! Becoming another user for good.

use std::ffi::CString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::unistd::{
    Gid, ResGid, ResUid, Uid, geteuid, getresgid, getresuid, initgroups, setresgid, setresuid,
    setuid,
};

/// Becomes a user, in a group and in all groups of the user. Capabilities end with it. No program that
/// is started later gets more rights.
///
/// # Errors
///
/// A step is refused, or the process could still go back.
pub fn become_user(name: &str, user: u32, group: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
    prctl::set_no_new_privs()?;
    initgroups(&CString::new(name)?, gid)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prove(uid, gid)
}

/// Checks that there is no way back.
fn prove(uid: Uid, gid: Gid) -> io::Result<()> {
    let users = getresuid()? == ResUid { real: uid, effective: uid, saved: uid };
    let groups = getresgid()? == ResGid { real: gid, effective: gid, saved: gid };
    if !users || !groups || setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("the process can still become root"));
    }
    // The kernel clears them, unless whoever started this process has forbidden it.
    match has_capabilities(&fs::read_to_string("/proc/self/status")?) {
        false => Ok(()),
        true => Err(io::Error::other("the process still has capabilities")),
    }
}

/// Returns whether a `/proc/PID/status` shows capabilities that can be used.
fn has_capabilities(status: &str) -> bool {
    ["CapPrm:", "CapEff:", "CapAmb:"].iter().any(|set| {
        let set = status.lines().find_map(|line| line.strip_prefix(set));
        set.is_none_or(|set| u64::from_str_radix(set.trim(), 16) != Ok(0))
    })
}

/// Returns whether this is root, and not that of a user namespace, as in a container without
/// privileges.
pub fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    geteuid().is_root() && is_whole(&map)
}

/// Returns whether a `/proc/PID/uid_map` is that of the whole machine.
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Makes a folder for a user alone, and those above it that are missing. One that exists stays as it
/// is.
pub fn make_folder(path: &Path, user: u32, group: u32) -> io::Result<()> {
    if path.exists() || path == Path::new("") {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above, user, group)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => {
            made?;
            // If somebody else can write to the folder above, this may be another file by now.
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let folder = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
            fchown(folder, Some(user), Some(group))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn any_usable_set_of_capabilities_counts() {
        let status = |permitted: &str, effective: &str, ambient: &str| {
            format!(
                "Name:\tkaruta\nCapInh:\t0000000000000001\nCapPrm:\t{permitted}\nCapEff:\t{effective}\nCapBnd:\t000001ffffffffff\nCapAmb:\t{ambient}\n"
            )
        };
        let (none, some) = ("0000000000000000", "0000000000000400");
        assert!(!has_capabilities(&status(none, none, none)));
        assert!(has_capabilities(&status(some, none, none)));
        assert!(has_capabilities(&status(none, some, none)));
        assert!(has_capabilities(&status(none, none, some)));
        assert!(has_capabilities(""), "nobody knows");
    }

    #[test]
    fn root_of_a_container_without_privileges_is_an_ordinary_user() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n"));
        assert!(!is_whole("         0     100000      65536\n"));
        assert!(!is_whole(""));
    }

    #[test]
    fn only_missing_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let found = fs::metadata(folder.path()).unwrap();
        let path = folder.path().join("a/b");
        for _ in 0..2 {
            make_folder(&path, found.uid(), found.gid()).unwrap();
        }
        for made in [&path, path.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folder(&folder.path().join("file/c"), 1, 1).is_err());
    }
}
