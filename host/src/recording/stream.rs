//! Writes whole cache lines past the caches, for memory that is written in turn and hardly ever read: an
//! ordinary store waits until its line has come, and takes the place of what is needed again.
//!
//! # What others see
//!
//! To the memory model, [`line`] hands its words to a helper thread of the writer's, and [`settle`] waits
//! until there is none. A helper begins with a release fence, and stores each word once, with a relaxed
//! atomic store. So
//!
//! * what the writer did before `line` happens before those stores, as at any start of a thread;
//! * those stores happen before what the writer does after `settle`, as at any end of one;
//! * in between they happen at any time and in any order, even after later stores of the writer.
//!
//! x86 keeps each of these. `movnti` writes an aligned word at once, so nobody sees half of one. Its store may
//! pass any other of the writer's, or be passed, but none passes an `sfence`. The first promise therefore
//! needs one between what must be seen first and `line`: callers `settle` then, too. Other architectures
//! and Miri store words as usual, which keeps more than all of that.

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, Ordering::Release, fence};

/// The size of a cache line in bytes, and in words.
pub const LINE: usize = 64;
pub const WORDS: usize = LINE / size_of::<u64>();

/// A cache line that threads share.
#[derive(Default)]
#[repr(align(64))]
pub struct Line(pub [AtomicU64; WORDS]);

/// Stores a line at some time before [`settle`] returns. Only one thread may write the line until then, and
/// what others must see first must be settled.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(
    unsafe_code,
    reason = "the memory of a record took longer than all else that was done for it"
)]
pub fn line(to: &Line, bytes: &[u8; LINE]) {
    for (slot, word) in to.0.iter().zip(words(bytes)) {
        // SAFETY: it writes the 8 bytes of an atomic integer, which is aligned and may be written through a
        // shared reference. Why it may do so later: see the module.
        unsafe {
            std::arch::asm!(
                "movnti [{slot}], {word}",
                slot = in(reg) slot.as_ptr(),
                word = in(reg) word,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub fn line(to: &Line, bytes: &[u8; LINE]) {
    to.0.iter().zip(words(bytes)).for_each(|(slot, word)| slot.store(word, Relaxed));
}

/// Returns when all lines are stored. Whoever sees what this thread stores next also sees them, and what it
/// stored before.
#[allow(unsafe_code, reason = "see `line`")]
pub fn settle() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: it only orders stores.
    unsafe {
        std::arch::asm!("sfence", options(nostack, preserves_flags));
    }
    fence(Release);
}

fn words(bytes: &[u8; LINE]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Acquire;

    use super::*;

    #[test]
    fn a_line_is_what_was_stored_last() {
        let to = [Line::default(), Line::default(), Line::default()];
        let read = |at: usize| to[at].0.each_ref().map(|word| word.load(Acquire).to_le_bytes());
        for first in [1, 64, 128] {
            let bytes = std::array::from_fn(|at| first + at as u8);
            line(&to[1], &bytes);
            settle();
            assert_eq!(read(1).as_flattened(), bytes);
        }
        assert_eq!([read(0), read(2)], [[[0; 8]; WORDS]; 2], "nothing else");
    }
}
