//! One peer in as few bytes as possible: its address and port in wire format, a stamp of its last
//! announce, and a mark that says whether a download of it was counted.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// When a peer last announced, in the units of a [`Lifetime`], modulo 2¹⁵: the highest bit is not
/// part of it.
pub type Stamp = u16;

/// The bit above a stamp: a download of the peer was counted.
const MARK: u16 = 1 << 15;

/// Returns a stamp with the mark that says whether a download was counted.
pub fn marked(stamp: Stamp, downloaded: bool) -> Stamp {
    stamp | if downloaded { MARK } else { 0 }
}

/// How long a peer stays without announcing, computed from two [`Stamp`]s.
///
/// A unit is 1 s for lifetimes up to 2¹⁴ s (four and a half hours), otherwise the lifetime divided
/// by 2¹⁴. No peer is removed early, and the sweep removes every peer at most two units late. A
/// stamp is misread once it is 2¹⁵ units old, so a round of the sweep must end within nine tenths
/// of the lifetime.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    unit: u32,
    units: u16,
}

const MOST_UNITS: u16 = 1 << 14;

/// How many units a stamp may be ahead of the sweep's clock, which another thread reads.
const AHEAD: u16 = 1 << 10;

impl Lifetime {
    pub fn from_seconds(seconds: u32) -> Self {
        let unit = seconds.div_ceil(MOST_UNITS.into()).max(1);
        let units = u16::try_from(seconds.div_ceil(unit)).unwrap_or(MOST_UNITS);
        Self { unit, units }
    }

    /// Only the low 15 bits are kept.
    pub fn stamp(self, now: super::Seconds) -> Stamp {
        (now / self.unit) as Stamp & !MARK
    }

    /// Returns the seconds between two stamps.
    pub fn age(self, stamp: Stamp, now: Stamp) -> u32 {
        let age = between(stamp, now);
        // Another thread's clock may have been slightly ahead.
        if age < MARK - AHEAD { u32::from(age) * self.unit } else { 0 }
    }

    /// Returns the stamp of `age` seconds before `now`, which may be before the clock began; `None`
    /// if a peer of that age is gone.
    pub fn stamp_before(self, now: super::Seconds, age: super::Seconds) -> Option<Stamp> {
        let units = u16::try_from(age / self.unit).ok().filter(|units| *units <= self.units)?;
        Some(self.stamp(now).wrapping_sub(units) & !MARK)
    }

    pub fn is_over(self, stamp: Stamp, now: Stamp) -> bool {
        let age = between(stamp, now);
        self.units < age && age < MARK - AHEAD
    }
}

fn between(stamp: Stamp, now: Stamp) -> u16 {
    now.wrapping_sub(stamp) & !MARK
}

/// One peer of one family.
pub trait Record: Copy {
    /// The address and port from which a record is made.
    type Address: Copy;
    /// The bytes of address and port on the wire, and possibly more after them.
    type Bytes: AsRef<[u8]>;
    /// How many of them go on the wire.
    const WIRE: usize;

    fn new(address: Self::Address, stamp: Stamp) -> Self;
    /// Returns the address and port.
    fn address(self) -> SocketAddr;
    /// Sets the mark if `before` had it, or if `now`.
    fn marked(self, before: Self, now: bool) -> Self;
    fn is_marked(self) -> bool;
    /// Returns whether both have the same address and port.
    fn is(self, other: Self) -> bool;
    fn hash(self, hasher: &RandomState) -> u64;
    fn stamp(self) -> Stamp;
    fn bytes(self) -> Self::Bytes;
    fn ip(self) -> IpAddr;
}

/// Address and port in the low six bytes, in wire order when written little-endian; above them the
/// stamp and the mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V4(u64);

const _: () = assert!(size_of::<V4>() == 8);

const STAMP_SHIFT: u32 = 48;

impl V4 {
    /// A place without a peer.
    pub const EMPTY: Self = Self(0);

    /// Returns one bit of one of `N` words, which depends on nothing but address and port.
    pub fn spread<const N: usize>(self) -> (usize, u64) {
        let mixed = (self.0 << (u64::BITS - STAMP_SHIFT)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (mixed as usize / 64 % N, 1 << (mixed % 64))
    }
}

impl Record for V4 {
    type Address = SocketAddrV4;
    type Bytes = [u8; 8];
    const WIRE: usize = 6;

    fn new(address: SocketAddrV4, stamp: Stamp) -> Self {
        let [a, b, c, d] = address.ip().octets();
        let [high, low] = address.port().to_be_bytes();
        let [older, newer] = stamp.to_be_bytes();
        Self(u64::from_le_bytes([a, b, c, d, high, low, newer, older]))
    }

    fn address(self) -> SocketAddr {
        let [a, b, c, d, high, low, ..] = self.0.to_le_bytes();
        SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
    }

    fn marked(self, before: Self, now: bool) -> Self {
        let mark = before.0 | u64::from(now) << (u64::BITS - 1);
        Self(self.0 | mark & u64::from(MARK) << STAMP_SHIFT)
    }

    fn is_marked(self) -> bool {
        self.0 & u64::from(MARK) << STAMP_SHIFT != 0
    }

    fn is(self, other: Self) -> bool {
        (self.0 ^ other.0) << (u64::BITS - STAMP_SHIFT) == 0
    }

    fn hash(self, hasher: &RandomState) -> u64 {
        hasher.hash_one(self.0 << (u64::BITS - STAMP_SHIFT))
    }

    fn stamp(self) -> Stamp {
        (self.0 >> STAMP_SHIFT) as Stamp & !MARK
    }

    fn bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    fn ip(self) -> IpAddr {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        Ipv4Addr::new(a, b, c, d).into()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V6 {
    wire: [u8; 18],
    /// Includes the mark.
    stamp: Stamp,
}

const _: () = assert!(size_of::<V6>() == 20);

impl Record for V6 {
    type Address = SocketAddrV6;
    type Bytes = [u8; 18];
    const WIRE: usize = 18;

    fn new(address: SocketAddrV6, stamp: Stamp) -> Self {
        let mut wire = [0; 18];
        wire[..16].copy_from_slice(&address.ip().octets());
        wire[16..].copy_from_slice(&address.port().to_be_bytes());
        Self { wire, stamp }
    }

    fn address(self) -> SocketAddr {
        let [.., high, low] = self.wire;
        SocketAddr::new(self.ip(), u16::from_be_bytes([high, low]))
    }

    fn marked(self, before: Self, now: bool) -> Self {
        let mark = before.stamp & MARK | u16::from(now) << 15;
        Self { stamp: self.stamp | mark, ..self }
    }

    fn is_marked(self) -> bool {
        self.stamp & MARK != 0
    }

    fn is(self, other: Self) -> bool {
        self.wire == other.wire
    }

    fn hash(self, hasher: &RandomState) -> u64 {
        hasher.hash_one(self.wire)
    }

    fn stamp(self) -> Stamp {
        self.stamp & !MARK
    }

    fn bytes(self) -> [u8; 18] {
        self.wire
    }

    fn ip(self) -> IpAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.wire[..16]);
        Ipv6Addr::from(octets).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_bytes_are_big_endian() {
        let address: SocketAddrV4 = "1.2.3.4:258".parse().unwrap();
        let record = V4::new(address, 0x2bcd);
        assert_eq!(record.bytes()[..V4::WIRE], [1, 2, 3, 4, 1, 2]);
        assert_eq!(record.stamp(), 0x2bcd);
        assert_eq!(record.ip(), IpAddr::from([1, 2, 3, 4]));
        assert_eq!(record.address(), address.into());

        let address: SocketAddrV6 = "[2001:db8::1]:258".parse().unwrap();
        let record = V6::new(address, 0x2bcd);
        assert_eq!(record.bytes()[..16], address.ip().octets());
        assert_eq!(record.bytes()[16..], [1, 2]);
        assert_eq!(record.stamp(), 0x2bcd);
        assert_eq!(record.ip(), IpAddr::from(*address.ip()));
        assert_eq!(record.address(), address.into());
    }

    #[test]
    fn address_and_port_are_the_key() {
        let hasher = RandomState::new();
        let one = V4::new("1.2.3.4:5".parse().unwrap(), 1);
        let later = V4::new("1.2.3.4:5".parse().unwrap(), 2);
        let other = V4::new("1.2.3.4:6".parse().unwrap(), 1);
        assert!(one.is(later) && one.hash(&hasher) == later.hash(&hasher));
        assert!(!one.is(other) && one.hash(&hasher) != other.hash(&hasher));
    }

    #[test]
    fn a_mark_changes_nothing_else() {
        fn check<R: Record + PartialEq + std::fmt::Debug>(address: R::Address) {
            let hasher = RandomState::new();
            let [old, new] = [0, 0x7fff].map(|stamp| R::new(address, stamp));
            assert!(!old.is_marked() && !new.is_marked());
            let marked = new.marked(old, true);
            assert!(marked.is_marked() && old.marked(marked, false).is_marked());
            assert_eq!((new.marked(old, false), old.marked(old, false)), (new, old));
            assert!(marked.is(new) && marked.hash(&hasher) == new.hash(&hasher));
            assert_eq!((marked.stamp(), marked.ip()), (0x7fff, new.ip()));
            assert_eq!(marked.bytes().as_ref()[..R::WIRE], new.bytes().as_ref()[..R::WIRE]);
        }
        check::<V4>("1.2.3.4:5".parse().unwrap());
        check::<V6>("[2001:db8::1]:5".parse().unwrap());
    }

    #[test]
    fn a_lifetime_ends_after_its_last_second_also_where_stamps_wrap() {
        let lifetime = Lifetime::from_seconds(2700);
        for announced in [0, 1, 32_767, 32_768, 60_000, 65_535, 65_536, 4_000_000_000] {
            let over =
                |age| lifetime.is_over(lifetime.stamp(announced), lifetime.stamp(announced + age));
            assert!(!over(0) && !over(2700));
            assert!(over(2701) && over(30_000));
        }
        let ahead = lifetime.stamp(1001);
        assert!(!lifetime.is_over(ahead, lifetime.stamp(1000)));
    }

    #[test]
    fn a_stamp_of_before_the_clock_began_has_its_age() {
        for seconds in [1000, 86_400] {
            let lifetime = Lifetime::from_seconds(seconds);
            for (now, age) in [(0, 1), (0, seconds), (5, seconds), (1_000_000, seconds / 2)] {
                let stamp = lifetime.stamp_before(now, age).unwrap();
                let found = lifetime.age(stamp, lifetime.stamp(now));
                assert!(found <= age && age - found < lifetime.unit, "{now} {age} {found}");
                assert!(!lifetime.is_over(stamp, lifetime.stamp(now)));
            }
            assert_eq!(lifetime.stamp_before(9, seconds + lifetime.unit), None);
            assert_eq!(lifetime.stamp_before(9, u32::MAX), None);
        }
    }

    #[test]
    fn a_long_lifetime_is_never_cut_short() {
        for seconds in [16_384, 16_385, 86_400, 1_000_000, u32::MAX / 4] {
            let lifetime = Lifetime::from_seconds(seconds);
            for announced in [0, 12_345, 999_999] {
                let over = |age| {
                    lifetime.is_over(lifetime.stamp(announced), lifetime.stamp(announced + age))
                };
                assert!(!over(seconds));
                assert!(over(seconds + 2 * lifetime.unit));
            }
        }
    }
}
