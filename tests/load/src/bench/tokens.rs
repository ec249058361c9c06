//! A token for the policy `jwt`, and what it costs to verify one natively.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::time::{ClockId, clock_gettime};

use super::server;
use crate::swarms;
use crate::target::Target;

/// A token for the first of the generator's torrents.
pub struct Tokens {
    pub token: String,
    keys: PathBuf,
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
        let token = run(&[&sign[..], &["--issuer", "bench", "--audience", "bench"]].concat())?;
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
             config: {{ issuer: bench, audience: bench, remember: {remember} }}\n  \
             data: {{ jwks: {{ file: {keys}, format: raw, required: true }} }}\n"
        );
        server::one(plugins, "jwt", &more)
    }

    /// CPU µs of this process to verify the token's signature with a parsed key: the median of
    /// several rounds.
    pub fn verified_natively(&self) -> Result<f64> {
        const ROUNDS: usize = 9;
        const CALLS: u32 = 2000;
        let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.keys)?)?;
        let number = |name: &str| -> Result<Vec<u8>> {
            let text = keys["keys"][0][name].as_str().context("an RSA key")?;
            Ok(URL_SAFE_NO_PAD.decode(text)?)
        };
        let key = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
        let key = key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?;
        let (message, signature) = self.token.rsplit_once('.').context("a token")?;
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let spent = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let start = spent()?;
            for _ in 0..CALLS {
                key.verify_sig(message.as_bytes(), &signature)?;
            }
            let time = std::time::Duration::from(spent()? - start);
            rounds.push(time.as_secs_f64() * 1e6 / f64::from(CALLS));
        }
        rounds.sort_by(f64::total_cmp);
        Ok(rounds[ROUNDS / 2])
    }
}
