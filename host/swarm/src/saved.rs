//! Swarms as they are kept: what a walk over a store finds, and its bytes.

use std::net::SocketAddr;

use karuta_bittorrent::{InfoHash, PeerId};

use crate::{Role, Seconds};

/// The most peers of a [`Piece`].
pub const PIECE: usize = 1024;

/// What outlives the process of a torrent, or of some of its peers if they are many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    pub info_hash: InfoHash,
    pub downloads: u32,
    /// At most [`PIECE`].
    pub peers: Vec<SavedPeer>,
    /// How long ago the last peer left; 0 if there are peers.
    pub deserted: Seconds,
}

/// What outlives the process of a peer: all but its locality.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedPeer {
    /// Canonical.
    pub address: SocketAddr,
    pub role: Role,
    /// Time since its last announce.
    pub age: Seconds,
    /// A download of it was counted.
    pub downloaded: bool,
    /// It is given to nobody.
    pub is_hidden: bool,
    /// Zeros if peer ids are not kept.
    pub peer_id: PeerId,
}

/// What became of the peers of restored pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    pub entered: u64,
    /// They have been silent for longer than the lifetime.
    pub expired: u64,
    /// A limit leaves no room for them.
    pub refused: u64,
}

impl std::ops::AddAssign for Restored {
    fn add_assign(&mut self, other: Self) {
        self.entered += other.entered;
        self.expired += other.expired;
        self.refused += other.refused;
    }
}

impl Default for Piece {
    fn default() -> Self {
        Self { info_hash: InfoHash([0; 20]), downloads: 0, peers: Vec::new(), deserted: 0 }
    }
}

/// How pieces are written.
///
/// A piece with peers is the info-hash, the downloads (4 bytes), the numbers of its peers (2 bytes
/// each: downloaders, partial seeds and seeders of IPv4, then of IPv6), the peers in this order,
/// and their ids in the same order if they are kept. A peer is its address and port as on the wire,
/// and 2 bytes with its age and, as the highest bits, whether a download was counted and whether it
/// is hidden. A piece without peers is the info-hash, the downloads, and for how many seconds it has been deserted (4 bytes).
/// Numbers are little-endian.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The unit of ages, in seconds.
    unit: Seconds,
    peer_ids: bool,
}

/// A piece that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed piece of a swarm")]
pub struct Malformed;

const DOWNLOADED: u16 = 1 << 15;
const HIDDEN: u16 = 1 << 14;
/// An age is less than this many units, and a lifetime no more.
const UNITS: Seconds = 1 << 14;
const ROLES: [Role; 3] = [Role::Downloader, Role::PartialSeed, Role::Seeder];

impl Codec {
    /// The most bytes of a piece.
    pub const ROOM: usize = 36 + PIECE * (20 + 20);

    /// Returns the codec for peers that are kept for up to `lifetime` seconds.
    #[must_use]
    pub fn new(lifetime: Seconds, peer_ids: bool) -> Self {
        Self { unit: lifetime.div_ceil(UNITS).max(1), peer_ids }
    }

    /// Appends a piece of at most [`PIECE`] peers. They are sorted by family and role.
    pub fn write(self, piece: &mut Piece, into: &mut Vec<u8>) {
        let peers = &mut piece.peers;
        into.extend_from_slice(&piece.info_hash.0);
        into.extend_from_slice(&piece.downloads.to_le_bytes());
        if peers.is_empty() {
            return into.extend_from_slice(&piece.deserted.to_le_bytes());
        }
        peers.truncate(PIECE);
        peers.sort_by_key(SavedPeer::group);
        let mut counts = [0_u16; 6];
        peers.iter().for_each(|peer| counts[peer.group()] += 1);
        counts.iter().for_each(|count| into.extend_from_slice(&count.to_le_bytes()));
        for peer in &*peers {
            match peer.address {
                SocketAddr::V4(address) => into.extend_from_slice(&address.ip().octets()),
                SocketAddr::V6(address) => into.extend_from_slice(&address.ip().octets()),
            }
            into.extend_from_slice(&peer.address.port().to_be_bytes());
            let age = (peer.age / self.unit).min(UNITS - 1) as u16;
            let flag = |set, flag| if set { flag } else { 0 };
            let flags = flag(peer.downloaded, DOWNLOADED) | flag(peer.is_hidden, HIDDEN);
            into.extend_from_slice(&(age | flags).to_le_bytes());
        }
        if self.peer_ids {
            peers.iter().for_each(|peer| into.extend_from_slice(&peer.peer_id.0));
        }
    }

    /// Reads a piece with peers off the front of `rest`.
    ///
    /// # Errors
    ///
    /// The bytes end too early, or there are no peers, or too many.
    pub fn read(self, rest: &mut &[u8], piece: &mut Piece) -> Result<(), Malformed> {
        self.begin(rest, piece)?;
        let mut counts = [0_u16; 6];
        for count in &mut counts {
            *count = u16::from_le_bytes(take(rest)?);
        }
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        if total == 0 || total > PIECE {
            return Err(Malformed);
        }
        for (group, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let ip = if group < ROLES.len() {
                    take::<4>(rest)?.into()
                } else {
                    std::net::IpAddr::from(take::<16>(rest)?)
                };
                let port = u16::from_be_bytes(take(rest)?);
                let age = u16::from_le_bytes(take(rest)?);
                piece.peers.push(SavedPeer {
                    address: SocketAddr::new(ip, port),
                    role: ROLES[group % ROLES.len()],
                    age: u32::from(age & !(DOWNLOADED | HIDDEN)).saturating_mul(self.unit),
                    downloaded: age & DOWNLOADED != 0,
                    is_hidden: age & HIDDEN != 0,
                    peer_id: PeerId::UNKNOWN,
                });
            }
        }
        if self.peer_ids {
            for peer in &mut piece.peers {
                peer.peer_id = PeerId(take(rest)?);
            }
        }
        Ok(())
    }

    /// Reads a piece without peers off the front of `rest`.
    ///
    /// # Errors
    ///
    /// The bytes end too early.
    pub fn read_deserted(self, rest: &mut &[u8], piece: &mut Piece) -> Result<(), Malformed> {
        self.begin(rest, piece)?;
        piece.deserted = u32::from_le_bytes(take(rest)?);
        Ok(())
    }

    fn begin(self, rest: &mut &[u8], piece: &mut Piece) -> Result<(), Malformed> {
        piece.peers.clear();
        piece.deserted = 0;
        piece.info_hash = InfoHash(take(rest)?);
        piece.downloads = u32::from_le_bytes(take(rest)?);
        Ok(())
    }
}

impl SavedPeer {
    /// Returns the number of the peer's family and role.
    fn group(&self) -> usize {
        usize::from(self.address.is_ipv6()) * ROLES.len() + self.role as usize
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (first, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer() -> impl Strategy<Value = SavedPeer> {
        let address = any::<std::net::IpAddr>().prop_map(|ip| ip.to_canonical());
        let flags = (any::<bool>(), any::<bool>());
        (address, any::<u16>(), 0..3_usize, 0..UNITS, flags, any::<[u8; 20]>()).prop_map(
            |(ip, port, role, age, (downloaded, is_hidden), id)| SavedPeer {
                address: SocketAddr::new(ip, port),
                role: ROLES[role],
                age,
                downloaded,
                is_hidden,
                peer_id: PeerId(id),
            },
        )
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let peers = prop::collection::vec(peer(), 0..40);
        (any::<[u8; 20]>(), any::<u32>(), peers, any::<u32>()).prop_map(
            |(hash, downloads, peers, age)| {
                let deserted = if peers.is_empty() { age } else { 0 };
                Piece { info_hash: InfoHash(hash), downloads, peers, deserted }
            },
        )
    }

    fn read(codec: Codec, with_peers: bool, rest: &mut &[u8]) -> Result<Piece, Malformed> {
        let mut piece = Piece { deserted: 9, peers: Vec::new(), ..Piece::default() };
        match with_peers {
            true => codec.read(rest, &mut piece)?,
            false => codec.read_deserted(rest, &mut piece)?,
        }
        Ok(piece)
    }

    #[test]
    fn the_layout_is_as_documented() {
        let seeder = SavedPeer {
            address: "1.2.3.4:258".parse().unwrap(),
            role: Role::Seeder,
            age: 90_000,
            downloaded: true,
            is_hidden: true,
            peer_id: PeerId([b'i'; 20]),
        };
        let six = "[::5]:6".parse().unwrap();
        let leecher = SavedPeer { address: six, role: Role::Downloader, age: 6, ..seeder };
        let leecher = SavedPeer { downloaded: false, is_hidden: false, ..leecher };
        let peers = vec![leecher, seeder];
        let mut piece = Piece { info_hash: InfoHash([b'h'; 20]), downloads: 7, peers, deserted: 0 };
        let mut bytes = Vec::new();
        // A unit is 6 s.
        Codec::new(90_000, true).write(&mut piece, &mut bytes);
        let expected = [
            &[b'h'; 20][..],
            &[7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
            &[1, 2, 3, 4, 1, 2, 0x98, 0x3a | 0x80 | 0x40],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 6, 1, 0],
            &[b'i'; 40],
        ];
        assert_eq!(bytes, expected.concat());
        assert!(bytes.len() <= Codec::ROOM);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pieces in prop::collection::vec(piece(), 1..5), ids: bool) {
            let codec = Codec::new(100, ids);
            for mut piece in pieces {
                let mut bytes = Vec::new();
                codec.write(&mut piece, &mut bytes);
                if !ids {
                    piece.peers.iter_mut().for_each(|peer| peer.peer_id = PeerId::UNKNOWN);
                }
                let with_peers = !piece.peers.is_empty();
                for len in 0..bytes.len() {
                    prop_assert!(read(codec, with_peers, &mut &bytes[..len]).is_err());
                }
                bytes.push(1);
                let mut rest = &bytes[..];
                prop_assert_eq!(read(codec, with_peers, &mut rest), Ok(piece));
                prop_assert_eq!(rest, &[1]);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, with_peers: bool, ids: bool) {
            let _ = read(Codec::new(u32::MAX, ids), with_peers, &mut &bytes[..]);
        }
    }
}
