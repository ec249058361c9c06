//! The keys by which announces are counted.

use std::net::IpAddr;

use karuta_plugin::{Announce, request};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The prefix of the client's address.
    #[default]
    Address,
    /// What the `credential` rule found; the address if it found nothing.
    Credential,
    /// The torrent, over all clients.
    Torrent,
    /// The prefix and the torrent.
    AddressTorrent,
}

/// The number of bits of an address that count, by family.
#[derive(Clone, Copy)]
pub struct Prefixes {
    pub ipv4: u8,
    pub ipv6: u8,
}

/// The maximum length in bytes of a credential that is a key itself. Longer ones count by their
/// digest.
const CREDENTIAL: usize = 64;

impl By {
    /// Returns the key of the counter. Counts survive reloads. So the key begins with the length of
    /// the window, which separates the counts of different rules, and a byte that separates the
    /// kinds.
    pub fn key(self, announce: &Announce, prefixes: Prefixes, every: u32) -> Vec<u8> {
        let mut key = Vec::with_capacity(4 + 18 + 20);
        key.extend(every.to_be_bytes());
        match self {
            Self::Address => prefixes.write(&mut key),
            Self::Credential => match request::credential() {
                None => prefixes.write(&mut key),
                Some(credential) if credential.len() <= CREDENTIAL => {
                    key.push(b'c');
                    key.extend(credential.as_bytes());
                }
                Some(credential) => {
                    key.push(b'd');
                    key.extend(Sha256::digest(credential));
                }
            },
            Self::Torrent => {
                key.push(b't');
                key.extend(announce.info_hash().to_bytes());
            }
            Self::AddressTorrent => {
                prefixes.write(&mut key);
                key.extend(announce.info_hash().to_bytes());
            }
        }
        key
    }
}

impl Prefixes {
    /// Appends the prefix of the client's address, never that of an address that the client chose.
    fn write(self, key: &mut Vec<u8>) {
        match request::client_address() {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(self.ipv4.into()).unwrap_or(0);
                key.extend([b'4', self.ipv4]);
                key.extend((address.to_bits() & !rest).to_be_bytes());
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(self.ipv6.into()).unwrap_or(0);
                key.extend([b'6', self.ipv6]);
                key.extend((address.to_bits() & !rest).to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use karuta_plugin::{
        AnnounceFilter, Context, Error, Policy, Verdict, response,
        testing::{self, Request},
    };

    use super::*;

    /// A policy that shows the key of each announce.
    struct Keys;

    #[derive(Deserialize)]
    struct Nothing {}

    thread_local! {
        static ASKED: std::cell::Cell<(By, Prefixes)> =
            const { std::cell::Cell::new((By::Address, Prefixes { ipv4: 32, ipv6: 64 })) };
    }

    impl Policy for Keys {
        type Config = Nothing;
        fn init(_: Nothing, _: &Context) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    impl AnnounceFilter for Keys {
        fn on_announce(&mut self, announce: &Announce) -> Verdict {
            let (by, prefixes) = ASKED.get();
            response::warn(&format!("{:?}", by.key(announce, prefixes, 60)));
            Verdict::Next
        }
    }

    fn same(by: By, one: &Request, other: &Request) -> bool {
        let prefixes = Prefixes { ipv4: 24, ipv6: 64 };
        same_with(by, prefixes, one, other)
    }

    fn same_with(by: By, prefixes: Prefixes, one: &Request, other: &Request) -> bool {
        ASKED.set((by, prefixes));
        let mut keys: Keys = testing::init("{}").unwrap();
        let mut key = |request: &Request| request.announce(&mut keys).warning.unwrap();
        key(one) == key(other)
    }

    fn from(address: &str) -> Request {
        Request { address: address.parse().unwrap(), ..Request::default() }
    }

    fn holding(credential: &str, address: &str) -> Request {
        Request { credential: Some(credential.into()), ..from(address) }
    }

    fn of(torrent: u8, address: &str) -> Request {
        let info_hash = karuta_plugin::InfoHash::from_bytes([torrent; 20]);
        Request { info_hash, ..from(address) }
    }

    #[test]
    fn addresses_count_together_by_their_prefix() {
        let same = |one, other| same(By::Address, &from(one), &from(other));
        assert!(same("192.0.2.1", "192.0.2.254") && !same("192.0.2.1", "192.0.3.1"));
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        let all = Prefixes { ipv4: 0, ipv6: 0 };
        assert!(same_with(By::Address, all, &from("1.2.3.4"), &from("200.2.3.4")));
        assert!(!same_with(By::Address, all, &from("::"), &from("0.0.0.0")));
        let one = Prefixes { ipv4: 32, ipv6: 128 };
        assert!(!same_with(By::Address, one, &from("192.0.2.1"), &from("192.0.2.0")));
        assert!(!same_with(By::Address, one, &from("::1:2"), &from("::1:3")));
    }

    #[test]
    fn the_address_of_the_client_that_asks_counts() {
        let asker = Some("192.0.2.9".parse().unwrap());
        let elsewhere = Request { client_address: asker, ..from("198.51.100.1") };
        assert!(same(By::Address, &elsewhere, &from("192.0.2.1")));
        assert!(!same(By::Address, &elsewhere, &from("198.51.100.1")));
    }

    #[test]
    fn credentials_count_wherever_they_come_from() {
        let same = |one: &Request, other: &Request| same(By::Credential, one, other);
        assert!(same(&holding("a", "192.0.2.1"), &holding("a", "198.51.100.1")));
        assert!(!same(&holding("a", "192.0.2.1"), &holding("b", "192.0.2.1")));
        let long = "x".repeat(4096);
        assert!(same(&holding(&long, "192.0.2.1"), &holding(&long, "198.51.100.1")));
        assert!(!same(&holding(&long, "192.0.2.1"), &holding(&long[1..], "192.0.2.1")));
    }

    #[test]
    fn a_client_without_a_credential_counts_by_address() {
        let same = |one: &Request, other: &Request| same(By::Credential, one, other);
        assert!(same(&from("192.0.2.1"), &from("192.0.2.2")));
        assert!(!same(&from("192.0.2.1"), &from("198.51.100.1")));
        let forged = "4\u{18}\u{c0}\0\u{2}\0";
        assert!(!same(&from("192.0.2.1"), &holding(forged, "192.0.2.1")));
    }

    #[test]
    fn torrents_count_over_all_clients_or_for_each_address() {
        let (a, b) = ("192.0.2.1", "198.51.100.1");
        assert!(same(By::Torrent, &of(1, a), &of(1, b)));
        assert!(!same(By::Torrent, &of(1, a), &of(2, a)));
        assert!(same(By::AddressTorrent, &of(1, a), &of(1, "192.0.2.2")));
        assert!(!same(By::AddressTorrent, &of(1, a), &of(1, b)));
        assert!(!same(By::AddressTorrent, &of(1, a), &of(2, a)));
    }
}
