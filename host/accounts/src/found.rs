//! Records that many threads find by a key: by one line of the processor's caches that says where, and
//! the one or two lines of the record itself.
//!
//! One array has the records with their keys, in slots of 48 bytes; another has a byte of each slot's
//! hash, so that nearly all slots of others are passed without a look at them. A record never moves, but
//! when there is no room left and all of them go into larger arrays. It is read without a lock: a count in
//! its slot tells a reader that it was changed meanwhile, which then reads once more.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

/// The words of a slot: of them, [`ID`] and [`LAST`] are for all records alike.
pub type Words = [u64; 6];

/// The word of a slot with the id of its record.
pub const ID: usize = 2;
/// The word whose low half counts the changes of the slot: it is odd during one. The high half is the
/// record's.
pub const LAST: usize = 5;

/// A record, and its key, as words that have no bit in common. [`ID`] and the low half of [`LAST`] are
/// neither's.
pub trait Record: Copy {
    type Key;
    /// The bits that are the key's.
    const KEY: Words;

    /// Returns a key as words. The first word is like that of hardly any other.
    fn pack_key(key: &Self::Key) -> Words;

    fn pack(self) -> Words;

    fn unpack(words: &Words) -> Self;
}

/// Records by key, and by id. Ids are at least 1. They are changed by one thread.
pub struct Found<R> {
    arrays: ArcSwap<Arrays>,
    /// Records, each counted once however many keys it has.
    len: AtomicUsize,
    /// Multiplies what is hashed. It is random and odd: nobody can choose keys that come to one place.
    secret: u64,
    _records: std::marker::PhantomData<fn() -> R>,
}

/// As many of each, but for `ids`.
struct Arrays {
    tags: Box<[AtomicU8]>,
    slots: Box<[Slot]>,
    /// The places of ids, as [`place_id`] has it: the number of a slot and 1, [`NO_ID`] or [`ID_GONE`].
    ids: Box<[AtomicU32]>,
    /// Slots that are or were in use.
    used: AtomicUsize,
    ids_used: AtomicUsize,
}

/// Most of them are in one cache line, and the others in two that are fetched at once.
#[derive(Default)]
#[repr(align(16))]
struct Slot([AtomicU64; 6]);

/// The tag of a slot that was never used: no record of its place is behind it.
const EMPTY: u8 = 0;
/// The tag of a slot whose record is gone.
const GONE: u8 = 1;
/// The lowest tag of a record.
const TAGS: u8 = 2;
const NO_ID: u32 = 0;
const ID_GONE: u32 = u32::MAX;
/// The fewest slots.
const FEWEST: usize = 64;
/// Spreads ids that follow one another.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// How often a reader looks again at once. Whoever changes a slot takes some nanoseconds, unless it is
/// stopped in between.
const SPINS: u32 = 1000;
const PAUSE: Duration = Duration::from_micros(20);

/// Returns the slot that a hash has its place in, or the next one that is free.
fn place(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> u64::BITS) as usize
}

fn next(place: usize, places: usize) -> usize {
    if place + 1 == places { 0 } else { place + 1 }
}

fn tag(hash: u64) -> u8 {
    // The high bits are those of the place.
    (hash as u8).max(TAGS)
}

impl Slot {
    /// Returns the words of a slot, all of one time.
    fn read(&self) -> Words {
        let mut spins = 0;
        loop {
            let last = self.0[LAST].load(Acquire);
            let mut words = [0; 6];
            for (word, slot) in words.iter_mut().zip(&self.0[..LAST]) {
                *word = slot.load(Relaxed);
            }
            words[LAST] = last;
            fence(Acquire);
            if last & 1 == 0 && self.0[LAST].load(Relaxed) == last {
                return words;
            }
            spins += 1;
            match spins % SPINS {
                0 => std::thread::sleep(PAUSE),
                _ => std::hint::spin_loop(),
            }
        }
    }

    fn write(&self, words: &Words) {
        let last = self.0[LAST].load(Relaxed);
        self.0[LAST].store(last | 1, Relaxed);
        fence(Release);
        for (word, slot) in words.iter().zip(&self.0[..LAST]) {
            slot.store(*word, Relaxed);
        }
        let count = (last as u32 & !1).wrapping_add(2);
        self.0[LAST].store(words[LAST] | u64::from(count), Release);
    }

    fn id(&self) -> u64 {
        self.0[ID].load(Relaxed)
    }
}

impl Arrays {
    /// Has room for `records` keys, and a seventh more.
    fn new(records: usize) -> Self {
        let count = (records + records / 7).max(FEWEST);
        Self {
            tags: std::iter::repeat_with(AtomicU8::default).take(count).collect(),
            slots: std::iter::repeat_with(Slot::default).take(count).collect(),
            ids: std::iter::repeat_with(AtomicU32::default).take(count + count / 2).collect(),
            used: AtomicUsize::new(0),
            ids_used: AtomicUsize::new(0),
        }
    }

    fn place_id(&self, id: u64) -> usize {
        place(id.wrapping_mul(GOLDEN), self.ids.len())
    }

    /// Returns the slot of a record, and the place among the ids that says so.
    fn find_id(&self, id: u64) -> Option<(usize, usize)> {
        let mut at = self.place_id(id);
        loop {
            match self.ids[at].load(Acquire) {
                NO_ID => return None,
                ID_GONE => {}
                slot if self.slots[slot as usize - 1].id() == id => {
                    return Some((slot as usize - 1, at));
                }
                _ => {}
            }
            at = next(at, self.ids.len());
        }
    }

    /// Notes the slot of an id. Returns whether it had none.
    fn enter_id(&self, id: u64, slot: usize) -> bool {
        let number = slot as u32 + 1;
        if let Some((_, at)) = self.find_id(id) {
            self.ids[at].store(number, Release);
            return false;
        }
        let mut at = self.place_id(id);
        while !matches!(self.ids[at].load(Relaxed), NO_ID | ID_GONE) {
            at = next(at, self.ids.len());
        }
        if self.ids[at].swap(number, Release) == NO_ID {
            self.ids_used.fetch_add(1, Relaxed);
        }
        true
    }

    /// Enters a record whose key is in none of the slots.
    fn add(&self, hash: u64, words: &Words) -> usize {
        let mut at = place(hash, self.slots.len());
        while self.tags[at].load(Relaxed) >= TAGS {
            at = next(at, self.slots.len());
        }
        self.slots[at].write(words);
        if self.tags[at].load(Relaxed) == EMPTY {
            self.used.fetch_add(1, Relaxed);
        }
        self.tags[at].store(tag(hash), Release);
        at
    }

    fn is_full(&self) -> bool {
        let few = |used: &AtomicUsize, all: usize| used.load(Relaxed) < all - all / 16;
        !few(&self.used, self.slots.len()) || !few(&self.ids_used, self.ids.len())
    }
}

impl<R: Record> Default for Found<R> {
    fn default() -> Self {
        Self::with_room(0)
    }
}

impl<R: Record> Found<R> {
    /// Creates one that has room for so many keys.
    pub fn with_room(keys: usize) -> Self {
        Self {
            arrays: ArcSwap::from_pointee(Arrays::new(keys)),
            len: AtomicUsize::new(0),
            secret: rand::random::<u64>() | 1,
            _records: std::marker::PhantomData,
        }
    }

    fn hash(&self, first: u64) -> u64 {
        let wide = u128::from(first) * u128::from(self.secret);
        (wide >> u64::BITS) as u64 ^ wide as u64
    }

    fn find(&self, arrays: &Arrays, key: &Words) -> Option<(usize, Words)> {
        let hash = self.hash(key[0]);
        Self::find_from(arrays, key, hash, place(hash, arrays.slots.len()))
    }

    /// Looks for a key from a slot on.
    fn find_from(arrays: &Arrays, key: &Words, hash: u64, mut at: usize) -> Option<(usize, Words)> {
        let wanted = tag(hash);
        loop {
            match arrays.tags[at].load(Acquire) {
                EMPTY => return None,
                found if found == wanted => {
                    let words = arrays.slots[at].read();
                    let has = |at: usize| words[at] & R::KEY[at] == key[at];
                    if words[ID] != 0 && (0..words.len()).all(has) {
                        return Some((at, words));
                    }
                }
                _ => {}
            }
            at = next(at, arrays.slots.len());
        }
    }

    /// Returns the records as they are now, to look for several.
    pub fn view(&self) -> View<'_, R> {
        View { found: self, arrays: self.arrays.load() }
    }

    /// Returns the record with a key, and its id.
    pub fn get(&self, key: &R::Key) -> Option<(u64, R)> {
        let (_, words) = self.find(&self.arrays.load(), &R::pack_key(key))?;
        Some((words[ID], R::unpack(&words)))
    }

    /// Returns the record with an id.
    pub fn with_id(&self, id: u64) -> Option<R> {
        let arrays = self.arrays.load();
        let words = arrays.slots[arrays.find_id(id)?.0].read();
        (words[ID] == id).then(|| R::unpack(&words))
    }

    /// Returns how many records there are.
    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Replaces the record with an id, as one of its keys has it, if there is one.
    pub fn change(&self, id: u64, change: impl FnOnce(R) -> R) {
        let arrays = self.arrays.load();
        if let Some((at, _)) = arrays.find_id(id) {
            let words = arrays.slots[at].read();
            let key = std::array::from_fn(|at| words[at] & R::KEY[at]);
            arrays.slots[at].write(&join(&key, id, change(R::unpack(&words))));
        }
    }

    /// Enters a record with a key and an id, in place of what had the key.
    pub fn put(&self, key: &R::Key, id: u64, record: R) {
        if self.arrays.load().is_full() {
            self.grow();
        }
        let arrays = self.arrays.load();
        let key = R::pack_key(key);
        let words = join(&key, id, record);
        let at = match self.find(&arrays, &key) {
            Some((at, before)) => {
                if before[ID] != id {
                    self.forget_id(&arrays, before[ID], at);
                }
                arrays.slots[at].write(&words);
                at
            }
            None => arrays.add(self.hash(key[0]), &words),
        };
        if arrays.enter_id(id, at) {
            self.len.fetch_add(1, Relaxed);
        }
    }

    /// Takes out a key of the record with an id. That is gone, unless another key of it was entered
    /// later.
    pub fn remove(&self, key: &R::Key, id: u64) {
        let arrays = self.arrays.load();
        if let Some((at, words)) = self.find(&arrays, &R::pack_key(key))
            && words[ID] == id
        {
            self.forget_id(&arrays, words[ID], at);
            arrays.tags[at].store(GONE, Release);
            arrays.slots[at].write(&[0; 6]);
        }
    }

    fn forget_id(&self, arrays: &Arrays, id: u64, slot: usize) {
        if let Some((found, at)) = arrays.find_id(id)
            && found == slot
        {
            arrays.ids[at].store(ID_GONE, Release);
            self.len.fetch_sub(1, Relaxed);
        }
    }

    /// Moves all records into arrays with more room.
    fn grow(&self) {
        let before = self.arrays.load_full();
        let in_use = before.tags.iter().filter(|tag| tag.load(Relaxed) >= TAGS).count();
        let after = Arrays::new(in_use + in_use / 8);
        for (at, slot) in before.slots.iter().enumerate() {
            if before.tags[at].load(Relaxed) >= TAGS {
                let mut words = slot.read();
                words[LAST] &= !u64::from(u32::MAX);
                let id = words[ID];
                let to = after.add(self.hash(words[0]), &words);
                // Of a record with several keys, the same one as before.
                if before.find_id(id).is_some_and(|(found, _)| found == at) {
                    after.enter_id(id, to);
                }
            }
        }
        self.arrays.store(Arc::new(after));
    }
}

/// Records as they were at one time, to look for several of them in steps: what the next step needs is
/// fetched while others are looked for.
pub struct View<'a, R> {
    found: &'a Found<R>,
    arrays: Guard<Arc<Arrays>>,
}

/// A key that is looked for.
pub struct Sought {
    key: Words,
    hash: u64,
    /// The slot that has it, or one of those before.
    at: usize,
}

impl<R: Record> View<'_, R> {
    /// Begins to look for a key, and fetches the tags that say where its record is.
    pub fn seek(&self, key: &R::Key) -> Sought {
        let key = R::pack_key(key);
        let hash = self.found.hash(key[0]);
        let at = place(hash, self.arrays.slots.len());
        karuta_fetch::line(&raw const self.arrays.tags[at]);
        Sought { key, hash, at }
    }

    /// Fetches the record of a key.
    pub fn approach(&self, sought: &mut Sought) {
        let Arrays { tags, slots, .. } = &**self.arrays;
        let wanted = tag(sought.hash);
        loop {
            match tags[sought.at].load(Acquire) {
                EMPTY => return,
                found if found == wanted => break,
                _ => sought.at = next(sought.at, tags.len()),
            }
        }
        let Slot(words) = &slots[sought.at];
        // It may be in two lines.
        karuta_fetch::line(&raw const words[0]);
        karuta_fetch::line(&raw const words[LAST]);
    }

    /// Returns the record of a key, and its id.
    pub fn found(&self, sought: &Sought) -> Option<(u64, R)> {
        let Sought { key, hash, at } = sought;
        let (_, words) = Found::<R>::find_from(&self.arrays, key, *hash, *at)?;
        Some((words[ID], R::unpack(&words)))
    }
}

/// Joins a key, an id and a record.
fn join<R: Record>(key: &Words, id: u64, record: R) -> Words {
    let mut words = record.pack();
    words.iter_mut().zip(key).for_each(|(word, key)| *word |= key);
    words[ID] = id;
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A record that is torn if its words differ.
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Number(u64);

    impl Record for Number {
        type Key = u64;
        const KEY: Words = [u64::MAX, 0, 0, 0, 0, 0];

        fn pack_key(key: &u64) -> Words {
            [*key, 0, 0, 0, 0, 0]
        }

        fn pack(self) -> Words {
            [0, self.0, 0, self.0, self.0, self.0 << 32]
        }

        fn unpack(words: &Words) -> Self {
            assert!(words[1] == words[3] && words[3] == words[4] && words[4] == words[5] >> 32);
            Self(words[1])
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_are_found_by_their_keys_and_by_their_ids(
            steps in prop::collection::vec((0..3_u8, 0..200_u64, 1..200_u64, 0..1000_u64), 0..2000),
            room in 0..300_usize,
        ) {
            let found = Found::<Number>::with_room(room);
            // Each id has one key at most.
            let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (step, key, id, value) in steps {
                match step {
                    0 => {
                        let old: Vec<_> = model.iter()
                            .filter(|(known, (other, _))| **known != key && *other == id)
                            .map(|(known, _)| *known).collect();
                        found.put(&key, id, Number(value));
                        old.iter().for_each(|old| { found.remove(old, id); model.remove(old); });
                        model.insert(key, (id, value));
                    }
                    1 => {
                        found.remove(&key, id);
                        if model.get(&key).is_some_and(|(known, _)| *known == id) {
                            model.remove(&key);
                        }
                    }
                    _ => {
                        found.change(id, |Number(before)| Number(before + value));
                        if let Some((_, known)) =
                            model.values_mut().find(|(known, _)| *known == id)
                        {
                            *known += value;
                        }
                    }
                }
                prop_assert_eq!(found.len(), model.len());
            }
            for key in 0..200 {
                let known = model.get(&key).map(|(id, value)| (*id, Number(*value)));
                prop_assert_eq!(found.get(&key), known);
                let known = model.values().find(|(id, _)| *id == key).map(|(_, value)| *value);
                prop_assert_eq!(found.with_id(key), known.map(Number));
            }
        }
    }

    #[test]
    fn a_record_with_several_keys_counts_once() {
        let found = Found::<Number>::default();
        found.put(&1, 7, Number(1));
        found.put(&2, 7, Number(1));
        assert_eq!((found.len(), found.with_id(7)), (1, Some(Number(1))));
        found.remove(&1, 7);
        assert_eq!((found.len(), found.get(&2)), (1, Some((7, Number(1)))));
        found.remove(&2, 8);
        found.remove(&2, 7);
        assert_eq!((found.len(), found.with_id(7)), (0, None));
    }

    #[test]
    fn a_reader_sees_whole_records_that_stay_while_others_come_and_go() {
        const STAY: u64 = 100;
        let found = Found::<Number>::default();
        (1..=STAY).for_each(|id| found.put(&id, id, Number(0)));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 1..2000_u64 {
                    (1..=STAY).for_each(|id| found.change(id, |_| Number(round)));
                    let other = STAY + round;
                    found.put(&other, other, Number(round));
                    if round % 3 == 0 {
                        found.remove(&other, other);
                    }
                }
            });
            let mut seen = [0; STAY as usize + 1];
            while !writer.is_finished() {
                for id in 1..=STAY {
                    let (with, Number(round)) = found.get(&id).unwrap();
                    assert!(with == id && round >= seen[id as usize]);
                    seen[id as usize] = round;
                }
            }
        });
        assert_eq!(found.len(), (STAY + 1999 - 666) as usize);
    }
}
