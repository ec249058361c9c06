//! Text from outside: decoding, values that are written the same everywhere, and showing a text
//! without letting it write lines of its own.

use std::fmt;
use std::iter;
use std::net::IpAddr;

use ipnet::IpNet;

/// Why bytes are not text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotText {
    /// They begin with the mark of another encoding.
    #[error("{0}, expected UTF-8")]
    Encoding(&'static str),
    /// The line, counted from 1.
    #[error("line {0}: not UTF-8")]
    Line(usize),
}

/// Decodes UTF-8, without the byte order mark that some editors write before it.
///
/// # Errors
///
/// The encoding if it can be recognised, otherwise the first line that is not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, NotText> {
    // The marks of UTF-32 begin with those of UTF-16.
    const MARKS: [(&[u8], &str); 5] = [
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"\x1f\x8b", "compressed with gzip"),
    ];
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(NotText::Encoding(name));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let begins = before.is_empty() || before.ends_with(['\n', '\r']);
        NotText::Line(lines(before).count() + usize::from(begins))
    })
}

/// Returns a number of things: `1 request`, `2 requests`.
pub fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// Iterates over the lines of a text, which end with LF, CRLF or CR.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', rest.as_bytes()).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let after = after.strip_prefix("\r\n").or_else(|| after.get(1..));
        rest = after.unwrap_or_default();
        Some(line)
    })
}

/// Parses an address or a range such as `192.0.2.0/24`. IPv4 written as IPv6 becomes IPv4, and bits
/// after the prefix are ignored.
pub fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let ipv4 = match network {
        IpNet::V6(range) if range.prefix_len() >= 96 => range.addr().to_ipv4_mapped(),
        _ => None,
    };
    let network = match ipv4 {
        Some(address) => IpNet::new(address.into(), network.prefix_len() - 96).ok()?,
        None => network,
    };
    Some(network.trunc())
}

/// Returns whether all of a text is visible: it has no control characters, no marks that change the
/// direction of writing, and no zero-width characters.
pub fn is_visible(text: &str) -> bool {
    !text.contains(is_unsafe)
}

/// Shows a text on one line: escapes line breaks, terminal control sequences, and marks that change
/// the direction of writing or have no width.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        write!(Escaping(f), "{}", self.0)
    }
}

/// Passes on what is written, escaped as by [`Escaped`].
pub struct Escaping<W>(pub W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_unsafe) {
            let plain = part.trim_end_matches(is_unsafe);
            write!(self.0, "{plain}{}", part[plain.len()..].escape_default())?;
        }
        Ok(())
    }
}

/// The most bytes of a text from outside, including the note that it was cut.
const LONGEST: usize = 4096;

/// Cuts a text that is too long for a log or a terminal, and notes that.
pub fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let note = format!("… ({} bytes)", text.len());
        text.truncate(text.floor_char_boundary(LONGEST - note.len()));
        text.push_str(&note);
    }
    text
}

fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(decode(b"\xef\xbb\xbf-XL"), Ok("-XL"));
        assert_eq!(decode(b"\xef\xbb\xbf\xef\xbb\xbf"), Ok("\u{feff}"));
        assert_eq!(decode(b""), Ok(""));
    }

    #[test]
    fn another_encoding_is_named() {
        let shown = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(shown(b"\xff\xfe-\0X\0"), "UTF-16, expected UTF-8");
        assert_eq!(shown(b"\xff\xfe\0\0-\0\0\0"), "UTF-32, expected UTF-8");
        assert_eq!(shown(b"\x1f\x8b\x08"), "compressed with gzip, expected UTF-8");
        assert_eq!(shown(b"one\ntwo\nthr\xe9"), "line 3: not UTF-8");
        assert_eq!(shown(b"one\rtwo\r\n\xe9"), "line 3: not UTF-8");
        assert_eq!(shown(b"\xe9"), "line 1: not UTF-8");
    }

    #[test]
    fn lines_end_in_three_ways() {
        let all = |text| lines(text).collect::<Vec<_>>();
        assert_eq!(all("a\r\nb\rc\nd"), ["a", "b", "c", "d"]);
        assert_eq!(all("\n\r\r\n\n"), [""; 4]);
        assert_eq!(all("a\n"), ["a"]);
        assert!(all("").is_empty());
    }

    #[test]
    fn networks_are_read_in_all_their_forms() {
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::FFFF:a01:203", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::/0", "::/0"),
        ] {
            let found = super::network(text).map(|network| network.to_string());
            assert_eq!(found.as_deref(), Some(network), "{text}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "010.0.0.1", "fe80::1%eth0", "eu"] {
            assert_eq!(super::network(text), None, "{text}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = "broken\nFORGED\r\x1b[31m\u{9b}\u{202e}\u{2028}ü";
        let shown = Escaped(text).to_string();
        assert_eq!(shown, r"broken\nFORGED\r\u{1b}[31m\u{9b}\u{202e}\u{2028}ü");
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        let whole = "x".repeat(LONGEST);
        assert_eq!(cut(whole.clone()), whole);
        let shown = cut("ü".repeat(LONGEST));
        assert!(shown.len() <= LONGEST && shown.len() > LONGEST - 2, "{}", shown.len());
        assert!(shown.starts_with("üü") && shown.ends_with("ü… (8192 bytes)"), "{shown}");
        assert_eq!(cut(shown.clone()), shown, "it is cut once");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_all_that_is_shown_is_visible(bytes: Vec<u8>, text: String) {
            let _ = decode(&bytes);
            let _ = (network(&text), lines(&text).count());
            prop_assert!(is_visible(&Escaped(&text).to_string()));
        }

        /// A mapped range contains the same IPv4 addresses as the range that it maps.
        #[test]
        fn a_mapped_range_equals_that_of_ipv4(address: std::net::Ipv4Addr, prefix in 0u8..=32) {
            let mapped = format!("{}/{}", address.to_ipv6_mapped(), prefix + 96);
            prop_assert_eq!(network(&mapped), network(&format!("{address}/{prefix}")));
        }
    }
}
