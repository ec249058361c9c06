//! The rules for valid tokens (RFC 7515, RFC 7519), shared by the policy `jwt` and the command
//! `karuta jwt`. The caller provides the keys, the clock and the cryptography.

mod claim;
mod json;
mod key;
mod token;

use std::{fmt, time::Duration};

pub use claim::info_hash;
pub use json::{Object, Value};
pub use key::{Algorithm, Jwk, key_set};
pub use token::{Header, Token};

/// The requirements on every token.
pub struct Rules {
    pub algorithms: Vec<Algorithm>,
    /// The name of the claim with the info-hash.
    pub info_hash_claim: String,
    pub require_exp: bool,
    /// The tolerated difference between clocks.
    pub leeway: Duration,
}

/// The reason why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub cause: Cause,
    /// A text for the operator. Values of the token are quoted and cut.
    pub why: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// There is no token.
    Missing,
    /// The token cannot be decoded.
    Malformed,
    /// The token has a `crit` header. No critical header is supported.
    Critical,
    /// The algorithm is not allowed, or not the key's.
    Algorithm,
    Issuer,
    Audience,
    /// The key is unknown.
    Key,
    Signature,
    /// The token is for another torrent, or for none.
    InfoHash,
    Expired,
    /// The token is not valid yet.
    NotYet,
}

impl Refusal {
    pub fn new(cause: Cause, why: impl fmt::Display) -> Self {
        Self { cause, why: why.to_string() }
    }

    fn malformed(why: impl fmt::Display) -> Self {
        Self::new(Cause::Malformed, why)
    }
}

impl Rules {
    /// Returns the algorithm that the header names.
    ///
    /// # Errors
    ///
    /// Fails if it is not allowed.
    pub fn algorithm(&self, header: &Header) -> Result<Algorithm, Refusal> {
        let alg = &*header.alg;
        let allowed = self.algorithms.iter().find(|one| one.name() == alg).copied();
        allowed.ok_or_else(|| {
            Refusal::new(Cause::Algorithm, format_args!("alg: {:?} is not allowed", short(alg)))
        })
    }

    /// Checks the claims of a genuine token at the time `now`, in seconds since 1970, and returns
    /// its expiry in the same unit.
    ///
    /// # Errors
    ///
    /// Fails if the token is for another torrent, has expired, or is not valid yet.
    pub fn claims(
        &self,
        claims: &Object,
        torrent: [u8; 20],
        now: f64,
    ) -> Result<Option<f64>, Refusal> {
        self.torrent(claims, torrent)?;
        self.times(claims, now)
    }

    /// Checks the claim that names the torrent: a text, or a list of texts.
    fn torrent(&self, claims: &Object, torrent: [u8; 20]) -> Result<(), Refusal> {
        let name = &self.info_hash_claim;
        let wrong = |why: &str| Err(Refusal::new(Cause::InfoHash, format_args!("{name}: {why}")));
        let Some(claim) = claims.get(name) else { return wrong("missing") };
        let mut named = claim.texts().filter_map(info_hash).peekable();
        if named.peek().is_none() {
            return wrong("no info-hash");
        }
        if !named.any(|one| one == torrent) {
            return wrong("another torrent");
        }
        Ok(())
    }

    /// Checks only `exp` and `nbf`, and returns the expiry.
    ///
    /// # Errors
    ///
    /// Fails if the token has expired, or is not valid yet.
    pub fn times(&self, claims: &Object, now: f64) -> Result<Option<f64>, Refusal> {
        let time = |name| match claims.get(name) {
            None => Ok(None),
            Some(Value::Number(seconds)) => Ok(Some(*seconds)),
            Some(_) => Err(Refusal::malformed(format_args!("{name}: not a number"))),
        };
        let (expiry, not_before) = (time("exp")?, time("nbf")?);
        let leeway = self.leeway.as_secs_f64();
        if expiry.is_none() && self.require_exp {
            return Err(Refusal::new(Cause::Expired, "exp: missing"));
        }
        if let Some(expiry) = expiry.filter(|expiry| now >= expiry + leeway) {
            let ago = now - expiry;
            return Err(Refusal::new(Cause::Expired, format_args!("exp: {ago:.0} s ago")));
        }
        if let Some(not_before) = not_before.filter(|not_before| now < not_before - leeway) {
            let ahead = not_before - now;
            return Err(Refusal::new(Cause::NotYet, format_args!("nbf: in {ahead:.0} s")));
        }
        Ok(expiry)
    }
}

/// Verifies a signature with the key that the header names. `keys` are those of the issuer. Several
/// may have the same name, for example while an issuer changes its algorithm.
///
/// # Errors
///
/// Fails if the key is unknown ([`Cause::Key`]), the algorithm is not the key's, or the signature
/// is wrong.
pub fn verify<'k, K>(
    header: &Header,
    algorithm: Algorithm,
    keys: &'k [K],
    jwk: impl Fn(&'k K) -> &'k Jwk,
    right: impl Fn(&'k K) -> bool,
) -> Result<(), Refusal> {
    let kid = header.kid.as_deref().ok_or_else(|| Refusal::new(Cause::Key, "kid: missing"))?;
    let mut named = keys.iter().filter(|key| jwk(key).kid == kid).peekable();
    if named.peek().is_none() {
        let why = format_args!("kid: {:?} is unknown", short(kid));
        return Err(Refusal::new(Cause::Key, why));
    }
    let mut own = named.filter(|key| jwk(key).has(algorithm)).peekable();
    if own.peek().is_none() {
        let why = format_args!("alg: {} is not the key's", algorithm.name());
        return Err(Refusal::new(Cause::Algorithm, why));
    }
    if !own.any(right) {
        return Err(Refusal::new(Cause::Signature, "the signature is wrong"));
    }
    Ok(())
}

/// Returns the beginning of a text from outside: at most 80 bytes.
pub fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}
