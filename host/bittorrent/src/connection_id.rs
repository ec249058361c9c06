//! Stateless connection ids of the UDP protocol (BEP 15): a time and a keyed digest.

use std::net::IpAddr;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::canonical;

/// How far in the future an id may have been issued, in seconds: the clocks of trackers that share
/// a secret may differ.
pub const CLOCK_SKEW_S: u32 = 10;

/// Issues and checks connection ids.
///
/// An id is the big-endian Unix time in seconds (32 bits), followed by the first four bytes of
/// HMAC-SHA256 over that time and the client's address (4 or 16 bytes). It does not cover the port,
/// because clients change it between connecting and announcing. chihaya builds its ids the same
/// way, so the two can share a secret.
#[derive(Clone)]
pub struct ConnectionIds {
    /// The digest state after the key. Keeping it saves two of the four compressions of each use.
    keyed: Hmac<Sha256>,
    lifetime_s: u32,
}

/// Why an id is refused. The time is checked first; the digest is not computed if it is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WrongId {
    /// It was issued too long ago.
    #[error("expired")]
    Expired,
    /// It claims to be from the future.
    #[error("issued in the future")]
    Future,
    /// It was not issued for this address, or not by this tracker.
    #[error("forged")]
    Forged,
}

impl ConnectionIds {
    /// Takes a secret of any length, and the lifetime of an id in seconds.
    pub fn new(secret: &[u8], lifetime_s: u32) -> Self {
        let keyed = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        Self { keyed, lifetime_s }
    }

    /// Issues an id to a client at `address`: the big-endian number that goes on the wire.
    ///
    /// `now_s` is Unix time modulo 2³², in seconds.
    pub fn issue(&self, now_s: u32, address: IpAddr) -> u64 {
        let digest = self.digest(now_s, address).finalize().into_bytes();
        let tag = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        u64::from(now_s) << 32 | u64::from(tag)
    }

    /// Checks that `id` was issued to `address`, and is no older than the lifetime.
    pub fn check(&self, id: u64, now_s: u32, address: IpAddr) -> Result<(), WrongId> {
        let issued_s = (id >> 32) as u32;
        // Modulo 2^32, so that ids still work in 2106.
        let until_issued_s = issued_s.wrapping_sub(now_s);
        if until_issued_s > CLOCK_SKEW_S {
            if now_s.wrapping_sub(issued_s) > i32::MAX as u32 {
                return Err(WrongId::Future);
            }
            if now_s.wrapping_sub(issued_s) > self.lifetime_s {
                return Err(WrongId::Expired);
            }
        }
        let tag = (id as u32).to_be_bytes();
        self.digest(issued_s, address).verify_truncated_left(&tag).map_err(|_| WrongId::Forged)
    }

    fn digest(&self, issued_s: u32, address: IpAddr) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(&issued_s.to_be_bytes());
        match canonical(address) {
            IpAddr::V4(address) => mac.update(&address.octets()),
            IpAddr::V6(address) => mac.update(&address.octets()),
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIFETIME_S: u32 = 120;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ids_are_those_of_chihaya() {
        for (secret, now_s, client, id) in [
            ("", 0, "127.0.0.1", 0x0000_0000_1de7_0a69),
            ("test key", 1_460_000_000, "192.0.2.1", 0x5705_d500_54b0_d83d),
            ("test key", 1_460_000_000, "::ffff:192.0.2.1", 0x5705_d500_54b0_d83d),
            ("test key", 1_460_000_000, "2001:db8::1", 0x5705_d500_fcf8_bad5),
        ] {
            let ids = ConnectionIds::new(secret.as_bytes(), LIFETIME_S);
            assert_eq!(ids.issue(now_s, address(client)), id, "{client}");
            assert_eq!(ids.check(id, now_s, address(client)), Ok(()), "{client}");
        }
    }

    #[test]
    fn an_id_is_valid_for_its_lifetime_and_a_little_before() {
        const YEAR_S: i64 = 365 * 24 * 3600;
        let ids = ConnectionIds::new(b"secret", LIFETIME_S);
        let client = address("192.0.2.1");
        for (age_s, expected) in [
            (0, Ok(())),
            (119, Ok(())),
            (120, Ok(())),
            (121, Err(WrongId::Expired)),
            (YEAR_S, Err(WrongId::Expired)),
            (-1, Ok(())),
            (-10, Ok(())),
            (-11, Err(WrongId::Future)),
            (-YEAR_S, Err(WrongId::Future)),
        ] {
            // Near where the seconds wrap at 2^32.
            for issued_s in [1_460_000_000, u32::MAX - 5, 5] {
                let id = ids.issue(issued_s, client);
                let now_s = (i64::from(issued_s) + age_s).rem_euclid(1 << 32) as u32;
                assert_eq!(ids.check(id, now_s, client), expected, "{age_s} {issued_s}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bit_of_an_id_may_change(
            secret: Vec<u8>, now_s: u32, client: IpAddr, other: IpAddr, bit in 0..64,
        ) {
            let ids = ConnectionIds::new(&secret, LIFETIME_S);
            let id = ids.issue(now_s, client);
            prop_assert_eq!(ids.check(id, now_s, client), Ok(()));
            prop_assert!(ids.check(id ^ (1u64 << bit), now_s, client).is_err());
            if canonical(client) != canonical(other) {
                prop_assert_eq!(ids.check(id, now_s, other), Err(WrongId::Forged));
            }
        }
    }
}
