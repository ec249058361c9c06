//! Programs of others that a build calls.

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
    /// The program, to be called in a folder.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.name);
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    /// Runs it; what it writes is shown.
    ///
    /// # Errors
    ///
    /// It is missing (how to get it), or fails.
    pub fn run(&self, command: &mut Command) -> Result<(), Failure> {
        self.judge(command.status().map(|status| status.success()))
    }

    /// Runs it, as something that tells of its progress; what it writes is shown where it fails.
    ///
    /// # Errors
    ///
    /// As [`Tool::run`].
    pub fn run_quietly(&self, command: &mut Command) -> Result<(), Failure> {
        // A way through the tool itself says nothing to the author of a policy.
        let output = command.env("RUST_BACKTRACE", "0").output();
        if let Ok(Output { status, stdout, stderr }) = &output
            && !status.success()
        {
            eprint!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        }
        self.judge(output.map(|output| output.status.success()))
    }

    /// Runs it; what it writes to its standard output is returned.
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
            Ok(false) => Err(Failure::Failed(format!("{name} failed; what is wrong is above"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::Failed(format!("there is no {name}: {get}")))
            }
            Err(error) => Err(Failure::Failed(format!("{name}: {error}"))),
        }
    }
}

/// Whether a program is there and does what `arguments` ask, quietly.
pub fn works(program: &str, arguments: &[impl AsRef<OsStr>]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
