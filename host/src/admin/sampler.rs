//! The one clock of the admin API: once a second it looks at everything, keeps what it sees, and tells
//! those who follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use karuta_swarm::Population;
use tokio::time::MissedTickBehavior;

use super::Admin;
use super::changes::Looked;
use super::facts::Facts;
use super::reloads::unix_seconds;
use super::stats::{self, Sample, resident};
use super::status::Status;
use crate::config::Mode;
use crate::history::{Fold, Point};
use crate::metrics::{Outcome, PolicyCounts, Requests, TRANSPORTS};

/// What the next second is compared with.
struct Before {
    at: Instant,
    requests: Requests,
    /// Of each worker, in seconds.
    busy: Vec<f64>,
    drops: u64,
    policies: BTreeMap<String, PolicyCounts>,
    looked: Looked,
}

impl Admin {
    /// Looks at everything each second, until the task is dropped.
    pub(super) async fn sample(self: Arc<Self>) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = None;
        loop {
            seconds.tick().await;
            before = Some(self.look(before));
        }
    }

    fn look(&self, before: Option<Before>) -> Before {
        let Status { health, facts } = Status::of(self);
        let (at, requests) = (Instant::now(), self.metrics.request_counts());
        let drops = facts
            .listeners
            .iter()
            .filter_map(|one| one.kernel_drops.map(|drops| (one.listener.address.clone(), drops)));
        let drops: Vec<_> = drops.collect();
        let dropped = drops.iter().map(|(_, drops)| drops).sum();
        self.recent.add(Sample { at, requests, drops });
        if let Some(page) = &self.public {
            page.publish(stats::public(self));
        }
        let names = facts.policies.iter().map(|policy| &policy.name);
        let counts = names.map(|name| (name.clone(), self.metrics.policy_counts(name)));
        let now = Before {
            at,
            requests,
            busy: self.metrics.busy_seconds(),
            drops: dropped,
            policies: counts.collect(),
            looked: Looked::at(&facts, &health, self.metrics.snapshots().created()),
        };
        let Some(before) = before else { return now };
        let changes = before.looked.changes(&now.looked);
        let points = self.points(&facts, &before, &now);
        let mut history = self.history.lock();
        let time = history.add(unix_seconds(SystemTime::now()), &points, changes);
        if let Some((sample, marks)) = history.after(time - 1) {
            self.events.tell(&sample, &marks, self.access.version(), now.at);
        }
        now
    }

    fn points(&self, facts: &Facts, before: &Before, now: &Before) -> Vec<Point> {
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let mut points = Vec::new();
        let mut point = |name: String, value: f64| {
            // The slowest second is what is asked of a latency.
            let fold = if name.ends_with("p99") { Fold::Max } else { Fold::Mean };
            points.push(Point { name, value, fold });
        };
        let requests = now.requests - before.requests;
        for (transport, transport_name) in TRANSPORTS {
            for outcome in Outcome::ALL {
                let name = format!("requests.{transport_name}.{}", outcome.name());
                point(name, requests.ended(transport, *outcome) as f64 / seconds);
            }
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            point(format!("latency.{name}"), requests.quantile(share).unwrap_or(f64::NAN));
        }
        let totals = self.metrics.totals();
        for (name, Population { seeders, leechers }) in
            [("ipv4", totals.ipv4), ("ipv6", totals.ipv6)]
        {
            point(format!("peers.{name}.seeders"), seeders as f64);
            point(format!("peers.{name}.leechers"), leechers as f64);
        }
        point("swarms".into(), totals.swarms as f64);
        let busy = now.busy.iter().zip(&before.busy).map(|(now, before)| (now - before).max(0.0));
        let busy: Vec<f64> = busy.collect();
        let all_busy = busy.iter().sum::<f64>();
        point("busy".into(), all_busy / seconds / busy.len().max(1) as f64);
        for (worker, busy) in busy.iter().enumerate() {
            point(format!("workers.{worker}.busy"), busy / seconds);
        }
        point("kernel_drops".into(), rate(now.drops, before.drops));
        point("memory_bytes".into(), resident().map_or(f64::NAN, |bytes| bytes as f64));
        let connections = facts.listeners.iter().filter_map(|listener| listener.connections);
        point("connections".into(), connections.sum::<u64>() as f64);
        for policy in &facts.policies {
            let name = &policy.name;
            let (Some(counts), earlier) = (now.policies.get(name), before.policies.get(name))
            else {
                continue;
            };
            let since = *counts - earlier.copied().unwrap_or_default();
            // What is not obeyed has names of its own, because a policy may leave shadow mode.
            let (refused, changed) = match policy.mode == Mode::Shadow.name() {
                true => ("would_refuse", Some(("would_change", since.changed))),
                false => ("refused", None),
            };
            let counts = [
                ("calls", since.decisions),
                (refused, since.refused),
                ("errors", since.errors),
                ("remembered", since.remembered),
                ("shadow", since.shadow),
            ];
            for (what, count) in counts.into_iter().chain(changed) {
                point(format!("policies.{name}.{what}"), count as f64 / seconds);
            }
            for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
                let quantile = since.quantile(share).unwrap_or(f64::NAN);
                point(format!("policies.{name}.{what}"), quantile);
            }
            let share = since.spent().map_or(f64::NAN, |spent| (spent / all_busy).min(1.0));
            point(format!("policies.{name}.busy"), share);
            point(format!("policies.{name}.memory_bytes"), policy.memory_bytes as f64);
        }
        points
    }
}
