//! Reads the relevant parts of a tracker's bencoded answer. The whole answer is parsed, so that
//! invalid bencode never passes.

/// The maximum nesting of lists and dictionaries.
const DEPTH: u32 = 16;

/// A tracker's answer to an announce or a scrape.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Answer<'a> {
    pub failure: Option<&'a [u8]>,
    pub complete: Option<i64>,
    pub incomplete: Option<i64>,
    pub interval: Option<i64>,
    /// Compact IPv4 peers, 6 bytes each.
    pub peers: &'a [u8],
    /// Compact IPv6 peers, 18 bytes each.
    pub peers6: &'a [u8],
    /// The info-hash, `complete` and `incomplete` of each scraped torrent.
    pub files: Vec<(&'a [u8], i64, i64)>,
}

impl<'a> Answer<'a> {
    /// Reads an answer. Returns `None` if it is not a bencoded dictionary, or if a value has the
    /// wrong type.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes };
        let mut answer = Self::default();
        reader.dictionary(|reader, key| {
            match key {
                b"failure reason" => answer.failure = Some(reader.string()?),
                b"complete" => answer.complete = Some(reader.integer()?),
                b"incomplete" => answer.incomplete = Some(reader.integer()?),
                b"interval" => answer.interval = Some(reader.integer()?),
                b"peers" => answer.peers = reader.string()?,
                b"peers6" => answer.peers6 = reader.string()?,
                b"files" => reader.dictionary(|reader, info_hash| {
                    let (mut complete, mut incomplete) = (None, None);
                    reader.dictionary(|reader, key| {
                        match key {
                            b"complete" => complete = Some(reader.integer()?),
                            b"incomplete" => incomplete = Some(reader.integer()?),
                            _ => reader.skip(DEPTH)?,
                        }
                        Some(())
                    })?;
                    answer.files.push((info_hash, complete?, incomplete?));
                    Some(())
                })?,
                _ => reader.skip(DEPTH)?,
            }
            Some(())
        })?;
        reader.rest.is_empty().then_some(answer)
    }

    /// Returns the number of peers, or `None` if the bytes are not a whole number of peers.
    pub fn peer_count(&self) -> Option<usize> {
        let whole = self.peers.len().is_multiple_of(6) && self.peers6.len().is_multiple_of(18);
        whole.then(|| self.peers.len() / 6 + self.peers6.len() / 18)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.rest.iter().position(|byte| *byte == end)?;
        let (before, after) = self.rest.split_at(at);
        self.rest = &after[1..];
        Some(before)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.until(b':')?;
        if !length.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length = std::str::from_utf8(length).ok()?.parse().ok()?;
        let (string, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(string)
    }

    fn integer(&mut self) -> Option<i64> {
        self.take(b'i')?;
        std::str::from_utf8(self.until(b'e')?).ok()?.parse().ok()
    }

    fn dictionary(
        &mut self,
        mut value: impl FnMut(&mut Self, &'a [u8]) -> Option<()>,
    ) -> Option<()> {
        self.take(b'd')?;
        while self.rest.first() != Some(&b'e') {
            let key = self.string()?;
            value(self, key)?;
        }
        self.take(b'e')
    }

    fn skip(&mut self, depth: u32) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match self.rest.first()? {
            b'i' => self.integer().map(drop),
            b'd' => self.dictionary(|reader, _| reader.skip(deeper)),
            b'l' => {
                self.take(b'l')?;
                while self.rest.first() != Some(&b'e') {
                    self.skip(deeper)?;
                }
                self.take(b'e')
            }
            _ => self.string().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = Answer::read(
            b"d8:completei3e10:incompletei4e8:intervali1800e5:otherlli1eed1:a1:bee\
              5:peers6:abcdef6:peers60:e",
        )
        .unwrap();
        assert_eq!((answer.complete, answer.incomplete), (Some(3), Some(4)));
        assert_eq!((answer.interval, answer.peer_count()), (Some(1800), Some(1)));

        let scrape = b"d5:filesd2:abd8:completei1e10:downloadedi9e10:incompletei2eeee";
        assert_eq!(Answer::read(scrape).unwrap().files, [(&b"ab"[..], 1, 2)]);

        let failure = Answer::read(b"d14:failure reason2:noe").unwrap();
        assert_eq!(failure.failure, Some(&b"no"[..]));
    }

    #[test]
    fn what_is_not_bencode_is_refused() {
        let deep = [b"d1:a".repeat(40), b"e".repeat(40)].concat();
        let all: [&[u8]; 8] =
            [b"", b"i1e", b"d", b"d1:ae", b"de ", b"d1:ai1e", b"d8:complete1:3e", &deep];
        for wrong in all {
            assert_eq!(Answer::read(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn half_a_peer_is_no_peer() {
        let answer = Answer::read(b"d5:peers5:abcdee").unwrap();
        assert_eq!(answer.peer_count(), None);
    }
}
