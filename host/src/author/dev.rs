//! `karuta plugin dev`: builds and tests on every change, and reloads a daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::project::{CASES, Project, SUPPLIED, WIT};
use super::{Failure, build, cases};
use crate::admin::Client;
use crate::policy::Compiler;
use crate::text::Escaped;

/// How often files are checked. A change is built once the files have been stable for this long.
const POLL: Duration = Duration::from_millis(300);
/// Folders that builds write to.
const BUILT: [&str; 6] = [SUPPLIED, WIT, "target", "node_modules", "__pycache__", "bin"];

/// The files of a project, with their times and sizes.
type Sight = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Builds, reloads, and waits for the next change, forever.
pub fn dev(folder: &Path, client: &Client, compiler: &Compiler) -> Result<(), Failure> {
    let project = Project::open(folder)?;
    println!("building {} on every change; Ctrl-C stops", project.name);
    let mut built = None;
    loop {
        let seen = look(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if built.as_ref() != Some(&seen) {
            std::thread::sleep(POLL);
            if look(folder).ok().as_ref() == Some(&seen) {
                round(folder, client, compiler);
                built = Some(seen);
            }
            continue;
        }
        std::thread::sleep(POLL);
    }
}

/// Builds once, runs the cases and, if all succeeded, reloads. Reports errors and continues.
fn round(folder: &Path, client: &Client, compiler: &Compiler) {
    let cases = folder.join(CASES);
    let tested = build::build(folder, None).and_then(|component| match cases.exists() {
        true => cases::test(&component, &cases, None, compiler),
        false => Ok(()),
    });
    match tested {
        Err(Failure::Failed(text) | Failure::Usage(text)) => eprintln!("karuta: {}", Escaped(text)),
        Ok(()) => match client.reload() {
            Ok(report) => println!("generation {}: {}", report.generation, Escaped(&report)),
            Err(reason) => eprintln!("karuta: not reloaded: {}", Escaped(reason)),
        },
    }
}

fn look(folder: &Path) -> io::Result<Sight> {
    let mut sight = Sight::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A file that disappears meanwhile is treated as deleted.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() && !name.starts_with('.') && !BUILT.contains(&&*name) {
                folders.push(entry.path());
            } else if metadata.is_file() && is_source(&name) {
                sight.insert(entry.path(), (metadata.modified().ok(), metadata.len()));
            }
        }
    }
    Ok(sight)
}

/// Returns whether a file is written by people rather than by a build or an editor.
fn is_source(name: &str) -> bool {
    let built = [".wasm", ".new", ".lock", ".sum", ".swp", "~"];
    !name.starts_with('.') && !built.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_builds_write_are_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for path in ["src/lib.rs", "policy.py", "plugin.yaml"] {
            write(path);
        }
        let before = look(folder.path()).unwrap();
        assert_eq!(before.len(), 3);
        for path in [
            "a.wasm",
            "a.wasm.new",
            "target/x.rs",
            "karuta/x.go",
            "wit/policy.wit",
            ".git/x",
            "Cargo.lock",
        ] {
            write(path);
        }
        assert_eq!(look(folder.path()).unwrap(), before);
        fs::write(folder.path().join("policy.py"), "xy").unwrap();
        assert_ne!(look(folder.path()).unwrap(), before);
    }
}
