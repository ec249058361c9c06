//! The values that hooks receive: the contract's flat records, with names and types. Reading them
//! allocates nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, de};

use crate::{
    Error, Event, Transport, Verdict,
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
    /// Creates an info-hash from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        let (words, _) = bytes.as_chunks();
        Self(std::array::from_fn(|at| u32::from_be_bytes(words[at])))
    }

    /// Returns the bytes.
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
    type Err = Error;

    /// Parses 40 hexadecimal digits of either case, or the 64 of a v2 hash.
    fn from_str(text: &str) -> Result<Self, Error> {
        const EXPECTED: &str = "must be 40 hexadecimal digits, or 64";
        let mut words = [0; 5];
        let mut digits = 0;
        for character in text.chars() {
            let Some(digit) = character.to_digit(16) else {
                return Err(Error::new(format_args!("{EXPECTED}, has {character:?}")));
            };
            if let Some(word) = words.get_mut(digits / 8) {
                *word = *word << 4 | digit;
            }
            digits += 1;
        }
        match digits {
            40 | 64 => Ok(Self(words)),
            _ => Err(Error::new(format_args!("{EXPECTED}, is {digits}"))),
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

/// Encodes an address for the contract, which maps IPv4 into IPv6.
pub(crate) fn to_words(address: IpAddr) -> types::Address {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    ((bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32)
}

/// Decodes an address of the contract.
pub(crate) fn address((a, b, c, d): types::Address) -> IpAddr {
    let bits = [a, b, c, d].iter().fold(0, |bits, word| bits << 32 | u128::from(*word));
    Ipv6Addr::from_bits(bits).to_canonical()
}

/// Decodes a number that is the highest one if the client did not say.
pub(crate) fn said(number: u64) -> Option<u64> {
    (number != u64::MAX).then_some(number)
}

/// One announce. The rest of the request is in [`request`](crate::request).
#[derive(Clone, Copy, Debug)]
pub struct Announce(pub(crate) types::Announce);

/// One info-hash of one scrape. The rest of the request is in [`request`](crate::request).
#[derive(Clone, Copy, Debug)]
pub struct Scrape(pub(crate) types::Scrape);

/// A peer that the answer may hold.
#[derive(Clone, Copy, Debug)]
pub struct Candidate(pub(crate) peer_ranker::Candidate);

/// The outcome of an announce.
#[derive(Clone, Debug)]
pub struct Outcome(pub(crate) observer::Outcome);

impl Candidate {
    /// Returns the peer's address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(address(self.0.address), self.0.port)
    }

    /// Returns whether the peer has nothing left to download.
    #[must_use]
    pub fn is_seeder(&self) -> bool {
        self.0.seeder
    }

    /// Returns the label of [`locality::assign`](crate::locality::assign); 0 if there is none.
    #[must_use]
    pub fn label(&self) -> u64 {
        self.0.label
    }

    /// Returns the time since the peer last announced, in whole seconds.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_secs(self.0.age_seconds.into())
    }
}

impl Outcome {
    /// Returns a number that grows while the daemon runs. A batch that is offered again has the same
    /// numbers again.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Returns the announce.
    #[must_use]
    pub fn announce(&self) -> Announce {
        Announce(self.0.announce)
    }

    /// Returns the whole peer id.
    #[must_use]
    pub fn peer_id(&self) -> [u8; 20] {
        self.0.peer_id[..].try_into().unwrap_or_default()
    }

    /// Returns what the `credential` rule found.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        self.0.credential.as_deref()
    }

    /// Returns the names and values that policies set with
    /// [`response::set_attribute`](crate::response::set_attribute).
    #[must_use]
    pub fn attributes(&self) -> &[(String, String)] {
        &self.0.attributes
    }

    /// Returns what the policies decided.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.0.verdict
    }

    /// Returns the name of the policy that decided, by its verdict or by its `on_error`; `None` if
    /// none did.
    #[must_use]
    pub fn decided_by(&self) -> Option<&str> {
        self.0.decided_by.as_deref()
    }

    /// Returns how many bytes are left to download; `None` if the client did not say.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        said(self.0.left)
    }

    /// Returns how many bytes the peer says it has uploaded since `started`.
    #[must_use]
    pub fn uploaded(&self) -> u64 {
        self.0.uploaded
    }

    /// Returns how many bytes the peer says it has downloaded since `started`.
    #[must_use]
    pub fn downloaded(&self) -> u64 {
        self.0.downloaded
    }

    /// Returns the bytes uploaded since the same client's previous announce of the same torrent; zero
    /// at its first.
    #[must_use]
    pub fn uploaded_delta(&self) -> u64 {
        self.0.uploaded_delta
    }

    /// Returns the bytes downloaded since then.
    #[must_use]
    pub fn downloaded_delta(&self) -> u64 {
        self.0.downloaded_delta
    }

    /// Returns the time since then, in whole seconds; `None` at the peer's first announce.
    #[must_use]
    pub fn since_previous(&self) -> Option<Duration> {
        self.0.seconds_since_previous.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Returns when the announce came, in whole milliseconds.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.unix_ms)
    }
}

impl Announce {
    /// Returns the torrent.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::from_words(self.0.info_hash)
    }

    /// Returns the announced address. The address of the client that asks is
    /// [`request::client_address`](crate::request::client_address).
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.0.address)
    }

    /// Returns the first eight bytes of the peer id, which name the client (BEP 20): `-TR4050-`.
    #[must_use]
    pub fn client(&self) -> [u8; 8] {
        let (high, low) = self.0.client;
        (u64::from(high) << 32 | u64::from(low)).to_be_bytes()
    }

    /// Returns the port that the peer listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Returns what the peer reports.
    #[must_use]
    pub fn event(&self) -> Event {
        self.0.event
    }

    /// Returns how the request came.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// Returns how many peers it asks for, after the configuration's default and limit.
    #[must_use]
    pub fn num_want(&self) -> u32 {
        self.0.num_want
    }

    /// Returns whether nothing is left to download. Partial seeds (BEP 21) are not seeders.
    #[must_use]
    pub fn is_seeder(&self) -> bool {
        self.0.traits.contains(Traits::SEEDER)
    }

    /// Returns whether the client's address was taken from a trusted proxy's header.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.0.traits.contains(Traits::PROXIED)
    }

    /// Returns whether the announced address is the request's own `ip` parameter.
    #[must_use]
    pub fn is_overridden(&self) -> bool {
        self.0.traits.contains(Traits::OVERRIDDEN)
    }

    /// Returns whether there is a [`request::credential`](crate::request::credential).
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.0.traits.contains(Traits::CREDENTIAL)
    }
}

impl Scrape {
    /// Returns the torrent.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::from_words(self.0.info_hash)
    }

    /// Returns the address of the client that asks.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.0.address)
    }

    /// Returns how the request came.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// Returns whether the client's address was taken from a trusted proxy's header.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.0.traits.contains(Traits::PROXIED)
    }

    /// Returns whether there is a [`request::credential`](crate::request::credential).
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
    fn a_wrong_info_hash_is_refused_with_the_reason() {
        let cases = [
            (String::new(), "must be 40 hexadecimal digits, or 64, is 0"),
            (HASH[1..].into(), "must be 40 hexadecimal digits, or 64, is 39"),
            (HASH.repeat(2), "must be 40 hexadecimal digits, or 64, is 80"),
            (HASH.replace('f', "g"), "must be 40 hexadecimal digits, or 64, has 'g'"),
            (format!("{HASH}\n"), "must be 40 hexadecimal digits, or 64, has '\\n'"),
            (HASH.replace('f', "é"), "must be 40 hexadecimal digits, or 64, has 'é'"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<InfoHash>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_mapped_address_is_ipv4() {
        assert_eq!(address((0, 0, 0xffff, 0xc000_0201)).to_string(), "192.0.2.1");
        assert_eq!(address((0x2001_0db8, 0, 0, 1)).to_string(), "2001:db8::1");
    }
}
