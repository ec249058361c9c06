//! Prefetches memory that is about to be read, while other work is done.

/// The size of a cache line in bytes.
pub const LINE: usize = 64;

/// Prefetches the cache line of an address.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "a twelfth of a UDP announce was spent waiting for memory of swarms, and most of a look-up in \
              the books"
)]
pub fn line<T>(at: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint. It has no effect that a program can observe, and does not fault at any
    // address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Does nothing on other architectures.
#[cfg(not(target_arch = "x86_64"))]
pub fn line<T>(_: *const T) {}

/// Prefetches the cache lines of a slice.
pub fn slice<T>(of: &[T]) {
    let start = of.as_ptr().cast::<u8>();
    (0..size_of_val(of)).step_by(LINE).for_each(|at| line(start.wrapping_add(at)));
    // The slice may begin within a line.
    line(of.as_ptr_range().end.cast::<u8>().wrapping_sub(1));
}
