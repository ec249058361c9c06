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

/// A second in which calls have failed.
#[derive(Clone, Copy)]
struct Second {
    start: Instant,
    spent: Duration,
}

const HOLD: Duration = Duration::from_secs(1);
const SHARE: Duration = Duration::from_millis(250);
const CULPRITS: usize = 64;

impl CircuitBreaker {
    /// Returns whether any call has failed lately.
    pub fn is_open(&self) -> bool {
        self.second.is_some()
    }

    /// Returns whether a request must not be tried.
    pub fn holds_back(&mut self, request: &Request) -> bool {
        let now = Instant::now();
        self.culprits.retain(|(.., since)| now.duration_since(*since) < HOLD);
        if self.second.is_some_and(|second| now.duration_since(second.start) >= HOLD) {
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
    pub fn blame(&mut self, request: &Request, spent: Duration) {
        let now = Instant::now();
        if self.culprits.len() >= CULPRITS {
            self.culprits.remove(0);
        }
        self.culprits.push((request.announce.info_hash, request.client, now));
        self.second.get_or_insert(Second { start: now, spent: Duration::ZERO }).spent += spent;
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
        let mut breaker = CircuitBreaker::default();
        assert!(!breaker.is_open());
        breaker.blame(&request(1), Duration::from_millis(5));
        assert!(breaker.is_open());
        assert!(breaker.holds_back(&request(1)));
        assert!(!breaker.holds_back(&request(2)));
    }

    #[test]
    fn failures_take_a_quarter_of_a_second_at_most() {
        let mut breaker = CircuitBreaker::default();
        breaker.blame(&request(1), Duration::from_millis(200));
        assert!(!breaker.holds_back(&request(2)));
        breaker.blame(&request(3), Duration::from_millis(51));
        assert!(breaker.holds_back(&request(2)));
    }
}
