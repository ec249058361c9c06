//! Reads the info dictionary of a `.torrent` file (BEP 3, BEP 52), which the info-hashes cover.

use std::collections::HashSet;

/// The bencoded info dictionary, exactly as in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info<'a> {
    /// The bytes of the `info` dictionary, as they stand in the file.
    pub bytes: &'a [u8],
    /// Whether clients announce its SHA-1 (`is_v1`), its SHA-256 (`is_v2`), or both (a hybrid).
    pub is_v1: bool,
    /// Whether it has a v2 part (BEP 52).
    pub is_v2: bool,
}

/// Why a file is not a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// It is not valid bencode.
    #[error("it is not valid bencode")]
    Form,
    /// It ends too early.
    #[error("it is truncated")]
    Short,
    /// It is nested too deeply.
    #[error("its lists and dictionaries are nested more than {MAX_DEPTH} levels deep")]
    Deep,
    /// Parsers would disagree about the value.
    #[error("it has a dictionary with a duplicate key")]
    Twice,
    /// It has no `info` dictionary.
    #[error("it has no info dictionary")]
    NoInfo,
    /// Its `meta version` is not known.
    #[error("its `meta version` is neither 1 nor 2")]
    Version,
}

/// How deep lists and dictionaries may nest. The folders of a v2 torrent are dictionaries too.
const MAX_DEPTH: usize = 128;
/// The most digits in the length of a string.
const LENGTH: usize = 12;

type Result<T> = std::result::Result<T, Wrong>;

impl<'a> Info<'a> {
    /// Finds the info dictionary of a `.torrent` file.
    ///
    /// # Errors
    ///
    /// Returns why the file is not a torrent.
    pub fn find(metainfo: &'a [u8]) -> Result<Self> {
        let mut found = None;
        let mut outermost = Reader::new(metainfo);
        outermost.dictionary(|key, value| {
            if key == b"info" {
                found = Some(value);
            }
        })?;
        let bytes = found.filter(|info| info.starts_with(b"d")).ok_or(Wrong::NoInfo)?;
        let (mut version, mut has_pieces) = (&b"i1e"[..], false);
        let mut info = Reader { rest: bytes, depth: 1 };
        info.dictionary(|key, value| match key {
            b"meta version" => version = value,
            b"pieces" => has_pieces = true,
            _ => {}
        })?;
        match version {
            b"i1e" => Ok(Self { bytes, is_v1: true, is_v2: false }),
            b"i2e" => Ok(Self { bytes, is_v1: has_pieces, is_v2: true }),
            _ => Err(Wrong::Version),
        }
    }
}

/// Reads bencode of any shape, and passes on the bytes of what it reads.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Open lists and dictionaries.
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// Reads a dictionary, and passes each key and the bytes of its value to `take`.
    pub(crate) fn dictionary(&mut self, mut take: impl FnMut(&'a [u8], &'a [u8])) -> Result<()> {
        self.open(b'd')?;
        let mut keys = HashSet::new();
        while !self.closes()? {
            let key = self.string()?;
            if !keys.insert(key) {
                return Err(Wrong::Twice);
            }
            let value = self.rest;
            self.value()?;
            take(key, &value[..value.len() - self.rest.len()]);
        }
        Ok(())
    }

    fn value(&mut self) -> Result<()> {
        match self.rest.first().ok_or(Wrong::Short)? {
            b'd' => self.dictionary(|_, _| {}),
            b'l' => {
                self.open(b'l')?;
                while !self.closes()? {
                    self.value()?;
                }
                Ok(())
            }
            b'i' => {
                let number = &self.until(b'e', 1 + 20)?[1..];
                let digits = number.strip_prefix(b"-").unwrap_or(number);
                let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
                is_number.then_some(()).ok_or(Wrong::Form)
            }
            _ => self.string().map(drop),
        }
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8]> {
        let digits = self.until(b':', LENGTH)?;
        let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits);
        let length = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        let (string, rest) =
            self.rest.split_at_checked(length.ok_or(Wrong::Form)?).ok_or(Wrong::Short)?;
        self.rest = rest;
        Ok(string)
    }

    fn open(&mut self, with: u8) -> Result<()> {
        self.rest = self.rest.strip_prefix(&[with]).ok_or(Wrong::Form)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Wrong::Deep) } else { Ok(()) }
    }

    /// Reads the end of the innermost list or dictionary, if it is next; returns whether it was.
    fn closes(&mut self) -> Result<bool> {
        let closes = *self.rest.first().ok_or(Wrong::Short)? == b'e';
        if closes {
            self.rest = &self.rest[1..];
            self.depth -= 1;
        }
        Ok(closes)
    }

    /// Returns the bytes before a mark, which must be at most `most` bytes away.
    fn until(&mut self, mark: u8, most: usize) -> Result<&'a [u8]> {
        let ahead = &self.rest[..self.rest.len().min(most + 1)];
        let missing = if ahead.len() > most { Wrong::Form } else { Wrong::Short };
        let end = memchr::memchr(mark, ahead).ok_or(missing)?;
        let (before, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(file: &str) -> Result<(&str, bool, bool)> {
        let Info { bytes, is_v1, is_v2 } = Info::find(file.as_bytes())?;
        Ok((std::str::from_utf8(bytes).unwrap(), is_v1, is_v2))
    }

    #[test]
    fn the_info_dictionary_is_found_unchanged() {
        let torrent = "d8:announce3:url4:infod6:lengthi3e4:name1:ae8:url-listl1:ai-1eee";
        assert_eq!(find(torrent), Ok(("d6:lengthi3e4:name1:ae", true, false)));
        let nested = "d1:ad4:infod1:xi1eee4:infod1:yi2eee";
        assert_eq!(find(nested), Ok(("d1:yi2ee", true, false)), "that of the outermost dictionary");
        let unsorted = "d4:infod1:bi1e1:ai2ee1:a0:e and more";
        assert_eq!(find(unsorted), Ok(("d1:bi1e1:ai2ee", true, false)));
    }

    #[test]
    fn the_version_says_which_hashes_are_announced() {
        for (info, is_v1, is_v2) in [
            ("d12:meta versioni1e6:pieces0:e", true, false),
            ("d9:file treede12:meta versioni2ee", false, true),
            ("d9:file treede12:meta versioni2e6:pieces0:e", true, true),
            ("d1:ad12:meta versioni2eee", true, false),
        ] {
            assert_eq!(find(&format!("d4:info{info}e")), Ok((info, is_v1, is_v2)));
        }
        for version in ["i3e", "i02e", "1:2", "le"] {
            let file = format!("d4:infod12:meta version{version}ee");
            assert_eq!(find(&file), Err(Wrong::Version), "{version}");
        }
    }

    #[test]
    fn errors_say_why_a_file_is_no_torrent() {
        for (file, wrong) in [
            ("", Wrong::Form),
            ("le", Wrong::Form),
            ("<html>", Wrong::Form),
            ("d", Wrong::Short),
            ("de", Wrong::NoInfo),
            ("d4:infoi1ee", Wrong::NoInfo),
            ("d4:infode", Wrong::Short),
            ("d4:info", Wrong::Short),
            ("d9:infode", Wrong::Short),
            ("d-1:e", Wrong::Form),
            ("d4:infod1:ai1xee", Wrong::Form),
            ("d4:infod1:aieee", Wrong::Form),
            ("d4:infod1:ai--1eee", Wrong::Form),
            ("d99999999999999999999:a", Wrong::Form),
            ("d999999999999:a", Wrong::Short),
            ("d4:infode4:infodee", Wrong::Twice),
            ("d4:infod1:ai1e1:bi1e1:ai1eee", Wrong::Twice),
        ] {
            assert_eq!(find(file), Err(wrong), "{file}");
        }
        for open in ["d4:info", "l", "d1:a"] {
            let file = format!("d1:a{}", open.repeat(100_000));
            assert_eq!(find(&file), Err(Wrong::Deep), "{open}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in "d?(4:infod)?[dlei0-9:a]{0,40}") {
            let _ = find(&bytes);
        }

        #[test]
        fn a_torrent_cut_short_is_refused(at: prop::sample::Index) {
            let whole = "d8:announce3:url4:infod6:lengthi3e4:name1:a5:sizesli1ei-2eeee";
            prop_assert!(find(whole).is_ok());
            prop_assert!(find(&whole[..at.index(whole.len())]).is_err());
        }
    }
}
