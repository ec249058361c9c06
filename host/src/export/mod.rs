//! All torrents of a store, written in formats that others read.

mod format;
mod walk;

use std::fmt;
use std::str::FromStr;

use karuta_bittorrent::InfoHash;

pub use self::format::{Format, role_name};
pub use self::walk::{Clock, Export};

/// What is exported, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub format: Format,
    /// Torrents with fewer peers are left out.
    pub min_peers: u32,
    pub prefix: Prefix,
    /// Whether the peers follow each torrent, in a format that can carry them.
    pub peers: bool,
}

/// The first hexadecimal digits of info-hashes. The default is none, which all begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prefix {
    digits: usize,
    bytes: [u8; 20],
}

/// A text that is not the beginning of an info-hash in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected up to 40 hexadecimal digits")]
pub struct NotHex;

impl FromStr for Prefix {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        let digits = text.len();
        let filled = format!("{text:0<40}");
        let bytes = if digits <= 40 { hex::FromHex::from_hex(filled) } else { return Err(NotHex) };
        bytes.map(|bytes| Self { digits, bytes }).map_err(|_| NotHex)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.bytes)[..self.digits])
    }
}

impl Prefix {
    /// Returns whether an info-hash begins with it.
    pub fn covers(&self, info_hash: InfoHash) -> bool {
        let whole = self.digits / 2;
        let differs = |at: usize| self.bytes[at] ^ info_hash.0[at];
        (0..whole).all(|at| differs(at) == 0)
            && (self.digits.is_multiple_of(2) || differs(whole) >> 4 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_what_begins_with_its_digits() {
        let info_hash = InfoHash::from_hex("ab1234567890abcdef00ab1234567890abcdef00").unwrap();
        let covers = |text: &str| text.parse::<Prefix>().map(|prefix| prefix.covers(info_hash));
        for text in ["", "a", "AB", "ab1", "ab1234567890abcdef00ab1234567890abcdef00"] {
            assert_eq!(covers(text), Ok(true), "{text}");
        }
        for text in ["", "a", "0ab", "00"] {
            assert_eq!(text.parse().as_ref().map(Prefix::to_string), Ok(text.to_owned()));
        }
        for text in ["b", "ac", "ab2", "ab1234567890abcdef00ab1234567890abcdef01"] {
            assert_eq!(covers(text), Ok(false), "{text}");
        }
        for text in ["g", "0x", "ä", "ab1234567890abcdef00ab1234567890abcdef000"] {
            assert_eq!(covers(text), Err(NotHex), "{text}");
        }
    }
}
