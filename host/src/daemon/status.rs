//! The line that `systemctl status` shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_swarm::Totals;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use crate::admin::ShownPolicy;
use crate::metrics::Metrics;
use crate::service::Notifier;

/// What the line is made of.
pub struct Status {
    pub metrics: Arc<Metrics>,
    /// The policies in use.
    pub policies: Arc<Mutex<Vec<ShownPolicy>>>,
}

/// The time between two lines.
const EVERY: Duration = Duration::from_secs(5);

impl Status {
    /// Sends the line whenever it has changed, until the task is dropped.
    pub async fn show(self, manager: Notifier) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut shown, mut requests, mut last) = (String::new(), 0, Instant::now());
        loop {
            tick.tick().await;
            let (all, now) = (self.metrics.requests(), Instant::now());
            let rate = (all - requests) as f64 / (now - last).as_secs_f64().max(1.0);
            (requests, last) = (all, now);
            let line = self.line(rate);
            if line != shown {
                manager.status(&line);
                shown = line;
            }
        }
    }

    fn line(&self, rate: f64) -> String {
        let policies = self.policies.lock();
        let failed = policies.iter().map(|policy| &*policy.name);
        let failed = failed.filter(|name| self.metrics.summary(name).failed).collect::<Vec<_>>();
        let (generation, pinned) = (self.metrics.generation(), self.metrics.pinned());
        line(&self.metrics.totals(), rate, generation, pinned, &failed)
    }
}

fn line(
    totals: &Totals,
    rate: f64,
    generation: u64,
    pinned: Option<u64>,
    failed: &[&str],
) -> String {
    let peers = [totals.ipv4, totals.ipv6].map(|family| family.seeders + family.leechers);
    let [peers, swarms, rate] =
        [peers[0] + peers[1], totals.swarms, rate.round() as u64].map(grouped);
    let mut line =
        format!("{peers} peers in {swarms} swarms, {rate} requests/s; generation {generation}");
    if let Some(pinned) = pinned {
        line.push_str(&format!("; pinned to generation {pinned}"));
    }
    for name in failed {
        line.push_str(&format!("; policy `{name}` has failed"));
    }
    line
}

/// Writes a number with a space between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    groups.fold(first.to_owned(), |text, group| text + " " + &group)
}

#[cfg(test)]
mod tests {
    use karuta_swarm::Population;

    use super::*;

    #[test]
    fn the_line_answers_the_first_question() {
        let population = |seeders, leechers| Population { seeders, leechers };
        let totals =
            Totals { swarms: 84_000, ipv4: population(1_200_000, 5), ipv6: population(2, 3) };
        assert_eq!(
            line(&totals, 999.6, 7, Some(3), &["jwt", "clients"]),
            "1 200 010 peers in 84 000 swarms, 1 000 requests/s; generation 7; pinned to \
             generation 3; policy `jwt` has failed; policy `clients` has failed"
        );
        let none = Totals::default();
        assert_eq!(
            line(&none, 0.0, 1, None, &[]),
            "0 peers in 0 swarms, 0 requests/s; generation 1"
        );
        assert_eq!(
            [1, 12, 123, 1234, 1_000_000].map(grouped),
            ["1", "12", "123", "1 234", "1 000 000"]
        );
    }
}
