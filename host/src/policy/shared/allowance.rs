//! A rate limit for a policy's log lines.

use std::time::Instant;

use parking_lot::Mutex;

/// The lines that may come at once, and the lines gained per second.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;

/// The lines that one policy may write, over all its instances, including later ones, and all ways
/// of logging.
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
    /// Returns one that never allows a line.
    pub fn nothing() -> Self {
        let lines = f64::NEG_INFINITY;
        Self(Mutex::new(Left { lines, since: Instant::now(), suppressed: 0 }))
    }

    /// Takes one line. Returns the number of lines dropped before it, or `None` if this line must
    /// be dropped too.
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
