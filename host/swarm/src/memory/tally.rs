//! The number of peers, without counting them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Population;
use karuta_bittorrent::InfoHash;

/// Counters that change under the lock of the swarm they count, and are exact while there are no
/// announces. They are striped so that threads seldom write to the same cache line.
#[derive(Debug)]
pub struct Tally {
    stripes: [Stripe; 64],
}

/// IPv4 seeders and leechers, then those of IPv6.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; 4]);

impl Default for Tally {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| Stripe::default()) }
    }
}

impl Tally {
    pub const NOBODY: [Population; 2] = [Population { seeders: 0, leechers: 0 }; 2];

    /// Updates the counters after a change of a swarm's IPv4 and IPv6 peers.
    pub fn moved(&self, info_hash: InfoHash, before: [Population; 2], after: [Population; 2]) {
        if before == after {
            return;
        }
        let Stripe(counters) = &self.stripes[usize::from(info_hash.0[19]) % self.stripes.len()];
        for ((counter, before), after) in counters.iter().zip(flat(before)).zip(flat(after)) {
            if before != after {
                // Adding a negative difference wraps around to the correct value.
                counter.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            }
        }
    }

    pub fn sum(&self) -> [Population; 2] {
        let mut sum = Self::NOBODY;
        for Stripe([v4_seeders, v4_leechers, v6_seeders, v6_leechers]) in &self.stripes {
            sum[0].seeders += v4_seeders.load(Ordering::Relaxed);
            sum[0].leechers += v4_leechers.load(Ordering::Relaxed);
            sum[1].seeders += v6_seeders.load(Ordering::Relaxed);
            sum[1].leechers += v6_leechers.load(Ordering::Relaxed);
        }
        sum
    }
}

fn flat([v4, v6]: [Population; 2]) -> [u64; 4] {
    [v4.seeders, v4.leechers, v6.seeders, v6.leechers]
}
