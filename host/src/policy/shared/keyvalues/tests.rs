use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const ROOM: u64 = 1 << 20;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_value_lives_as_long_as_it_was_given() {
    let store = KeyValues::default();
    let start = Instant::now();
    store.put(b"a", b"1", Some(10), ROOM, start).unwrap();
    store.put(b"b", b"", None, ROOM, start).unwrap();
    assert_eq!(store.get(b"a", start + seconds(9)), Some(b"1".into()));
    assert_eq!(store.get(b"a", start + seconds(10)), None);
    assert_eq!(store.get(b"b", start + seconds(1 << 40)), Some(vec![]));
    store.delete(b"b");
    assert_eq!(store.get(b"b", start), None);
}

#[test]
fn a_counter_s_life_counts_from_its_first_increment() {
    let store = KeyValues::default();
    let start = Instant::now();
    assert_eq!(store.increment(b"a", 5, Some(10), ROOM, start), Ok(5));
    assert_eq!(store.increment(b"a", -7, Some(10), ROOM, start + seconds(9)), Ok(-2));
    assert_eq!(store.get(b"a", start + seconds(9)), Some(b"-2".into()));
    assert_eq!(store.increment(b"a", 1, None, ROOM, start + seconds(10)), Ok(1));
    assert_eq!(store.get(b"a", start + seconds(1 << 40)), Some(b"1".into()));
}

#[test]
fn what_changes_over_a_store_does_not_change_it() {
    let base = Arc::new(KeyValues::default());
    let now = Instant::now();
    for key in [b"a", b"b", b"c"] {
        base.put(key, b"1", Some(10), ROOM, now).unwrap();
    }
    base.increment(b"n", 5, None, ROOM, now).unwrap();
    let used = base.used.load(Relaxed);
    let over = KeyValues::over(&base);
    assert_eq!(over.get(b"a", now), Some(b"1".into()));
    over.put(b"a", b"22", None, ROOM, now).unwrap();
    over.delete(b"b");
    over.delete(b"c");
    assert_eq!(over.increment(b"n", 1, None, ROOM, now), Ok(6));
    assert_eq!(over.increment(b"c", 1, None, ROOM, now), Ok(1), "it was gone");
    let seen = |store: &KeyValues| [b"a", b"b", b"c", b"n"].map(|key| store.get(key, now));
    let text = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(seen(&over), [text("22"), None, text("1"), text("6")]);
    assert_eq!(seen(&base), [text("1"), text("1"), text("1"), text("5")]);
    assert_eq!(base.used.load(Relaxed), used);
    // One value has grown by a byte, one entry is gone, and one is now a counter.
    assert_eq!(over.used.load(Relaxed), used + 1 - (ENTRY + 2) - 1);
    assert_eq!(over.get(b"a", now + seconds(10)), text("22"));
    assert_eq!(KeyValues::over(&base).get(b"a", now + seconds(10)), None, "it has expired");
    // What the base holds counts too.
    assert_eq!(KeyValues::over(&base).put(b"d", b"", None, used, now), Err(Refused::Full(used)));
}

#[test]
fn wrong_requests_are_refused_and_change_nothing() {
    let store = KeyValues::default();
    let now = Instant::now();
    store.put(b"text", b"7", None, ROOM, now).unwrap();
    assert_eq!(store.increment(b"text", 1, None, ROOM, now), Err(Refused::NotACounter));
    assert_eq!(store.get(b"text", now), Some(b"7".into()));
    store.increment(b"high", i64::MAX, None, ROOM, now).unwrap();
    assert_eq!(store.increment(b"high", 1, None, ROOM, now), Err(Refused::Overflow));
    let long = [0; MAX_KEY + 1];
    assert_eq!(store.put(&long, b"", None, ROOM, now), Err(Refused::Key));
    assert_eq!(store.increment(&long, 1, None, ROOM, now), Err(Refused::Key));
    assert_eq!(store.put(b"a", &[0; MAX_VALUE + 1], None, ROOM, now), Err(Refused::Value));
    assert_eq!(store.get(&long, now), None);
    assert_eq!(store.get(b"a", now), None);
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let store = KeyValues::default();
    let now = Instant::now();
    let limit = 3 * (ENTRY + 2);
    store.put(b"a", b"1", None, limit, now).unwrap();
    store.put(b"b", b"2", Some(5), limit, now).unwrap();
    store.put(b"c", b"3", None, limit, now).unwrap();
    let full = Err(Refused::Full(limit));
    assert_eq!(store.put(b"d", b"4", None, limit, now), full);
    assert_eq!(store.increment(b"d", 1, None, limit, now).map(|_| ()), full);
    assert_eq!(store.put(b"a", b"12", None, limit, now), full);
    assert_eq!(store.get(b"a", now), Some(b"1".into()));
    assert_eq!(store.put(b"a", b"0", None, limit, now), Ok(()), "no larger than before");
    // Expired entries make room, whatever shard they are in.
    assert_eq!(store.put(b"d", b"4", None, limit, now + seconds(5)), Ok(()));
    assert_eq!(store.put(b"a", b"", None, 1, now), Ok(()), "a smaller limit, and a smaller value");
}

#[test]
fn expired_entries_go_with_the_writes_of_others() {
    let store = KeyValues::default();
    let start = Instant::now();
    for key in 0..1000_u32 {
        store.put(&key.to_be_bytes(), b"", Some(1), ROOM, start).unwrap();
    }
    for key in 1000..2000_u32 {
        store.put(&key.to_be_bytes(), b"", None, ROOM, start + seconds(1)).unwrap();
    }
    assert_eq!(store.used.load(Relaxed), 1000 * (ENTRY + 4));
}

#[test]
fn threads_count_together() {
    let store = KeyValues::default();
    let now = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..5000_u32 {
                    store.increment(b"all", 1, None, ROOM, now).unwrap();
                    let key = [(n % 50) as u8];
                    store.put(&key, &key, Some(n % 2), ROOM, now).unwrap();
                    store.delete(&[(n % 49) as u8]);
                }
            });
        }
    });
    assert_eq!(store.get(b"all", now), Some(b"20000".into()));
    for key in 0..50 {
        store.delete(&[key]);
    }
    assert_eq!(store.used.load(Relaxed), ENTRY + 3, "nothing is counted twice");
}

/// The contract's behaviour, without shards, sweeps or stored sizes.
#[derive(Default)]
struct Model(HashMap<Vec<u8>, (Naive, Option<u64>)>);

#[derive(Clone)]
enum Naive {
    Bytes(Vec<u8>),
    Counter(i64),
}

impl Model {
    fn size(key: &[u8], value: &Naive) -> u64 {
        let value = match value {
            Naive::Bytes(bytes) => bytes.len(),
            Naive::Counter(_) => 0,
        };
        ENTRY + (key.len() + value) as u64
    }

    fn set(
        &mut self,
        key: &[u8],
        value: Naive,
        expires: Option<u64>,
        limit: u64,
    ) -> Result<(), Refused> {
        let before = self.0.get(key).map_or(0, |(old, _)| Self::size(key, old));
        let used: u64 = self.0.iter().map(|(key, (value, _))| Self::size(key, value)).sum();
        let after = Self::size(key, &value);
        if after > before && used - before + after > limit {
            return Err(Refused::Full(limit));
        }
        self.0.insert(key.to_vec(), (value, expires));
        Ok(())
    }

    fn apply(&mut self, step: &Step, now: u64) -> Result<Option<Vec<u8>>, Refused> {
        self.0.retain(|_, (_, expires)| expires.is_none_or(|expires| expires > now));
        match step {
            Step::Get(key) => Ok(self.0.get(key).map(|(value, _)| match value {
                Naive::Bytes(bytes) => bytes.clone(),
                Naive::Counter(count) => count.to_string().into_bytes(),
            })),
            Step::Put(key, value, ttl, limit) => {
                let expires = ttl.map(|ttl| now + u64::from(ttl));
                self.set(key, Naive::Bytes(value.clone()), expires, *limit)?;
                Ok(None)
            }
            Step::Delete(key) => {
                self.0.remove(key);
                Ok(None)
            }
            Step::Increment(key, delta, ttl, limit) => {
                let (count, expires) = match self.0.get(key) {
                    None => (0, ttl.map(|ttl| now + u64::from(ttl))),
                    Some((Naive::Counter(count), expires)) => (*count, *expires),
                    Some(_) => return Err(Refused::NotACounter),
                };
                let sum = count.checked_add(*delta).ok_or(Refused::Overflow)?;
                self.set(key, Naive::Counter(sum), expires, *limit)?;
                Ok(Some(sum.to_string().into_bytes()))
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(Vec<u8>),
    Put(Vec<u8>, Vec<u8>, Option<u32>, u64),
    Delete(Vec<u8>),
    Increment(Vec<u8>, i64, Option<u32>, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::collection::vec(0..4_u8, 0..3);
    let ttl = || prop::option::of(0..20_u32);
    let limit = || prop_oneof![4 => Just(8 * ENTRY), 1 => 0..10 * ENTRY];
    let value = prop::collection::vec(any::<u8>(), 0..100);
    let delta = prop_oneof![4 => -5..5_i64, 1 => any::<i64>()];
    prop_oneof![
        3 => key().prop_map(Step::Get),
        4 => (key(), value, ttl(), limit()).prop_map(|(k, v, t, l)| Step::Put(k, v, t, l)),
        1 => key().prop_map(Step::Delete),
        4 => (key(), delta, ttl(), limit()).prop_map(|(k, d, t, l)| Step::Increment(k, d, t, l)),
    ]
}

proptest! {
    #[test]
    fn a_store_behaves_like_the_model(steps in prop::collection::vec((step(), 0..3_u64), 1..200)) {
        let store = KeyValues::default();
        let mut model = Model::default();
        let start = Instant::now();
        let mut clock = 0;
        for (step, pause) in steps {
            clock += pause;
            let now = start + seconds(clock);
            let expected = model.apply(&step, clock);
            let found = match &step {
                Step::Get(key) => Ok(store.get(key, now)),
                Step::Put(key, value, ttl, limit) => {
                    store.put(key, value, *ttl, *limit, now).map(|()| None)
                }
                Step::Delete(key) => {
                    store.delete(key);
                    Ok(None)
                }
                Step::Increment(key, delta, ttl, limit) => store
                    .increment(key, *delta, *ttl, *limit, now)
                    .map(|sum| Some(sum.to_string().into_bytes())),
            };
            prop_assert_eq!(found, expected, "{:?}", step);
        }
    }
}
