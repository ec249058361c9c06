//! The units for systemd, judged by systemd itself.

use std::path::PathBuf;
use std::process::Command;

use karuta_tests::{root, target};
use tempfile::TempDir;

/// Copies the units into a folder, with the path of the built program.
fn units() -> (TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let program = target().join("karuta");
    let copy = |name: &str| {
        let unit = std::fs::read_to_string(root().join("deploy/systemd").join(name)).unwrap();
        let path = folder.path().join(name);
        let unit = unit.replace("/usr/bin/karuta", program.to_str().unwrap());
        std::fs::write(&path, unit).unwrap();
        path
    };
    let paths = ["karuta.service", "karuta.socket"].map(copy);
    (folder, paths)
}

/// Runs `systemd-analyze`, if it is there.
#[track_caller]
fn accepts(arguments: &[&str], units: &[PathBuf]) {
    let output = match Command::new("systemd-analyze").args(arguments).args(units).output() {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "systemd-analyze: {error}");
            return eprintln!("skipped: systemd-analyze: {error}");
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said, "", "{arguments:?}");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (_folder, units) = units();
    accepts(&["verify", "--man=no"], &units);
}

#[test]
fn the_service_is_exposed_to_little() {
    let (_folder, [service, _]) = units();
    // In tenths.
    accepts(&["security", "--offline=yes", "--no-pager", "--threshold=20"], &[service]);
}
