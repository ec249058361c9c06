//! Counters and values shared by all instances of the policy.
//!
//! They last through reloads as long as the configuration has a policy of this name, and no longer
//! than the daemon runs. A key has at most 1024 bytes, a value 64 KiB; `limits.storage` bounds the
//! total. Nothing is removed to make room except what has expired. In a trial run a policy has its
//! own store, which ends with the trial.

use std::time::Duration;

use crate::{Error, host::keyvalue, units::seconds_up};

/// Returns the value of a key; for a counter, its decimal digits.
#[must_use]
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    keyvalue::get(key)
}

/// Sets a key to a value, which expires after `ttl` (rounded up to whole seconds) or never.
///
/// # Errors
///
/// Fails if the key or the value is too large, or the store is full.
pub fn put(key: &[u8], value: &[u8], ttl: Option<Duration>) -> Result<(), Error> {
    Ok(keyvalue::put(key, value, ttl.map(seconds_up))?)
}

/// Removes a key, if it is there.
pub fn delete(key: &[u8]) {
    keyvalue::delete(key);
}

/// Adds to a counter and returns the sum.
///
/// A counter that does not exist is created at zero; it expires after `ttl` (rounded up to whole
/// seconds), or never. The `ttl` of an existing counter does not change.
///
/// # Errors
///
/// Fails if the key has a value that is not a counter, the sum is out of range, the key is too
/// long, or the store is full.
pub fn increment(key: &[u8], delta: i64, ttl: Option<Duration>) -> Result<i64, Error> {
    Ok(keyvalue::increment(key, delta, ttl.map(seconds_up))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Option<Duration> = Some(Duration::from_mins(1));

    #[test]
    fn counters_and_values() {
        assert_eq!(get(b"a"), None);
        put(b"a", b"1", MINUTE).unwrap();
        assert_eq!(get(b"a"), Some(b"1".to_vec()));
        assert!(increment(b"a", 1, None).is_err(), "not a counter");
        assert_eq!(increment(b"b", 5, MINUTE), Ok(5));
        assert_eq!(increment(b"b", -7, None), Ok(-2));
        assert!(increment(b"b", i64::MIN, None).is_err(), "out of range");
        assert_eq!(get(b"b"), Some(b"-2".to_vec()));
        delete(b"b");
        assert_eq!(get(b"b"), None);
    }

    #[test]
    fn a_counter_lives_from_when_it_was_made() {
        use std::time::SystemTime;
        let at = |seconds| {
            crate::testing::set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        };
        at(100);
        assert_eq!(increment(b"a", 1, MINUTE), Ok(1));
        put(b"b", b"x", Some(Duration::from_secs(90))).unwrap();
        at(159);
        assert_eq!(increment(b"a", 1, MINUTE), Ok(2), "its expiry does not change");
        at(160);
        assert_eq!((get(b"a"), get(b"b")), (None, Some(b"x".to_vec())));
        assert_eq!(increment(b"a", 1, None), Ok(1));
        at(1000);
        assert_eq!((get(b"a"), get(b"b")), (Some(b"1".to_vec()), None));
    }

    #[test]
    fn a_fraction_of_a_second_counts_as_a_whole_one() {
        put(b"a", b"", Some(Duration::from_millis(1))).unwrap();
        assert_eq!(get(b"a"), Some(Vec::new()));
    }

    #[test]
    fn what_is_too_large_is_refused_as_by_the_host() {
        let refused = |key: &[u8], value: &[u8]| put(key, value, None).unwrap_err().to_string();
        assert_eq!(refused(&[0; 1025], b""), "the key has more than 1024 bytes");
        assert_eq!(refused(b"a", &[0; 65537]), "the value has more than 65536 bytes");
        assert!(increment(&[0; 1025], 1, None).is_err());
        assert!(put(&[0; 1024], &[0; 65536], None).is_ok());
    }
}
