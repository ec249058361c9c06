//! A token for the policy `jwt`, and what it costs to verify one natively.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result, ensure};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_rules::{Algorithm, Cause, Header, Jwk, Refusal, Rules, Token};
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

    /// CPU µs of this process to judge the token as the policy does, by its rules but in native
    /// code; and of that to verify its signature alone, with a parsed key.
    pub fn judged_natively(&self) -> Result<[f64; 2]> {
        let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.keys)?)?;
        let jwk = &keys["keys"][0];
        let number = |name: &str| -> Result<Vec<u8>> {
            let text = jwk[name].as_str().context("an RSA key")?;
            Ok(URL_SAFE_NO_PAD.decode(text)?)
        };
        let key = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
        let key = key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?;
        let own = [Jwk::read(&jwk.to_string()).map_err(Error::msg)?];
        let rules = Rules {
            algorithms: vec![Algorithm::RS256],
            info_hash_claim: "infohash".to_owned(),
            require_exp: false,
            leeway: Duration::ZERO,
        };
        let torrent = swarms::info_hash(0);
        let judge = || -> Result<(), Refusal> {
            let token = Token::read(&self.token)?;
            let (header, claims) = (Header::read(token.header)?, token.claims()?);
            let algorithm = rules.algorithm(&header)?;
            let says = |name, value| claims.get(name).is_some_and(|claim| claim.names(value));
            if !says("iss", "bench") || !says("aud", "bench") {
                return Err(Refusal::new(Cause::Issuer, "another issuer or audience"));
            }
            let right = |_| key.verify_sig(token.signed.as_bytes(), &token.signature).is_ok();
            jwt_rules::verify(&header, algorithm, &own, |jwk| jwk, right)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            rules.claims(&claims, torrent, now.as_secs_f64()).map(drop)
        };
        let whole = median(|| judge().map_err(|refusal| Error::msg(refusal.why)))?;
        let (message, signature) = self.token.rsplit_once('.').context("a token")?;
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let alone = median(|| Ok(key.verify_sig(message.as_bytes(), &signature)?))?;
        Ok([whole, alone])
    }
}

/// CPU µs of a call: the median of several rounds of many.
fn median(call: impl Fn() -> Result<()>) -> Result<f64> {
    const ROUNDS: usize = 9;
    const CALLS: u32 = 2000;
    let spent = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = spent()?;
        for _ in 0..CALLS {
            call()?;
        }
        let time = Duration::from(spent()? - start);
        rounds.push(time.as_secs_f64() * 1e6 / f64::from(CALLS));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}
