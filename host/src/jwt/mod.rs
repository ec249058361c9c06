//! `karuta jwt`: tokens for the policy `jwt`, with the same rules.

mod private;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use jwt_rules::{Algorithm, Cause, Header, Jwk, Object, Refusal, Rules, Token};
use karuta_bittorrent::InfoHash;
use karuta_bittorrent::metainfo::Info;
use serde_json::{Value, json};

use self::private::Private;
use crate::jwk;
use crate::text::{self, Escaped};
use crate::time;
use crate::{config, file};

/// The maximum sizes of a `.torrent` file, a file of keys, and a token, in bytes.
const MAX_TORRENT: u64 = 256 << 20;
const MAX_KEYS: u64 = 1 << 20;
const MAX_TOKEN: u64 = 1 << 20;

/// The subcommands of `karuta jwt`.
#[derive(Subcommand)]
pub enum Command {
    /// Create a key pair: a private key to sign with, and a public one for the tracker.
    Keygen {
        /// The file for the private key (PKCS#8 in PEM), which must not exist yet.
        key: PathBuf,
        /// The algorithm that the key will sign with.
        #[arg(long, default_value = "RS256", value_parser = algorithm)]
        algorithm: Algorithm,
        /// The key's name in tokens; by default its thumbprint (RFC 7638).
        #[arg(long)]
        kid: Option<String>,
        /// The JWK set to add the public key to; without it, the set is printed.
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
    },
    /// Print a token for a torrent.
    Sign {
        /// The info-hash in 40 or 64 hexadecimal digits, or a .torrent file; for a hybrid torrent,
        /// the token covers both of its info-hashes.
        #[arg(value_parser = torrent)]
        torrent: Torrent,
        /// The file of the private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The key's name; by default its thumbprint.
        #[arg(long)]
        kid: Option<String>,
        /// The algorithm; by default the key's first.
        #[arg(long, value_parser = algorithm)]
        algorithm: Option<Algorithm>,
        /// The value of `iss`.
        #[arg(long)]
        issuer: String,
        /// A value of `aud`; may be given several times.
        #[arg(long, required = true)]
        audience: Vec<String>,
        /// How long the token is valid, such as 12h; by default forever.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
        /// The claim with the info-hash.
        #[arg(long, default_value = "infohash")]
        claim: String,
    },
    /// Verify a token and say what is wrong with it; then the exit code is 1.
    Verify {
        /// The token; `-` reads it from standard input.
        token: String,
        /// The JWK set of the issuer.
        #[arg(long, value_name = "FILE")]
        jwks: PathBuf,
        /// The torrent that the token must be for: an info-hash or a .torrent file.
        #[arg(long, value_parser = torrent)]
        torrent: Option<Torrent>,
        /// The required issuer.
        #[arg(long)]
        issuer: Option<String>,
        /// The required audience.
        #[arg(long)]
        audience: Option<String>,
        /// An allowed algorithm; may be given several times. By default all are allowed.
        #[arg(long, value_parser = algorithm)]
        algorithm: Vec<Algorithm>,
        /// The claim with the info-hash.
        #[arg(long, default_value = "infohash")]
        claim: String,
        /// How far clocks may differ.
        #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
        leeway: Duration,
    },
}

/// The info-hashes of a torrent; two if it is a hybrid.
#[derive(Clone, Debug)]
pub struct Torrent(Vec<InfoHash>);

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let found = Algorithm::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| {
        format!("expected one of {}", Algorithm::ALL.map(Algorithm::name).join(", "))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .ok_or_else(|| "expected a number with a unit such as 30s, 5m, 1h".to_owned())
}

fn torrent(text: &str) -> Result<Torrent, String> {
    if let Some(info_hash) = InfoHash::from_hex(text) {
        return Ok(Torrent(vec![info_hash]));
    }
    let file = file::read(Path::new(text), MAX_TORRENT).map_err(|unread| {
        format!("neither 40 or 64 hexadecimal digits nor a readable file: {unread}")
    })?;
    let info = Info::find(&file).map_err(|wrong| format!("the file is not a torrent: {wrong}"))?;
    let sums = [(info.is_v1, &SHA1_FOR_LEGACY_USE_ONLY), (info.is_v2, &SHA256)];
    let sums = sums.into_iter().filter(|(is_announced, _)| *is_announced);
    let hashes = sums.filter_map(|(_, algorithm)| {
        let sum = digest(algorithm, info.bytes);
        sum.as_ref().first_chunk().copied().map(InfoHash)
    });
    Ok(Torrent(hashes.collect()))
}

/// Runs a command.
///
/// # Errors
///
/// What went wrong, or what is wrong with the token.
pub fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Keygen { key, algorithm, kid, jwks } => keygen(&key, algorithm, kid, jwks),
        Command::Sign { torrent, key, kid, algorithm, issuer, audience, expires, claim } => {
            let key = Private::read(&key)?;
            let algorithm = algorithm.unwrap_or_else(|| key.algorithm());
            let kid = kid.map_or_else(|| key.thumbprint(), Ok)?;
            let Torrent(hashes) = torrent;
            let hashes = hashes.iter().map(InfoHash::to_string).collect();
            // Nothing optional: over UDP, some clients send at most 255 bytes of the URL.
            let mut claims = BTreeMap::from([
                ("iss", json!(issuer)),
                ("aud", one_or_all(audience)),
                (claim.as_str(), one_or_all(hashes)),
            ]);
            if let Some(expires) = expires {
                claims.insert("exp", json!((now() + expires).as_secs()));
            }
            let header = json!({ "alg": algorithm.name(), "kid": kid });
            let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
            let message = format!("{}.{}", encode(&header), encode(&json!(claims)));
            let signature = key.sign(algorithm, message.as_bytes())?;
            print(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
        }
        Command::Verify { token, jwks, torrent, issuer, audience, algorithm, claim, leeway } => {
            let algorithms = match algorithm {
                none if none.is_empty() => Algorithm::ALL.into(),
                some => some,
            };
            let rules = Rules { algorithms, info_hash_claim: claim, require_exp: false, leeway };
            let keys = read_keys(&jwks)?;
            let mut bytes = token.into_bytes();
            if bytes == b"-" {
                bytes.clear();
                let mut input = io::stdin().take(MAX_TOKEN);
                input.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            }
            let text = text::decode(&bytes).map_err(|error| format!("the token: {error}"))?;
            let expected = Expected { torrent, issuer, audience };
            verify(text.trim(), &rules, &keys, &expected).map_err(|refusal| refusal.why)?;
            print("the token is valid")
        }
    }
}

/// Writes a single value as a text, which most readers expect, and several as a list.
fn one_or_all(values: Vec<String>) -> Value {
    match <[String; 1]>::try_from(values) {
        Ok([one]) => json!(one),
        Err(several) => json!(several),
    }
}

fn now() -> Duration {
    time::since_1970()
}

fn print(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())
}

fn keygen(
    file: &Path,
    algorithm: Algorithm,
    kid: Option<String>,
    jwks: Option<PathBuf>,
) -> Result<(), String> {
    let key = Private::generate(algorithm)?;
    let kid = kid.map_or_else(|| key.thumbprint(), Ok)?;
    let mut set = match &jwks {
        Some(jwks) if jwks.exists() => read_set(jwks)?,
        _ => json!({ "keys": [] }),
    };
    let keys = set["keys"].as_array_mut().ok_or("no `keys` list")?;
    if keys.iter().any(|known| known["kid"] == *kid) {
        return Err(format!("the JWK set already has a key `{kid}`"));
    }
    keys.push(key.jwk(algorithm, &kid)?);
    key.write(file)?;
    let Some(jwks) = jwks else { return print(&format!("{set:#}")) };
    // Renamed into place, for a tracker that watches the file.
    let mut new = jwks.clone().into_os_string();
    new.push(".new");
    fs::write(&new, format!("{set:#}\n"))
        .and_then(|()| fs::rename(&new, &jwks))
        .map_err(|error| format!("{}: {error}", jwks.display()))
}

/// Reads a JWK set, including members other than the list `keys`.
fn read_set(path: &Path) -> Result<Value, String> {
    let named = |reason: &dyn fmt::Display| format!("{}: {reason}", path.display());
    let bytes = file::read(path, MAX_KEYS).map_err(|unread| unread.to_string())?;
    let text = text::decode(&bytes).map_err(|error| named(&error))?;
    jwt_rules::key_set(text).map_err(|reason| named(&reason))?;
    serde_json::from_str(text).map_err(|error| named(&error))
}

/// Reads the usable keys of a set. Reports the others on standard error.
fn read_keys(path: &Path) -> Result<Vec<(Jwk, jwk::Key)>, String> {
    let set = read_set(path)?;
    let keys = set["keys"].as_array().ok_or("no `keys` list")?;
    let mut usable = Vec::new();
    for (at, key) in keys.iter().map(Value::to_string).enumerate() {
        let read = Jwk::read(&key).and_then(|jwk| Ok((jwk, jwk::Key::from_jwk(&key)?)));
        match read {
            Ok(key) => usable.push(key),
            Err(reason) => eprintln!("keys[{at}] is not used: {}", Escaped(reason)),
        }
    }
    Ok(usable)
}

/// What a token must contain, if given.
struct Expected {
    torrent: Option<Torrent>,
    issuer: Option<String>,
    audience: Option<String>,
}

fn verify(
    text: &str,
    rules: &Rules,
    keys: &[(Jwk, jwk::Key)],
    expected: &Expected,
) -> Result<(), Refusal> {
    let token = Token::read(text)?;
    let (header, claims) = (Header::read(token.header)?, token.claims()?);
    let algorithm = rules.algorithm(&header)?;
    let right = |(_, key): &(Jwk, jwk::Key)| {
        key.verify(algorithm.name(), token.signed.as_bytes(), &token.signature)
    };
    jwt_rules::verify(&header, algorithm, keys, |(jwk, _)| jwk, right)?;
    says(&claims, "iss", expected.issuer.as_ref(), Cause::Issuer)?;
    says(&claims, "aud", expected.audience.as_ref(), Cause::Audience)?;
    let now = now().as_secs_f64();
    let Some(Torrent(hashes)) = &expected.torrent else {
        return rules.times(&claims, now).map(drop);
    };
    hashes.iter().try_for_each(|InfoHash(hash)| rules.claims(&claims, *hash, now).map(drop))
}

fn says(claims: &Object, name: &str, value: Option<&String>, cause: Cause) -> Result<(), Refusal> {
    let Some(value) = value else { return Ok(()) };
    match claims.get(name) {
        Some(claim) if claim.names(value) => Ok(()),
        _ => Err(Refusal::new(cause, format_args!("{name}: not `{value}`"))),
    }
}
