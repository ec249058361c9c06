//! Text from outside: decoded in one place, and shown without letting it write lines of its own.

use std::fmt;

/// Bytes that are no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotText {
    /// They begin with the mark of another encoding.
    #[error("{0}, expected UTF-8")]
    Encoding(&'static str),
    /// The line counts from 1.
    #[error("line {0}: not UTF-8")]
    Line(usize),
}

/// Decodes UTF-8, without the byte order mark that some editors write before it.
///
/// # Errors
///
/// Which encoding it is where that shows, else the first line that is not UTF-8.
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
        let before = &bytes[..error.valid_up_to()];
        NotText::Line(1 + memchr::memchr_iter(b'\n', before).count())
    })
}

/// Shows a text on one line: line breaks, control sequences of terminals and marks that turn the
/// direction of writing are escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes on as [`Escaped`] whatever it is given.
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

/// Bytes that a text of somebody else's may have, what says that it was cut included.
const LONGEST: usize = 4096;

/// Cuts a text that is too long for a log or a terminal, and has it say so.
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
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
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
    fn what_is_no_utf8_is_named() {
        let shown = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(shown(b"\xff\xfe-\0X\0"), "UTF-16, expected UTF-8");
        assert_eq!(shown(b"\xff\xfe\0\0-\0\0\0"), "UTF-32, expected UTF-8");
        assert_eq!(shown(b"\x1f\x8b\x08"), "compressed with gzip, expected UTF-8");
        assert_eq!(shown(b"one\ntwo\nthr\xe9"), "line 3: not UTF-8");
    }

    #[test]
    fn nothing_writes_a_line_of_its_own() {
        let text = "broken\nFORGED\r\x1b[31m\u{9b}\u{202e}\u{2028}ü";
        let shown = Escaped(text).to_string();
        assert_eq!(shown, r"broken\nFORGED\r\u{1b}[31m\u{9b}\u{202e}\u{2028}ü");
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        let whole = "x".repeat(LONGEST);
        assert_eq!(cut(whole.clone()), whole);
        let shown = cut("ü".repeat(LONGEST));
        assert!(shown.len() <= LONGEST && shown.len() > LONGEST - 2, "{}", shown.len());
        assert!(shown.starts_with("üü") && shown.ends_with("ü… (8192 bytes)"), "{shown}");
        assert_eq!(cut(shown.clone()), shown, "it is cut once");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, text: String) {
            let _ = decode(&bytes);
            prop_assert!(!Escaped(&text).to_string().chars().any(is_unsafe));
        }
    }
}
