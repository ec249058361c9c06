//! Takes values off the front of bytes, and writes them one after the other.

/// Bytes with a place to write at.
pub struct Put<'a> {
    room: usize,
    rest: &'a mut [u8],
    is_over: bool,
}

impl<'a> Put<'a> {
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { room: out.len(), rest: out, is_over: false }
    }

    /// Writes the next bytes, if there is room.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        match rest.split_at_mut_checked(bytes.len()) {
            Some((place, rest)) => {
                place.copy_from_slice(bytes);
                self.rest = rest;
            }
            None => self.is_over = true,
        }
    }

    /// Returns how many bytes were written. `None`: there was no room for all of them.
    pub fn len(&self) -> Option<usize> {
        (!self.is_over).then_some(self.room - self.rest.len())
    }
}

/// Takes the next bytes. `None`: there are too few.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}
