//! Writes a file of blocks.

use std::io::{self, Write};

use crate::{END, ESSENTIAL, HEAD, Header, MAX_PAYLOAD, checksum, padded};

/// A block is written once it has this many bytes, so that damage costs little and a write is long.
const FULL: usize = 256 * 1024;

/// Collects a block at a time. It must be [ended](Self::end), or its last block is not written.
pub struct Writer<W> {
    to: W,
    file_id: [u8; 16],
    /// The sequence of the open block.
    sequence: u32,
    kind: u16,
    flags: u16,
    /// The head, still empty, and the payload of the open block.
    open: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    ///
    /// Writing fails, here and below.
    pub fn create(mut to: W, header: &Header) -> io::Result<Self> {
        let bytes = header.bytes();
        to.write_all(&bytes)?;
        let mut open = Vec::with_capacity(padded(FULL));
        open.resize(HEAD, 0);
        let (file_id, written) = (header.file_id, bytes.len() as u64);
        Ok(Self { to, file_id, sequence: 0, kind: END, flags: 0, open, written })
    }

    /// Appends a record of at most `room` bytes to the open block of this kind, or begins one. A
    /// block never ends within a record. `write` is told whether the block is new, and appends the
    /// record. If the kind is `essential`, readers that do not know it refuse the file.
    ///
    /// # Errors
    ///
    /// Writing the last block fails, or `room` or the record is larger than [`MAX_PAYLOAD`].
    pub fn append(
        &mut self,
        (kind, essential): (u16, bool),
        room: usize,
        write: impl FnOnce(bool, &mut Vec<u8>),
    ) -> io::Result<()> {
        let flags = if essential { ESSENTIAL } else { 0 };
        let len = self.open.len();
        if (self.kind, self.flags) != (kind, flags) || (len > HEAD && len + room > FULL) {
            self.seal()?;
            (self.kind, self.flags) = (kind, flags);
        }
        write(self.open.len() == HEAD, &mut self.open);
        if self.open.len() > HEAD + MAX_PAYLOAD {
            self.open.truncate(HEAD);
            return Err(io::Error::other("a record is too large"));
        }
        Ok(())
    }

    /// Writes the open block, if it has a payload.
    ///
    /// # Errors
    ///
    /// Writing fails.
    pub fn seal(&mut self) -> io::Result<()> {
        if self.open.len() == HEAD {
            return Ok(());
        }
        let length = (self.open.len() - HEAD) as u32;
        let (head, payload) = self.open.split_at_mut(HEAD);
        head[..2].copy_from_slice(&self.kind.to_le_bytes());
        head[2..4].copy_from_slice(&self.flags.to_le_bytes());
        head[4..8].copy_from_slice(&length.to_le_bytes());
        head[8..12].copy_from_slice(&self.sequence.to_le_bytes());
        let sum = checksum(&self.file_id, &head[..12], payload);
        head[12..].copy_from_slice(&sum.to_le_bytes());
        self.open.resize(padded(self.open.len()), 0);
        self.to.write_all(&self.open)?;
        self.written += self.open.len() as u64;
        self.sequence += 1;
        self.open.truncate(HEAD);
        Ok(())
    }

    /// Writes the open block, and returns what was written to, without an end: readers call it cut off.
    ///
    /// # Errors
    ///
    /// Writing fails.
    pub fn leave(mut self) -> io::Result<W> {
        self.seal()?;
        Ok(self.to)
    }

    /// Writes the end block, and returns what was written to, with the size of the file in bytes.
    ///
    /// # Errors
    ///
    /// Writing fails.
    pub fn end(mut self, payload: &[u8]) -> io::Result<(W, u64)> {
        self.seal()?;
        self.kind = END;
        self.flags = 0;
        self.open.extend_from_slice(&self.sequence.to_le_bytes());
        self.open.extend_from_slice(payload);
        self.seal()?;
        Ok((self.to, self.written))
    }
}
