//! `karuta:policy/signatures`: native verification of signatures.

use wasmtime::component::HasData;

use crate::jwk::Key;
use crate::policy::contract::bindings::imports::signatures::Host;

/// The most keys that an instance may hold at once.
const MAX_KEYS: usize = 64;

/// The keys of one instance. Ids are never reused.
#[derive(Default)]
pub struct Keys {
    next: u32,
    held: Vec<(u32, Key)>,
}

impl Keys {
    fn load(&mut self, jwk: &str) -> Result<u32, String> {
        if self.held.len() >= MAX_KEYS {
            return Err(format!("an instance may hold {MAX_KEYS} keys; forget some"));
        }
        let key = Key::from_jwk(jwk)?;
        let id = self.next;
        self.next = id.checked_add(1).ok_or("this instance has used up its key ids")?;
        self.held.push((id, key));
        Ok(id)
    }

    fn forget(&mut self, id: u32) {
        self.held.retain(|(held, _)| *held != id);
    }

    fn verify(&self, id: u32, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let found = self.held.iter().find(|(held, _)| *held == id);
        found.is_some_and(|(_, key)| key.verify(algorithm, message, signature))
    }
}

/// The keys of one instance.
pub struct View<'a> {
    pub keys: &'a mut Keys,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn load_key(&mut self, jwk: String) -> Result<u32, String> {
        self.keys.load(&jwk)
    }

    fn forget_key(&mut self, key: u32) {
        self.keys.forget(key);
    }

    fn verify(
        &mut self,
        key: u32,
        algorithm: String,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> bool {
        self.keys.verify(key, &algorithm, &message, &signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.
    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn keys_are_bounded_and_ids_are_not_given_twice() {
        let mut keys = Keys::default();
        for id in 0..MAX_KEYS as u32 {
            assert_eq!(keys.load(KEY), Ok(id));
        }
        assert_eq!(keys.load(KEY), Err("an instance may hold 64 keys; forget some".to_owned()));
        keys.forget(3);
        keys.forget(3);
        assert!(keys.load("{}").is_err());
        assert_eq!(keys.load(KEY), Ok(64));
        assert!(keys.load(KEY).is_err());
    }
}
