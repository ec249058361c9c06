//! Takes values off the front of bytes, and writes them one after the other.

/// Bytes with a place to write at.
pub struct Put<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Put<'a> {
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Writes the next bytes, for which there must be room.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        // Most texts of records are empty, and a call costs more than the rest.
        if !bytes.is_empty() {
            self.out[self.len..][..bytes.len()].copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Returns how many bytes were written.
    pub fn len(&self) -> usize {
        self.len
    }
}

/// Takes the next bytes. `None`: there are too few.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}
