//! `/api/top?by=network`: the networks with the most peers.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::StatusCode;
use karuta_swarm::{Piece, Seconds, Store};
use serde::{Serialize, Serializer};

use super::reply::{Reply, json, line};
use super::request::Request;
use super::{Admin, give_way};
use crate::config::Right;

/// The networks that are counted at the same time. There may be more: then small ones are dropped.
const KEPT: usize = 1 << 17;
/// How many torrents are looked at between two other requests.
const AT_ONCE: usize = 32;

/// The upper bits of an address: 24 of IPv4, 48 of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Network {
    Ipv4(u32),
    Ipv6(u64),
}

/// Counts of networks in bounded memory, by the algorithm of Misra and Gries.
struct Tally {
    kept: usize,
    counts: HashMap<Network, u64>,
    /// The most that a count may be too low by.
    error: u64,
    all: u64,
}

#[derive(Serialize)]
struct Answer {
    by: &'static str,
    /// When the first peers were looked at, in seconds since 1970.
    as_of: u64,
    /// All that were looked at.
    peers: u64,
    /// Each count may be too low by so many; 0: they are exact.
    error: u64,
    networks: Vec<Counted>,
}

#[derive(Serialize)]
struct Counted {
    #[serde(serialize_with = "text")]
    network: Network,
    peers: u64,
}

/// Answers with the `count` networks that have the most peers. One such walk at a time.
pub async fn networks(admin: &Admin, request: &Request, count: usize) -> Reply {
    if let Err(denial) = admin.access.judge(Some(Right::Peers), request, admin.tls.is_some()) {
        admin.metrics.denied(denial.reason());
        return denial.reply();
    }
    let Ok(_turn) = admin.swarms.networks.try_acquire() else {
        return line(StatusCode::TOO_MANY_REQUESTS, "another look at all peers is under way");
    };
    let clock = admin.swarms.clock();
    let mut tally = Tally::new(KEPT);
    look(&*admin.swarms.store, clock.now, &mut tally).await;
    let (peers, error) = (tally.all, tally.error);
    let networks = tally.largest(count);
    let as_of = clock.unix_seconds;
    json(StatusCode::OK, &Answer { by: "network", as_of, peers, error, networks })
}

/// Looks at all peers, piece by piece. Other requests come between.
async fn look<S: Store>(store: &S, now: Seconds, tally: &mut Tally) {
    let (mut torrents, mut piece) = (Vec::new(), Piece::default());
    let mut part = 0;
    while store.list(part, &mut torrents) {
        for some in torrents.chunks(AT_ONCE) {
            store.expect(some);
            for info_hash in some {
                let mut walk = S::Walk::from(*info_hash);
                while store.next_piece(&mut walk, now, &mut piece) {
                    piece.peers.iter().for_each(|peer| tally.add(peer.address.ip().into()));
                    // A piece of a large swarm.
                    if piece.peers.len() > AT_ONCE {
                        give_way().await;
                    }
                }
            }
            give_way().await;
        }
        torrents.clear();
        part += 1;
    }
}

impl Tally {
    fn new(kept: usize) -> Self {
        Self { kept, counts: HashMap::new(), error: 0, all: 0 }
    }

    fn add(&mut self, network: Network) {
        self.all += 1;
        *self.counts.entry(network).or_default() += 1;
        if self.counts.len() > 2 * self.kept {
            self.shrink();
        }
    }

    /// Takes the largest count of those that are too many from all, which leaves at most `kept`.
    fn shrink(&mut self) {
        let mut counts: Vec<_> = self.counts.values().copied().collect();
        let (_, least, _) = counts.select_nth_unstable_by(self.kept, |one, other| other.cmp(one));
        let least = *least;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(least);
            *count > 0
        });
        self.error += least;
    }

    /// Returns the largest ones, in order.
    fn largest(self, count: usize) -> Vec<Counted> {
        let mut all: Vec<_> = self.counts.into_iter().collect();
        all.sort_unstable_by_key(|(network, peers)| (std::cmp::Reverse(*peers), *network));
        let some = all.into_iter().take(count);
        some.map(|(network, peers)| Counted { network, peers }).collect()
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ipv4(address.to_bits() >> 8),
            IpAddr::V6(address) => Self::Ipv6((address.to_bits() >> 80) as u64),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ipv4(bits) => write!(f, "{}/24", Ipv4Addr::from_bits(bits << 8)),
            Self::Ipv6(bits) => write!(f, "{}/48", Ipv6Addr::from_bits(u128::from(bits) << 80)),
        }
    }
}

fn text<S: Serializer>(network: &Network, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(network)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(number: u32) -> Network {
        Network::Ipv4(number)
    }

    #[test]
    fn a_network_is_shown_as_its_prefix() {
        for (address, shown) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
            ("::1", "::/48"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Network::from(address).to_string(), shown);
        }
    }

    #[test]
    fn few_networks_are_counted_exactly() {
        let mut tally = Tally::new(4);
        for (number, peers) in [(1, 3), (2, 5), (3, 5)] {
            (0..peers).for_each(|_| tally.add(network(number)));
        }
        assert_eq!((tally.all, tally.error), (13, 0));
        let largest: Vec<_> = tally.largest(2).iter().map(|one| (one.network, one.peers)).collect();
        assert_eq!(largest, [(network(2), 5), (network(3), 5)]);
    }

    proptest! {
        #[test]
        fn many_networks_take_bounded_memory_and_their_counts_are_nearly_right(
            numbers in proptest::collection::vec(0u32..60, 0..600)
        ) {
            const KEPT: usize = 8;
            let mut tally = Tally::new(KEPT);
            let mut exact: HashMap<Network, u64> = HashMap::new();
            for number in &numbers {
                // Some are much larger than the rest.
                let number = if number % 3 == 0 { 0 } else { *number };
                tally.add(network(number));
                *exact.entry(network(number)).or_default() += 1;
                prop_assert!(tally.counts.len() <= 2 * KEPT);
            }
            prop_assert!(tally.error <= numbers.len() as u64 / KEPT as u64);
            for (network, count) in exact {
                let counted = tally.counts.get(&network).copied().unwrap_or(0);
                prop_assert!(counted <= count && count <= counted + tally.error);
            }
        }
    }
}
