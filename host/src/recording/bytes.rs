//! Takes values off the front of bytes.

/// Takes the next bytes. `None`: there are too few.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}
