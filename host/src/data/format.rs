//! The text formats: one entry per line. Skips blank lines, and comments that begin with a `#` at
//! the start of a line or after a blank.

use super::set::{Addresses, InfoHashes, Strings};
use crate::entry;
use crate::text;

/// Parses info-hashes: 40 hexadecimal digits of either case, or the 64 of a v2 hash.
///
/// # Errors
///
/// The number of the first wrong line, counted from 1, and its text.
pub fn info_hashes(bytes: &[u8]) -> Result<InfoHashes, String> {
    let mut hashes = Vec::with_capacity(bytes.len() / 41);
    entries(bytes, |entry| {
        hashes.push(entry::info_hash(entry)?);
        Ok(())
    })?;
    Ok(InfoHashes::new(hashes))
}

/// Parses addresses or ranges (`192.0.2.0/24`), each optionally followed by a blank and a number.
///
/// # Errors
///
/// As [`info_hashes`].
pub fn addresses(bytes: &[u8]) -> Result<Addresses, String> {
    let mut ranges = Vec::new();
    entries(bytes, |entry| {
        ranges.push(entry::range(entry)?);
        Ok(())
    })?;
    Ok(Addresses::new(ranges))
}

/// Parses texts.
///
/// # Errors
///
/// As [`info_hashes`].
pub fn strings(bytes: &[u8]) -> Result<Strings, String> {
    let mut texts = Vec::new();
    entries(bytes, |entry| {
        texts.push(Box::from(entry::string(entry)?));
        Ok(())
    })?;
    Ok(Strings::new(texts))
}

/// Passes each entry to `take`, whose error is what was expected.
fn entries<'b>(
    bytes: &'b [u8],
    mut take: impl FnMut(&'b str) -> Result<(), &'static str>,
) -> Result<(), String> {
    let text = text::decode(bytes).map_err(|error| error.to_string())?;
    for (number, line) in (1..).zip(text::lines(text)) {
        let entry = entry::bare(line);
        if entry.is_empty() {
            continue;
        }
        take(entry)
            .map_err(|expected| format!("line {number}: {}", entry::wrong(entry, expected)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use karuta_bittorrent::InfoHash;
    use proptest::prelude::*;

    use super::*;

    const A: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

    #[test]
    fn comments_and_blanks_are_skipped_and_any_line_ends_are_read() {
        let text = "\u{feff}# a list\r\n\r\n one # the first\r\n\t two\t#\n#three\rfour#4\n  # five\n\u{a0}six";
        let strings = strings(text.as_bytes()).unwrap();
        for entry in ["one", "two", "four#4", "six"] {
            assert!(strings.contains(entry), "{entry}");
        }
        assert_eq!(strings.len(), 4);
    }

    #[test]
    fn info_hashes_of_either_case_are_the_same() {
        let text = format!("\u{feff}{}\n{A} # again\r{A}{}\n", A.to_uppercase(), "0".repeat(24));
        let set = info_hashes(text.as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.contains(&InfoHash::from_hex(A).unwrap().0));
    }

    #[test]
    fn texts_of_another_format_are_refused() {
        for (line, expected) in [
            ("<!doctype html>", "a list, not HTML or XML"),
            ("<p>Log in</p>", "a list, not HTML or XML"),
            ("<!doctype html><p>Log in", "a list, not HTML or XML"),
            ("<?xml version=\"1.0\"?><rss", "a list, not HTML or XML"),
            ("[", "one text per line, not JSON"),
            ("[\"-XL\", \"-SD\"]", "one text per line, not JSON"),
            ("{\"deny\": [\"-XL\"]}", "one text per line, not JSON"),
            ("{\"deny\": [", "one text per line, not JSON"),
            ("[\"-XL\",", "one text per line, not JSON"),
            ("\"-XL\"", "a text without quotes"),
            ("  '-XL', # a comment", "a text without quotes"),
            ("-XL,", "a text without a comma after it"),
            ("- -XL", "a text without a dash before it"),
            ("* -XL", "a text without a dash before it"),
            ("-XL\u{ad}", "visible characters"),
            ("\u{200b}-XL", "visible characters"),
            ("-\0X\0L\0", "visible characters"),
            ("-XL\tXunlei", "visible characters"),
        ] {
            let reason = strings(format!("-SD\n{line}\n").as_bytes()).map(|set| set.len());
            let reason = reason.unwrap_err();
            assert!(reason.starts_with("line 2: `"), "{reason}");
            assert!(reason.ends_with(&format!("`, expected {expected}")), "{line}: {reason}");
        }
        for line in ["-XL", "<3", "[::1]", "{x}", "'tis", "\"", "-XL-", "a, b", "é", "--"] {
            let set = strings(line.as_bytes()).unwrap();
            assert!(set.contains(line), "{line}");
        }
    }

    #[test]
    fn addresses_may_have_a_number() {
        let text = "10.0.0.0/8\n10.1.2.3/16 7\n2001:db8::/32\t18446744073709551615 # most\n\
                    ::ffff:192.0.2.0/120 3\n::1";
        let set = addresses(text.as_bytes()).unwrap();
        let find =
            |address: &str| set.find(address.parse().unwrap(), |_| false).map(|(_, value)| value);
        assert_eq!(find("10.2.0.1"), Some(0));
        assert_eq!(find("10.1.255.255"), Some(7));
        assert_eq!(find("2001:db8::1"), Some(u64::MAX));
        assert_eq!(find("192.0.2.255"), Some(3));
        assert_eq!(find("192.0.3.0"), None);
        assert_eq!((find("::1"), find("::2")), (Some(0), None));
        assert_eq!(set.len(), 5);
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        const ADDRESS: &str =
            "an address or a range such as 192.0.2.0/24, optionally with a number";
        let wrong = |result: Result<usize, String>| result.unwrap_err();
        let hash = |text: &str| wrong(info_hashes(text.as_bytes()).map(|set| set.len()));
        assert_eq!(
            hash(&format!("{A}\r\n\r\n{}\r\n", &A[1..])),
            format!("line 3: `{}`, expected 40 hexadecimal digits, or 64", &A[1..])
        );
        assert_eq!(hash("x y"), "line 1: `x y`, expected 40 hexadecimal digits, or 64");
        let net = |text: &str| wrong(addresses(text.as_bytes()).map(|set| set.len()));
        for text in ["10.0.0.0/33", "10.0.0", "10.0.0.1 +1", "10.0.0.1 x", "10.0.0.1 1 2"] {
            assert_eq!(net(text), format!("line 1: `{text}`, expected {ADDRESS}"));
        }
        assert_eq!(
            net("\n::1 18446744073709551616"),
            "line 2: `::1 18446744073709551616`, expected a number of at most 64 bits"
        );
        let bytes = strings(b"a\n\xff\n").map(|set| set.len());
        assert_eq!(wrong(bytes), "line 2: not UTF-8");
        assert_eq!(
            hash("\u{1b}[2J"),
            "line 1: `\\u{1b}[2J`, expected 40 hexadecimal digits, or 64"
        );
        let utf16 = strings(b"\xff\xfe-\0X\0L\0").map(|set| set.len());
        assert_eq!(wrong(utf16), "UTF-16, expected UTF-8");
        assert!(hash(&"ü".repeat(1_000_000)).len() < 200, "a long line is cut");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (info_hashes(&bytes), addresses(&bytes), strings(&bytes));
        }

        #[test]
        fn no_text_panics(text in "([-\"'`<>\\[\\]{},# \t\r\n0-9a-f:./]|\\PC){0,40}") {
            let bytes = text.as_bytes();
            let _ = (info_hashes(bytes), addresses(bytes), strings(bytes));
        }

        #[test]
        fn info_hashes_come_back(hashes in prop::collection::vec(any::<[u8; 20]>(), 0..40)) {
            let text: String = hashes.iter().map(|hash| {
                hex::encode(hash) + "\n"
            }).collect();
            let set = info_hashes(text.as_bytes()).unwrap();
            prop_assert!(hashes.iter().all(|hash| set.contains(hash)));
        }
    }
}
