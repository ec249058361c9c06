//! A file of checked blocks: a header, blocks with a checksum each, an end block. A reader gets
//! every whole block, whatever has happened to the others.
//!
//! All numbers are little-endian. Header and blocks begin at multiples of 512 bytes, so that the
//! next block is found after any damage; what is between them is zero.
//!
//! | header | bytes | |
//! |---|---|---|
//! | magic | 8 | says what kind of file it is |
//! | format | 2 | a reader takes only the one that it knows |
//! | length of the header | 2 | 64 |
//! | flags | 4 | their meaning depends on the kind of file |
//! | created | 8 | milliseconds since 1970 |
//! | parameter | 4 | its meaning depends on the kind of file |
//! | file id | 16 | random |
//! | writer | 16 | the program, padded with zeros |
//! | checksum | 4 | CRC32C of the 60 bytes before |
//!
//! | block | bytes | |
//! |---|---|---|
//! | kind | 2 | 0xffff: the end |
//! | flags | 2 | 1: a reader that does not know the kind must refuse the file |
//! | length of the payload | 4 | at most 1 MiB |
//! | sequence | 4 | counts from 0 |
//! | checksum | 4 | CRC32C of the file id, the 12 bytes before, and the payload |
//! | payload | | |
//!
//! The file id is in every checksum, so a block of an older file, on a part of the disk that is used
//! again, is not taken for one of this file.

mod found;
mod header;
mod reader;
mod writer;

pub use found::Found;
pub use header::{Header, NotReadable};
pub use reader::{Block, Reader};
pub use writer::Writer;

/// The largest payload of a block, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The kind of the block after the last one.
pub const END: u16 = 0xffff;

/// Where header and blocks begin: at multiples of this, in bytes.
const SECTOR: usize = 512;

/// The size of what precedes a payload, in bytes.
const HEAD: usize = 16;

/// The flag of a block that must not be skipped.
const ESSENTIAL: u16 = 1;

fn padded(len: usize) -> usize {
    len.next_multiple_of(SECTOR)
}

/// Returns the checksum of a block, given the 12 bytes before it.
fn checksum(file_id: &[u8; 16], head: &[u8], payload: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(file_id), head);
    crc32c::crc32c_append(sum, payload)
}

#[cfg(test)]
mod tests;
