//! The torrents with the most peers, seeders, leechers or downloads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use karuta_bittorrent::{Counts, InfoHash};
use karuta_swarm::Store;
use serde::Serialize;

use super::give_way;

/// The most torrents that are ranked by a measure.
pub const MOST: usize = 1000;

/// The top torrents by each measure, at one time.
pub struct Ranking {
    pub at: Instant,
    pub unix_seconds: u64,
    /// By each measure, the most first; at most [`MOST`].
    pub lists: [Vec<(u32, InfoHash)>; Measure::ALL.len()],
    pub sizes: Sizes,
}

/// What torrents are ranked by.
#[derive(Clone, Copy)]
pub enum Measure {
    Peers,
    Seeders,
    Leechers,
    Downloads,
}

/// The greatest of many values; the least of them is on top.
struct Greatest(BinaryHeap<Reverse<(u32, InfoHash)>>);

/// How many swarms have about as many peers.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub struct Size {
    pub at_least: u32,
    pub at_most: u32,
    pub swarms: u64,
}

/// Swarms by the number of digits of their peers; those without any first.
#[derive(Default)]
pub struct Sizes([u64; 11]);

impl Measure {
    pub const ALL: [Self; 4] = [Self::Peers, Self::Seeders, Self::Leechers, Self::Downloads];

    pub fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Seeders => "seeders",
            Self::Leechers => "leechers",
            Self::Downloads => "downloads",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }

    pub fn of(self, counts: &Counts) -> u32 {
        match self {
            Self::Peers => counts.seeders.saturating_add(counts.leechers),
            Self::Seeders => counts.seeders,
            Self::Leechers => counts.leechers,
            Self::Downloads => counts.completed,
        }
    }
}

impl Greatest {
    fn offer(&mut self, value: u32, info_hash: InfoHash) {
        let Self(heap) = self;
        let least = heap.peek().map_or(0, |Reverse((least, _))| *least);
        if value > least || (value > 0 && heap.len() < MOST) {
            heap.push(Reverse((value, info_hash)));
            if heap.len() > MOST {
                heap.pop();
            }
        }
    }

    fn sorted(self) -> Vec<(u32, InfoHash)> {
        self.0.into_sorted_vec().into_iter().map(|Reverse(entry)| entry).collect()
    }
}

impl Sizes {
    fn add(&mut self, peers: u32) {
        let digits = peers.checked_ilog10().map_or(0, |digits| digits as usize + 1);
        self.0[digits] += 1;
    }

    /// Returns the sizes up to the greatest that there is.
    pub fn listed(&self) -> Vec<Size> {
        let end = self.0.iter().rposition(|swarms| *swarms > 0).map_or(0, |last| last + 1);
        let sizes = self.0[..end].iter().zip(0_u32..).map(|(swarms, digits)| Size {
            at_least: digits.checked_sub(1).map_or(0, |digits| 10_u32.pow(digits)),
            at_most: 10_u32.checked_pow(digits).map_or(u32::MAX, |end| end - 1),
            swarms: *swarms,
        });
        sizes.collect()
    }
}

/// Looks at all torrents, part by part. Other requests come between.
pub async fn rank(store: &impl Store, unix_seconds: u64) -> Ranking {
    let mut greatest = Measure::ALL.map(|_| Greatest(BinaryHeap::new()));
    let mut sizes = Sizes::default();
    let mut torrents = Vec::new();
    let mut part = 0;
    while store.list(part, &mut torrents) {
        for some in torrents.chunks(32) {
            store.expect(some);
            for info_hash in some {
                let Some(counts) = store.counts(*info_hash) else { continue };
                sizes.add(Measure::Peers.of(&counts));
                for (greatest, measure) in greatest.iter_mut().zip(Measure::ALL) {
                    greatest.offer(measure.of(&counts), *info_hash);
                }
            }
        }
        torrents.clear();
        part += 1;
        give_way().await;
    }
    Ranking { at: Instant::now(), unix_seconds, lists: greatest.map(Greatest::sorted), sizes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_kept_in_order() {
        let mut greatest = Greatest(BinaryHeap::new());
        for number in 0..5000_u32 {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            greatest.offer(number.wrapping_mul(7919) % 5000, InfoHash(bytes));
        }
        let values: Vec<_> = greatest.sorted().into_iter().map(|(value, _)| value).collect();
        assert_eq!(values, (4000..5000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn swarms_are_counted_by_the_digits_of_their_peers() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.listed(), []);
        [1, 9, 10, u32::MAX].into_iter().for_each(|peers| sizes.add(peers));
        let listed = sizes.listed();
        assert_eq!(listed[0], Size { at_least: 0, at_most: 0, swarms: 0 });
        assert_eq!(listed[1], Size { at_least: 1, at_most: 9, swarms: 2 });
        assert_eq!(listed[2], Size { at_least: 10, at_most: 99, swarms: 1 });
        assert_eq!(listed[10], Size { at_least: 1_000_000_000, at_most: u32::MAX, swarms: 1 });
    }

    #[test]
    fn torrents_without_any_are_not_listed() {
        let mut greatest = Greatest(BinaryHeap::new());
        [0, 3, 0].into_iter().for_each(|value| greatest.offer(value, InfoHash([0; 20])));
        assert_eq!(greatest.sorted().len(), 1);
    }
}
