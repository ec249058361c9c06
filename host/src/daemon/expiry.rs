//! Removes peers that have gone silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_swarm::Store;

use crate::process;

/// The longest round of expiry. A round is spread over many slices.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// The shortest round: the store counts whole seconds.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

/// The shortest pause between slices: the runtime's timers count milliseconds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// Returns the length of a round: a tenth of the lifetime. A peer then stays only a little longer
/// than its lifetime, and is checked at most 10 times between two announces.
fn round(lifetime: Duration) -> Duration {
    (lifetime / 10).clamp(SHORTEST_ROUND, LONGEST_ROUND)
}

/// Removes peers that have gone silent, slice by slice. A round is expected to have about as many
/// slices as the last one.
pub async fn run(store: Arc<impl Store>, lifetime: Duration, start: Instant) {
    let round = round(lifetime);
    let mut slices: u32 = 1;
    let mut last_round = 8192;
    loop {
        // If there are more slices than last time, the rest of them go faster and faster.
        let (pause, due) = pace(round, slices.max(last_round));
        tokio::time::sleep(pause).await;
        let now = u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
        for _ in 0..due {
            if store.expire(now) {
                last_round = slices;
                slices = 0;
            }
            slices += 1;
            // A worker on this processor may have packets to answer.
            process::give_way();
        }
    }
}

/// Returns how long to pause, and how many slices are due after it.
fn pace(round: Duration, slices: u32) -> (Duration, u32) {
    let pause = round / slices;
    match pause < SHORTEST_PAUSE {
        true => (SHORTEST_PAUSE, (SHORTEST_PAUSE * slices).div_duration_f64(round).ceil() as u32),
        false => (pause, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_follows_the_lifetime() {
        let seconds = |lifetime| round(Duration::from_secs(lifetime)).as_secs();
        assert_eq!([2, 5, 10, 20, 300, 2700, 86_400].map(seconds), [1, 1, 1, 2, 30, 60, 60]);
    }

    #[test]
    fn a_round_of_many_slices_takes_no_longer() {
        let round = Duration::from_secs(60);
        assert_eq!(pace(round, 6_000), (Duration::from_millis(10), 1));
        assert_eq!(pace(round, 30_000), (SHORTEST_PAUSE, 1));
        assert_eq!(pace(round, 100_000), (SHORTEST_PAUSE, 4));
    }
}
