//! The made-up swarms: their peers, and the requests about them.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

use crate::client::Load;

/// A client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    Announce {
        torrent: u32,
        peer: u32,
        /// Whether the peer is new to its swarm.
        started: bool,
    },
    /// Scrapes [`Load::scrape_hashes`] torrents, starting with this one.
    Scrape { first: u32 },
}

/// A source of requests. A peer always announces from the same source address.
pub trait Source {
    /// Returns the next request from a source address, or `None` if there are no more.
    fn next(&mut self, address: u32) -> Option<Request>;
}

/// Announces each peer once, so that all swarms are full.
pub struct Fill<'a> {
    load: &'a Load,
    /// The next torrent and peer of each source address.
    next: Vec<(u32, u32)>,
}

impl<'a> Fill<'a> {
    pub fn new(load: &'a Load) -> Self {
        Self { load, next: (0..load.sockets).map(|address| (0, address)).collect() }
    }
}

impl Source for Fill<'_> {
    fn next(&mut self, address: u32) -> Option<Request> {
        let (torrent, peer) = &mut self.next[address as usize];
        if *peer >= self.load.peers {
            *peer = address;
            *torrent += 1;
        }
        // If there are more addresses than peers, some have none.
        if *torrent >= self.load.torrents || *peer >= self.load.peers {
            return None;
        }
        let request = Request::Announce { torrent: *torrent, peer: *peer, started: true };
        *peer += self.load.sockets;
        Some(request)
    }
}

/// Announces random known peers and torrents, for ever.
pub struct Steady<'a> {
    load: &'a Load,
    rng: SmallRng,
    /// The distribution of requests over torrents; `None`: uniform.
    law: Option<Zipf<f64>>,
}

impl<'a> Steady<'a> {
    pub fn new(load: &'a Load) -> Self {
        let law = (load.zipf > 0.0).then(|| Zipf::new(load.torrents.into(), load.zipf).ok());
        Self { load, rng: SmallRng::seed_from_u64(0x6b61_7275_7461), law: law.flatten() }
    }
}

impl Source for Steady<'_> {
    fn next(&mut self, address: u32) -> Option<Request> {
        let torrent = match &self.law {
            Some(law) => (law.sample(&mut self.rng) as u32 - 1).min(self.load.torrents - 1),
            None => self.rng.random_range(0..self.load.torrents),
        };
        if self.load.scrapes > 0.0 && self.rng.random_bool(self.load.scrapes) {
            return Some(Request::Scrape { first: torrent });
        }
        let peers = (self.load.peers + self.load.sockets - 1 - address) / self.load.sockets;
        let peer = self.rng.random_range(0..peers) * self.load.sockets + address;
        Some(Request::Announce { torrent, peer, started: false })
    }
}

/// Returns the info-hash of a torrent.
pub fn info_hash(torrent: u32) -> [u8; 20] {
    scattered(u64::from(torrent) << 32 | 0xffff_ffff)
}

/// Returns the peer id of a peer, unique among all swarms.
pub fn peer_id(torrent: u32, peer: u32) -> [u8; 20] {
    let mut id = scattered(u64::from(torrent) << 32 | u64::from(peer));
    id[..8].copy_from_slice(b"-KL0001-");
    id
}

/// The number of peers of a swarm with different ports.
pub const PORTS: u32 = 60_000;

/// Returns the port of a peer.
pub fn port(peer: u32) -> u16 {
    2000 + (peer % PORTS) as u16
}

/// Returns 20 bytes of `SplitMix64` that look random. The last 12 differ for different seeds.
fn scattered(seed: u64) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, chunk) in bytes.rchunks_mut(8).enumerate() {
        let mut word = seed.wrapping_add((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_peer_is_filled_in_once_from_its_address() {
        let load = Load { torrents: 5, peers: 7, sockets: 3, ..Load::DEFAULT };
        let mut fill = Fill::new(&load);
        let mut seen = HashSet::new();
        for address in 0..3 {
            while let Some(request) = fill.next(address) {
                let Request::Announce { torrent, peer, started: true } = request else {
                    panic!("{request:?}");
                };
                assert_eq!(peer % 3, address);
                assert!(torrent < 5 && peer < 7 && seen.insert((torrent, peer)));
            }
        }
        assert_eq!(seen.len(), 35);
    }

    #[test]
    fn steady_requests_are_of_peers_that_were_filled_in() {
        let load = Load { torrents: 5, peers: 7, sockets: 3, scrapes: 0.5, ..Load::DEFAULT };
        let mut steady = Steady::new(&load);
        for address in [0, 1, 2].repeat(50) {
            match steady.next(address).unwrap() {
                Request::Announce { torrent, peer, started } => {
                    assert!(torrent < 5 && peer < 7 && peer % 3 == address && !started);
                }
                Request::Scrape { first } => assert!(first < 5),
            }
        }
    }

    #[test]
    fn names_differ() {
        let mut seen = HashSet::new();
        for torrent in 0..100 {
            assert!(seen.insert(info_hash(torrent)));
            for peer in 0..100 {
                assert!(seen.insert(peer_id(torrent, peer)));
            }
        }
    }
}
