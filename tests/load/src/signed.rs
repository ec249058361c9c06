//! A token as an operator makes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::judge::ISSUER;

/// A token for one torrent.
pub struct Signed {
    pub token: String,
    /// The set with the key that it is signed by.
    pub keys: PathBuf,
}

impl Signed {
    /// Has `karuta jwt` make an RSA key and a token for a torrent, named in hex.
    ///
    /// # Errors
    ///
    /// What the program says.
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
