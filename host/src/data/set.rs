//! Immutable sets, looked up by requests.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

/// Sorted info-hashes, with an index by their first bits.
#[derive(Debug)]
pub struct InfoHashes {
    sorted: Vec<[u8; 20]>,
    /// For each value of the first bits, where its entries begin; one more at the end.
    index: Vec<u32>,
    /// How far the first 32 bits are shifted right for the index.
    shift: u32,
}

/// How many entries share a place in the index, approximately.
const SHARE: usize = 8;
/// The number of bits of the largest index.
const MAX_BITS: u32 = 22;

impl InfoHashes {
    pub fn new(mut entries: Vec<[u8; 20]>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        entries.truncate(u32::MAX as usize);
        entries.shrink_to_fit();
        let bits = (entries.len() / SHARE).checked_ilog2().unwrap_or(0).min(MAX_BITS);
        let shift = 32 - bits;
        let mut index = Vec::with_capacity((1 << bits) + 1);
        for (at, entry) in entries.iter().enumerate() {
            while index.len() <= place(entry, shift) {
                index.push(at as u32);
            }
        }
        index.resize((1 << bits) + 1, entries.len() as u32);
        Self { sorted: entries, index, shift }
    }

    pub fn contains(&self, info_hash: &[u8; 20]) -> bool {
        let place = place(info_hash, self.shift);
        let (from, to) = (self.index[place] as usize, self.index[place + 1] as usize);
        self.sorted[from..to].binary_search(info_hash).is_ok()
    }

    pub fn len(&self) -> usize {
        self.sorted.len()
    }
}

fn place(info_hash: &[u8; 20], shift: u32) -> usize {
    let [a, b, c, d, ..] = *info_hash;
    u32::from_be_bytes([a, b, c, d]).checked_shr(shift).unwrap_or(0) as usize
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

    /// Few distinct first bytes, so that some places of the index are crowded and others empty.
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
