//! The guards of a trial: what ends it at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::loaded::Loaded;
use crate::admin::{GuardedPolicy, Guards};
use crate::config::Mode;
use crate::history::{History, Span};
use crate::metrics::{Metrics, Outcome, PolicyCounts, Requests, TRANSPORTS};
use crate::policy::Policy;

/// What was before a trial, and what its end is decided by.
pub struct Guarding {
    max_change: f64,
    before: Before,
    /// The counters when it began.
    requests: Requests,
    policies: BTreeMap<String, PolicyCounts>,
}

/// What was before.
#[derive(Default)]
struct Before {
    /// The share of requests that were refused; `None`: there were too few to say.
    refused: Option<f64>,
    is_ready: bool,
    /// The share of failed calls of each policy.
    errors: BTreeMap<String, f64>,
}

/// Why a trial ends at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    pub policy: Option<String>,
    pub reason: String,
}

/// How long before a trial is looked at, in seconds.
const BEFORE: usize = 300;
/// Of fewer requests or calls no share is taken.
const FEW: u64 = 100;
/// The share of failed calls that a policy may have, unless it had more before.
const ERRORS: f64 = 0.01;

impl Guarding {
    /// Looks at what is now, before `later` serves.
    pub fn begin(
        metrics: &Metrics,
        history: &History,
        earlier: &Loaded,
        later: &Loaded,
        max_change: f64,
    ) -> Self {
        let names = names(later);
        let counts = |name: &String| (name.clone(), metrics.policy_counts(name));
        Self {
            max_change,
            before: Before::of(history, is_ready(metrics, earlier)),
            requests: metrics.request_counts(),
            policies: names.iter().map(counts).collect(),
        }
    }

    /// Returns what the guards see of the generation on trial.
    pub fn look(&self, metrics: &Metrics, trial: &Loaded) -> Guards {
        let requests = metrics.request_counts() - self.requests;
        let (all, refused) = totals(&requests);
        let policy = |name: String| {
            let before = self.policies.get(&name).copied().unwrap_or_default();
            let since = metrics.policy_counts(&name) - before;
            GuardedPolicy {
                calls: since.decisions,
                errors: since.errors,
                has_failed: metrics.summary(&name).failed,
                name,
            }
        };
        Guards {
            requests: all,
            refused: share(refused as f64, all as f64),
            refused_before: self.before.refused,
            max_change: self.max_change,
            is_ready: is_ready(metrics, trial),
            policies: names(trial).into_iter().map(policy).collect(),
        }
    }

    /// Returns why the trial must end at once, if it must.
    pub fn judge(&self, seen: &Guards) -> Option<Broken> {
        for policy in &seen.policies {
            let GuardedPolicy { name, calls, errors, has_failed } = policy;
            let broken = |reason: String| Some(Broken { policy: Some(name.clone()), reason });
            if *has_failed {
                return broken("it has failed".to_owned());
            }
            let share = *errors as f64 / (*calls).max(*errors).max(FEW) as f64;
            let before = self.before.errors.get(name).copied().unwrap_or(0.0);
            if share > ERRORS.max(before) {
                return broken(format!("{errors} of {calls} calls have failed"));
            }
        }
        if let (Some(before), Some(now)) = (seen.refused_before, seen.refused)
            && (now - before).abs() > seen.max_change
        {
            let [before, now, most] = [before, now, seen.max_change].map(percent);
            let reason = format!(
                "{now} of the requests are refused, before it were {before}; {most} points are allowed"
            );
            return Some(Broken { policy: None, reason });
        }
        // What was not ready before cannot tell that this is worse.
        if self.before.is_ready && !seen.is_ready {
            let reason = "it is not ready: a policy lacks data that it needs".to_owned();
            return Some(Broken { policy: None, reason });
        }
        None
    }
}

impl Before {
    fn of(history: &History, is_ready: bool) -> Self {
        let series = history.series(Span::Minutes, None).series;
        // Rates of single seconds, so that their sum is a number.
        let sum = |name: &str| {
            let values = series.get(name).map(Vec::as_slice).unwrap_or_default();
            let last = values.iter().rev().take(BEFORE).flatten();
            last.sum::<f64>()
        };
        let (mut all, mut refused) = (0.0, 0.0);
        for (_, transport) in TRANSPORTS {
            for outcome in Outcome::ALL {
                let count = sum(&format!("requests.{transport}.{}", outcome.name()));
                all += count;
                refused += if is_refusal(*outcome) { count } else { 0.0 };
            }
        }
        let policies = series.keys().filter_map(|name| {
            let policy = name.strip_prefix("policies.")?.strip_suffix(".errors")?;
            let errors = share(sum(name), sum(&format!("policies.{policy}.calls")))?;
            Some((policy.to_owned(), errors))
        });
        Self { refused: share(refused, all), is_ready, errors: policies.collect() }
    }
}

fn names(loaded: &Loaded) -> Vec<String> {
    let policies = loaded.generation.policies.iter();
    policies.map(|policy| policy.plugin().name.to_string()).collect()
}

/// Returns whether every policy that is obeyed can decide.
fn is_ready(metrics: &Metrics, loaded: &Loaded) -> bool {
    let is_ready = |policy: &Arc<Policy>| {
        let plugin = policy.plugin();
        !metrics.summary(&plugin.name).failed && !plugin.lacks_data()
    };
    let obeyed = loaded.generation.policies.iter().filter(|policy| policy.mode == Mode::Enforce);
    obeyed.into_iter().all(is_ready)
}

fn is_refusal(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Rejected | Outcome::Dropped)
}

/// Returns how many requests there were, and how many were refused.
fn totals(requests: &Requests) -> (u64, u64) {
    let (mut all, mut refused) = (0, 0);
    for (transport, _) in TRANSPORTS {
        for outcome in Outcome::ALL {
            let count = requests.ended(transport, *outcome);
            all += count;
            refused += if is_refusal(*outcome) { count } else { 0 };
        }
    }
    (all, refused)
}

/// Returns a share, unless there were too few to say.
fn share(part: f64, all: f64) -> Option<f64> {
    (all >= FEW as f64).then(|| part / all)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Fold, Point};

    fn guarding(before: Before) -> Guarding {
        Guarding {
            max_change: 0.05,
            before,
            requests: Requests::default(),
            policies: BTreeMap::new(),
        }
    }

    fn seen(calls: u64, errors: u64) -> Guards {
        let policy = GuardedPolicy { name: "jwt".into(), calls, errors, has_failed: false };
        Guards { max_change: 0.05, is_ready: true, policies: vec![policy], ..Guards::default() }
    }

    #[test]
    fn failed_calls_end_a_trial_above_their_share() {
        let guarding = guarding(Before::default());
        for (calls, errors) in [(0, 0), (1, 1), (100, 1), (1000, 10)] {
            assert_eq!(guarding.judge(&seen(calls, errors)), None, "{errors} of {calls}");
        }
        for (calls, errors) in [(2, 2), (0, 2), (100, 2), (1000, 11)] {
            let broken = guarding.judge(&seen(calls, errors)).unwrap();
            assert_eq!(broken.policy.as_deref(), Some("jwt"));
            assert_eq!(broken.reason, format!("{errors} of {calls} calls have failed"));
        }
        let mut failed = seen(1000, 0);
        failed.policies[0].has_failed = true;
        assert_eq!(guarding.judge(&failed).unwrap().reason, "it has failed");
    }

    #[test]
    fn a_policy_that_failed_before_may_fail_as_often() {
        let errors = [("jwt".to_owned(), 0.2)].into();
        let guarding = guarding(Before { errors, ..Before::default() });
        assert_eq!(guarding.judge(&seen(1000, 200)), None);
        assert!(guarding.judge(&seen(1000, 201)).is_some());
    }

    #[test]
    fn a_share_of_refusals_that_moves_either_way_ends_a_trial() {
        let guarding = guarding(Before { refused: Some(0.10), ..Before::default() });
        let judged = |before: Option<f64>, now: Option<f64>| {
            let guards = Guards { refused_before: before, refused: now, ..seen(0, 0) };
            guarding.judge(&guards).map(|broken| broken.reason)
        };
        assert_eq!(judged(Some(0.10), Some(0.149)), None);
        assert_eq!(judged(None, Some(1.0)), None, "there is nothing to compare with");
        assert_eq!(judged(Some(0.10), None), None);
        let said =
            "20.0 % of the requests are refused, before it were 10.0 %; 5.0 % points are allowed";
        assert_eq!(judged(Some(0.10), Some(0.2)).as_deref(), Some(said));
        assert!(judged(Some(0.10), Some(0.04)).is_some());
    }

    #[test]
    fn what_was_ready_must_stay_so() {
        let not_ready = Guards { is_ready: false, ..seen(0, 0) };
        assert_eq!(guarding(Before::default()).judge(&not_ready), None);
        let was_ready = guarding(Before { is_ready: true, ..Before::default() });
        assert!(was_ready.judge(&not_ready).is_some());
        assert_eq!(was_ready.judge(&seen(0, 0)), None);
    }

    #[test]
    fn the_last_minutes_are_what_was_before() {
        let mut history = History::default();
        let rate = |name: &str, value: f64| Point { name: name.into(), value, fold: Fold::Mean };
        for second in 0..400 {
            // It was worse before the time that counts.
            let refused = if second < 100 { 9.0 } else { 1.0 };
            let points = [
                rate("requests.udp.ok", 9.0),
                rate("requests.udp.rejected", refused),
                rate("policies.jwt.calls", 10.0),
                rate("policies.jwt.errors", 0.5),
            ];
            history.add(second, &points, vec![]);
        }
        let before = Before::of(&history, true);
        assert_eq!(before.refused, Some(0.1));
        assert_eq!(before.errors["jwt"], 0.05);
        assert_eq!(Before::of(&History::default(), true).refused, None);
    }
}
