//! External programs that a build calls.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::author::Failure;

/// A program, and how to get it.
pub struct Tool {
    pub name: &'static str,
    pub get: &'static str,
}

impl Tool {
    /// Returns the program as a command in a folder.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.name);
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    /// Runs the command and shows its output.
    ///
    /// # Errors
    ///
    /// It is missing (with how to get it), or fails.
    pub fn run(&self, command: &mut Command) -> Result<(), Failure> {
        self.judge(command.status().map(|status| status.success()))
    }

    /// Runs the command, which reports its progress, and shows its output only if it fails.
    ///
    /// # Errors
    ///
    /// As [`Tool::run`].
    pub fn run_quietly(&self, command: &mut Command) -> Result<(), Failure> {
        // A backtrace of the tool itself does not help a policy's author.
        let output = command.env("RUST_BACKTRACE", "0").output();
        if let Ok(Output { status, stdout, stderr }) = &output
            && !status.success()
        {
            eprint!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        }
        self.judge(output.map(|output| output.status.success()))
    }

    /// Runs the command and returns its standard output.
    ///
    /// # Errors
    ///
    /// As [`Tool::run`].
    pub fn output(&self, command: &mut Command) -> Result<Vec<u8>, Failure> {
        let output = command.stderr(Stdio::inherit()).output();
        match output {
            Ok(output) if output.status.success() => Ok(output.stdout),
            Ok(_) => self.judge(Ok(false)).map(|()| Vec::new()),
            Err(error) => self.judge(Err(error)).map(|()| Vec::new()),
        }
    }

    fn judge(&self, fine: std::io::Result<bool>) -> Result<(), Failure> {
        let Self { name, get } = self;
        match fine {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::Failed(format!("{name} failed; see its output above"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::Failed(format!("{name} not found: {get}")))
            }
            Err(error) => Err(Failure::Failed(format!("{name}: {error}"))),
        }
    }
}

/// Returns whether a program is installed and runs with `arguments`; shows no output.
pub fn works(program: &str, arguments: &[impl AsRef<OsStr>]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
