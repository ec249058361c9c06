//! Decisions as lines of JSON in which everything is visible: a terminal that shows them obeys no
//! text from outside.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::text;

/// Appends a value as a line.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    match value.serialize(&mut Serializer::with_formatter(&mut *out, Visible)) {
        Ok(()) => out.push(b'\n'),
        // Writing into memory does not fail.
        Err(_) => out.truncate(before),
    }
}

/// Escapes what is not visible. serde_json does so with the control characters of ASCII.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if text::is_visible(fragment) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut letters = [0; 4];
        for letter in fragment.chars() {
            let one = &*letter.encode_utf8(&mut letters);
            if text::is_visible(one) {
                writer.write_all(one.as_bytes())?;
            } else {
                for unit in one.encode_utf16() {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_is_visible_and_means_the_text(text: String) {
            let mut line = Vec::new();
            write(&mut line, &[&text]);
            let shown = std::str::from_utf8(&line).unwrap().strip_suffix('\n').unwrap();
            prop_assert!(text::is_visible(shown), "{shown:?}");
            let read: [String; 1] = serde_json::from_str(shown).unwrap();
            prop_assert_eq!(&read[0], &text);
        }
    }

    #[test]
    fn marks_that_turn_or_hide_text_are_escaped() {
        let mut line = Vec::new();
        write(&mut line, &"a\u{202e}b\u{9b}\u{200b}\n\"ü");
        assert_eq!(line, "\"a\\u202eb\\u009b\\u200b\\n\\\"ü\"\n".as_bytes());
    }
}
