//! What instances take for the time: that of the machine, or in a trial one that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::HostWallClock;

/// The time of a plugin's instances.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Standing>>);

/// A clock that is moved by hand.
struct Standing {
    start: Instant,
    /// Since 1970.
    unix: Duration,
    /// Milliseconds since the start.
    passed: AtomicU64,
}

impl Clock {
    /// A clock that stands at so long after 1970 until it is moved.
    pub fn standing(unix: Duration) -> Self {
        Self(Some(Arc::new(Standing { start: Instant::now(), unix, passed: AtomicU64::new(0) })))
    }

    /// Moves a clock that stands; does nothing to that of the machine.
    pub fn advance(&self, by: Duration) {
        if let Some(standing) = &self.0 {
            standing.passed.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
    }

    pub fn now(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |standing| standing.start + standing.passed())
    }

    /// Since 1970.
    pub fn unix(&self) -> Duration {
        match &self.0 {
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Some(standing) => standing.unix + standing.passed(),
        }
    }
}

impl Standing {
    fn passed(&self) -> Duration {
        Duration::from_millis(self.passed.load(Relaxed))
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.unix()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_moves_by_hand() {
        let clock = Clock::standing(Duration::from_secs(1_000_000));
        let start = clock.now();
        assert_eq!(clock.now(), start);
        clock.clone().advance(Duration::from_millis(2500));
        assert_eq!(clock.now() - start, Duration::from_millis(2500));
        assert_eq!(clock.unix(), Duration::from_millis(1_000_002_500));
    }
}
