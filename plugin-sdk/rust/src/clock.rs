//! What time it is, in a way that tests can set ([`testing::set_time`](crate::testing::set_time)).

use std::time::SystemTime;

/// The time of the host's clock.
#[must_use]
pub fn now() -> SystemTime {
    #[cfg(target_family = "wasm")]
    return SystemTime::now();
    #[cfg(not(target_family = "wasm"))]
    return crate::testing::now();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing;

    #[test]
    fn a_test_sets_the_clock() {
        let before = SystemTime::now();
        assert!(now() >= before, "the machine's, until it is set");
        for seconds in [0, 1_700_000_000] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            testing::set_time(time);
            assert_eq!(now(), time);
        }
    }
}
