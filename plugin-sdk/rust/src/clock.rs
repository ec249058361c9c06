//! The time, on a clock that tests can set ([`testing::set_time`](crate::testing::set_time)).

#![allow(clippy::disallowed_methods, reason = "this is the clock that everything else reads")]

use std::time::{Duration, SystemTime};

/// Returns the time of the host's clock. Use it instead of `SystemTime::now`, which a test cannot set.
#[must_use]
pub fn now() -> SystemTime {
    #[cfg(target_family = "wasm")]
    return SystemTime::now();
    #[cfg(not(target_family = "wasm"))]
    return crate::testing::now().unwrap_or_else(SystemTime::now);
}

/// Returns the time since 1970 in UTC; zero on a clock that is set before.
#[must_use]
pub fn unix_time() -> Duration {
    now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_test_sets_the_clock() {
        let before = SystemTime::now();
        assert!(now() >= before, "the machine's, until it is set");
        for seconds in [0, 1_700_000_000] {
            let since = Duration::from_secs(seconds);
            testing::set_time(SystemTime::UNIX_EPOCH + since);
            assert_eq!((now(), unix_time()), (SystemTime::UNIX_EPOCH + since, since));
        }
        testing::set_time(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(unix_time(), Duration::ZERO);
    }
}
