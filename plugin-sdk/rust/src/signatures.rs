//! Signatures, verified by the host.

use crate::{Error, host::signatures};

/// A public key, which the host holds until this is dropped; at most 64 for each instance.
#[derive(Debug, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// Loads a key from a JWK: `RSA` of 2048 to 8192 bits, `EC` on P-256 or P-384, `OKP` on Ed25519.
    ///
    /// In a test, keys are what [`testing::set_keys`](crate::testing::set_keys) makes of them;
    /// without it there are none.
    ///
    /// # Errors
    ///
    /// Fails if the key cannot be used, and says why; or if the instance holds too many.
    pub fn from_jwk(jwk: &str) -> Result<Self, Error> {
        Ok(Self(signatures::load_key(jwk)?))
    }

    /// Returns whether the signature of a message is valid.
    ///
    /// `algorithm` is RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA. With any other, or one
    /// that is not the key's, no signature is valid.
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

    #[test]
    fn an_instance_holds_as_many_keys_as_on_the_host() {
        testing::set_keys(|_| Ok(Box::new(|_, _, _| true)));
        let mut keys: Vec<Key> = (0..64).map(|_| Key::from_jwk("key").unwrap()).collect();
        let refused = Key::from_jwk("key").unwrap_err().to_string();
        assert_eq!(refused, "an instance may hold 64 keys; forget some");
        keys.pop();
        assert!(Key::from_jwk("key").is_ok());
    }
}
