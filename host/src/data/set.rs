//! Immutable sets, looked up by requests.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use ipnet::IpNet;

/// Info-hashes in cache lines: nearly every look-up reads one line.
///
/// A keyed hash says which line is an entry's home, because whoever writes a list may choose
/// info-hashes that begin alike. What does not fit there is in the next line with room.
#[derive(Debug)]
pub struct InfoHashes {
    lines: Vec<Line>,
    len: usize,
    hasher: RandomState,
}

/// How many info-hashes fit into a line.
const SLOTS: usize = 3;

/// Some info-hashes.
#[derive(Debug, Clone, Default)]
#[repr(align(64))]
struct Line {
    slots: [[u8; 20]; SLOTS],
    filled: u8,
    /// The marks of the entries that have their home here, and are in a later line. Without
    /// its mark here, an info-hash is not looked for there.
    moved: u16,
}

impl InfoHashes {
    pub fn new(mut entries: Vec<[u8; 20]>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let len = entries.len();
        let lines = vec![Line::default(); lines(len)];
        let mut set = Self { lines, len, hasher: RandomState::default() };
        // First all that fit into their homes, so that as few as possible are elsewhere.
        entries.retain(|entry| {
            let (home, _) = set.home(entry);
            !set.lines[home].push(entry)
        });
        for entry in &entries {
            let (mut at, mark) = set.home(entry);
            set.lines[at].moved |= mark;
            while !set.lines[at].push(entry) {
                at = set.after(at);
            }
        }
        set
    }

    pub fn contains(&self, info_hash: &[u8; 20]) -> bool {
        let (mut at, mark) = self.home(info_hash);
        let mut line = &self.lines[at];
        if line.moved & mark == 0 {
            return line.entries().contains(info_hash);
        }
        // An entry is never beyond a line with room.
        while !line.entries().contains(info_hash) {
            if line.entries().len() < SLOTS {
                return false;
            }
            at = self.after(at);
            line = &self.lines[at];
        }
        true
    }

    /// Fetches the line where an info-hash would be into the processor's caches.
    pub fn fetch(&self, info_hash: &[u8; 20]) {
        let (home, _) = self.home(info_hash);
        karuta_fetch::line(&raw const self.lines[home]);
    }

    /// Returns the entries at a position, up to three. They are in no order.
    pub fn at(&self, at: usize) -> Option<&[[u8; 20]]> {
        self.lines.get(at).map(Line::entries)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the line where an entry should be, and its mark there should it be elsewhere.
    fn home(&self, info_hash: &[u8; 20]) -> (usize, u16) {
        let hash = self.hasher.hash_one(info_hash);
        let line = (u128::from(hash) * self.lines.len() as u128) >> 64;
        (line as usize, 1 << (hash % 16))
    }

    fn after(&self, line: usize) -> usize {
        if line + 1 < self.lines.len() { line + 1 } else { 0 }
    }
}

/// Returns the number of lines for some entries. Nine of ten slots are filled: if more were, entries
/// would be far from their homes. At least one slot is free, where a look-up ends.
fn lines(entries: usize) -> usize {
    entries * 10 / (9 * SLOTS) + 1
}

impl Line {
    fn entries(&self) -> &[[u8; 20]] {
        &self.slots[..usize::from(self.filled)]
    }

    /// Adds an entry, if there is room.
    fn push(&mut self, entry: &[u8; 20]) -> bool {
        let Some(slot) = self.slots.get_mut(usize::from(self.filled)) else { return false };
        *slot = *entry;
        self.filled += 1;
        true
    }
}

/// Address ranges with a value each. A look-up finds the narrowest range around an address.
#[derive(Debug)]
pub struct Addresses {
    ipv4: Nested,
    ipv6: Nested,
}

/// The ranges of one family: two are disjoint, or one contains the other. They are split into
/// stretches that do not overlap: a stretch ends where the next begins, and belongs to the narrowest
/// range around it.
#[derive(Debug, Default)]
struct Nested {
    /// By first address and prefix length, so that a range comes before those within it.
    ranges: Vec<Range>,
    /// The first addresses of the stretches.
    firsts: Vec<u128>,
    /// The position of the range of each stretch, or [`NONE`].
    holders: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    first: u128,
    value: u64,
    /// The position of the narrowest range around this one, or [`NONE`].
    around: u32,
    prefix: u8,
}

/// No range.
const NONE: u32 = u32::MAX;

impl Addresses {
    /// If a range is given twice, the last value counts.
    pub fn new(entries: Vec<(IpNet, u64)>) -> Self {
        let [mut ipv4, mut ipv6] = [(); 2].map(|()| BTreeMap::new());
        for (network, value) in entries {
            let (first, last) = bounds(&network);
            let ranges = if network.addr().is_ipv4() { &mut ipv4 } else { &mut ipv6 };
            ranges.insert((first, network.prefix_len()), (last, value));
        }
        Self { ipv4: Nested::new(ipv4), ipv6: Nested::new(ipv6) }
    }

    /// Returns the longest prefix that contains an address and is not passed over, with its value. A
    /// range contains only addresses of its own family.
    pub fn find(&self, address: IpAddr, pass: impl Fn(&IpNet) -> bool) -> Option<(IpNet, u64)> {
        let (nested, bits) = match address {
            IpAddr::V4(address) => (&self.ipv4, address.to_bits().into()),
            IpAddr::V6(address) => (&self.ipv6, address.to_bits()),
        };
        let end = nested.firsts.partition_point(|first| *first <= bits);
        let mut at = *nested.holders.get(end.checked_sub(1)?)?;
        loop {
            let range = nested.ranges.get(at as usize)?;
            let network = range.network(address.is_ipv4())?;
            if !pass(&network) {
                return Some((network, range.value));
            }
            at = range.around;
        }
    }

    /// Returns the value of exactly this range.
    pub fn value(&self, network: &IpNet) -> Option<u64> {
        let nested = if network.addr().is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        let wanted = (bounds(network).0, network.prefix_len());
        let at = nested.ranges.binary_search_by_key(&wanted, |range| (range.first, range.prefix));
        Some(nested.ranges.get(at.ok()?)?.value)
    }

    /// Returns a range by its position.
    pub fn at(&self, at: usize) -> Option<(IpNet, u64)> {
        let (range, is_ipv4) = match self.ipv4.ranges.get(at) {
            Some(range) => (range, true),
            None => (self.ipv6.ranges.get(at - self.ipv4.ranges.len())?, false),
        };
        Some((range.network(is_ipv4)?, range.value))
    }

    /// Returns the number of distinct ranges.
    pub fn len(&self) -> usize {
        self.ipv4.ranges.len() + self.ipv6.ranges.len()
    }
}

/// Returns the first and the last address of a range.
fn bounds(network: &IpNet) -> (u128, u128) {
    match network {
        IpNet::V4(range) => (range.network().to_bits().into(), range.broadcast().to_bits().into()),
        IpNet::V6(range) => (range.network().to_bits(), range.broadcast().to_bits()),
    }
}

/// From first address and prefix length to last address and value.
type Ranges = BTreeMap<(u128, u8), (u128, u64)>;

impl Nested {
    fn new(given: Ranges) -> Self {
        let mut nested = Self { ranges: Vec::with_capacity(given.len()), ..Self::default() };
        // The ranges around the current one, each with its last address.
        let mut open: Vec<(u128, u32)> = Vec::new();
        for (at, ((first, prefix), (last, value))) in (0..).zip(given) {
            while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
                // A range that ends with the last address is never closed, because nothing follows.
                nested.begin(end + 1, open.last().map_or(NONE, |(_, around)| *around));
            }
            let around = open.last().map_or(NONE, |(_, around)| *around);
            nested.ranges.push(Range { first, value, around, prefix });
            nested.begin(first, at);
            open.push((last, at));
        }
        while let Some((end, _)) = open.pop() {
            if let Some(next) = end.checked_add(1) {
                nested.begin(next, open.last().map_or(NONE, |(_, around)| *around));
            }
        }
        nested
    }

    /// Begins a stretch. If two begin at the same address, the later one is narrower.
    fn begin(&mut self, first: u128, holder: u32) {
        match (self.firsts.last(), self.holders.last_mut()) {
            (Some(last), Some(old)) if *last == first => *old = holder,
            _ => {
                self.firsts.push(first);
                self.holders.push(holder);
            }
        }
    }
}

impl Range {
    fn network(&self, is_ipv4: bool) -> Option<IpNet> {
        let address = match is_ipv4 {
            true => Ipv4Addr::from_bits(u32::try_from(self.first).ok()?).into(),
            false => Ipv6Addr::from_bits(self.first).into(),
        };
        IpNet::new(address, self.prefix).ok()
    }
}

/// A set of texts, in order.
#[derive(Debug)]
pub struct Strings {
    texts: Vec<Box<str>>,
    /// Positions in `texts`.
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Strings {
    pub fn new(mut texts: Vec<Box<str>>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        let hasher = RandomState::default();
        let mut index = HashTable::with_capacity(texts.len());
        for (at, text) in (0..).zip(&texts) {
            let hash = |at: &u32| texts.get(*at as usize).map_or(0, |text| hasher.hash_one(text));
            index.insert_unique(hasher.hash_one(text), at, hash);
        }
        Self { texts, index, hasher }
    }

    pub fn contains(&self, text: &str) -> bool {
        let is_same = |at: &u32| self.texts.get(*at as usize).is_some_and(|known| **known == *text);
        self.index.find(self.hasher.hash_one(text), is_same).is_some()
    }

    /// Returns a text by its position.
    pub fn at(&self, at: usize) -> Option<&str> {
        self.texts.get(at).map(|text| &**text)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_sets_hold_nothing() {
        assert!(!InfoHashes::new(Vec::new()).contains(&[0; 20]));
        assert!(!InfoHashes::new(Vec::new()).contains(&[0xff; 20]));
        assert_eq!(Addresses::new(Vec::new()).find("::".parse().unwrap(), |_| false), None);
        assert!(!Strings::new(Vec::new()).contains(""));
    }

    /// Returns an info-hash for each number, none twice.
    fn numbered(number: u32) -> [u8; 20] {
        let mut info_hash = [0; 20];
        info_hash[16..].copy_from_slice(&number.to_be_bytes());
        info_hash
    }

    #[test]
    fn few_info_hashes_are_found() {
        for count in 0..=20 {
            let set = InfoHashes::new((0..count).map(numbered).collect());
            for number in 0..40 {
                let found = set.contains(&numbered(number));
                assert_eq!(found, number < count, "{number} of {count}");
            }
        }
    }

    #[test]
    fn info_hashes_that_begin_alike_are_spread() {
        const COUNT: u32 = 100_000;
        let twice = (0..COUNT).chain(0..COUNT).map(numbered).collect();
        let set = InfoHashes::new(twice);
        assert_eq!(set.len(), COUNT as usize);
        assert!((0..COUNT).all(|number| set.contains(&numbered(number))));
        assert!(!(COUNT..2 * COUNT).any(|number| set.contains(&numbered(number))));
        // About four fifths are at home.
        let home = |number: &u32| {
            let entry = numbered(*number);
            set.lines[set.home(&entry).0].entries().contains(&entry)
        };
        assert!((0..COUNT).filter(home).count() > COUNT as usize / 4 * 3);
        // Look-ups of others seldom go on to a second line.
        let on = |number: &u32| {
            let (home, mark) = set.home(&numbered(*number));
            set.lines[home].moved & mark != 0
        };
        assert!((COUNT..2 * COUNT).filter(on).count() < COUNT as usize / 20);
    }

    #[test]
    fn look_ups_end_in_sets_that_are_as_full_as_can_be() {
        // These leave one slot free.
        for count in [2, 5, 8] {
            assert_eq!(lines(count as usize) * SLOTS, count as usize + 1);
            let set = InfoHashes::new((0..count).map(numbered).collect());
            assert!((0..count).all(|number| set.contains(&numbered(number))));
            assert!(!(count..50_000).any(|number| set.contains(&numbered(number))));
        }
    }

    #[test]
    fn an_info_hash_takes_24_bytes() {
        for entries in [100_000, 1_000_000] {
            assert!(lines(entries) * size_of::<Line>() <= entries * 24);
        }
        let set = InfoHashes::new((0..100_000).map(numbered).collect());
        assert_eq!(set.lines.capacity(), lines(100_000));
    }

    #[test]
    fn a_range_of_one_family_holds_none_of_the_other() {
        let everybody = |range: &str| Addresses::new(vec![(range.parse().unwrap(), 1)]);
        let (ipv4, ipv6) = (everybody("0.0.0.0/0"), everybody("::/0"));
        for (address, is_ipv4) in [
            ("0.0.0.0", true),
            ("255.255.255.255", true),
            ("::", false),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(ipv4.find(address, |_| false).is_some(), is_ipv4, "{address}");
            assert_eq!(ipv6.find(address, |_| false).is_some(), !is_ipv4, "{address}");
        }
    }

    /// Few distinct bytes, so that some are given twice, and many begin alike.
    fn info_hash() -> impl Strategy<Value = [u8; 20]> {
        (prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..4_u8, any::<bool>()).prop_map(
            |(first, second, last)| {
                let mut info_hash = [0; 20];
                (info_hash[0], info_hash[1], info_hash[19]) = (first, second, last.into());
                info_hash
            },
        )
    }

    fn range() -> impl Strategy<Value = IpNet> {
        let ipv4 = (any::<[bool; 4]>(), 0..=32_u8).prop_map(|(bits, prefix)| {
            let byte = |bit| if bit { 0xff } else { 0 };
            IpNet::new(bits.map(byte).into(), prefix)
        });
        let ipv6 = (any::<[bool; 8]>(), 0..=128_u8).prop_map(|(bits, prefix)| {
            let word = |bit| if bit { 0xffff } else { 0_u16 };
            IpNet::new(bits.map(word).into(), prefix)
        });
        prop_oneof![ipv4, ipv6].prop_map(|range| range.unwrap().trunc())
    }

    proptest! {
        #[test]
        fn info_hashes_are_those_given(
            given in vec(info_hash(), 0..2000),
            asked in vec(info_hash(), 0..100),
        ) {
            let model: HashSet<_> = given.iter().copied().collect();
            let set = InfoHashes::new(given);
            prop_assert_eq!(set.len(), model.len());
            for info_hash in asked.iter().chain(&model) {
                prop_assert_eq!(set.contains(info_hash), model.contains(info_hash));
            }
        }

        #[test]
        fn the_longest_prefix_that_is_not_passed_over_holds(
            given in vec((range(), 0..5_u64), 0..30),
            passed in vec(range(), 0..9),
            asked in vec(range(), 1..50),
        ) {
            let set = Addresses::new(given.clone());
            let given: BTreeMap<IpNet, u64> = given.into_iter().collect();
            let edges = asked.iter().chain(given.keys())
                .flat_map(|range| [range.network(), range.broadcast()]);
            let holds = |range: &IpNet| !passed.contains(range);
            for address in edges {
                let around = given.iter().filter(|(range, _)| range.contains(&address));
                let longest = around.filter(|(range, _)| holds(range))
                    .max_by_key(|(range, _)| range.prefix_len());
                let found = set.find(address, |range| !holds(range));
                prop_assert_eq!(found, longest.map(|(range, value)| (*range, *value)));
            }
            let all: BTreeMap<_, _> = (0..).map_while(|at| set.at(at)).collect();
            prop_assert_eq!(set.len(), all.len());
            prop_assert!(asked.iter().all(|range| set.value(range) == given.get(range).copied()));
            prop_assert_eq!(all, given);
        }

        #[test]
        fn texts_are_those_given(given in vec("[a-c]{0,3}", 0..30), asked in vec("[a-c]{0,3}", 0..30)) {
            let model: BTreeSet<_> = given.iter().map(String::as_str).collect();
            let set = Strings::new(given.iter().map(|text| Box::from(text.as_str())).collect());
            prop_assert!(asked.iter().all(|text| set.contains(text) == model.contains(&**text)));
            prop_assert!((0..).map_while(|at| set.at(at)).eq(model));
        }
    }
}
