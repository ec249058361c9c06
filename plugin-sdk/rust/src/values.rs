//! The values of the announce path: the contract's flat records, behind names and types. Reading
//! them allocates nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};

use crate::{
    Event, Transport, Verdict,
    bindings::{
        imports::types::{self, Traits},
        observer, peer_ranker,
    },
};

/// The 20 bytes that name a torrent (BEP 3), or the first 20 of a v2 hash (BEP 52). Written as 40
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash([u32; 5]);

impl InfoHash {
    /// From the bytes of an info-hash.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        let (words, _) = bytes.as_chunks();
        Self(std::array::from_fn(|at| u32::from_be_bytes(words[at])))
    }

    /// The bytes of an info-hash.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        bytes
    }

    pub(crate) fn from_words((a, b, c, d, e): types::InfoHash) -> Self {
        Self([a, b, c, d, e])
    }

    pub(crate) fn to_words(self) -> types::InfoHash {
        let [a, b, c, d, e] = self.0;
        (a, b, c, d, e)
    }
}

impl FromStr for InfoHash {
    type Err = String;

    /// Reads 40 hexadecimal digits of either case, or the 64 of a v2 hash.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be 40 hexadecimal digits, or 64";
        let mut words = [0; 5];
        let mut digits = 0;
        for character in text.chars() {
            let Some(digit) = character.to_digit(16) else {
                return Err(format!("{EXPECTED}, has {character:?}"));
            };
            if let Some(word) = words.get_mut(digits / 8) {
                *word = *word << 4 | digit;
            }
            digits += 1;
        }
        match digits {
            40 | 64 => Ok(Self(words)),
            _ => Err(format!("{EXPECTED}, is {digits}")),
        }
    }
}

impl<'de> Deserialize<'de> for InfoHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:08x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

/// An address as the contract has it; IPv4 is taken out of its mapping.
pub(crate) fn to_words(address: IpAddr) -> types::Address {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    ((bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32)
}

pub(crate) fn address((a, b, c, d): types::Address) -> IpAddr {
    let bits = [a, b, c, d].iter().fold(0, |bits, word| bits << 32 | u128::from(*word));
    Ipv6Addr::from_bits(bits).to_canonical()
}

/// One announce. The rest of the request is in [`request`](crate::request).
#[derive(Clone, Copy, Debug)]
pub struct Announce(pub(crate) types::Announce);

/// One info-hash of one scrape. The rest of the request is in [`request`](crate::request).
#[derive(Clone, Copy, Debug)]
pub struct Scrape(pub(crate) types::Scrape);

/// A peer that may be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its address and port.
    pub address: SocketAddr,
    /// Whether it has everything.
    pub seeder: bool,
    /// Where it is, as [`locality::assign`](crate::locality::assign) said; 0 where nothing did.
    pub label: u64,
    /// Seconds since it last announced.
    pub age: u32,
}

/// How an announce ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Grows while the daemon runs; the same again where a batch is offered again.
    pub id: u64,
    /// The announce.
    pub announce: Announce,
    /// The whole peer id.
    pub peer_id: Vec<u8>,
    /// What the `credential` rule found.
    pub credential: Option<String>,
    /// What policies left with [`response::set_attribute`](crate::response::set_attribute).
    pub attributes: Vec<(String, String)>,
    /// What the policies decided.
    pub verdict: Verdict,
    /// The policy that decided, where one did.
    pub decided_by: Option<String>,
    /// Bytes left to download; the highest number is for not said.
    pub left: u64,
    /// Bytes uploaded, as the client counts.
    pub uploaded: u64,
    /// Bytes downloaded, as the client counts.
    pub downloaded: u64,
    /// Bytes uploaded since the same peer's previous announce of the same torrent; zero at its first.
    pub uploaded_delta: u64,
    /// Bytes downloaded since then.
    pub downloaded_delta: u64,
    /// Seconds since then.
    pub since_previous: Option<u32>,
    /// When it was, in milliseconds since 1970.
    pub unix_ms: u64,
}

impl Outcome {
    pub(crate) fn of(outcome: observer::Outcome) -> Self {
        Self {
            id: outcome.id,
            announce: Announce(outcome.announce),
            peer_id: outcome.peer_id,
            credential: outcome.credential,
            attributes: outcome.attributes,
            verdict: outcome.verdict,
            decided_by: outcome.decided_by,
            left: outcome.left,
            uploaded: outcome.uploaded,
            downloaded: outcome.downloaded,
            uploaded_delta: outcome.uploaded_delta,
            downloaded_delta: outcome.downloaded_delta,
            since_previous: outcome.seconds_since_previous,
            unix_ms: outcome.unix_ms,
        }
    }
}

impl Candidate {
    pub(crate) fn of(candidate: peer_ranker::Candidate) -> Self {
        Self {
            address: SocketAddr::new(address(candidate.address), candidate.port),
            seeder: candidate.seeder,
            label: candidate.label,
            age: candidate.age_seconds,
        }
    }
}

impl Announce {
    /// The torrent.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::from_words(self.0.info_hash)
    }

    /// The address that is announced. Who asks is
    /// [`request::client_address`](crate::request::client_address).
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.0.address)
    }

    /// The first eight bytes of the peer id, which name the client (BEP 20): `-TR4050-`.
    #[must_use]
    pub fn client(&self) -> [u8; 8] {
        let (high, low) = self.0.client;
        (u64::from(high) << 32 | u64::from(low)).to_be_bytes()
    }

    /// The port that the peer listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What the peer reports.
    #[must_use]
    pub fn event(&self) -> Event {
        self.0.event
    }

    /// How the request came.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// How many peers it asks for, after the configuration's default and limit.
    #[must_use]
    pub fn num_want(&self) -> u32 {
        self.0.num_want
    }

    /// Whether nothing is left to download. Partial seeds (BEP 21) are not seeders.
    #[must_use]
    pub fn is_seeder(&self) -> bool {
        self.0.traits.contains(Traits::SEEDER)
    }

    /// Whether the client's address was taken from a trusted proxy's header.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.0.traits.contains(Traits::PROXIED)
    }

    /// Whether the announced address is the request's own `ip` parameter.
    #[must_use]
    pub fn is_overridden(&self) -> bool {
        self.0.traits.contains(Traits::OVERRIDDEN)
    }

    /// Whether there is a [`request::credential`](crate::request::credential).
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.0.traits.contains(Traits::CREDENTIAL)
    }
}

impl Scrape {
    /// The torrent.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::from_words(self.0.info_hash)
    }

    /// Who asks.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.0.address)
    }

    /// How the request came.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// Whether the client's address was taken from a trusted proxy's header.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.0.traits.contains(Traits::PROXIED)
    }

    /// Whether there is a [`request::credential`](crate::request::credential).
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.0.traits.contains(Traits::CREDENTIAL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "000102030405060708090a0b0c0d0e0f10111213";

    #[test]
    fn info_hashes_are_bytes_and_hex_both_ways() {
        let bytes: [u8; 20] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let hash = InfoHash::from_bytes(bytes);
        assert_eq!(hash.to_bytes(), bytes);
        assert_eq!(hash.to_string(), HASH);
        assert_eq!(HASH.parse(), Ok(hash));
        assert_eq!(HASH.to_uppercase().parse(), Ok(hash));
        let words = (0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f, 0x1011_1213);
        assert_eq!(hash.to_words(), words);
    }

    proptest! {
        #[test]
        fn info_hashes_come_back_from_hex_and_words(bytes: [u8; 20]) {
            let hash = InfoHash::from_bytes(bytes);
            prop_assert_eq!(hash.to_bytes(), bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(format!("{hash}{}", "0aF".repeat(8)).parse(), Ok(hash), "of BEP 52");
            prop_assert_eq!(InfoHash::from_words(hash.to_words()), hash);
        }

        #[test]
        fn info_hashes_are_ordered_like_their_bytes(one: [u8; 20], other: [u8; 20]) {
            let hashes = InfoHash::from_bytes(one).cmp(&InfoHash::from_bytes(other));
            prop_assert_eq!(hashes, one.cmp(&other));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<InfoHash>();
        }
    }

    #[test]
    fn what_is_no_info_hash_is_refused_with_the_reason() {
        let cases = [
            (String::new(), "must be 40 hexadecimal digits, or 64, is 0"),
            (HASH[1..].into(), "must be 40 hexadecimal digits, or 64, is 39"),
            (HASH.repeat(2), "must be 40 hexadecimal digits, or 64, is 80"),
            (HASH.replace('f', "g"), "must be 40 hexadecimal digits, or 64, has 'g'"),
            (format!("{HASH}\n"), "must be 40 hexadecimal digits, or 64, has '\\n'"),
            (HASH.replace('f', "é"), "must be 40 hexadecimal digits, or 64, has 'é'"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<InfoHash>().unwrap_err(), message);
        }
    }

    #[test]
    fn a_mapped_address_is_ipv4() {
        assert_eq!(address((0, 0, 0xffff, 0xc000_0201)).to_string(), "192.0.2.1");
        assert_eq!(address((0x2001_0db8, 0, 0, 1)).to_string(), "2001:db8::1");
    }
}
