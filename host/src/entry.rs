//! An entry of a list, as it stands on a line of a file or in an edit.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use karuta_bittorrent::InfoHash;
use serde::de::IgnoredAny;

use crate::config::DataFormat;
use crate::text::{self, Escaped};

/// An entry: what is listed, and the number that the list gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub key: Key,
    /// Of a range; 0 if there is none, and for everything else.
    pub value: u64,
}

/// What an entry lists. A list has each at most once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    InfoHash([u8; 20]),
    /// Without bits after the prefix.
    Range(IpNet),
    Text(Arc<str>),
}

/// How many bytes of an entry an error shows.
const SHOWN: usize = 60;

impl Entry {
    /// Reads an entry of a list that is not `raw`.
    ///
    /// # Errors
    ///
    /// The text, and what was expected.
    pub fn read(format: DataFormat, text: &str) -> Result<Self, String> {
        let bare = bare(text);
        let read = || {
            if bare.is_empty() {
                return Err("an entry");
            }
            if bare.len() < text.trim().len() {
                return Err("an entry without a comment");
            }
            match format {
                DataFormat::InfoHashes => {
                    info_hash(bare).map(|hash| Self { key: Key::InfoHash(hash), value: 0 })
                }
                DataFormat::Addresses => {
                    range(bare).map(|(range, value)| Self { key: Key::Range(range), value })
                }
                DataFormat::Strings => {
                    let text = string(bare)?;
                    Ok(Self { key: Key::Text(text.into()), value: 0 })
                }
                DataFormat::Raw => Err("a list, not raw data"),
            }
        };
        read().map_err(|expected| wrong(text, expected))
    }
}

/// Describes a wrong entry.
pub fn wrong(text: &str, expected: &str) -> String {
    let shown = Escaped(&text[..text.floor_char_boundary(SHOWN)]);
    format!("`{shown}`, expected {expected}")
}

/// Returns a line without its comment and surrounding blanks. A comment begins with a `#` at the
/// start of a line or after a blank.
pub fn bare(line: &str) -> &str {
    let bytes = line.as_bytes();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let comment = memchr::memchr_iter(b'#', bytes).find(|at| *at == 0 || blank(&bytes[at - 1]));
    line[..comment.unwrap_or(line.len())].trim()
}

/// Parses an info-hash: 40 hexadecimal digits of either case, or the 64 of a v2 hash.
///
/// # Errors
///
/// What was expected.
pub fn info_hash(entry: &str) -> Result<[u8; 20], &'static str> {
    InfoHash::from_hex(entry).map(|InfoHash(hash)| hash).ok_or("40 hexadecimal digits, or 64")
}

/// Parses an address or a range (`192.0.2.0/24`), optionally followed by a blank and a number.
///
/// # Errors
///
/// What was expected.
pub fn range(entry: &str) -> Result<(IpNet, u64), &'static str> {
    const EXPECTED: &str = "an address or a range such as 192.0.2.0/24, optionally with a number";
    let mut words = entry.split_ascii_whitespace();
    let network = words.next().and_then(text::network).ok_or(EXPECTED)?;
    let value = match words.next() {
        None => 0,
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.parse().map_err(|_| "a number of at most 64 bits")?
        }
        Some(_) => return Err(EXPECTED),
    };
    match words.next() {
        None => Ok((network, value)),
        Some(_) => Err(EXPECTED),
    }
}

/// Checks a text. One in the notation of another format is refused: look-ups in such a list would
/// find nothing, so a block list would let everyone in.
///
/// # Errors
///
/// What was expected.
pub fn string(entry: &str) -> Result<&str, &'static str> {
    let bare = entry.trim_end_matches(',');
    let quoted = |quote| bare.len() > 1 && bare.starts_with(quote) && bare.ends_with(quote);
    let opens = entry.starts_with(['[', '{']);
    let is_tag = entry.starts_with("<!") || entry.starts_with("<?") || entry.ends_with('>');
    if entry.starts_with('<') && is_tag {
        Err("a list, not HTML or XML")
    } else if opens && (entry.ends_with(['[', '{', ',']) || is_json(entry)) {
        Err("one text per line, not JSON")
    } else if ['"', '\'', '`'].into_iter().any(quoted) {
        Err("a text without quotes")
    } else if bare.len() < entry.len() {
        Err("a text without a comma after it")
    } else if entry.starts_with("- ") || entry.starts_with("* ") {
        Err("a text without a dash before it")
    } else if !text::is_visible(entry) {
        Err("visible characters")
    } else {
        Ok(entry)
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InfoHash(hash) => InfoHash(*hash).fmt(f),
            Self::Range(range) if range.prefix_len() == range.max_prefix_len() => {
                range.addr().fmt(f)
            }
            Self::Range(range) => range.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        match self.value {
            0 => Ok(()),
            value => write!(f, " {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_has_one_notation() {
        for (format, text, shown) in [
            (DataFormat::InfoHashes, " A94A8FE5CCB19BA61C4C0873D391E987982FBBD3 ", None),
            (DataFormat::Addresses, "10.1.2.3/8\t07", Some("10.0.0.0/8 7")),
            (DataFormat::Addresses, "::ffff:192.0.2.1", Some("192.0.2.1")),
            (DataFormat::Addresses, "2001:DB8::/32 0", Some("2001:db8::/32")),
            (DataFormat::Strings, "-XL", Some("-XL")),
        ] {
            let lower = text.trim().to_lowercase();
            let entry = Entry::read(format, text).unwrap();
            assert_eq!(entry.to_string(), shown.unwrap_or(&lower));
            assert_eq!(Entry::read(format, &entry.to_string()), Ok(entry));
        }
    }

    #[test]
    fn what_a_file_could_not_hold_is_no_entry() {
        for (text, expected) in [
            ("", "an entry"),
            ("  ", "an entry"),
            ("# all", "an entry"),
            ("-XL # Xunlei", "an entry without a comment"),
            ("-XL\n-SD", "visible characters"),
            ("-XL,", "a text without a comma after it"),
        ] {
            let reason = Entry::read(DataFormat::Strings, text).unwrap_err();
            assert!(reason.ends_with(&format!("`, expected {expected}")), "{text}: {reason}");
        }
        let long = Entry::read(DataFormat::InfoHashes, &"ü".repeat(1_000_000)).unwrap_err();
        assert!(long.len() < 200, "a long entry is cut");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_again(text in "([-\"'`<>\\[\\]{},# \t\r\n0-9a-f:./]|\\PC){0,40}") {
            for format in [DataFormat::InfoHashes, DataFormat::Addresses, DataFormat::Strings] {
                if let Ok(entry) = Entry::read(format, &text) {
                    prop_assert_eq!(Entry::read(format, &entry.to_string()), Ok(entry));
                }
            }
        }
    }
}
