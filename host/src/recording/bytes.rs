//! Takes values off the front of bytes, and writes them one after the other.

/// Bytes with a place to write at.
pub struct Put<'a> {
    out: &'a mut [u8],
    /// More than there are bytes, if what was written does not fit.
    len: usize,
}

impl<'a> Put<'a> {
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Writes the next bytes, if there is room.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.len += bytes.len();
        if let Some(place) = self.out.get_mut(start..self.len) {
            place.copy_from_slice(bytes);
        }
    }

    /// Returns how many bytes were to be written. If there was no room for all of them, they are more than
    /// that.
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
