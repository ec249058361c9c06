//! When a plugin whose instances fail is tried again: later and later, then never.

use std::time::Duration;

/// Instances in a row that failed without one call that returned, before a plugin is given up.
const FRUITLESS: u32 = 10;
/// The pause after the second of them; it doubles with each.
const PAUSE: Duration = Duration::from_millis(100);

/// How the instances of one place have fared.
#[derive(Default)]
pub struct Probation {
    /// The present instance has returned from a call.
    proven: bool,
    /// An instance was lost.
    lost: bool,
    fruitless: u32,
}

impl Probation {
    /// The present instance has returned from a call.
    pub fn prove(&mut self) {
        if !self.proven {
            self.proven = true;
            self.fruitless = 0;
        }
    }

    /// The present instance is lost.
    pub fn fail(&mut self) {
        self.lost = true;
        if !std::mem::take(&mut self.proven) {
            self.fruitless += 1;
        }
    }

    /// A new instance did not come up, whatever the present one does.
    pub fn fail_anew(&mut self) {
        self.fruitless += 1;
    }

    /// Another instance takes the place of the present one, which did not fail.
    pub fn renew(&mut self) {
        self.proven = false;
    }

    /// Whether an instance was lost before, so that the next is a restart.
    pub fn is_restart(&self) -> bool {
        self.lost
    }

    /// How long to wait before the next instance is made.
    pub fn pause(&self) -> Duration {
        match self.fruitless {
            0 | 1 => Duration::ZERO,
            n => PAUSE * 2_u32.pow(n.min(FRUITLESS) - 2),
        }
    }

    /// Whether no instance is made any more.
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
