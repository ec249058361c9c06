//! Signatures, verified by the host.

use crate::host::signatures;

/// A public key, which the host holds until this is dropped; up to 64 for each instance.
#[derive(Debug, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// Loads a key from a JWK: `RSA` of 2048 to 8192 bits, `EC` on P-256 or P-384, `OKP` on Ed25519.
    ///
    /// # Errors
    ///
    /// What is wrong with the key; or there are too many. In a test keys are what
    /// [`testing::set_keys`](crate::testing::set_keys) makes of them; without it there are none.
    pub fn from_jwk(jwk: &str) -> Result<Self, String> {
        signatures::load_key(jwk).map(Self)
    }

    /// Whether a signature of a message is right. `algorithm` is RS256 to RS512, PS256 to PS512,
    /// ES256, ES384 or EdDSA; any other, or one that is not the key's, is wrong.
    #[must_use]
    pub fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        signatures::verify(self.0, algorithm, message, signature)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        signatures::forget_key(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_test_says_what_is_a_key_and_what_a_signature() {
        assert!(Key::from_jwk("{}").is_err(), "there are none unless a test says so");
        testing::set_keys(|jwk| match jwk {
            "{}" => Err("empty".into()),
            _ => Ok(Box::new(|algorithm, message, signature| {
                algorithm == "EdDSA" && message == signature
            })),
        });
        assert_eq!(Key::from_jwk("{}"), Err("empty".into()));
        let key = Key::from_jwk("key").unwrap();
        assert!(key.verify("EdDSA", b"a", b"a"));
        assert!(!key.verify("EdDSA", b"a", b"b") && !key.verify("RS256", b"a", b"a"));
        assert_ne!(Key::from_jwk("key").unwrap(), key);
    }
}
