//! The policy's own series on the tracker's `/metrics`: `karuta_plugin_<name>{policy="…"}`.
//!
//! A name is a lower-case letter and up to 63 of `a` to `z`, `0` to `9` and `_`. A policy has at most
//! 64 series. What a trial run counts is not shown.

use crate::{Error, host::metrics};

/// A number that only grows, summed over all instances.
#[derive(Clone, Copy, Debug)]
pub struct Counter(u32);

impl Counter {
    /// Returns the counter of that name, and creates it if it does not exist. Its name on the page
    /// ends in `_total`, which is appended if it is missing.
    ///
    /// # Errors
    ///
    /// Fails if the name is invalid, if any policy has a gauge of that name, or if there are too
    /// many series.
    pub fn new(name: &str, help: &str) -> Result<Self, Error> {
        Ok(Self(metrics::counter(name, help)?))
    }

    /// Adds to the counter.
    pub fn add(self, delta: u64) {
        metrics::add(self.0, delta);
    }
}

/// A number that goes up and down. The value that any instance set last counts.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(u32);

impl Gauge {
    /// Returns the gauge of that name, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the name is invalid, if any policy has a counter of that name, or if there are too
    /// many series.
    pub fn new(name: &str, help: &str) -> Result<Self, Error> {
        Ok(Self(metrics::gauge(name, help)?))
    }

    /// Sets the gauge.
    pub fn set(self, value: f64) {
        metrics::set(self.0, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn tests_see_what_was_counted() {
        let hits = Counter::new("hits", "How often.").unwrap();
        hits.add(2);
        Counter::new("hits", "How often.").unwrap().add(1);
        let heat = Gauge::new("heat", "").unwrap();
        heat.set(1.5);
        heat.set(-2.5);
        assert_eq!(testing::metric("hits"), Some(3.0));
        assert_eq!(testing::metric("heat"), Some(-2.5));
        assert_eq!(testing::metric("other"), None);
        assert!(Gauge::new("hits", "").is_err());
    }

    #[test]
    fn names_and_numbers_of_series_are_bounded_as_on_the_host() {
        for name in ["", "A", "1a", "a-b", &"a".repeat(65)] {
            assert!(Counter::new(name, "").is_err(), "{name}");
        }
        for n in 0..64 {
            assert!(Counter::new(&format!("series_{n}"), "").is_ok());
        }
        assert!(Counter::new("series_0", "").is_ok(), "known");
        let full = Counter::new("series_64", "").unwrap_err();
        assert_eq!(full.to_string(), "a policy may have at most 64 series");
    }
}
