//! The clock of instances: the machine's, or in a trial or a replay one that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::time;

/// The clock of a plugin's instances.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Standing>>);

/// How far ahead of the machine's clock a standing one begins, so that whatever is made for it, and
/// counts from then on, was made before.
const AHEAD: Duration = Duration::from_hours(1);

/// A clock that is advanced by hand.
struct Standing {
    start: Instant,
    /// The time since 1970 at the start.
    unix: Duration,
    /// Nanoseconds since the start.
    passed: AtomicU64,
}

impl Clock {
    /// Creates a clock that stands at `unix` after 1970 until it is advanced.
    pub fn standing(unix: Duration) -> Self {
        let start = Instant::now() + AHEAD;
        Self(Some(Arc::new(Standing { start, unix, passed: AtomicU64::new(0) })))
    }

    /// Returns whether it stands until it is advanced.
    pub fn stands(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether it is the same clock.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Advances a standing clock. Does nothing to the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Some(standing) = &self.0 {
            standing.passed.fetch_add(nanoseconds(by), Relaxed);
        }
    }

    /// Advances a standing clock to a time since 1970, unless it is later already.
    pub fn stand_at(&self, unix: Duration) {
        if let Some(standing) = &self.0 {
            standing.passed.fetch_max(nanoseconds(unix.saturating_sub(standing.unix)), Relaxed);
        }
    }

    pub fn now(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |standing| standing.start + standing.passed())
    }

    /// Returns the time since 1970.
    pub fn unix(&self) -> Duration {
        match &self.0 {
            None => time::since_1970(),
            Some(standing) => standing.unix + standing.passed(),
        }
    }

    /// Returns the time during a call that is about a request which came at `moment`, if it is about one.
    /// The machine's clock stands still meanwhile: all policies see the time that is recorded of the
    /// request, however long it takes.
    pub fn now_in_call(&self, moment: Option<Instant>) -> Instant {
        moment.filter(|_| !self.stands()).unwrap_or_else(|| self.now())
    }

    /// Returns the same since 1970.
    pub fn unix_in_call(&self, moment: Option<Instant>) -> Duration {
        moment.filter(|_| !self.stands()).map_or_else(|| self.unix(), time::at)
    }
}

impl Standing {
    fn passed(&self) -> Duration {
        Duration::from_nanos(self.passed.load(Relaxed))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
        assert_eq!(
            clock.unix_in_call(Some(Instant::now())),
            clock.unix(),
            "the moment is not its own"
        );
        let later = Duration::from_micros(1_000_003_000_001);
        clock.stand_at(later);
        clock.stand_at(start - start);
        assert_eq!(clock.unix(), later);
    }

    #[test]
    fn in_a_call_the_machine_s_clock_stands_at_the_request() {
        let (clock, moment) = (Clock::default(), Instant::now());
        assert_eq!(clock.now_in_call(Some(moment)), moment);
        assert_eq!(clock.unix_in_call(Some(moment)), time::at(moment));
        assert!(clock.now_in_call(None) >= moment);
    }
}
