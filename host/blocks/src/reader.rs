//! Reads a file of blocks.

use std::io::{self, Read};

use crate::header::take;
use crate::{
    END, ESSENTIAL, Found, HEAD, Header, MAX_PAYLOAD, NotReadable, SECTOR, checksum, padded,
};

/// How many bytes are read at a time.
const CHUNK: usize = 256 * 1024;

/// A whole block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// [`END`] for the last one.
    pub kind: u16,
    /// Who does not know the kind must refuse the file.
    pub essential: bool,
    pub payload: &'a [u8],
}

/// Finds the whole blocks of a file.
pub struct Reader<R> {
    from: R,
    header: Header,
    /// What was read and not yet passed on begins at `start`, which is the beginning of a sector.
    window: Vec<u8>,
    start: usize,
    /// The sequence that the next block should have.
    sequence: u32,
    blocks: u32,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header of a file of this kind and format.
    ///
    /// # Errors
    ///
    /// It is not such a file, its header is damaged, or reading fails.
    pub fn open(mut from: R, magic: [u8; 8], format: u16) -> Result<Self, NotReadable> {
        let header = Header::read(&mut from, magic, format)?;
        let window = Vec::with_capacity(2 * CHUNK);
        Ok(Self { from, header, window, start: 0, sequence: 0, blocks: 0, ended: false })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns what was found so far. If there is no next block, and the end was not found, the file is
    /// cut off.
    pub fn found(&self) -> Found {
        let lost = self.sequence - self.blocks;
        Found { blocks: self.blocks, lost, ended: self.ended, ..Found::default() }
    }

    /// Returns the next whole block, and the end block as the last. Damaged ones are skipped.
    ///
    /// # Errors
    ///
    /// Reading fails.
    pub fn next_block(&mut self) -> io::Result<Option<Block<'_>>> {
        while !self.ended && self.fill(HEAD)? {
            let mut rest = &self.window[self.start..];
            let kind = u16::from_le_bytes(take(&mut rest));
            let flags = u16::from_le_bytes(take(&mut rest));
            let length = u32::from_le_bytes(take(&mut rest)) as usize;
            let sequence = u32::from_le_bytes(take(&mut rest));
            let sum = u32::from_le_bytes(take(&mut rest));
            let plausible =
                length <= MAX_PAYLOAD && self.sequence <= sequence && sequence < u32::MAX;
            if !plausible || !self.fill(HEAD + length)? {
                self.start += SECTOR;
                continue;
            }
            let (start, end) = (self.start, self.start + HEAD + length);
            let (head, payload) =
                (&self.window[start..start + 12], &self.window[start + HEAD..end]);
            if checksum(&self.header.file_id, head, payload) != sum {
                self.start += SECTOR;
                continue;
            }
            self.start += padded(HEAD + length);
            let mut payload = &self.window[start + HEAD..end];
            self.ended = kind == END;
            if self.ended {
                // It counts the blocks before it, as its sequence does.
                let _: [u8; 4] = take(&mut payload);
                self.sequence = sequence;
            } else {
                self.sequence = sequence + 1;
                self.blocks += 1;
            }
            return Ok(Some(Block { kind, essential: flags & ESSENTIAL != 0, payload }));
        }
        Ok(None)
    }

    /// Reads until there are `len` bytes from `start` on; returns whether there are.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        while self.window.len() < self.start + len {
            // A block at the end of the file may be without its padding.
            let passed = self.start.min(self.window.len());
            self.window.drain(..passed);
            self.start -= passed;
            let more = (self.start + len).saturating_sub(self.window.len()).max(CHUNK);
            if self.from.by_ref().take(more as u64).read_to_end(&mut self.window)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
