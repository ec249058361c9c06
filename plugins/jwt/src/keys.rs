//! Sets of public keys (RFC 7517).

use std::fmt;

use karuta_plugin::{Error, log, signatures};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The algorithms that there are for tokens (RFC 7518, RFC 8037). Those with a shared secret are not
/// among them: whoever checks could also sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// A key that tokens may name.
pub struct Key {
    pub kid: String,
    members: Members,
    key: signatures::Key,
}

/// What a JWK says of itself. The host reads the key proper.
#[derive(Deserialize)]
struct Members {
    kid: Option<String>,
    kty: Option<String>,
    crv: Option<String>,
    alg: Option<String>,
}

impl Key {
    /// The keys of a set that can be used. In the log of a trial, which every new version is put to,
    /// stands what is wrong with the others.
    ///
    /// # Errors
    ///
    /// It is no set, or not one of its keys can be used. An empty set is fine: it revokes all keys.
    pub fn read_set(data: &[u8], is_trial: bool) -> Result<Vec<Self>, Error> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let set: Set = serde_json::from_slice(data)
            .map_err(|error| Error::new(format!("no JWK set: {error}")))?;
        let mut usable = Vec::new();
        let mut first = None;
        for (at, jwk) in set.keys.iter().enumerate() {
            match Self::read(jwk.get()) {
                Ok(key) => usable.push(key),
                Err(reason) => {
                    if is_trial {
                        log::warn!("keys[{at}] is not used: {reason}");
                    }
                    first.get_or_insert_with(|| format!("keys[{at}]: {reason}"));
                }
            }
        }
        match first {
            Some(first) if usable.is_empty() => {
                Err(Error::new(format!("none of the keys can be used: {first}")))
            }
            _ => Ok(usable),
        }
    }

    fn read(jwk: &str) -> Result<Self, String> {
        let mut members: Members =
            serde_json::from_str(jwk).map_err(|error| format!("no JWK: {error}"))?;
        let kid = members.kid.take().ok_or("kid: missing, so that no token can name it")?;
        Ok(Self { kid, members, key: signatures::Key::from_jwk(jwk)? })
    }

    /// Whether an algorithm is the key's own.
    pub fn has(&self, algorithm: Algorithm) -> bool {
        let Members { kty, crv, alg, .. } = &self.members;
        let (own_kty, own_crv) = match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
                ("RSA", None)
            }
            Algorithm::ES256 => ("EC", Some("P-256")),
            Algorithm::ES384 => ("EC", Some("P-384")),
            Algorithm::EdDSA => ("OKP", Some("Ed25519")),
        };
        kty.as_deref() == Some(own_kty)
            && own_crv.is_none_or(|own| crv.as_deref() == Some(own))
            && alg.as_ref().is_none_or(|alg| alg == algorithm.name())
    }

    pub fn verify(&self, algorithm: Algorithm, message: &str, signature: &[u8]) -> bool {
        self.key.verify(algorithm.name(), message.as_bytes(), signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, words: &mut fmt::Formatter) -> fmt::Result {
        words.debug_tuple("Key").field(&self.kid).finish()
    }
}
