//! The time of day, and what it was at moments of the monotonic clock, the same for all threads: a request
//! has one time, whoever asks for it. Moments stay exact to each other unless the machine's clock is set.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The same time on both clocks.
struct Clocks {
    start: Instant,
    /// Microseconds since 1970 at `start`.
    unix: AtomicU64,
}

static CLOCKS: LazyLock<Clocks> = LazyLock::new(|| Clocks::at(look()));

/// What the machine's clock may be off, in microseconds, before it counts as set.
const SET: u64 = 50_000;
/// How long it may take to look at both clocks.
const TOGETHER: Duration = Duration::from_micros(100);
/// How often that is tried. A thread may lose its processor in between.
const TRIES: usize = 8;

/// Returns the time since 1970; zero if the clock is set before.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time of a moment since 1970, in whole microseconds.
pub fn at(moment: Instant) -> Duration {
    Duration::from_micros(CLOCKS.unix(moment))
}

/// Follows the machine's clock if it has been set. Call it now and then.
pub fn follow() {
    CLOCKS.follow(look());
}

/// Looks at both clocks: the second one in microseconds since 1970.
fn look() -> (Instant, u64) {
    let once = || {
        let before = Instant::now();
        let unix = since_1970();
        (before.elapsed(), before, micros(unix))
    };
    let mut best = once();
    for _ in 1..TRIES {
        if best.0 <= TOGETHER {
            break;
        }
        let other = once();
        if other.0 < best.0 {
            best = other;
        }
    }
    let (_, moment, unix) = best;
    (moment, unix)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Clocks {
    fn at((start, unix): (Instant, u64)) -> Self {
        Self { start, unix: AtomicU64::new(unix) }
    }

    fn unix(&self, moment: Instant) -> u64 {
        let unix = self.unix.load(Relaxed);
        match moment.checked_duration_since(self.start) {
            Some(since) => unix.saturating_add(micros(since)),
            None => unix.saturating_sub(micros(self.start - moment)),
        }
    }

    fn follow(&self, (moment, unix): (Instant, u64)) {
        if unix.abs_diff(self.unix(moment)) > SET {
            let since = micros(moment.saturating_duration_since(self.start));
            self.unix.store(unix.saturating_sub(since), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_stay_exact_to_each_other_until_the_clock_is_set() {
        let (start, unix) = (Instant::now() + Duration::from_secs(5), 1_000_000_000);
        let clocks = Clocks::at((start, unix));
        let later = start + Duration::from_micros(2_500_000);
        assert_eq!(clocks.unix(later), unix + 2_500_000);
        assert_eq!(clocks.unix(start - Duration::from_secs(1)), unix - 1_000_000);
        clocks.follow((later, unix + 2_500_000 + SET));
        assert_eq!(clocks.unix(later), unix + 2_500_000, "it runs a little faster");
        for set in [unix + 60_000_000, unix - 60_000_000] {
            clocks.follow((later, set));
            assert_eq!(clocks.unix(later), set);
            assert_eq!(clocks.unix(start), set - 2_500_000);
        }
    }

    #[test]
    fn it_is_the_machine_s() {
        follow();
        assert!(at(Instant::now()).abs_diff(since_1970()) < Duration::from_secs(60));
    }
}
