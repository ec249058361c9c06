//! Converts the tracker's values to the contract's, and back.

use std::net::{IpAddr, Ipv6Addr};

use karuta_bittorrent::{self as bittorrent, Event, Transport, canonical, mapped};
use karuta_swarm::Candidate;

use crate::exchange::Request;
use crate::policy::contract::bindings::hooks::peer_ranker;
use crate::policy::contract::bindings::imports::types;

/// An IP address as four big-endian words; IPv4 is mapped to IPv6.
pub type Address = (u32, u32, u32, u32);

pub fn address(ip: IpAddr) -> Address {
    let bits = mapped(ip).to_bits();
    ((bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32)
}

/// Returns the canonical address: a mapped address becomes IPv4.
pub fn ip(address: Address) -> IpAddr {
    let (a, b, c, d) = address;
    let words = [a, b, c, d].map(u128::from);
    canonical(IpAddr::V6(Ipv6Addr::from_bits(
        words[0] << 96 | words[1] << 64 | words[2] << 32 | words[3],
    )))
}

pub fn info_hash(info_hash: bittorrent::InfoHash) -> types::InfoHash {
    let word = |i: usize| word(&info_hash.0, i);
    (word(0), word(1), word(2), word(3), word(4))
}

pub fn from_info_hash((a, b, c, d, e): types::InfoHash) -> bittorrent::InfoHash {
    let mut bytes = [0; 20];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip([a, b, c, d, e]) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bittorrent::InfoHash(bytes)
}

fn word(bytes: &[u8; 20], index: usize) -> u32 {
    let at = index * 4;
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub fn transport(transport: Transport) -> types::Transport {
    match transport {
        Transport::Udp => types::Transport::Udp,
        Transport::Http => types::Transport::Http,
        Transport::Https => types::Transport::Https,
    }
}

fn event(event: Event) -> types::Event {
    match event {
        Event::None => types::Event::None,
        Event::Started => types::Event::Started,
        Event::Stopped => types::Event::Stopped,
        Event::Completed => types::Event::Completed,
        Event::Paused => types::Event::Paused,
    }
}

fn traits(request: &Request, seeder: bool, credential: bool) -> types::Traits {
    let of = |set: bool, one: types::Traits| if set { one } else { types::Traits::empty() };
    of(seeder, types::Traits::SEEDER)
        | of(request.address.is_ipv6(), types::Traits::IPV6)
        | of(request.proxied, types::Traits::PROXIED)
        | of(request.overridden, types::Traits::OVERRIDDEN)
        | of(credential, types::Traits::CREDENTIAL)
}

/// Returns the flat record of an announce.
pub fn announce(request: &Request, num_want: u32, credential: bool) -> types::Announce {
    let announce = &request.announce;
    types::Announce {
        info_hash: info_hash(announce.info_hash),
        address: address(request.address),
        client: (word(&announce.peer_id.0, 0), word(&announce.peer_id.0, 1)),
        port: announce.port,
        event: event(announce.event),
        transport: transport(request.transport),
        num_want,
        traits: traits(request, announce.is_seeder(), credential),
    }
}

/// Returns the flat record of one info-hash of a scrape.
pub fn scrape(request: &Request, credential: bool) -> types::Scrape {
    types::Scrape {
        info_hash: info_hash(request.announce.info_hash),
        address: address(request.address),
        transport: transport(request.transport),
        traits: traits(request, false, credential),
    }
}

/// Returns the record of a peer for a policy to order.
pub fn candidate(candidate: &Candidate) -> peer_ranker::Candidate {
    let Candidate { peer, seeder, label, age } = *candidate;
    peer_ranker::Candidate {
        address: address(peer.ip()),
        port: peer.port(),
        seeder,
        label,
        age_seconds: age,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        for text in ["192.0.2.1", "2001:db8::1", "::", "0.0.0.0"] {
            let before: IpAddr = text.parse().unwrap();
            assert_eq!(ip(address(before)), before);
        }
        assert_eq!(address("192.0.2.1".parse().unwrap()), (0, 0, 0xffff, 0xc000_0201));
    }

    #[test]
    fn info_hashes_come_back() {
        let before = bittorrent::InfoHash(std::array::from_fn(|i| i as u8));
        assert_eq!(info_hash(before).0, 0x0001_0203);
        assert_eq!(from_info_hash(info_hash(before)), before);
    }
}
