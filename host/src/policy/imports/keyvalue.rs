//! `karuta:policy/keyvalue`: counters and values that all instances of a policy share.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::HasData;

use crate::policy::contract::bindings::imports::keyvalue::Host;
use crate::policy::shared::keyvalues::KeyValues;

/// An instance's access to its policy's storage.
pub struct Storage {
    pub store: Arc<KeyValues>,
    /// The maximum size of the store in this instance's configuration, in bytes.
    pub limit: u64,
}

/// The key-values of the policy.
pub struct View<'a> {
    pub storage: &'a Storage,
    pub now: Instant,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn get(&mut self, key: Vec<u8>) -> Option<Vec<u8>> {
        self.storage.store.get(&key, self.now)
    }

    fn put(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> Result<(), String> {
        let Storage { store, limit } = self.storage;
        let put = store.put(&key, &value, ttl_seconds, *limit, self.now);
        put.map_err(|refused| refused.to_string())
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.storage.store.delete(&key);
    }

    fn increment(
        &mut self,
        key: Vec<u8>,
        delta: i64,
        ttl_seconds: Option<u32>,
    ) -> Result<i64, String> {
        let Storage { store, limit } = self.storage;
        let sum = store.increment(&key, delta, ttl_seconds, *limit, self.now);
        sum.map_err(|refused| refused.to_string())
    }
}
