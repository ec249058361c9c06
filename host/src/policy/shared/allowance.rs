//! How many lines a policy may write to the log.

use std::time::Instant;

use parking_lot::Mutex;

/// Lines that may come at once, and lines that are gained a second.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;

/// The lines that one policy may write: all its instances together, those to come too, by whatever
/// way.
pub struct Allowance(Mutex<Left>);

struct Left {
    lines: f64,
    since: Instant,
    suppressed: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self(Mutex::new(Left { lines: BURST, since: Instant::now(), suppressed: 0 }))
    }
}

impl Allowance {
    /// Takes one line, and says how many were left out before it; `None`: so is this one.
    pub fn take(&self) -> Option<u64> {
        let mut left = self.0.lock();
        let now = Instant::now();
        let gained = now.duration_since(left.since).as_secs_f64() * PER_SECOND;
        left.since = now;
        left.lines = (left.lines + gained).min(BURST);
        if left.lines < 1.0 {
            left.suppressed += 1;
            return None;
        }
        left.lines -= 1.0;
        Some(std::mem::take(&mut left.suppressed))
    }
}
