//! Counters and values that all instances of the policy share. They last through reloads, as long as
//! a policy of this name is in the configuration, and no longer than the daemon.
//!
//! A key has at most 1024 bytes, a value 64 KiB; all together are bounded by `limits.storage`, and
//! nothing is removed to make room but what has expired. In a trial run a policy has a store of its
//! own, which ends with the trial.

use crate::host::keyvalue;

/// The value of a key; of a counter, its decimal digits.
#[must_use]
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    keyvalue::get(key)
}

/// Sets a key to a value, for so many seconds or for ever.
///
/// # Errors
///
/// Something is too large, or the store is full; in words for the log.
pub fn put(key: &[u8], value: &[u8], ttl_seconds: Option<u32>) -> Result<(), String> {
    keyvalue::put(key, value, ttl_seconds)
}

/// Removes a key, if it is there.
pub fn delete(key: &[u8]) {
    keyvalue::delete(key);
}

/// Adds to a counter and returns the sum. Where there is none it is made at zero, for so many
/// seconds or for ever.
///
/// # Errors
///
/// The key has a value that is not a counter, the sum is out of range, the key is too long, or the
/// store is full; in words for the log.
pub fn increment(key: &[u8], delta: i64, ttl_seconds: Option<u32>) -> Result<i64, String> {
    keyvalue::increment(key, delta, ttl_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_values() {
        assert_eq!(get(b"a"), None);
        put(b"a", b"1", Some(60)).unwrap();
        assert_eq!(get(b"a"), Some(b"1".to_vec()));
        assert!(increment(b"a", 1, None).is_err(), "not a counter");
        assert_eq!(increment(b"b", 5, Some(60)), Ok(5));
        assert_eq!(increment(b"b", -7, None), Ok(-2));
        assert!(increment(b"b", i64::MIN, None).is_err(), "out of range");
        assert_eq!(get(b"b"), Some(b"-2".to_vec()));
        delete(b"b");
        assert_eq!(get(b"b"), None);
    }
    #[test]
    fn a_counter_lives_from_when_it_was_made() {
        use std::time::{Duration, SystemTime};
        let at = |seconds| {
            crate::testing::set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        };
        at(100);
        assert_eq!(increment(b"a", 1, Some(60)), Ok(1));
        put(b"b", b"x", Some(90)).unwrap();
        at(159);
        assert_eq!(increment(b"a", 1, Some(60)), Ok(2), "its time goes on");
        at(160);
        assert_eq!((get(b"a"), get(b"b")), (None, Some(b"x".to_vec())));
        assert_eq!(increment(b"a", 1, None), Ok(1));
        at(1000);
        assert_eq!((get(b"a"), get(b"b")), (Some(b"1".to_vec()), None));
    }
}
