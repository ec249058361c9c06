//! Immutable sets, looked up by requests.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::quality::RandomState;
use ipnet::IpNet;
use karuta_swarm::fetch;

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
        fetch::line(&raw const self.lines[home]);
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

/// Address ranges with a value each, split into stretches that do not overlap: a stretch ends where
/// the next begins, and has the value of the narrowest range around it.
#[derive(Debug)]
pub struct Addresses {
    ipv4: Vec<(u128, Option<u64>)>,
    ipv6: Vec<(u128, Option<u64>)>,
    ranges: usize,
}

impl Addresses {
    /// If a range is given twice, the last value counts.
    pub fn new(entries: Vec<(IpNet, u64)>) -> Self {
        let mut ipv4 = BTreeMap::new();
        let mut ipv6 = BTreeMap::new();
        for (network, value) in entries {
            match network {
                IpNet::V4(range) => {
                    let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
                    ipv4.insert((first.into(), range.prefix_len()), (last.into(), value));
                }
                IpNet::V6(range) => {
                    let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
                    ipv6.insert((first, range.prefix_len()), (last, value));
                }
            }
        }
        let ranges = ipv4.len() + ipv6.len();
        Self { ipv4: stretches(ipv4), ipv6: stretches(ipv6), ranges }
    }

    /// Returns the value of the longest prefix that contains an address. A range contains only
    /// addresses of its own family.
    pub fn find(&self, address: IpAddr) -> Option<u64> {
        let (stretches, address) = match address {
            IpAddr::V4(address) => (&self.ipv4, address.to_bits().into()),
            IpAddr::V6(address) => (&self.ipv6, address.to_bits()),
        };
        let end = stretches.partition_point(|(first, _)| *first <= address);
        stretches[..end].last()?.1
    }

    /// Returns the number of distinct ranges.
    pub fn len(&self) -> usize {
        self.ranges
    }
}

/// From first address and prefix length to last address and value. Two ranges are disjoint, or one
/// contains the other and comes before it.
type Ranges = BTreeMap<(u128, u8), (u128, u64)>;

fn stretches(ranges: Ranges) -> Vec<(u128, Option<u64>)> {
    let mut stretches = Vec::new();
    let mut open: Vec<(u128, u64)> = Vec::new();
    let mut begin = |first: u128, value: Option<u64>| {
        // If two begin at the same address, the later one is narrower.
        match stretches.last_mut() {
            Some((at, old)) if *at == first => *old = value,
            _ => stretches.push((first, value)),
        }
    };
    for ((first, _), (last, value)) in ranges {
        while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
            // A range that ends with the last address is never closed, because nothing follows it.
            begin(end + 1, open.last().map(|(_, value)| *value));
        }
        begin(first, Some(value));
        open.push((last, value));
    }
    while let Some((end, _)) = open.pop() {
        if let Some(next) = end.checked_add(1) {
            begin(next, open.last().map(|(_, value)| *value));
        }
    }
    stretches
}

/// A set of texts.
#[derive(Debug)]
pub struct Strings(HashSet<Box<str>>);

impl Strings {
    pub fn new(entries: Vec<Box<str>>) -> Self {
        Self(entries.into_iter().collect())
    }

    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_sets_hold_nothing() {
        assert!(!InfoHashes::new(Vec::new()).contains(&[0; 20]));
        assert!(!InfoHashes::new(Vec::new()).contains(&[0xff; 20]));
        assert_eq!(Addresses::new(Vec::new()).find("::".parse().unwrap()), None);
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
            assert_eq!(ipv4.find(address).is_some(), is_ipv4, "{address}");
            assert_eq!(ipv6.find(address).is_some(), !is_ipv4, "{address}");
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
        fn the_longest_prefix_holds(
            given in vec((range(), 0..5_u64), 0..30),
            asked in vec(range(), 1..50),
        ) {
            let set = Addresses::new(given.clone());
            let edges = asked.iter().chain(given.iter().map(|(range, _)| range))
                .flat_map(|range| [range.network(), range.broadcast()]);
            for address in edges {
                let longest = given.iter().filter(|(range, _)| range.contains(&address))
                    .max_by_key(|(range, _)| range.prefix_len());
                prop_assert_eq!(set.find(address), longest.map(|(_, value)| *value), "{}", address);
            }
        }
    }
}
