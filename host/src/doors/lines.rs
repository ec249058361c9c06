//! Lines with an info-hash each, as opentracker reads them.

use karuta_bittorrent::InfoHash;

/// What is left of a stream of lines.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// Whether that line is too long to have a meaning.
    skips: bool,
}

/// The longest line in bytes.
const LINE: usize = 4096;
/// The digits of an info-hash.
const DIGITS: usize = 40;

impl Lines {
    /// Takes the next bytes. Passes on the info-hashes of whole lines, and returns how many lines
    /// had none. A line has 40 hexadecimal digits, and then nothing, or anything that begins with
    /// another character.
    pub fn take(&mut self, bytes: &[u8], mut found: impl FnMut([u8; 20])) -> usize {
        let mut wrong = 0;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.skips {
                self.begun.extend_from_slice(part);
            }
            if self.begun.len() > LINE {
                self.begun.clear();
                self.skips = true;
            }
            if !part.ends_with(b"\n") {
                continue;
            }
            let line = self.begun.trim_ascii();
            match info_hash(line) {
                Some(hash) if !self.skips => found(hash),
                _ => wrong += usize::from(self.skips || !line.is_empty()),
            }
            self.begun.clear();
            self.skips = false;
        }
        wrong
    }

    /// Ends a line that was begun, likewise.
    pub fn end(&mut self, found: impl FnMut([u8; 20])) -> usize {
        self.take(b"\n", found)
    }
}

fn info_hash(line: &[u8]) -> Option<[u8; 20]> {
    let (digits, rest) = line.split_at_checked(DIGITS)?;
    if rest.first().is_some_and(u8::is_ascii_hexdigit) {
        return None;
    }
    InfoHash::from_hex(str::from_utf8(digits).ok()?).map(|InfoHash(hash)| hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(parts: &[&[u8]]) -> (usize, usize) {
        let (mut lines, mut found) = (Lines::default(), 0);
        let wrong: usize = parts.iter().map(|part| lines.take(part, |_| found += 1)).sum();
        (found, wrong)
    }

    #[test]
    fn a_line_has_an_info_hash_or_counts_as_wrong() {
        let hash = "aF".repeat(20);
        for (text, expected) in [
            (format!("{hash}\n"), (1, 0)),
            (format!("{hash}\r\n\n{hash} a comment\n{hash}:0:0\n"), (3, 0)),
            (format!("{hash}0\n"), (0, 1)),
            (format!("{hash}{hash}\n"), (0, 1)),
            (format!("{}\n", &hash[1..]), (0, 1)),
            (format!("# {hash}\n"), (0, 1)),
            (hash.clone(), (0, 0)),
            (format!("{}\n{hash}\n", "x".repeat(100_000)), (1, 1)),
            (format!("{hash} {}\n{hash}\n", "x".repeat(100_000)), (1, 1)),
        ] {
            assert_eq!(read(&[text.as_bytes()]), expected, "{}", &text[..text.len().min(60)]);
        }
        assert_eq!(read(&[&hash.as_bytes()[..7], &hash.as_bytes()[7..], b"\n"]), (1, 0));
    }

    #[test]
    fn a_line_that_was_begun_can_be_ended() {
        let (hash, mut lines) = ("aF".repeat(20), Lines::default());
        for (text, expected) in [(&*hash, (1, 0)), (&hash[1..], (0, 1)), ("", (0, 0))] {
            lines.take(text.as_bytes(), |_| unreachable!());
            let mut found = 0;
            let wrong = lines.end(|_| found += 1);
            assert_eq!((found, wrong), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_lines_are_cut(text in "([0-9a-f]{40}|[ -~]{0,9}|\n){0,20}", at: prop::sample::Index) {
            let bytes = text.as_bytes();
            let (one, other) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(read(&[bytes]), read(&[one, other]));
        }
    }
}
