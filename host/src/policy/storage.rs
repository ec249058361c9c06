//! The key-values of policies: in memory, bounded, with a time to live.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use hashbrown::hash_table;
use parking_lot::Mutex;

/// Bytes of a key.
pub const MAX_KEY: usize = 1024;
/// Bytes of a value.
pub const MAX_VALUE: usize = 64 * 1024;
/// What an entry counts beside its key and its value: about what it takes in the tables.
pub const ENTRY: u64 = 128;

/// A lock each, so that workers seldom wait for one another.
const SHARDS: usize = 16;
/// Expired entries that each write takes away.
const SWEEP: usize = 4;

/// The stores of all policies, by name. A store lives as long as somebody holds it: plugins do, so
/// that one version of a policy hands it to the next.
#[derive(Default)]
pub struct Stores(Mutex<HashMap<Arc<str>, Weak<Store>>>);

impl Stores {
    /// The store of a policy, empty where nobody holds one.
    pub fn of(&self, policy: &Arc<str>) -> Arc<Store> {
        let mut stores = self.0.lock();
        if let Some(known) = stores.get(policy).and_then(Weak::upgrade) {
            return known;
        }
        stores.retain(|_, store| store.strong_count() > 0);
        let store = Arc::new(Store::default());
        stores.insert(policy.clone(), Arc::downgrade(&store));
        store
    }
}

/// The keys and values of one policy.
///
/// `now` must not go back from call to call.
#[derive(Default)]
pub struct Store {
    shards: [Shard; SHARDS],
    /// Bytes that the entries count.
    used: AtomicU64,
    hasher: RandomState,
}

/// Why a write is refused. The texts are for the plugin's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error("the key has more than {MAX_KEY} bytes")]
    Key,
    #[error("the value has more than {MAX_VALUE} bytes")]
    Value,
    #[error("the storage is full: {0} bytes, as `limits.storage` allows")]
    Full(u64),
    #[error("the key has a value that is not a counter")]
    NotACounter,
    #[error("the counter would leave the range of 64 bits")]
    Overflow,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    table: HashTable<Entry>,
    /// When the entries that do not live for ever expire.
    expiries: BTreeSet<(Instant, Arc<[u8]>)>,
}

struct Entry {
    key: Arc<[u8]>,
    value: Value,
    /// `None`: never.
    expires: Option<Instant>,
}

enum Value {
    Bytes(Box<[u8]>),
    Counter(i64),
}

impl Value {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Counter(_) => 0,
        }
    }
}

impl Entry {
    fn size(&self) -> u64 {
        ENTRY + self.key.len() as u64 + self.value.size()
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

impl Store {
    /// The value of a key; of a counter, its decimal digits.
    pub fn get(&self, key: &[u8], now: Instant) -> Option<Vec<u8>> {
        let hash = self.hasher.hash_one(key);
        let entries = self.shard(hash).lock();
        let entry = entries.table.find(hash, |entry| *entry.key == *key)?;
        entry.is_alive(now).then(|| match &entry.value {
            Value::Bytes(bytes) => bytes.to_vec(),
            Value::Counter(count) => count.to_string().into_bytes(),
        })
    }

    /// Sets a key to a value, whatever it was.
    pub fn put(
        &self,
        key: &[u8],
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
        limit: u64,
        now: Instant,
    ) -> Result<(), Refused> {
        if value.len() > MAX_VALUE {
            return Err(Refused::Value);
        }
        let value = Value::Bytes(value.into());
        self.write(key, now, limit, |_| Ok(Write::Set(value, expiry(ttl_seconds, now))), |_| ())
    }

    pub fn delete(&self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let mut entries = self.shard(hash).lock();
        let freed = entries.remove(hash, key);
        self.used.fetch_sub(freed, Relaxed);
    }

    /// Adds to a counter, which is made at zero where the key is not there, and returns the sum.
    pub fn increment(
        &self,
        key: &[u8],
        delta: i64,
        ttl_seconds: Option<u32>,
        limit: u64,
        now: Instant,
    ) -> Result<i64, Refused> {
        todo!()
    }
}
