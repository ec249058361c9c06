//! The removal of peers that have gone silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_swarm::Store;

/// How long one round of expiry takes at most, spread over many slices.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// And at least, for the store knows whole seconds only.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

/// A tenth of the lifetime, so that a peer stays little longer, and is looked at ten times at most
/// between two announces.
fn round(lifetime: Duration) -> Duration {
    (lifetime / 10).clamp(SHORTEST_ROUND, LONGEST_ROUND)
}

/// Removes peers that have gone silent, slice by slice, about as many slices in a round as the last
/// one took.
pub async fn run(store: Arc<impl Store>, lifetime: Duration, start: Instant) {
    let round = round(lifetime);
    let mut slices: u32 = 1;
    let mut last_round = 1024;
    loop {
        // Where there are more, the rest goes faster and faster.
        tokio::time::sleep(round / slices.max(last_round)).await;
        let now = u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
        if store.expire(now).await {
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
