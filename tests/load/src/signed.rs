//! A token, made in the way an operator makes one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::judge::ISSUER;

/// A token for one torrent.
pub struct Signed {
    pub token: String,
    /// The set with the key that signed it.
    pub keys: PathBuf,
}

impl Signed {
    /// Creates an RSA key and a token for a torrent (in hex) with `karuta jwt`.
    ///
    /// # Errors
    ///
    /// The program's error message.
    pub fn make(karuta: &Path, folder: &Path, torrent: &str) -> Result<Self> {
        let run = |arguments: &[&str]| -> Result<String> {
            let output =
                Command::new(karuta).arg("jwt").args(arguments).current_dir(folder).output()?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "karuta jwt {}: {error}", arguments[0]);
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        run(&["keygen", "key.pem", "--kid", "k", "--jwks", "keys.json"])?;
        let sign = ["sign", torrent, "--key", "key.pem", "--kid", "k"];
        let token = run(&[&sign[..], &["--issuer", ISSUER, "--audience", ISSUER]].concat())?;
        Ok(Self { token, keys: folder.join("keys.json") })
    }
}
