//! Sets of public keys (RFC 7517, section 5).

use jwt_rules::{Algorithm, Jwk};
use karuta_plugin::{Error, log, signatures, text};

/// A key that tokens may name.
pub struct Key {
    pub jwk: Jwk,
    key: signatures::Key,
}

impl Key {
    /// Returns the usable keys of a set. A trial, which every new version goes through, logs why
    /// the others are unusable.
    ///
    /// # Errors
    ///
    /// Fails if the data is not a set, or none of its keys can be used. An empty set is fine: it
    /// revokes all keys.
    pub fn read_set(data: &[u8], is_trial: bool) -> Result<Vec<Self>, Error> {
        let set = jwt_rules::key_set(text::decode(data)?)?;
        let mut usable = Vec::new();
        let mut unusable = Vec::new();
        for (at, jwk) in set.iter().enumerate() {
            match Self::read(&jwk.to_string()) {
                Ok(key) => usable.push(key),
                Err(reason) => unusable.push((at, reason)),
            }
        }
        // A refused set is tried again at each fetch, and the host logs the reason only once.
        if let ([], [(at, reason), ..]) = (&*usable, &*unusable) {
            let text = format_args!("none of the keys can be used: keys[{at}]: {reason}");
            return Err(Error::new(text));
        }
        if is_trial {
            for (at, reason) in unusable {
                log::warn!("keys[{at}] is not used: {reason}");
            }
        }
        Ok(usable)
    }

    fn read(jwk: &str) -> Result<Self, Error> {
        Ok(Self { jwk: Jwk::read(jwk)?, key: signatures::Key::from_jwk(jwk)? })
    }

    pub fn verify(&self, algorithm: Algorithm, message: &str, signature: &[u8]) -> bool {
        self.key.verify(algorithm.name(), message.as_bytes(), signature)
    }
}
