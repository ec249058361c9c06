//! Lookup of the network that an address is in.

use std::net::IpAddr;
use std::num::NonZeroU64;

use karuta_plugin::Network;

/// The labels of networks, as stretches that do not overlap. A stretch has the label of the
/// narrowest network, and ends before the first address of the next stretch.
#[derive(Default)]
pub struct Networks {
    ipv4: Vec<Stretch<u32>>,
    ipv6: Vec<Stretch<u128>>,
}

type Stretch<A> = (A, Option<NonZeroU64>);

impl Networks {
    /// Creates the table from networks that are all different.
    pub fn new(networks: impl IntoIterator<Item = (Network, NonZeroU64)>) -> Self {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (network, label) in networks {
            match (network.first(), network.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    ipv4.push(Range { first: first.to_bits(), last: last.to_bits(), label });
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    ipv6.push(Range { first: first.to_bits(), last: last.to_bits(), label });
                }
                // The first and the last address are of the same family.
                _ => {}
            }
        }
        Self {
            ipv4: stretches(ipv4, |last| last.checked_add(1)),
            ipv6: stretches(ipv6, |last| last.checked_add(1)),
        }
    }

    /// Returns the label of the narrowest network that contains an address. An IPv6 network
    /// contains no IPv4 address.
    pub fn find(&self, address: IpAddr) -> Option<NonZeroU64> {
        match address {
            IpAddr::V4(address) => find(&self.ipv4, address.to_bits()),
            IpAddr::V6(address) => find(&self.ipv6, address.to_bits()),
        }
    }
}

fn find<A: Ord + Copy>(stretches: &[Stretch<A>], address: A) -> Option<NonZeroU64> {
    let behind = stretches.partition_point(|(first, _)| *first <= address);
    stretches[..behind].last()?.1
}

struct Range<A> {
    first: A,
    last: A,
    label: NonZeroU64,
}

/// Cuts ranges into stretches. Any two ranges are disjoint or nested. `next` returns `None` for the
/// last address of the family.
fn stretches<A: Ord + Copy>(
    mut ranges: Vec<Range<A>>,
    next: impl Fn(A) -> Option<A>,
) -> Vec<Stretch<A>> {
    // Of two ranges with the same first address, the wider comes first.
    ranges.sort_unstable_by_key(|range| (range.first, std::cmp::Reverse(range.last)));
    let mut stretches: Vec<Stretch<A>> = Vec::with_capacity(ranges.len());
    let mut begin = |first, label| match stretches.last_mut() {
        Some((at, old)) if *at == first => *old = label,
        _ => stretches.push((first, label)),
    };
    let mut around: Vec<&Range<A>> = Vec::new();
    for range in ranges.iter().map(Some).chain([None]) {
        let is_over = |wider: &mut &Range<A>| range.is_none_or(|range| wider.last < range.first);
        while let Some(ended) = around.pop_if(is_over) {
            if let Some(first) = next(ended.last) {
                begin(first, around.last().map(|wider| wider.label));
            }
        }
        if let Some(range) = range {
            begin(range.first, Some(range.label));
            around.push(range);
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn network() -> impl Strategy<Value = Network> {
        // Few different addresses, so that many networks are nested.
        let ipv4 = (any::<[bool; 4]>(), 0..=32_u8).prop_map(|(bits, prefix)| {
            Network::new(bits.map(|bit| if bit { 0xff } else { 0 }).into(), prefix)
        });
        let ipv6 = (any::<[bool; 8]>(), 0..=128_u8).prop_map(|(bits, prefix)| {
            Network::new(bits.map(|bit| if bit { 0xffff_u16 } else { 0 }).into(), prefix)
        });
        prop_oneof![ipv4, ipv6].prop_map(|network| network.unwrap())
    }

    proptest! {
        #[test]
        fn the_narrowest_network_decides(
            networks in proptest::collection::vec(network(), 0..30),
            asked in proptest::collection::vec(network(), 1..50),
        ) {
            let labels = (1..).filter_map(NonZeroU64::new);
            let networks: BTreeMap<Network, NonZeroU64> = networks.into_iter().zip(labels).collect();
            let found = Networks::new(networks.clone());
            let edges = asked.iter().chain(networks.keys())
                .flat_map(|network| [network.first(), network.last()]);
            for address in edges {
                let narrowest = networks.iter().filter(|(network, _)| network.contains(address))
                    .max_by_key(|(network, _)| network.prefix());
                prop_assert_eq!(found.find(address), narrowest.map(|(_, label)| *label));
            }
        }
    }
}
