//! A backoff for plugins whose instances fail, up to giving up.

use std::time::Duration;

/// The number of consecutive instances that fail without a call that returned, before a plugin is
/// given up.
const FRUITLESS: u32 = 10;
/// The pause after the second of them. It doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// The record of one place's instances.
#[derive(Default)]
pub struct Probation {
    /// The current instance has returned from a call.
    proven: bool,
    /// An instance has failed.
    lost: bool,
    fruitless: u32,
}

impl Probation {
    /// Records that the current instance has returned from a call.
    pub fn prove(&mut self) {
        if !self.proven {
            self.proven = true;
            self.fruitless = 0;
        }
    }

    /// Records that the current instance has failed.
    pub fn fail(&mut self) {
        self.lost = true;
        if !std::mem::take(&mut self.proven) {
            self.fruitless += 1;
        }
    }

    /// Records that a new instance could not be created, whatever the current one does.
    pub fn fail_anew(&mut self) {
        self.fruitless += 1;
    }

    /// Records that another instance replaces the current one, which did not fail.
    pub fn renew(&mut self) {
        self.proven = false;
    }

    /// Returns whether an instance has failed before, so that the next one is a restart.
    pub fn is_restart(&self) -> bool {
        self.lost
    }

    /// Returns how long to wait before the next instance is created.
    pub fn pause(&self) -> Duration {
        match self.fruitless {
            0 | 1 => Duration::ZERO,
            n => PAUSE * 2_u32.pow(n.min(FRUITLESS) - 2),
        }
    }

    /// Returns whether the plugin has been given up.
    pub fn has_failed(&self) -> bool {
        self.fruitless >= FRUITLESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_plugin_is_given_up() {
        let mut probation = Probation::default();
        let mut pauses = Vec::new();
        while !probation.has_failed() {
            pauses.push(probation.pause().as_millis());
            probation.fail();
        }
        assert_eq!(pauses, [0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800]);
        assert_eq!(probation.pause(), PAUSE * 256);
    }

    #[test]
    fn one_call_that_returns_begins_anew() {
        let mut probation = Probation::default();
        (0..9).for_each(|_| probation.fail());
        probation.prove();
        probation.fail();
        assert!(!probation.has_failed() && probation.pause().is_zero());
    }
}
