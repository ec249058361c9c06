//! `/api/shadow/POLICY`: whom a policy in shadow mode would shut out, and why.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use url::form_urlencoded;

use super::Admin;
use super::reply::{Reply, json, line};
use super::request::Request;
use crate::config::Mode;
use crate::decisions::{Entry, Mask, Shown, prefix, time};

/// The beginning of the path, before the name of a policy.
pub const PATH: &str = "/api/shadow/";

/// The most groups of a list.
const GROUPS: usize = 20;
const EXAMPLES: usize = 20;

/// The answer if a policy is named that does not decide.
pub const NO_POLICY: &str = "there is no such policy";

/// What a policy in shadow mode would have done otherwise.
#[derive(Serialize)]
pub struct Differences<'a> {
    pub policy: &'a str,
    /// What it would have done since the start, by kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// How many differences are looked at here: the last ones.
    pub differences: usize,
    /// When the oldest of them was made.
    pub since: Option<String>,
    pub by_reason: Vec<Reason<'a>>,
    pub by_client: Vec<Client>,
    pub by_torrent: Vec<Torrent>,
    /// The newest first.
    pub examples: Vec<Shown<'a>>,
}

#[derive(Serialize)]
pub struct Reason<'a> {
    pub would: &'static str,
    pub reason: &'a str,
    pub count: usize,
}

#[derive(Serialize)]
pub struct Client {
    pub prefix: String,
    pub count: usize,
}

#[derive(Serialize)]
pub struct Torrent {
    pub info_hash: String,
    pub count: usize,
}

/// Answers with the differences of a policy.
pub fn shadow(admin: &Admin, request: &Request) -> Reply {
    let query = request.head.uri.query().unwrap_or_default();
    if let Some((key, _)) = form_urlencoded::parse(query.as_bytes()).next() {
        return line(StatusCode::BAD_REQUEST, &format!("unknown parameter `{key}`"));
    }
    let name = request.head.uri.path().strip_prefix(PATH).unwrap_or_default();
    let mode = {
        let policies = admin.policies.lock();
        policies.iter().find(|policy| policy.name == name).map(|policy| policy.mode)
    };
    match mode {
        None => return line(StatusCode::NOT_FOUND, NO_POLICY),
        Some(mode) if mode != Mode::Shadow.name() => {
            let reason = format!(
                "the policy `{name}` is not in shadow mode but enforced; whom it refuses is in \
                 /api/refused?policy={name}"
            );
            return line(StatusCode::CONFLICT, &reason);
        }
        Some(_) => {}
    }
    let entries = admin.decisions.differences(name);
    let mask = admin.mask(request);
    json(StatusCode::OK, &Differences::of(admin, name, &entries, mask))
}

impl<'a> Differences<'a> {
    /// Looks at the last differences of a policy.
    pub fn of(admin: &Admin, policy: &'a str, entries: &'a [Arc<Entry>], mask: Mask) -> Self {
        Self {
            policy,
            counts: admin.metrics.shadow_counts(policy).into(),
            differences: entries.len(),
            since: entries.last().map(|entry| time(entry.decision.unix_ms)),
            by_reason: by_reason(policy, entries),
            by_client: ranked(entries.iter().map(|entry| prefix(entry.decision.client)))
                .into_iter()
                .map(|(prefix, count)| Client { prefix: prefix.to_string(), count })
                .collect(),
            by_torrent: ranked(entries.iter().map(|entry| entry.decision.info_hash))
                .into_iter()
                .map(|(hash, count)| Torrent { info_hash: hash.to_string(), count })
                .collect(),
            examples: entries.iter().take(EXAMPLES).map(|entry| entry.shown(mask)).collect(),
        }
    }
}

fn by_reason<'a>(policy: &str, entries: &'a [Arc<Entry>]) -> Vec<Reason<'a>> {
    let said = entries.iter().filter_map(|entry| {
        let shadow = entry.decision.shadows.iter().find(|shadow| &*shadow.policy == policy)?;
        Some((shadow.would.name(), shadow.reason.as_deref().unwrap_or_default()))
    });
    let ranked = ranked(said).into_iter();
    ranked.map(|((would, reason), count)| Reason { would, reason, count }).collect()
}

/// Counts values, and returns the commonest, the most first.
fn ranked<T: Eq + Hash + Ord>(values: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = HashMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
    counts.truncate(GROUPS);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_come_first() {
        assert_eq!(ranked("cabcbc".chars()), [('c', 3), ('b', 2), ('a', 1)]);
        assert_eq!(ranked(0..100).len(), GROUPS);
    }
}
