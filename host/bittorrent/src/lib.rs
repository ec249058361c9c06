//! Plain values and codecs of the BitTorrent tracker protocols: no I/O, no async, no clock.

#![warn(missing_docs)]

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hex::FromHex as _;

pub mod bencode;
pub mod client;
pub mod connection_id;
pub mod http;
pub mod metainfo;
pub mod parameters;
pub mod query;
pub mod udp;

/// The 20 bytes that identify a torrent (BEP 3), or the first 20 of a v2 hash (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash(pub [u8; 20]);

/// The 20 bytes by which a client identifies itself (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId(pub [u8; 20]);

/// The event of an announce (BEP 3; `paused` is BEP 21).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Event {
    /// Nothing in particular: a regular announce.
    #[default]
    None,
    /// The client has joined the swarm.
    Started,
    /// The client leaves the swarm.
    Stopped,
    /// The client has just finished its download.
    Completed,
    /// The client is a partial seed (BEP 21).
    Paused,
}

/// The family of an announced address, after IPv4-mapped IPv6 has been converted to IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

/// The transport of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// BEP 15.
    Udp,
    /// BEP 3.
    Http,
    /// BEP 3 over TLS.
    Https,
}

/// A parsed announce: well-formed, but not yet checked by policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// What the client calls itself.
    pub peer_id: PeerId,
    /// The port that the client listens on; never 0.
    pub port: u16,
    /// What has happened since the last announce.
    pub event: Event,
    /// Bytes left to download; `None` if the client did not say, which makes it a leecher.
    pub left: Option<u64>,
    /// Bytes, as the client says.
    pub uploaded: u64,
    /// Bytes, as the client says.
    pub downloaded: u64,
    /// Whether the client says both; what it does not say is 0.
    pub has_totals: bool,
    /// Downloaded bytes that failed the client's hash check; HTTP only.
    pub corrupt: u64,
    /// How many peers the client asks for; `None` for the tracker's default.
    pub num_want: Option<u32>,
    /// The address that an HTTP announce asks to be listed under, if a peer could have it. Only the
    /// frontend knows whether that is allowed.
    pub ip: Option<IpAddr>,
    /// HTTP only: the form in which the client wants its peers.
    pub form: PeerForm,
}

/// The form of the peers in an HTTP answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PeerForm {
    /// A list of dictionaries (BEP 3), with `peer id` if the store keeps them.
    #[default]
    Dictionary,
    /// A list of dictionaries without `peer id`, requested by `no_peer_id=1`.
    DictionaryWithoutId,
    /// Strings of 6 and 18 bytes per peer (BEP 23, BEP 7).
    Compact,
}

/// How many peers a swarm has in both families, and how many downloads were completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Peers that have everything.
    pub seeders: u32,
    /// All peers that are not seeders.
    pub leechers: u32,
    /// The leechers that want no more data (BEP 21).
    pub partial_seeds: u32,
    /// Downloads that were finished.
    pub completed: u32,
}

/// Peers in wire format, in reusable buffers.
///
/// Compact and UDP answers need only the address and port of a peer, so the store copies those
/// bytes unchanged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peers {
    /// 6 bytes per peer: address and port, big-endian.
    pub ipv4: Vec<u8>,
    /// 18 bytes per peer: address and port, big-endian.
    pub ipv6: Vec<u8>,
    /// The peer ids of the IPv4 peers in the same order, if they are known.
    pub ipv4_ids: Vec<PeerId>,
    /// The peer ids of the IPv6 peers in the same order, if they are known.
    pub ipv6_ids: Vec<PeerId>,
}

/// Why a request is invalid. The text is the `failure reason` or UDP error that the client
/// receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("invalid query escape")]
    Escape,
    /// An info-hash that is not 20 bytes.
    #[error("provided invalid infohash")]
    InfoHash,
    /// No info-hash.
    #[error("no info_hash parameter supplied")]
    NoInfoHash,
    /// An announce of several torrents.
    #[error("multiple info_hash parameters supplied")]
    SeveralInfoHashes,
    /// A missing peer id, or one that is not 20 bytes.
    #[error("failed to provide valid peer_id")]
    PeerId,
    /// A number that is not one, by the name of its parameter.
    #[error("failed to parse parameter: {0}")]
    Parameter(&'static str),
    /// An address that no client has.
    #[error("failed to parse peer IP address")]
    Address,
    /// A missing port, or port 0.
    #[error("invalid port")]
    Port,
    /// A connection id that is not valid, or no longer.
    #[error("bad connection ID")]
    ConnectionId,
    /// A UDP packet that is too short or malformed.
    #[error("malformed packet")]
    Packet,
    /// A UDP action that does not exist.
    #[error("unknown action ID")]
    Action,
}

impl InfoHash {
    /// Parses 40 hexadecimal digits of either case, or the 64 of a v2 hash, whose first 20 bytes
    /// are announced (BEP 52).
    pub fn from_hex(digits: &str) -> Option<Self> {
        let v2 = || <[u8; 32]>::from_hex(digits).ok()?.first_chunk().copied();
        <[u8; 20]>::from_hex(digits).ok().or_else(v2).map(Self)
    }
}

impl PeerId {
    /// An unknown id; answers omit it.
    pub const UNKNOWN: Self = Self([0; 20]);
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.0.escape_ascii())
    }
}

impl Announce {
    /// Returns whether the peer has nothing left to download. A partial seed (BEP 21) is not a
    /// seeder.
    pub fn is_seeder(&self) -> bool {
        self.left == Some(0) && self.event != Event::Paused
    }
}

impl Family {
    /// Returns the family of a canonical address (see [`canonical`]).
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// Returns the other family.
    pub fn other(self) -> Self {
        match self {
            Self::Ipv4 => Self::Ipv6,
            Self::Ipv6 => Self::Ipv4,
        }
    }
}

impl Peers {
    /// Removes all peers and keeps the buffers.
    pub fn clear(&mut self) {
        self.ipv4.clear();
        self.ipv6.clear();
        self.ipv4_ids.clear();
        self.ipv6_ids.clear();
    }

    /// Returns the number of peers in both families.
    pub fn len(&self) -> usize {
        self.ipv4.len() / 6 + self.ipv6.len() / 18
    }

    /// Whether there is no peer of either family.
    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    /// Returns the number of peers in one family.
    pub fn len_of(&self, family: Family) -> usize {
        match family {
            Family::Ipv4 => self.ipv4.len() / 6,
            Family::Ipv6 => self.ipv6.len() / 18,
        }
    }

    /// Iterates over the addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.ipv4.as_chunks::<6>().0.iter().map(|&[a, b, c, d, high, low]| {
            SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
        });
        let v6 = self.ipv6.as_chunks::<18>().0.iter().map(|wire| {
            let mut address = [0; 16];
            address.copy_from_slice(&wire[..16]);
            SocketAddr::from((address, u16::from_be_bytes([wire[16], wire[17]])))
        });
        v4.chain(v6)
    }

    /// Keeps the peers at `places`, which index [`Self::iter`], in the order of `places`.
    pub fn pick(&mut self, places: impl Iterator<Item = usize>) {
        let all = std::mem::take(self);
        let first = all.len_of(Family::Ipv4);
        for place in places {
            if let Some(wire) = all.ipv4.as_chunks::<6>().0.get(place) {
                self.ipv4.extend_from_slice(wire);
                self.ipv4_ids.extend(all.ipv4_ids.get(place));
            } else if let Some(wire) = all.ipv6.as_chunks::<18>().0.get(place - first) {
                self.ipv6.extend_from_slice(wire);
                self.ipv6_ids.extend(all.ipv6_ids.get(place - first));
            }
        }
    }

    /// Inserts `first` before these peers.
    pub fn put_first(&mut self, first: Self) {
        let rest = std::mem::replace(self, first);
        self.ipv4.extend(rest.ipv4);
        self.ipv6.extend(rest.ipv6);
        self.ipv4_ids.extend(rest.ipv4_ids);
        self.ipv6_ids.extend(rest.ipv6_ids);
    }

    /// Inserts a peer with an unknown id before the one at `place` in its family, or at the end.
    pub fn insert(&mut self, place: usize, peer: SocketAddr) {
        let port = peer.port().to_be_bytes();
        let ids = match peer.ip() {
            IpAddr::V4(ip) => {
                insert(&mut self.ipv4, place, ip.octets().into_iter().chain(port), 6);
                &mut self.ipv4_ids
            }
            IpAddr::V6(ip) => {
                insert(&mut self.ipv6, place, ip.octets().into_iter().chain(port), 18);
                &mut self.ipv6_ids
            }
        };
        insert(ids, place, [PeerId::UNKNOWN], 1);
    }

    /// Keeps the first `length` peers of a family.
    pub fn truncate(&mut self, family: Family, length: usize) {
        let (wire, size, ids) = match family {
            Family::Ipv4 => (&mut self.ipv4, 6, &mut self.ipv4_ids),
            Family::Ipv6 => (&mut self.ipv6, 18, &mut self.ipv6_ids),
        };
        wire.truncate(length * size);
        ids.truncate(length);
    }
}

fn insert<T>(list: &mut Vec<T>, place: usize, item: impl IntoIterator<Item = T>, size: usize) {
    let at = (place * size).min(list.len());
    list.splice(at..at, item);
}

/// Converts an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`), as a dual-stack socket reports it, to
/// IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Returns the 16 bytes of an address, with IPv4 mapped to IPv6.
pub fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Applies [`canonical`] to an address with its port. An IPv6 address keeps its zone.
pub fn canonical_socket(address: SocketAddr) -> SocketAddr {
    match canonical(address.ip()) {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn info_hashes_read_as_they_print(bytes: [u8; 20]) {
            let hash = InfoHash(bytes);
            let text = hash.to_string();
            prop_assert_eq!(InfoHash::from_hex(&text), Some(hash));
            prop_assert_eq!(InfoHash::from_hex(&text.to_uppercase()), Some(hash));
            let v2 = format!("{text}{}", "fF".repeat(12));
            prop_assert_eq!(InfoHash::from_hex(&v2), Some(hash));
            for wrong in [&text[1..], &v2[1..], &format!("{}g", &v2[1..]), &text[..24]] {
                prop_assert_eq!(InfoHash::from_hex(wrong), None);
            }
        }

        #[test]
        fn mapping_and_canonical_undo_each_other(address: IpAddr) {
            let canonical_address = canonical(address);
            prop_assert_eq!(canonical(mapped(address).into()), canonical_address);
            let is_ipv4 = mapped(address).to_ipv4_mapped().is_some();
            prop_assert_eq!(Family::of(canonical_address) == Family::Ipv4, is_ipv4);
        }
    }
}
