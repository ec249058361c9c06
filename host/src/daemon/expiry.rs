//! Removes peers that have gone silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_swarm::Store;

/// The longest round of expiry. A round is spread over many slices.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// The shortest round: the store counts whole seconds.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

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
    let mut last_round = 1024;
    loop {
        // If there are more slices than last time, the rest of them go faster and faster.
        tokio::time::sleep(round / slices.max(last_round)).await;
        let now = u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
        if store.expire(now) {
            last_round = slices;
            slices = 0;
        }
        slices += 1;
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
}
