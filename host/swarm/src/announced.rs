//! What one announce did, as other nodes are told of it, and its bytes: a record of format 1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use karuta_bittorrent::{InfoHash, PeerId};

use crate::locality::Reach;
use crate::{PlanName, Role};

/// What one announce did to its swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announced {
    pub info_hash: InfoHash,
    /// Canonical, with a port; [`NOBODY`] if it tells of no peer.
    pub peer: SocketAddr,
    pub change: Change,
    /// The node that took the announce counted a download.
    pub counted: bool,
    /// The plan's name, and the peer's label in it.
    pub label: Option<(PlanName, u64)>,
    /// How far a downloader with a label reaches; that of others is [`Reach::ALL`].
    pub reach: Reach,
    /// Zeros if it is not told.
    pub peer_id: PeerId,
    /// The downloads of the swarm after the announce, as its node knows them.
    pub downloads: u32,
}

/// What became of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is in the swarm, in this role.
    Is(Role),
    /// The same, but it is given to nobody. It has no label.
    IsHidden(Role),
    /// It has left.
    Stopped,
    /// Its record is told again for its download alone: the peer has changed since.
    Nothing,
    /// It tells of no peer, but of how many downloads the swarm has.
    Downloads,
}

/// The peer of a record that tells of none.
pub const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Bytes that are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRecord;

/// The first byte: a change in the low three bits, then flags.
const CHANGE: u8 = 0b111;
const COUNTED: u8 = 1 << 3;
const IPV6: u8 = 1 << 4;
const LABEL: u8 = 1 << 5;
const PEER_ID: u8 = 1 << 6;
const DOWNLOADS: u8 = 1 << 7;
/// The change of a downloader that does not reach everybody.
const KEPT: u8 = 5;
/// The change of a record of no peer.
const DOWNLOADS_ALONE: u8 = 6;
/// The change of a peer that is given to nobody.
const HIDDEN: u8 = 7;

/// The roles by the byte of a hidden peer.
const ROLES: [Role; 3] = [Role::Downloader, Role::PartialSeed, Role::Seeder];

impl Announced {
    /// The most bytes of a record.
    pub const ROOM: usize = 1 + 20 + 18 + 16 + 1 + 20 + 5;

    /// Returns a record of how many downloads a swarm has.
    pub fn of_downloads(info_hash: InfoHash, downloads: u32) -> Self {
        Self {
            info_hash,
            peer: NOBODY,
            change: Change::Downloads,
            counted: false,
            label: None,
            reach: Reach::ALL,
            peer_id: PeerId::UNKNOWN,
            downloads,
        }
    }

    /// Returns whether it says what has become of a peer.
    pub fn is_of_peer(&self) -> bool {
        !matches!(self.change, Change::Nothing | Change::Downloads)
    }

    /// Appends the record: a byte of change and flags, the info-hash, address and port as on the
    /// wire unless it tells of no peer, and what is flagged: the plan's name and the label (8 bytes
    /// each), a byte with the reach of a downloader that does not reach everybody or the role of a
    /// hidden peer, the peer id, the downloads (a varint). Numbers are little-endian.
    pub fn write(&self, into: &mut Vec<u8>) {
        let mut first = match self.change {
            Change::Is(Role::Downloader) if self.reach != Reach::ALL => KEPT,
            Change::Is(Role::Downloader) => 0,
            Change::Is(Role::PartialSeed) => 1,
            Change::Is(Role::Seeder) => 2,
            Change::IsHidden(_) => HIDDEN,
            Change::Stopped => 3,
            Change::Nothing => 4,
            Change::Downloads => DOWNLOADS_ALONE,
        };
        let flag = |set, flag| if set { flag } else { 0 };
        let has_id = self.peer_id != PeerId::UNKNOWN;
        first |= flag(self.counted, COUNTED) | flag(self.peer.is_ipv6(), IPV6);
        first |= flag(self.label.is_some(), LABEL) | flag(has_id, PEER_ID);
        first |= flag(self.downloads > 0, DOWNLOADS);
        into.reserve(Self::ROOM);
        into.push(first);
        into.extend_from_slice(&self.info_hash.0);
        if self.change != Change::Downloads {
            match self.peer.ip() {
                IpAddr::V4(ip) => into.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => into.extend_from_slice(&ip.octets()),
            }
            into.extend_from_slice(&self.peer.port().to_be_bytes());
        }
        if let Some((plan, label)) = self.label {
            into.extend_from_slice(&plan.0);
            into.extend_from_slice(&label.to_le_bytes());
        }
        match self.change {
            Change::IsHidden(role) => into.push(role as u8),
            Change::Is(_) if first & CHANGE == KEPT => into.push(self.reach.number()),
            _ => {}
        }
        if has_id {
            into.extend_from_slice(&self.peer_id.0);
        }
        if self.downloads > 0 {
            write_varint(self.downloads, into);
        }
    }

    /// Reads a record off the front of `rest`.
    ///
    /// # Errors
    ///
    /// The bytes end too early, or are none that [`write`](Self::write) makes of an announce.
    pub fn read(rest: &mut &[u8]) -> Result<Self, NoRecord> {
        let [first] = take(rest)?;
        if first == DOWNLOADS_ALONE | DOWNLOADS {
            let (info_hash, downloads) = (InfoHash(take(rest)?), read_varint(rest)?);
            return match downloads {
                0 => Err(NoRecord),
                _ => Ok(Self::of_downloads(info_hash, downloads)),
            };
        }
        let has = |flag| first & flag != 0;
        let change = match first & CHANGE {
            0 | KEPT => Change::Is(Role::Downloader),
            1 => Change::Is(Role::PartialSeed),
            2 => Change::Is(Role::Seeder),
            3 => Change::Stopped,
            4 => Change::Nothing,
            // The role comes later.
            HIDDEN => Change::IsHidden(Role::Downloader),
            _ => return Err(NoRecord),
        };
        let counted = has(COUNTED);
        let makes_sense = match change {
            Change::Is(role) => !counted || role == Role::Seeder,
            Change::IsHidden(_) => !has(LABEL),
            Change::Stopped => !counted && !has(LABEL | PEER_ID),
            Change::Nothing => counted && !has(LABEL | PEER_ID),
            Change::Downloads => false,
        };
        let is_kept = first & CHANGE == KEPT;
        if !makes_sense || is_kept && !has(LABEL) {
            return Err(NoRecord);
        }
        let info_hash = InfoHash(take(rest)?);
        let ip = match has(IPV6) {
            false => IpAddr::from(take::<4>(rest)?),
            true => IpAddr::from(Ipv6Addr::from(take::<16>(rest)?)),
        };
        let port = u16::from_be_bytes(take(rest)?);
        if port == 0 || ip != ip.to_canonical() {
            return Err(NoRecord);
        }
        let label = match has(LABEL) {
            true => Some((PlanName(take(rest)?), u64::from_le_bytes(take(rest)?))),
            false => None,
        };
        let reach = match is_kept {
            true => Reach::kept(take::<1>(rest)?[0]).ok_or(NoRecord)?,
            false => Reach::ALL,
        };
        let change = match change {
            Change::IsHidden(_) => {
                let [role] = take(rest)?;
                let role = *ROLES.get(usize::from(role)).ok_or(NoRecord)?;
                if counted && role != Role::Seeder {
                    return Err(NoRecord);
                }
                Change::IsHidden(role)
            }
            _ => change,
        };
        let peer_id = if has(PEER_ID) { PeerId(take(rest)?) } else { PeerId::UNKNOWN };
        let downloads = if has(DOWNLOADS) { read_varint(rest)? } else { 0 };
        let peer = SocketAddr::new(ip, port);
        Ok(Self { info_hash, peer, change, counted, label, reach, peer_id, downloads })
    }

    /// Returns the record for its download alone.
    pub fn count_alone(&self) -> Self {
        let (label, reach) = (None, Reach::ALL);
        Self { change: Change::Nothing, label, reach, peer_id: PeerId::UNKNOWN, ..*self }
    }

    /// Returns the bytes of a record that name its swarm and peer; of one that tells of no peer, any
    /// that name none.
    pub fn name(record: &[u8]) -> &[u8] {
        let end = match record.first() {
            Some(first) if first & IPV6 != 0 => 1 + 20 + 18,
            _ => 1 + 20 + 6,
        };
        record.get(1..end).unwrap_or(record)
    }
}

/// Appends a number, seven bits a byte, the lowest first.
pub fn write_varint(mut number: u32, into: &mut Vec<u8>) {
    while number > 0x7f {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Reads a number off the front of `rest`.
pub fn read_varint(rest: &mut &[u8]) -> Result<u32, NoRecord> {
    let mut number = 0;
    for at in 0..5 {
        let [byte] = take(rest)?;
        let bits = u32::from(byte & 0x7f);
        if at == 4 && bits > 0xf {
            return Err(NoRecord);
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(NoRecord)
}

/// Takes the next bytes.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NoRecord> {
    let (first, after) = rest.split_first_chunk().ok_or(NoRecord)?;
    *rest = after;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Plan;

    fn announced() -> impl Strategy<Value = Announced> {
        let address = any::<IpAddr>().prop_map(|ip| ip.to_canonical());
        let label = prop::option::of((any::<[u8; 8]>(), any::<u64>()));
        let id = prop_oneof![Just([0; 20]), any::<[u8; 20]>()];
        let downloads = prop_oneof![Just(0), 1..300_u32, any::<u32>()];
        let of = (any::<[u8; 20]>(), address, 1..=u16::MAX);
        let reach = (0..=Plan::MOST_LEVELS).prop_map(|level| match level {
            Plan::MOST_LEVELS => Reach::ALL,
            _ => Reach::up_to(level),
        });
        let label = (label, reach);
        (of, 0..11_u8, label, id, downloads).prop_map(
            |(of, change, (label, reach), id, downloads)| {
                let (info_hash, ip, port) = of;
                let (change, counted) = match change {
                    0 => (Change::Is(Role::Downloader), false),
                    1 => (Change::Is(Role::PartialSeed), false),
                    2 => (Change::Is(Role::Seeder), false),
                    3 => (Change::Is(Role::Seeder), true),
                    4 => (Change::Stopped, false),
                    5 => (Change::Nothing, true),
                    6 => (Change::IsHidden(Role::Downloader), false),
                    7 => (Change::IsHidden(Role::PartialSeed), false),
                    8 => (Change::IsHidden(Role::Seeder), false),
                    9 => (Change::IsHidden(Role::Seeder), true),
                    _ => {
                        return Announced::of_downloads(InfoHash(info_hash), downloads.max(1));
                    }
                };
                let stays = matches!(change, Change::Is(_) | Change::IsHidden(_));
                let may_have_label = matches!(change, Change::Is(_));
                let label = label.filter(|_| may_have_label);
                Announced {
                    info_hash: InfoHash(info_hash),
                    peer: SocketAddr::new(ip, port),
                    change,
                    counted,
                    label: label.map(|(plan, label)| (PlanName(plan), label)),
                    reach: match change {
                        Change::Is(Role::Downloader) if label.is_some() => reach,
                        _ => Reach::ALL,
                    },
                    peer_id: if stays { PeerId(id) } else { PeerId::UNKNOWN },
                    downloads,
                }
            },
        )
    }

    #[test]
    fn the_layout_is_as_documented() {
        let small = Announced {
            info_hash: InfoHash([b'h'; 20]),
            peer: "1.2.3.4:258".parse().unwrap(),
            change: Change::Is(Role::Downloader),
            counted: false,
            label: None,
            reach: Reach::ALL,
            peer_id: PeerId::UNKNOWN,
            downloads: 0,
        };
        let large = Announced {
            peer: "[2001::5]:6881".parse().unwrap(),
            change: Change::Is(Role::Seeder),
            counted: true,
            label: Some((PlanName(*b"plan 1st"), 0x0102_0304_0506_0708)),
            peer_id: PeerId([b'i'; 20]),
            downloads: 300,
            ..small
        };
        let stopped = Announced { change: Change::Stopped, downloads: 127, ..small };
        let paused = Announced { change: Change::Is(Role::PartialSeed), ..small };
        let counted = Announced { change: Change::Nothing, counted: true, downloads: 128, ..small };
        let reach = Reach::up_to(3);
        let kept = Announced { label: large.label, reach, peer_id: large.peer_id, ..small };
        let hidden = Announced { change: Change::IsHidden(Role::PartialSeed), ..small };
        let hidden_seeder =
            Announced { change: Change::IsHidden(Role::Seeder), label: None, ..large };
        let bytes = |announced: Announced| {
            let mut bytes = Vec::new();
            announced.write(&mut bytes);
            bytes
        };
        let hash = [b'h'; 20];
        let four = [1, 2, 3, 4, 1, 2];
        assert_eq!(bytes(small), [&[0][..], &hash, &four].concat());
        assert_eq!(bytes(paused), [&[1][..], &hash, &four].concat());
        assert_eq!(bytes(stopped), [&[0x83][..], &hash, &four, &[127]].concat());
        assert_eq!(bytes(counted), [&[0x8c][..], &hash, &four, &[0x80, 1]].concat());
        let six = [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0x1a, 0xe1];
        let label = [8, 7, 6, 5, 4, 3, 2, 1];
        let rest = [&six[..], b"plan 1st", &label, &[b'i'; 20], &[0xac, 2]].concat();
        assert_eq!(bytes(large), [&[0xfa][..], &hash, &rest].concat());
        let rest = [&four[..], b"plan 1st", &label, &[3], &[b'i'; 20]].concat();
        assert_eq!(bytes(kept), [&[0x65][..], &hash, &rest].concat());
        assert_eq!(bytes(hidden), [&[7][..], &hash, &four, &[1]].concat());
        let rest = [&six[..], &[2], &[b'i'; 20], &[0xac, 2]].concat();
        assert_eq!(bytes(hidden_seeder), [&[0xdf][..], &hash, &rest].concat());
        let downloads = Announced::of_downloads(small.info_hash, 129);
        assert_eq!(bytes(downloads), [&[0x86][..], &hash, &[0x81, 1]].concat());
        assert_eq!(Announced::name(&bytes(small)), [&hash[..], &four].concat());
        assert_eq!(Announced::name(&bytes(large)), [&hash[..], &six].concat());
    }

    #[test]
    fn what_no_announce_does_is_refused() {
        let record = |first: u8, ip: &[u8], port: u16, rest: &[u8]| {
            let bytes = [&[first][..], &[7; 20], ip, &port.to_be_bytes(), rest].concat();
            let mut rest = &bytes[..];
            Announced::read(&mut rest).map(|_| rest.len())
        };
        let four = [1, 2, 3, 4];
        assert_eq!(record(0, &four, 1, &[]), Ok(0));
        assert_eq!(record(0, &four, 1, &[9]), Ok(1));
        assert_eq!(record(0, &four, 0, &[]), Err(NoRecord), "port 0");
        for change in 5..8 {
            assert_eq!(record(change, &four, 1, &[]), Err(NoRecord), "change {change}");
        }
        // A hidden peer has a role and no label, and only a seeder has completed.
        for (role, expected) in [(0, Ok(0)), (1, Ok(0)), (2, Ok(0)), (3, Err(NoRecord))] {
            assert_eq!(record(HIDDEN, &four, 1, &[role]), expected, "role {role}");
        }
        assert_eq!(record(HIDDEN | COUNTED, &four, 1, &[2]), Ok(0));
        assert_eq!(record(HIDDEN | COUNTED, &four, 1, &[1]), Err(NoRecord));
        assert_eq!(record(HIDDEN | LABEL, &four, 1, &[2; 40]), Err(NoRecord));
        // Who has no label reaches everybody, and no plan has more than eight levels.
        let label = [7; 16];
        assert_eq!(record(KEPT | LABEL, &four, 1, &[&label[..], &[7]].concat()), Ok(0));
        assert_eq!(record(KEPT | LABEL, &four, 1, &[&label[..], &[8]].concat()), Err(NoRecord));
        // Only who is a seeder now has completed, and only a peer that stays has a label and an id.
        for first in [COUNTED, 1 | COUNTED, 3 | COUNTED, 3 | LABEL, 3 | PEER_ID, 4, 0xac] {
            assert_eq!(record(first, &four, 1, &[1; 40]), Err(NoRecord), "{first:#x}");
        }
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4];
        assert_eq!(record(IPV6, &mapped, 1, &[]), Err(NoRecord), "an IPv4 address");
        assert_eq!(record(DOWNLOADS, &four, 1, &[0xff, 0xff, 0xff, 0xff, 0xf]), Ok(0));
        for varint in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80; 6], &[0x80]] {
            assert_eq!(record(DOWNLOADS, &four, 1, varint), Err(NoRecord), "{varint:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(announced in announced()) {
            let mut bytes = Vec::new();
            announced.write(&mut bytes);
            prop_assert!(bytes.len() <= Announced::ROOM);
            for len in 0..bytes.len() {
                prop_assert_eq!(Announced::read(&mut &bytes[..len]), Err(NoRecord));
            }
            bytes.push(1);
            let mut rest = &bytes[..];
            prop_assert_eq!(Announced::read(&mut rest), Ok(announced));
            prop_assert_eq!(rest, &[1]);
        }
    }
}
