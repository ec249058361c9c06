//! Shadow: what the policies in shadow mode would do, and whom they would shut out.

use std::sync::Arc;

use askama::Template;

use super::explain::link;
use super::number;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::shadow::Differences;
use crate::decisions::Entry;

#[derive(Template)]
#[template(path = "shadow.html")]
pub struct Shadow<'a> {
    policies: Vec<Differences<'a>>,
}

/// The differences of each policy in shadow mode.
pub type Entries = Vec<(String, Vec<Arc<Entry>>)>;

/// Returns the differences of all policies in shadow mode.
pub fn entries(admin: &Admin) -> Entries {
    let policies = admin.policies.lock();
    let watching = policies.iter().filter(|policy| policy.mode == "shadow");
    watching
        .map(|policy| (policy.name.clone(), admin.decisions.differences(&policy.name)))
        .collect()
}

impl<'a> Shadow<'a> {
    pub fn of(admin: &Admin, viewer: &Viewer, entries: &'a Entries) -> Self {
        let policies = entries.iter();
        let policies = policies
            .map(|(policy, entries)| Differences::of(admin, policy, entries, viewer.mask()));
        Self { policies: policies.collect() }
    }
}

/// Returns what a policy would have done, what is asked about most first.
fn in_order<'d>(differences: &'d Differences<'_>) -> Vec<(&'d str, &'d u64)> {
    let order = ["pass", "reject", "drop", "change", "error"];
    order.iter().filter_map(|kind| Some((*kind, differences.counts.get(kind)?))).collect()
}

/// Returns the share of all that a policy saw.
fn share(count: &u64, differences: &Differences<'_>) -> f64 {
    let all = differences.counts.values().sum::<u64>().max(1);
    *count as f64 / all as f64
}
