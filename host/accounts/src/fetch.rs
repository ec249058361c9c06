//! Prefetches memory that is about to be read, while other work is done.

/// The size of a cache line in bytes.
pub const LINE: usize = 64;

/// Prefetches the cache line of an address.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "most of what an announce takes here was spent waiting for memory")]
pub fn line<T>(at: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint. It has no effect that a program can observe, and does not fault at any
    // address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Does nothing on other architectures.
#[cfg(not(target_arch = "x86_64"))]
pub fn line<T>(_: *const T) {}
