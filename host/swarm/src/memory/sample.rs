//! Uniform choice among peers.

use std::hint::select_unpredictable;

use rand::Rng;

/// Fills `chosen` with distinct numbers below `below`, every subset equally likely.
///
/// This is Floyd's algorithm: it draws one random number per chosen one, whatever `below` is. If
/// most numbers are chosen, it draws those that are not. Up to [`QUICK`] numbers need no
/// allocation. Their order is not uniform. `below` must be at least the length of `chosen`.
pub fn choose(below: u32, rng: &mut impl Rng, chosen: &mut [u32]) {
    if chosen.len() <= QUICK {
        choose_with(&mut [0; 64], below, rng, chosen);
    } else {
        let words = below.div_ceil(u64::BITS) as usize;
        choose_with(&mut vec![0; words], below, rng, chosen);
    }
}

/// Removes the numbers that `is_out`, and then as many others as exceed `count`. If every subset
/// was equally likely before, every subset is equally likely after.
pub fn leave_out<'a>(
    chosen: &'a mut [u32],
    count: usize,
    rng: &mut impl Rng,
    is_out: impl Fn(u32) -> bool,
) -> &'a mut [u32] {
    let mut len = 0;
    for at in 0..chosen.len() {
        if !is_out(chosen[at]) {
            chosen[len] = chosen[at];
            len += 1;
        }
    }
    while len > count {
        len -= 1;
        chosen[draw(len as u32, rng) as usize] = chosen[len];
    }
    &mut chosen[..len]
}

/// The most numbers that are chosen without an allocation.
pub const QUICK: usize = 512;

/// `seen` has a bit for each number, or 2¹² bits.
fn choose_with(seen: &mut [u64], below: u32, rng: &mut impl Rng, chosen: &mut [u32]) {
    let count = chosen.len() as u32;
    if below < 2 * count {
        floyd(below, below - count, rng, seen, |_| {});
        // Bit by bit, without a branch for each number.
        let mut chosen = chosen.iter_mut();
        for (first, word) in (0..below).step_by(64).zip(seen) {
            let mut left = !*word;
            while left != 0 {
                let Some(chosen) = chosen.next() else { break };
                *chosen = first + left.trailing_zeros();
                left &= left - 1;
            }
        }
    } else if below as usize <= 64 * seen.len() {
        let mut chosen = chosen.iter_mut();
        floyd(below, count, rng, seen, |number| {
            if let Some(chosen) = chosen.next() {
                *chosen = number;
            }
        });
    } else {
        floyd_of_many(below, rng, seen, chosen);
    }
}

/// Draws `count` numbers, each of which has its own bit.
fn floyd(
    below: u32,
    count: u32,
    rng: &mut impl Rng,
    seen: &mut [u64],
    mut chosen: impl FnMut(u32),
) {
    for last in below - count..below {
        let number = draw(last, rng);
        let number = select_unpredictable(is_set(seen, number), last, number);
        set(seen, number);
        chosen(number);
    }
}

/// Numbers share the 2¹² bits. If the bit of a number is set, the chosen ones are searched for it.
fn floyd_of_many(below: u32, rng: &mut impl Rng, seen: &mut [u64], chosen: &mut [u32]) {
    let first = below - chosen.len() as u32;
    for (at, last) in (first..below).enumerate() {
        let mut number = draw(last, rng);
        if is_set(seen, number % 4096) && chosen[..at].contains(&number) {
            number = last;
        }
        set(seen, number % 4096);
        chosen[at] = number;
    }
}

/// Draws a number up to `last`. The probabilities differ by at most one part in 2³².
pub fn draw(last: u32, rng: &mut impl Rng) -> u32 {
    let product = u128::from(rng.next_u64()) * (u128::from(last) + 1);
    (product >> 64) as u32
}

fn is_set(bits: &[u64], bit: u32) -> bool {
    bits[(bit / 64) as usize] & 1 << (bit % 64) != 0
}

fn set(bits: &mut [u64], bit: u32) {
    bits[(bit / 64) as usize] |= 1 << (bit % 64);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn chosen(below: u32, count: u32, rng: &mut SmallRng) -> Vec<u32> {
        let mut numbers = vec![0; count as usize];
        choose(below, rng, &mut numbers);
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn every_subset_is_equally_likely() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut times = HashMap::new();
        for _ in 0..35_000 {
            *times.entry(chosen(7, 3, &mut rng)).or_insert(0_u32) += 1;
        }
        assert_eq!(times.len(), 35);
        // 34 degrees of freedom: exceeds 65.2 once in 1000.
        let chi_square: f64 =
            times.values().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 65.2, "{chi_square}");
    }

    #[test]
    fn what_is_left_is_equally_likely() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut times = HashMap::new();
        for _ in 0..20_000 {
            // Three of seven, without two of them.
            let mut numbers = [0; 5];
            choose(7, &mut rng, &mut numbers);
            let left = leave_out(&mut numbers, 3, &mut rng, |number| number == 2 || number == 6);
            left.sort_unstable();
            *times.entry(left.to_vec()).or_insert(0_u32) += 1;
        }
        assert_eq!(times.len(), 10);
        // 9 degrees of freedom: exceeds 27.9 once in 1000.
        let chi_square: f64 =
            times.values().map(|&n| (f64::from(n) - 2000.0).powi(2) / 2000.0).sum();
        assert!(chi_square < 27.9, "{chi_square}");
        assert_eq!(leave_out(&mut [1, 2, 3], 5, &mut rng, |number| number == 2), [1, 3]);
        assert!(leave_out(&mut [1, 2], 0, &mut rng, |_| false).is_empty());
    }

    proptest! {
        #[test]
        fn numbers_are_distinct_and_below(
            below in prop_oneof![0..100_u32, 4000..4200_u32, 10_000..2_000_000_u32],
            count in prop_oneof![0..70_u32, 500..530_u32, 0..5000_u32],
            seed: u64,
        ) {
            let count = count.min(below);
            let mut numbers = chosen(below, count, &mut SmallRng::seed_from_u64(seed));
            prop_assert!(numbers.iter().all(|&number| number < below));
            numbers.dedup();
            prop_assert_eq!(numbers.len(), count as usize);
        }
    }
}
