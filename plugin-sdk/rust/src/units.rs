//! Durations in the units of the contract: whole seconds or minutes of 32 bits.

use std::time::Duration;

/// Rounds up, so that clients wait and values live at least as long as requested.
pub(crate) fn seconds_up(duration: Duration) -> u32 {
    let fraction = u64::from(duration.subsec_nanos() > 0);
    saturate(duration.as_secs().saturating_add(fraction))
}

/// Rounds down, so that nothing is remembered for longer than was promised.
pub(crate) fn seconds_down(duration: Duration) -> u32 {
    saturate(duration.as_secs())
}

/// Rounds up, as [`seconds_up`].
pub(crate) fn minutes_up(duration: Duration) -> u32 {
    let fraction = u64::from(duration.subsec_nanos() > 0);
    saturate(duration.as_secs().saturating_add(fraction).div_ceil(60))
}

/// Rounds up, as [`seconds_up`].
pub(crate) fn milliseconds_up(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_to_the_units_of_the_contract() {
        let at = |milliseconds| {
            let duration = Duration::from_millis(milliseconds);
            (
                seconds_up(duration),
                seconds_down(duration),
                minutes_up(duration),
                milliseconds_up(duration),
            )
        };
        assert_eq!(at(0), (0, 0, 0, 0));
        assert_eq!(at(1), (1, 0, 1, 1));
        assert_eq!(at(60_000), (60, 60, 1, 60_000));
        assert_eq!(at(60_001), (61, 60, 2, 60_001));
        assert_eq!(milliseconds_up(Duration::from_nanos(1)), 1);
        let most = Duration::MAX;
        assert_eq!((seconds_up(most), seconds_down(most)), (u32::MAX, u32::MAX));
        assert_eq!((minutes_up(most), milliseconds_up(most)), (u32::MAX, u32::MAX));
    }
}
