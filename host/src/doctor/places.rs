//! The folders of the log file, of exports and of socket files, where files come and go.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::config::Config;
use crate::file;
use crate::finding::{Finding, Level};

pub fn examine(config: &Config) -> Vec<Finding> {
    let log = config.log.file.iter().map(|file| ("log file", file.path.as_path()));
    let mut findings: Vec<_> = log.map(|(subject, path)| folder(subject, path)).collect();
    findings.extend(config.export.iter().map(|export| folder("export", &export.path)));
    for path in config.admin.sockets() {
        let mut found = folder("socket file", path);
        // Systemd may make the folder, and root the file.
        if found.level == Level::Wrong && (config.run_as.is_some() || !file::folder(path).is_dir())
        {
            found.level = Level::Look;
        }
        findings.push(found);
    }
    findings
}

/// Examines the folder of a file that the tracker makes.
fn folder(subject: &'static str, path: &Path) -> Finding {
    let folder = file::folder(path);
    if !folder.is_dir() {
        return Finding::wrong(
            subject,
            format!("there is no folder {}", folder.display()),
            "create it, unless systemd does when the service starts (`RuntimeDirectory=`, `LogsDirectory=`)",
        );
    }
    match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Finding::ok(subject, format!("this user can make {}", path.display())),
        Err(error) => Finding::wrong(
            subject,
            format!("cannot write into {}: {error}", folder.display()),
            "give the folder to the user that the tracker runs as",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_must_be_there() {
        let keep = tempfile::tempdir().unwrap();
        let level = |path: &Path| folder("log file", path).level;
        assert_eq!(level(&keep.path().join("log")), Level::Ok);
        assert_eq!(level(&keep.path().join("none/log")), Level::Wrong);
        std::fs::write(keep.path().join("file"), "").unwrap();
        assert_eq!(level(&keep.path().join("file/log")), Level::Wrong);
    }
}
