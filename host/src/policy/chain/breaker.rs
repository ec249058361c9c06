//! A circuit breaker for each policy and worker.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use karuta_bittorrent::InfoHash;

use crate::exchange::Request;

/// A circuit breaker that keeps a plugin's failures cheap. A request that made the plugin fail is
/// not tried again for a second, and failed calls take at most a quarter of a worker's time.
#[derive(Default)]
pub struct CircuitBreaker {
    culprits: Vec<(InfoHash, IpAddr, Instant)>,
    second: Option<Second>,
}

/// A second in which calls have failed, or longer if they took more than their share of it.
#[derive(Clone, Copy)]
struct Second {
    start: Instant,
    spent: Duration,
}

impl Second {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.start) >= HOLD.max(self.spent * REST)
    }
}

const HOLD: Duration = Duration::from_secs(1);
const SHARE: Duration = Duration::from_millis(250);
/// How many times as long as failed calls took no call is made: three quarters of the time.
const REST: u32 = 3;
const CULPRITS: usize = 64;

impl CircuitBreaker {
    /// Returns whether any call has failed lately.
    pub fn is_open(&self) -> bool {
        self.second.is_some()
    }

    /// Returns whether a request must not be tried.
    pub fn holds_back(&mut self, request: &Request, now: Instant) -> bool {
        self.culprits.retain(|(.., since)| now.duration_since(*since) < HOLD);
        if self.second.is_some_and(|second| second.is_over(now)) {
            self.second = None;
        }
        if self.culprits.is_empty() && self.second.is_none() {
            return false;
        }
        // A culprit may be held back longer than the second that it was blamed in.
        self.second.get_or_insert(Second { start: now, spent: Duration::ZERO }).spent > SHARE
            || self.culprits.iter().any(|(info_hash, client, _)| {
                *info_hash == request.announce.info_hash && *client == request.client
            })
    }

    /// Records that a request made the plugin fail, after `spent`.
    pub fn blame(&mut self, request: &Request, spent: Duration, now: Instant) {
        if self.culprits.len() >= CULPRITS {
            self.culprits.remove(0);
        }
        self.culprits.push((request.announce.info_hash, request.client, now));
        // A call may have outlasted the second in which it began.
        let fresh = Second { start: now, spent: Duration::ZERO };
        let current = self.second.filter(|second| !second.is_over(now)).unwrap_or(fresh);
        self.second = Some(Second { spent: current.spent + spent, ..current });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Exchange;

    fn request(info_hash: u8) -> Request {
        let mut request = Exchange::default().request;
        request.announce.info_hash = InfoHash([info_hash; 20]);
        request
    }

    #[test]
    fn a_culprit_is_held_back_and_others_are_not() {
        let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
        assert!(!breaker.is_open());
        breaker.blame(&request(1), Duration::from_millis(5), now);
        assert!(breaker.is_open());
        assert!(breaker.holds_back(&request(1), now));
        assert!(!breaker.holds_back(&request(2), now));
    }

    #[test]
    fn failures_take_a_quarter_of_a_second_at_most() {
        let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
        breaker.blame(&request(1), Duration::from_millis(200), now);
        assert!(!breaker.holds_back(&request(2), now));
        breaker.blame(&request(3), Duration::from_millis(51), now);
        assert!(breaker.holds_back(&request(2), now));
    }

    #[test]
    fn a_long_call_is_paid_for_by_a_long_rest() {
        let (mut breaker, start) = (CircuitBreaker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!breaker.holds_back(&request(1), start));
        breaker.blame(&request(1), Duration::from_secs(2), at(2));
        assert!(breaker.holds_back(&request(2), at(7)));
        assert!(!breaker.holds_back(&request(2), at(8)));
        // The second before is over when this call ends.
        breaker.blame(&request(2), Duration::from_secs(1), at(9));
        assert!(breaker.holds_back(&request(3), at(11)));
    }
}
