//! The policy's own series on the tracker's `/metrics`: `karuta_plugin_<name>{policy="…"}`.
//!
//! A name is a lower-case letter and up to 63 of `a` to `z`, `0` to `9` and `_`; a policy has at most
//! 64. What a trial run counts is not shown.

use crate::{Error, host::metrics};

/// A number that only grows, added up over all instances.
#[derive(Clone, Copy, Debug)]
pub struct Counter(u32);

impl Counter {
    /// The counter of that name, which is made where it is not known.
    ///
    /// # Errors
    ///
    /// The name cannot be one, or is a gauge's in some policy; or there are too many.
    pub fn new(name: &str, help: &str) -> Result<Self, Error> {
        metrics::counter(name, help).map(Self).map_err(Error::new)
    }

    /// Adds to it.
    pub fn add(self, delta: u64) {
        metrics::add(self.0, delta);
    }
}

/// A number that goes up and down; what some instance has set last.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(u32);

impl Gauge {
    /// The gauge of that name, which is made where it is not known.
    ///
    /// # Errors
    ///
    /// The name cannot be one, or is a counter's in some policy; or there are too many.
    pub fn new(name: &str, help: &str) -> Result<Self, Error> {
        metrics::gauge(name, help).map(Self).map_err(Error::new)
    }

    /// Sets it.
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
}
