//! The key-values of policies: in memory, bounded, with a time to live.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hashbrown::{HashTable, hash_table as table};
use parking_lot::{Mutex, MutexGuard};

/// The maximum size of a key, in bytes.
pub const MAX_KEY: usize = 1024;
/// The maximum size of a value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// The size of an entry without its key and value, in bytes: about what it takes in the tables.
pub const ENTRY: u64 = 128;

/// Each shard has its own lock, so that workers rarely wait for one another, nor long for a
/// snapshot, which copies a shard at a time.
const SHARDS: usize = 32;
/// The number of expired entries that each write removes.
const SWEEP: usize = 4;
/// The number of expired entries removed from every shard if there is no room for a write.
const SWEEP_WHEN_FULL: usize = 32;

/// The keys and values of one policy.
///
/// `now` is the moment of a request. It goes back by as long as requests of several workers overlap; then
/// a value may end that much earlier.
#[derive(Default)]
pub struct KeyValues {
    shards: [Shard; SHARDS],
    /// The size of all entries, in bytes.
    used: AtomicU64,
    hasher: RandomState,
    /// The store for looking up keys that have not been used here yet.
    base: Option<Arc<Self>>,
}

/// Why a write is refused. The texts are for the plugin's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error("the key has more than {MAX_KEY} bytes")]
    Key,
    #[error("the value has more than {MAX_VALUE} bytes")]
    Value,
    #[error("the storage is full: `limits.storage` allows {0} bytes")]
    Full(u64),
    #[error("the key has a value that is not a counter")]
    NotACounter,
    #[error("the counter would leave the range of 64 bits")]
    Overflow,
}

/// On its own cache line.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    table: HashTable<Entry>,
    /// The expiry times of entries that expire.
    expiries: BTreeSet<(Instant, Arc<[u8]>)>,
    /// The keys that have already been looked up in the base.
    fetched: HashSet<Arc<[u8]>>,
}

#[derive(Clone)]
struct Entry {
    key: Arc<[u8]>,
    value: Value,
    /// `None`: never.
    expires: Option<Instant>,
}

#[derive(Clone)]
enum Value {
    Bytes(Box<[u8]>),
    Counter(i64),
}

/// An entry as a snapshot keeps it.
pub struct Saved {
    pub key: Arc<[u8]>,
    /// The error is the number of a counter.
    pub value: Result<Box<[u8]>, i64>,
    /// `None`: never.
    pub expires: Option<Instant>,
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

impl KeyValues {
    /// How many parts [`Self::copy`] copies, each under one lock.
    pub const PARTS: usize = SHARDS;

    /// Appends the live entries of a part.
    pub fn copy(&self, part: usize, now: Instant, into: &mut Vec<Saved>) {
        let entries = self.shards[part].0.lock();
        let alive = entries.table.iter().filter(|entry| entry.is_alive(now));
        into.extend(alive.map(|Entry { key, value, expires }| Saved {
            key: key.clone(),
            value: match value {
                Value::Bytes(bytes) => Ok(bytes.clone()),
                Value::Counter(count) => Err(*count),
            },
            expires: *expires,
        }));
    }

    /// Enters an entry unless it has expired, its key is known, or there is no room. Returns whether
    /// it did.
    pub fn put_back(&self, entry: Saved, limit: u64, now: Instant) -> bool {
        let Saved { key, value, expires } = entry;
        let value = match value {
            Ok(bytes) => Value::Bytes(bytes),
            Err(count) => Value::Counter(count),
        };
        let is_alive = expires.is_none_or(|expires| expires > now);
        let is_new = |known: Option<&Entry>| match known {
            None if is_alive => Ok((value.clone(), expires)),
            // Any refusal will do: it is only counted.
            _ => Err(Refused::Key),
        };
        self.write(&key, limit, now, is_new).is_ok()
    }

    /// Creates a store that starts with another's content. Changes do not affect the other. An
    /// entry is copied when it is first used.
    pub fn over(base: &Arc<Self>) -> Self {
        Self {
            shards: Default::default(),
            used: AtomicU64::new(base.used.load(Relaxed)),
            hasher: base.hasher.clone(),
            base: Some(base.clone()),
        }
    }

    /// Locks the entries of a key's shard.
    fn lock(&self, hash: u64, key: &[u8]) -> MutexGuard<'_, Entries> {
        let mut entries = self.shard(hash).lock();
        if let Some(base) = &self.base
            && !entries.fetched.contains(key)
        {
            entries.fetched.insert(key.into());
            // Its size is already counted.
            if let Some(Entry { value, expires, .. }) = base.lock(hash, key).find(hash, key) {
                entries.set(hash, key, value.clone(), *expires, &self.hasher);
            }
        }
        entries
    }

    /// Returns the value of a key; for a counter, its decimal digits.
    pub fn get(&self, key: &[u8], now: Instant) -> Option<Vec<u8>> {
        let hash = self.hasher.hash_one(key);
        let entries = self.lock(hash, key);
        let entry = entries.find(hash, key)?;
        entry.is_alive(now).then(|| match &entry.value {
            Value::Bytes(bytes) => bytes.to_vec(),
            Value::Counter(count) => count.to_string().into_bytes(),
        })
    }

    /// Sets a key to a value, whatever it was before. Afterwards the store holds at most `limit`
    /// bytes, or less than before.
    pub fn put(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_seconds: Option<u32>,
        limit: u64,
        now: Instant,
    ) -> Result<(), Refused> {
        if value.len() > MAX_VALUE {
            return Err(Refused::Value);
        }
        let expires = expiry(ttl_seconds, now);
        self.write(key, limit, now, |_| Ok((Value::Bytes(value.into()), expires)))
    }

    pub fn delete(&self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let freed = self.lock(hash, key).remove(hash, key);
        self.used.fetch_sub(freed, Relaxed);
    }

    /// Adds to a counter and returns the sum. A new counter starts at zero and lives for
    /// `ttl_seconds`.
    pub fn increment(
        &self,
        key: &[u8],
        delta: i64,
        ttl_seconds: Option<u32>,
        limit: u64,
        now: Instant,
    ) -> Result<i64, Refused> {
        let mut sum = 0;
        self.write(key, limit, now, |entry| {
            let (count, expires) = match entry {
                None => (0, expiry(ttl_seconds, now)),
                Some(Entry { value: Value::Counter(count), expires, .. }) => (*count, *expires),
                Some(_) => return Err(Refused::NotACounter),
            };
            sum = count.checked_add(delta).ok_or(Refused::Overflow)?;
            Ok((Value::Counter(sum), expires))
        })?;
        Ok(sum)
    }

    /// Replaces the live entry of a key with the result of `change`.
    fn write(
        &self,
        key: &[u8],
        limit: u64,
        now: Instant,
        mut change: impl FnMut(Option<&Entry>) -> Result<(Value, Option<Instant>), Refused>,
    ) -> Result<(), Refused> {
        if key.len() > MAX_KEY {
            return Err(Refused::Key);
        }
        let hash = self.hasher.hash_one(key);
        loop {
            let mut entries = self.lock(hash, key);
            self.used.fetch_sub(entries.sweep(SWEEP, now, &self.hasher), Relaxed);
            let old = entries.find(hash, key);
            let before = old.map_or(0, Entry::size);
            let (value, expires) = change(old.filter(|old| old.is_alive(now)))?;
            let after = ENTRY + key.len() as u64 + value.size();
            if self.reserve(before, after, limit) {
                entries.set(hash, key, value, expires, &self.hasher);
                return Ok(());
            }
            drop(entries);
            if !self.make_room(now) {
                return Err(Refused::Full(limit));
            }
        }
    }

    /// Counts an entry's new size instead of its old one. Returns `false` if it does not fit.
    fn reserve(&self, before: u64, after: u64, limit: u64) -> bool {
        let fit = |used: u64| {
            let used = used - before + after;
            (after <= before || used <= limit).then_some(used)
        };
        self.used.fetch_update(Relaxed, Relaxed, fit).is_ok()
    }

    /// Removes expired entries from all shards. Returns `false` if there are none.
    fn make_room(&self, now: Instant) -> bool {
        let mut freed = 0;
        for shard in &self.shards {
            freed += shard.0.lock().sweep(SWEEP_WHEN_FULL, now, &self.hasher);
        }
        self.used.fetch_sub(freed, Relaxed);
        freed > 0
    }

    fn shard(&self, hash: u64) -> &Mutex<Entries> {
        // The table uses the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS].0
    }
}

impl Entries {
    fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, |entry| *entry.key == *key)
    }

    fn set(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Value,
        expires: Option<Instant>,
        hasher: &RandomState,
    ) {
        let rehash = |entry: &Entry| hasher.hash_one(&*entry.key);
        match self.table.entry(hash, |entry| *entry.key == *key, rehash) {
            table::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.value = value;
                if known.expires != expires {
                    if let Some(old) = known.expires {
                        self.expiries.remove(&(old, known.key.clone()));
                    }
                    self.expiries.extend(expires.map(|at| (at, known.key.clone())));
                    known.expires = expires;
                }
            }
            table::Entry::Vacant(place) => {
                let key: Arc<[u8]> = key.into();
                self.expiries.extend(expires.map(|at| (at, key.clone())));
                place.insert(Entry { key, value, expires });
            }
        }
    }

    /// Removes an entry, and returns its size in bytes.
    fn remove(&mut self, hash: u64, key: &[u8]) -> u64 {
        let Ok(found) = self.table.find_entry(hash, |entry| *entry.key == *key) else { return 0 };
        let (entry, _) = found.remove();
        let size = entry.size();
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, entry.key));
        }
        size
    }

    /// Removes up to `count` expired entries, the oldest first, and returns their size in bytes.
    fn sweep(&mut self, count: usize, now: Instant, hasher: &RandomState) -> u64 {
        let mut freed = 0;
        for _ in 0..count {
            let Some((_, key)) = self.expiries.first().filter(|(at, _)| *at <= now) else { break };
            let key = key.clone();
            freed += self.remove(hasher.hash_one(&*key), &key);
        }
        freed
    }
}

/// Returns `None` for never.
fn expiry(ttl_seconds: Option<u32>, now: Instant) -> Option<Instant> {
    now.checked_add(Duration::from_secs(ttl_seconds?.into()))
}

#[cfg(test)]
mod tests;
