//! The header of a file.

use std::io::{self, Read};

use crate::SECTOR;

/// What a file says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Says what kind of file it is.
    pub magic: [u8; 8],
    pub format: u16,
    pub flags: u32,
    /// When the content was as the file says, in milliseconds since 1970.
    pub created: u64,
    /// Its meaning depends on the kind of file.
    pub parameter: u32,
    /// Random.
    pub file_id: [u8; 16],
    /// The program that wrote it, padded with zeros.
    pub writer: [u8; 16],
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum NotReadable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is of another kind")]
    Magic,
    #[error("it has format {found}, expected {expected}")]
    Format { found: u16, expected: u16 },
    #[error("its header is damaged")]
    Damaged,
}

/// The length of a header in bytes, without the padding.
const LENGTH: usize = 64;

impl Header {
    /// Returns the name of a program as [`Header::writer`]; it is cut after 16 bytes.
    #[must_use]
    pub fn writer(name: &str) -> [u8; 16] {
        let mut writer = [0; 16];
        let len = name.len().min(writer.len());
        writer[..len].copy_from_slice(&name.as_bytes()[..len]);
        writer
    }

    pub(crate) fn bytes(&self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        let mut rest = &mut bytes[..];
        let mut put = |part: &[u8]| {
            let (place, left) = std::mem::take(&mut rest).split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = left;
        };
        put(&self.magic);
        put(&self.format.to_le_bytes());
        put(&(LENGTH as u16).to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.created.to_le_bytes());
        put(&self.parameter.to_le_bytes());
        put(&self.file_id);
        put(&self.writer);
        let sum = crc32c::crc32c(&bytes[..LENGTH - 4]);
        bytes[LENGTH - 4..LENGTH].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header of a file of this kind and format, and its padding.
    pub(crate) fn read(
        from: &mut impl Read,
        magic: [u8; 8],
        format: u16,
    ) -> Result<Self, NotReadable> {
        let mut bytes = Vec::with_capacity(SECTOR);
        from.take(SECTOR as u64).read_to_end(&mut bytes)?;
        if !bytes.starts_with(&magic) {
            return Err(NotReadable::Magic);
        }
        let mut rest = bytes.get(magic.len()..LENGTH).ok_or(NotReadable::Damaged)?;
        let found = u16::from_le_bytes(take(&mut rest));
        if found != format {
            return Err(NotReadable::Format { found, expected: format });
        }
        let length = u16::from_le_bytes(take(&mut rest));
        let header = Self {
            magic,
            format,
            flags: u32::from_le_bytes(take(&mut rest)),
            created: u64::from_le_bytes(take(&mut rest)),
            parameter: u32::from_le_bytes(take(&mut rest)),
            file_id: take(&mut rest),
            writer: take(&mut rest),
        };
        let sum = u32::from_le_bytes(take(&mut rest));
        if usize::from(length) != LENGTH || sum != crc32c::crc32c(&bytes[..LENGTH - 4]) {
            return Err(NotReadable::Damaged);
        }
        Ok(header)
    }
}

/// Takes the next bytes; zeros if there are too few.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let Some((first, after)) = rest.split_first_chunk() else { return [0; N] };
    *rest = after;
    *first
}
