//! A temporary folder whose processes end with it, even if this process is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Processes whose ids are in files `*/pid` are killed when it is dropped, and its folder is removed.
///
/// A shell does so when the pipe to it ends, so that nothing stays if the test is interrupted.
pub struct Shelter {
    folder: PathBuf,
    shell: Child,
}

const SCRIPT: &str = "trap '' INT TERM HUP; cat; \
                      cat \"$0\"/*/pid 2>/dev/null | xargs -r kill -9 2>/dev/null; rm -rf \"$0\"";

impl Shelter {
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self { folder, shell }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Shelter {
    fn drop(&mut self) {
        // Closes the pipe first.
        let _ = self.shell.wait();
    }
}

/// Notes in a folder of a shelter which process has to end with it.
pub fn note(folder: &Path, process: u32) {
    fs::write(folder.join("pid"), process.to_string()).expect("the id is written");
}

/// Forgets the process that was noted, before it is waited for and its id is another's.
pub fn forget(folder: &Path) {
    let _ = fs::remove_file(folder.join("pid"));
}
