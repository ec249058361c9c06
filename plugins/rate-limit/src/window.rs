//! A window of time with its count, as one counter, so that all workers share it without a lock.

/// The maximum length of a window in seconds. The bits for its start must tell two windows apart.
pub const LONGEST: u32 = 7 * 86_400;

/// The number of low bits that hold the count, enough for any window. The bits above hold the
/// second in which the window was opened, modulo 2²², plus one.
const COUNT: u32 = 40;
const START: u64 = 1 << 22;

pub struct Window {
    /// When it was opened, in seconds modulo [`START`]; `None` until the call that
    /// opens it has added it.
    pub start: Option<u64>,
    /// Announces, this one included.
    pub count: u64,
}

impl Window {
    pub fn read(counter: i64) -> Self {
        let counter = counter.cast_unsigned();
        let start = (counter >> COUNT).checked_sub(1).map(|second| second % START);
        Self { start, count: counter & ((1 << COUNT) - 1) }
    }

    /// Returns what to add to the counter for the second in which the window is opened.
    pub fn opened_at(now: u64) -> i64 {
        ((now % START + 1) << COUNT).cast_signed()
    }
}

/// Returns the seconds until the window ends, at least 1.
pub fn left(start: u64, every: u32, now: u64) -> u32 {
    let gone = (now % START + START - start) % START;
    // Past the window's end: it has just ended, or the clock was set.
    every.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_and_the_start_share_a_counter() {
        let Window { start, count } = Window::read(1);
        assert_eq!((start, count), (None, 1));
        for now in [0, 1, 1_800_000_000, START - 1, START, u64::from(u32::MAX)] {
            let counter = 1 + Window::opened_at(now) + 41;
            assert!(counter > 0);
            let Window { start, count } = Window::read(counter);
            assert_eq!((start, count), (Some(now % START), 42), "{now}");
        }
        let most = i64::try_from((1_u64 << COUNT) - 1).unwrap();
        let Window { start, count } = Window::read(most + Window::opened_at(START - 1));
        assert_eq!((start, count), (Some(START - 1), most.cast_unsigned()));
    }

    #[test]
    fn the_rest_of_a_window_shrinks_as_time_goes_on() {
        let opened = |now: u64| Window::read(1 + Window::opened_at(now)).start.unwrap();
        for start in [1_800_000_000, START * 400 - 10] {
            let of_an_hour = |now| left(opened(start), 3600, now);
            assert_eq!(of_an_hour(start), 3600);
            assert_eq!(of_an_hour(start + 60), 3540);
            assert_eq!(of_an_hour(start + 3599), 1);
            assert_eq!(of_an_hour(start + 3600), 1, "just ended");
            assert_eq!(of_an_hour(start - 5), 1, "the clock was set back");
        }
        assert_eq!(left(opened(100), LONGEST, 101), LONGEST - 1);
    }
}
