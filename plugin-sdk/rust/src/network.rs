//! Addresses and ranges of addresses, as operators write them.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::Deserialize;

use crate::Error;

/// An address or a range of addresses: `192.0.2.1`, `10.0.0.0/8`, `fd00::/8`.
///
/// IPv4 that is written as IPv6 counts as IPv4. Bits after the prefix are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Creates the network of the addresses that share the first `prefix` bits of `address`; `None` if
    /// an address has fewer bits.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (address, prefix) = match address {
            IpAddr::V6(ipv6) if (96..=128).contains(&prefix) => match ipv6.to_ipv4_mapped() {
                Some(ipv4) => (ipv4.into(), prefix - 96),
                None => (address, prefix),
            },
            _ => (address, prefix),
        };
        let first = match address {
            IpAddr::V4(ipv4) if prefix <= 32 => {
                IpAddr::V4((ipv4.to_bits() & !low_bits_v4(prefix)).into())
            }
            IpAddr::V6(ipv6) if prefix <= 128 => {
                IpAddr::V6((ipv6.to_bits() & !low_bits_v6(prefix)).into())
            }
            _ => return None,
        };
        Some(Self { first, prefix })
    }

    /// Returns the first address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Returns the last address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() | low_bits_v4(self.prefix)).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() | low_bits_v6(self.prefix)).into()),
        }
    }

    /// Returns the number of bits that all addresses share.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns whether the network contains an address. A network of one family contains no address
    /// of the other; write IPv4 as IPv4, as the addresses of requests are.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                address.to_bits() & !low_bits_v4(self.prefix) == first.to_bits()
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                address.to_bits() & !low_bits_v6(self.prefix) == first.to_bits()
            }
            _ => false,
        }
    }
}

fn low_bits_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

fn low_bits_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

impl FromStr for Network {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let Some((address, prefix)) = text.split_once('/') else {
                let address: IpAddr = text.parse().ok()?;
                return Self::new(address, if address.is_ipv4() { 32 } else { 128 });
            };
            let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
            Self::new(address.parse().ok()?, prefix.parse().ok().filter(|_| is_number)?)
        };
        parse().ok_or_else(|| {
            Error::new(format_args!(
                "invalid address range `{text}`, expected one such as 10.0.0.0/8 or fd00::/8"
            ))
        })
    }
}

impl TryFrom<String> for Network {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Network> {
        text.parse().ok()
    }

    #[test]
    fn networks_are_read_in_all_their_forms() {
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(read(text).map(|network| network.to_string()).as_deref(), Some(network));
        }
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "eu", "10.0.0.0/8 eu", "::/+8", "::/", "/8"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn addresses_share_the_prefix(address: IpAddr, other: IpAddr, prefix in 0..=128u8) {
            let Some(network) = Network::new(address, prefix) else {
                return Err(TestCaseError::reject("an IPv4 address with a longer prefix"));
            };
            let mapped = address.to_canonical() != address;
            prop_assert!(mapped || network.contains(address));
            prop_assert!(network.contains(network.first()) && network.contains(network.last()));
            let range = network.first()..=network.last();
            prop_assert_eq!(network.contains(other), range.contains(&other));
            prop_assert_eq!(read(&network.to_string()), Some(network));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = read(&text);
        }
    }
}
