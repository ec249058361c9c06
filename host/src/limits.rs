//! Token buckets for address prefixes, in a table of fixed size that all workers share.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use siphasher::sip::SipHasher13;

use crate::config::RateLimits;

/// Limits the requests of each address prefix, per second and at once.
///
/// The table holds the most recent prefixes and evicts the one that has been quiet for longest. An
/// evicted prefix starts again with a full bucket.
pub struct Limiter {
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    /// The cost of one request in microseconds.
    cost: u64,
    /// The capacity of a bucket in microseconds.
    burst: u64,
    start: Instant,
    key: (u64, u64),
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

/// A bucket of the generic cell rate algorithm: when it will be full again.
#[derive(Clone, Copy, Default)]
struct Bucket {
    prefix: u64,
    /// Microseconds since the start.
    full_at: u64,
}

const SETS: usize = 4096;
const WAYS: usize = 8;

impl Limiter {
    /// Returns `None` if the rate is 0. A burst of 0 means the rate.
    pub fn new(limits: &RateLimits) -> Option<Self> {
        Self::starting_at(limits, Instant::now())
    }

    /// As [`Self::new`], for a clock of which this is the earliest time.
    pub fn starting_at(limits: &RateLimits, start: Instant) -> Option<Self> {
        let rate = limits.per_second.min(1_000_000);
        let cost = 1_000_000_u64.checked_div(rate.into())?;
        let burst = if limits.burst == 0 { rate } else { limits.burst };
        let prefixes = (limits.ipv4_prefix, limits.ipv6_prefix);
        Some(Self { start, ..Self::with(cost, cost * u64::from(burst), prefixes) })
    }

    /// Creates a limiter of one request in an `interval` for each prefix.
    pub fn once_in(interval: Duration, ipv4_prefix: u8, ipv6_prefix: u8) -> Self {
        let cost = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX / 4);
        Self::with(cost, cost, (ipv4_prefix, ipv6_prefix))
    }

    fn with(cost: u64, burst: u64, (ipv4_prefix, ipv6_prefix): (u8, u8)) -> Self {
        Self {
            ipv4_prefix,
            ipv6_prefix,
            cost,
            burst,
            start: Instant::now(),
            key: rand::random(),
            sets: std::iter::repeat_with(Mutex::default).take(SETS).collect(),
        }
    }

    /// Returns whether [`Self::admit`] would find no token, without taking one.
    pub fn is_exhausted(&self, address: IpAddr, now: Instant) -> bool {
        let prefix = self.prefix(address);
        let now = self.micros(now);
        let set = self.sets[prefix as usize % SETS].lock();
        // A bucket that is full again may have been left behind for a new one.
        let own = set.iter().filter(|bucket| bucket.prefix == prefix);
        let full_at = own.map(|bucket| bucket.full_at).max().unwrap_or(0);
        full_at.max(now) + self.cost - now > self.burst
    }

    /// Takes a token from the bucket of the address's prefix; returns `false` if there is none.
    pub fn admit(&self, address: IpAddr, now: Instant) -> bool {
        self.admit_or_wait(address, now).is_ok()
    }

    /// As [`Self::admit`]. The error is how long there will be no token.
    pub fn admit_or_wait(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let prefix = self.prefix(address);
        let now = self.micros(now);
        let mut set = self.sets[prefix as usize % SETS].lock();
        let known = set.iter().position(|bucket| bucket.prefix == prefix && bucket.full_at > now);
        let at = known.unwrap_or_else(|| {
            let quiet = (0..WAYS).min_by_key(|way| set[*way].full_at).unwrap_or(0);
            set[quiet] = Bucket { prefix, full_at: now };
            quiet
        });
        let full_at = set[at].full_at.max(now) + self.cost;
        match (full_at - now).checked_sub(self.burst) {
            None | Some(0) => {
                set[at].full_at = full_at;
                Ok(())
            }
            Some(missing) => Err(Duration::from_micros(missing)),
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Returns a keyed hash of the prefix, so that clients cannot choose collisions.
    fn prefix(&self, address: IpAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        match address {
            IpAddr::V4(v4) => {
                let kept = v4.to_bits() & mask(32, self.ipv4_prefix) as u32;
                hasher.write_u32(kept);
            }
            IpAddr::V6(v6) => hasher.write_u128(v6.to_bits() & mask(128, self.ipv6_prefix)),
        }
        hasher.finish()
    }
}

/// Returns a mask of the upper `prefix` of `width` bits.
fn mask(width: u32, prefix: u8) -> u128 {
    let rest = width.saturating_sub(u32::from(prefix));
    u128::MAX.checked_shl(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_second: u32, burst: u32) -> Limiter {
        Limiter::new(&RateLimits { per_second, burst, ipv4_prefix: 24, ipv6_prefix: 56 }).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let limiter = limiter(10, 3);
        let now = Instant::now();
        let admitted = |at| limiter.admit(ip("192.0.2.1"), at);
        assert!(admitted(now) && admitted(now) && admitted(now));
        assert!(!admitted(now));
        assert!(!admitted(now + Duration::from_millis(99)));
        assert!(admitted(now + Duration::from_millis(100)));
        assert!(!admitted(now + Duration::from_millis(100)));
    }

    #[test]
    fn a_bucket_can_be_looked_at() {
        let limiter = limiter(10, 2);
        let now = Instant::now();
        for expected in [false, false, true] {
            assert_eq!(limiter.is_exhausted(ip("192.0.2.1"), now), expected);
            assert_eq!(limiter.admit(ip("192.0.2.1"), now), !expected);
        }
        assert!(!limiter.is_exhausted(ip("192.0.2.1"), now + Duration::from_millis(100)));
        assert!(!limiter.is_exhausted(ip("192.0.3.1"), now));
        // Also after it was full for a while.
        let later = now + Duration::from_secs(5);
        assert!(limiter.admit(ip("192.0.2.1"), later) && limiter.admit(ip("192.0.2.1"), later));
        assert!(limiter.is_exhausted(ip("192.0.2.1"), later));
    }

    #[test]
    fn prefixes_share_a_bucket_and_others_do_not() {
        let limiter = limiter(1, 1);
        let now = Instant::now();
        assert!(limiter.admit(ip("192.0.2.1"), now));
        assert!(!limiter.admit(ip("192.0.2.254"), now));
        assert!(limiter.admit(ip("192.0.3.1"), now));
        assert!(limiter.admit(ip("2001:db8:0:1::1"), now));
        assert!(!limiter.admit(ip("2001:db8:0:ff::2"), now));
        assert!(limiter.admit(ip("2001:db8:0:100::1"), now));
    }

    #[test]
    fn a_prefix_of_no_bits_covers_all_addresses() {
        assert_eq!(mask(128, 0), 0);
        assert_eq!(mask(128, 128), u128::MAX);
        assert_eq!(mask(32, 24) as u32, 0xffff_ff00);
        assert_eq!(mask(32, 0) as u32, 0);
    }

    #[test]
    fn without_a_limit_there_is_no_limiter() {
        assert!(Limiter::new(&RateLimits::default()).is_none());
    }

    #[test]
    fn a_flood_of_prefixes_takes_bounded_memory() {
        let limiter = limiter(1, 1);
        let now = Instant::now();
        for n in 0..200_000_u32 {
            limiter.admit(IpAddr::V4((n << 8).into()), now);
        }
        let held: usize = limiter.sets.iter().map(|set| set.lock().len()).sum();
        assert_eq!(held, SETS * WAYS);
    }
}
