//! The decisions of the policy `jwt`, in native code.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_rules::{Algorithm, Cause, Header, Jwk, Refusal, Rules, Token};

/// The issuer and the audience of the tokens.
pub const ISSUER: &str = "bench";

/// Judges tokens by the policy's own rules, with a parsed key.
pub struct Judge {
    rules: Rules,
    own: [Jwk; 1],
    key: ParsedPublicKey,
}

impl Judge {
    /// Trusts the first key of a set, which must be an RSA key.
    pub fn of(keys: &Path) -> Result<Self> {
        let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(keys)?)?;
        let jwk = &keys["keys"][0];
        let number = |name: &str| -> Result<Vec<u8>> {
            let text = jwk[name].as_str().context("an RSA key")?;
            Ok(URL_SAFE_NO_PAD.decode(text)?)
        };
        let key = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
        let rules = Rules {
            algorithms: vec![Algorithm::RS256],
            info_hash_claim: "infohash".to_owned(),
            require_exp: false,
            leeway: Duration::ZERO,
        };
        Ok(Self {
            rules,
            own: [Jwk::read(&jwk.to_string()).map_err(Error::msg)?],
            key: key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?,
        })
    }

    /// # Errors
    ///
    /// Why the token is refused.
    pub fn judge(&self, token: &str, torrent: [u8; 20]) -> Result<(), Refusal> {
        let token = Token::read(token)?;
        let (header, claims) = (Header::read(token.header)?, token.claims()?);
        let algorithm = self.rules.algorithm(&header)?;
        let says = |name| claims.get(name).is_some_and(|claim| claim.names(ISSUER));
        if !says("iss") || !says("aud") {
            return Err(Refusal::new(Cause::Issuer, "another issuer or audience"));
        }
        let right = |_| self.key.verify_sig(token.signed.as_bytes(), &token.signature).is_ok();
        jwt_rules::verify(&header, algorithm, &self.own, |jwk| jwk, right)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.rules.claims(&claims, torrent, now.as_secs_f64()).map(drop)
    }
}
