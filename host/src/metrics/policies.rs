//! The counters of a policy, added up over all threads.

use std::ops::Sub;

use super::{Cell, Hook, Metrics, PolicySeries, Verdict, Would, call_index, requests};

/// What a policy has done since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PolicyCounts {
    /// Decisions on announces and scrapes, those that were remembered included.
    pub decisions: u64,
    /// Decisions that were remembered, for which no call was made.
    pub remembered: u64,
    /// Decisions to reject or to drop.
    pub refused: u64,
    /// Failed calls.
    pub errors: u64,
    /// What a policy in shadow mode would have done, other than to let pass.
    pub shadow: u64,
    /// Of these, how often it would have changed the answer.
    pub changed: u64,
    /// Of the calls that were measured, by how long they took.
    buckets: requests::Buckets,
    /// How long the calls took that were measured.
    nanoseconds: u64,
}

/// The hooks that decide.
const DECIDE: [Hook; 2] = [Hook::Announce, Hook::Scrape];

impl Metrics {
    /// Adds up the counters of a policy since the start.
    pub fn policy_counts(&self, policy: &str) -> PolicyCounts {
        let all = self.policies.lock();
        let mut sum = PolicyCounts::default();
        for one in all.iter().filter(|one| &*one.name == policy) {
            sum.add(one);
        }
        sum
    }

    /// Returns for how long each worker has been busy since the start, in seconds.
    pub fn busy_seconds(&self) -> Vec<f64> {
        let workers = self.workers.lock();
        let runtimes = workers.iter().filter_map(|worker| worker.runtime.get());
        // The runtime of a worker has one thread.
        runtimes.map(|runtime| runtime.worker_total_busy_duration(0).as_secs_f64()).collect()
    }
}

impl PolicyCounts {
    fn add(&mut self, series: &PolicySeries) {
        let count = |cells: &[Cell], at: usize| cells.get(at).map_or(0, Cell::get);
        for hook in DECIDE {
            for verdict in Verdict::ALL {
                let at = call_index(hook, *verdict);
                let [called, remembered] =
                    [&series.calls, &series.remembered].map(|cells| count(cells, at));
                self.decisions += called + remembered;
                self.remembered += remembered;
                if matches!(verdict, Verdict::Reject | Verdict::Drop) {
                    self.refused += called + remembered;
                }
                if let Some(durations) = series.durations.get(at) {
                    for (sum, cell) in self.buckets.0.iter_mut().zip(&durations.buckets) {
                        *sum += cell.get();
                    }
                    self.nanoseconds += durations.nanoseconds.get();
                }
            }
        }
        self.errors += series.errors.iter().map(Cell::get).sum::<u64>();
        let would = |would| count(&series.shadow, would as usize);
        self.shadow += series.shadow.iter().map(Cell::get).sum::<u64>() - would(Would::Pass);
        self.changed += would(Would::Change);
    }

    /// Returns how long the call took that is slower than a `share` of those that were measured, in
    /// seconds. `None`: none was.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        self.buckets.quantile(share)
    }

    /// Estimates how long all calls took, in seconds: each as long as those that were measured, in the
    /// mean. `None`: there were calls, and none was measured.
    pub fn spent(&self) -> Option<f64> {
        let calls = self.decisions.saturating_sub(self.remembered);
        let measured: u64 = self.buckets.0.iter().sum();
        match (calls, measured) {
            (0, _) => Some(0.0),
            (_, 0) => None,
            _ => Some(self.nanoseconds as f64 / 1e9 / measured as f64 * calls as f64),
        }
    }
}

impl Sub for PolicyCounts {
    type Output = Self;

    /// Returns what has happened since an earlier time.
    fn sub(self, earlier: Self) -> Self {
        Self {
            decisions: self.decisions.saturating_sub(earlier.decisions),
            remembered: self.remembered.saturating_sub(earlier.remembered),
            refused: self.refused.saturating_sub(earlier.refused),
            errors: self.errors.saturating_sub(earlier.errors),
            shadow: self.shadow.saturating_sub(earlier.shadow),
            changed: self.changed.saturating_sub(earlier.changed),
            buckets: self.buckets - earlier.buckets,
            nanoseconds: self.nanoseconds.saturating_sub(earlier.nanoseconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Cause;

    #[test]
    fn counters_of_all_threads_are_added_up() {
        let metrics = Metrics::new(Default::default);
        let took = Duration::from_micros(3);
        for worker in 0..2 {
            let series = metrics.policy(&"jwt".into(), worker);
            series.call(Hook::Announce, Verdict::Next);
            series.duration(Hook::Announce, Verdict::Next, took);
            series.remembered(Hook::Scrape, Verdict::Reject);
            series.call(Hook::Tick, Verdict::Ok);
            series.error(Hook::Tick, Cause::Trap);
            series.shadow(Would::Pass);
            series.shadow(Would::Change);
        }
        metrics.policy(&"other".into(), 0).call(Hook::Announce, Verdict::Drop);
        let counts = metrics.policy_counts("jwt");
        let PolicyCounts { decisions, remembered, refused, errors, shadow, changed, .. } = counts;
        let found = [decisions, remembered, refused, errors, shadow, changed];
        assert_eq!(found, [4, 2, 2, 2, 2, 2]);
        let p50 = counts.quantile(0.5).unwrap();
        assert!((2.5e-6..5e-6).contains(&p50), "{p50}");
        assert_eq!(counts - counts, PolicyCounts::default());
        assert_eq!((counts - counts).quantile(0.5), None);
        // Both calls took as long as the measured ones.
        assert_eq!(counts.spent(), Some(6e-6));
        assert_eq!((counts - counts).spent(), Some(0.0));
        assert_eq!(PolicyCounts { decisions: 1, ..PolicyCounts::default() }.spent(), None);
    }
}
