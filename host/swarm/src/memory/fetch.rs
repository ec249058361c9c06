//! Memory that is about to be read, fetched while something else is done.

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Has the line of an address fetched.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a twelfth of a UDP announce was waiting for memory")]
pub fn line<T>(at: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint. It changes nothing that a program can see, and does not fault, whatever the
    // address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Elsewhere memory comes when it is read.
#[cfg(not(target_arch = "x86_64"))]
pub fn line<T>(_: *const T) {}

/// Has the lines of a slice fetched.
pub fn slice<T>(of: &[T]) {
    let start = of.as_ptr().cast::<u8>();
    (0..size_of_val(of)).step_by(LINE).for_each(|at| line(start.wrapping_add(at)));
    // It need not begin where a line does.
    line(of.as_ptr_range().end.cast::<u8>().wrapping_sub(1));
}
