//! Decoding of raw data that is text, and splitting it into lines.

use std::iter;

use crate::Error;

/// Decodes UTF-8, and skips the byte order mark that some editors write before it.
///
/// # Errors
///
/// Fails if the data is not UTF-8. The error names the encoding if it is recognised, or else the
/// first line that is not UTF-8; it shows none of the text.
pub fn decode(data: &[u8]) -> Result<&str, Error> {
    // The mark of UTF-32 begins with that of UTF-16.
    const MARKS: [(&[u8], &str); 5] = [
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"\x1f\x8b", "compressed with gzip"),
    ];
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| data.starts_with(mark)) {
        return Err(Error::new(format_args!("{name}, expected UTF-8")));
    }
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    std::str::from_utf8(data).map_err(|error| {
        let before = std::str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default();
        let begins = before.is_empty() || before.ends_with(['\n', '\r']);
        let line = lines(before).count() + usize::from(begins);
        Error::new(format_args!("line {line}: not UTF-8"))
    })
}

/// Splits a text into lines, which end with LF, CRLF or CR.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        let behind = behind.strip_prefix("\r\n").or_else(|| behind.get(1..));
        rest = behind.unwrap_or_default();
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(decode(b"\xef\xbb\xbf{}").unwrap(), "{}");
        assert_eq!(decode(b"\xef\xbb\xbf\xef\xbb\xbf").unwrap(), "\u{feff}");
    }

    #[test]
    fn data_that_is_not_utf8_is_named() {
        for (data, said) in [
            (&b"\xff\xfe-\0"[..], "UTF-16, expected UTF-8"),
            (b"\xff\xfe\0\0-\0\0\0", "UTF-32, expected UTF-8"),
            (b"\x1f\x8b\x08", "compressed with gzip, expected UTF-8"),
            (b"one\rtwo\r\nthr\xe9", "line 3: not UTF-8"),
            (b"\xe9", "line 1: not UTF-8"),
        ] {
            assert_eq!(decode(data).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn lines_end_in_three_ways() {
        let all = |text| lines(text).collect::<Vec<_>>();
        assert_eq!(all("a\r\nb\rc\nd\n"), ["a", "b", "c", "d"]);
        assert_eq!(all("\n\r\r\n\n"), [""; 4]);
        assert!(all("").is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data: Vec<u8>) {
            if let Ok(text) = decode(&data) {
                prop_assert!(lines(text).all(|line| !line.contains(['\n', '\r'])));
            }
        }
    }
}
