//! The metadata of public keys (RFC 7517).

use serde::Deserialize;
use serde_json::Value;

/// The algorithms for tokens (RFC 7518, RFC 8037). Algorithms with a shared secret are left out: a
/// party that can verify could also sign.
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
    pub const ALL: [Self; 7] =
        [Self::RS256, Self::RS384, Self::RS512, Self::PS256, Self::ES256, Self::ES384, Self::EdDSA];

    /// Returns the name in JWS.
    #[must_use]
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

/// The members of a JWK that select it. The code that verifies signatures reads the others.
#[derive(Deserialize)]
pub struct Jwk {
    pub kid: String,
    kty: Option<String>,
    crv: Option<String>,
    alg: Option<String>,
}

impl Jwk {
    /// Parses a JWK.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a JWK, or has no `kid`, so that no token can name it.
    pub fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("not a JWK: {error}"))
    }

    /// Returns whether the key is for an algorithm.
    #[must_use]
    pub fn has(&self, algorithm: Algorithm) -> bool {
        let (kty, crv) = match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
                ("RSA", None)
            }
            Algorithm::ES256 => ("EC", Some("P-256")),
            Algorithm::ES384 => ("EC", Some("P-384")),
            Algorithm::EdDSA => ("OKP", Some("Ed25519")),
        };
        self.kty.as_deref() == Some(kty)
            && crv.is_none_or(|crv| self.crv.as_deref() == Some(crv))
            && self.alg.as_ref().is_none_or(|alg| alg == algorithm.name())
    }
}

/// Returns the keys of a set (RFC 7517, section 5), unparsed.
///
/// # Errors
///
/// Fails if the text is not a set, and says what it is.
pub fn key_set(text: &str) -> Result<Vec<Value>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let wrong =
        |found: &str| format!("not a JWK set: {found}, expected a mapping with the list `keys`");
    match text.trim_start().chars().next() {
        Some('{') => {}
        Some('[') => return Err(wrong("a list")),
        Some('<') => return Err(wrong("HTML or XML")),
        Some('-') => return Err(wrong("PEM")),
        Some(_) => return Err(wrong("not JSON")),
        None => return Err(wrong("nothing")),
    }
    let set = serde_json::from_str(text).map(|Set { keys }| keys);
    set.map_err(|error| {
        let members = serde_json::from_str::<Value>(text).unwrap_or_default();
        match members.get("keys") {
            Some(Value::Array(_)) => format!("not a JWK set: {error}"),
            Some(_) => wrong("`keys` is not a list"),
            None if members.get("jwks_uri").is_some() => {
                wrong("an OpenID configuration, whose `jwks_uri` leads to one")
            }
            None if members.get("kty").is_some() => wrong("a single key"),
            None if members.is_object() => wrong("a mapping without `keys`"),
            None => format!("not a JWK set: {error}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_keys_stand_as_they_are() {
        let keys = key_set(r#" {"keys": [{"kid": "a"}, 5], "issuer": "a"} "#).unwrap();
        assert_eq!(keys, [serde_json::json!({ "kid": "a" }), 5.into()]);
        assert_eq!(key_set(r#"{"keys": []}"#), Ok(vec![]));
        let deep = format!("{{\"keys\": {}", "[".repeat(100_000));
        assert!(key_set(&deep).unwrap_err().contains("recursion limit exceeded"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[{<-]?(?s).{0,40}|\\{\"(keys|kty)\": ?[\\[\\]{}5,]{0,6}\\}") {
            let _ = key_set(&text);
        }
    }
}
