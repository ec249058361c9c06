//! Doors of the admin API that have addresses of their own.

use std::net::{IpAddr, SocketAddr};

use super::problem::{Problem, problem};

/// A door with an address of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteDoor {
    Gazelle,
    Unit3d,
}

impl SiteDoor {
    /// Returns the key of `admin` that opens it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gazelle => "gazelle",
            Self::Unit3d => "unit3d",
        }
    }
}

/// Checks that a door is not on the Internet, because nothing is encrypted.
pub(super) fn private(path: &str, listen: SocketAddr) -> Result<(), Problem> {
    if is_private(listen.ip()) {
        return Ok(());
    }
    let message = format!(
        "`{listen}` is a public address, where passwords and passkeys could be read, expected a \
         loopback or private one"
    );
    problem(path, message)
}

/// Returns whether a secret can be a part of a path as it is: letters, digits, `-` and `_`.
pub(super) fn is_plain(secret: &[u8]) -> bool {
    secret.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Returns whether an address is none of the Internet.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_others() {
        for private in ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.17.0.1", "fd00::1"] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["0.0.0.0", "::", "192.0.2.1", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8"]
        {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
