//! A token for the policy `jwt`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::server;
use crate::swarms;
use crate::target::Target;
use karuta_load::judge::ISSUER;

/// A token for the first of the generator's torrents.
pub struct Tokens {
    pub token: String,
    /// The set with the key that it is signed by.
    pub keys: PathBuf,
}

impl Tokens {
    /// Has `karuta jwt` make an RSA key and a token.
    pub fn make(karuta: &Path, folder: &Path) -> Result<Self> {
        let karuta = server::absolute(karuta, "build the daemon first")?;
        let run = |arguments: &[&str]| -> Result<String> {
            let output =
                Command::new(&karuta).arg("jwt").args(arguments).current_dir(folder).output()?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "karuta jwt {}: {error}", arguments[0]);
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        run(&["keygen", "key.pem", "--kid", "k", "--jwks", "keys.json"])?;
        let torrent = server::hex(&swarms::info_hash(0));
        let sign = ["sign", &torrent, "--key", "key.pem", "--kid", "k"];
        let token = run(&[&sign[..], &["--issuer", ISSUER, "--audience", ISSUER]].concat())?;
        Ok(Self { token, keys: folder.join("keys.json") })
    }

    /// A target whose clients all show the token.
    pub fn shown_to(&self, target: &Target) -> Target {
        let path = format!("{}?jwt={}", target.path, self.token);
        Target { path, ..target.clone() }
    }

    /// The policy, which remembers a good token for so long.
    pub fn policy(&self, plugins: &Path, remember: &str) -> Result<String> {
        let keys = self.keys.display();
        let more = format!(
            "  credential: ['query:jwt']\n  \
             config: {{ issuer: {ISSUER}, audience: {ISSUER}, remember: {remember} }}\n  \
             data: {{ jwks: {{ file: {keys}, format: raw, required: true }} }}\n"
        );
        server::one(plugins, "jwt", &more)
    }
}
