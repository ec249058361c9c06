//! Shows what the policies would do with a request. Instances created for the question answer it;
//! they share nothing with those that serve.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::chain::{Member, Passed, Policy, ask, shown, walk};
use super::contract::Verdict;
use super::generation::Generation;
use super::instance::Instance;
use crate::exchange::{Exchange, Ruling};
use crate::metrics::{Cause, Hook};

/// Why a policy is not called again.
const GONE: &str = "its instance failed at an earlier info-hash";

/// The outcome of a request, and the policy that decided it.
#[derive(Serialize)]
pub struct Explanation {
    pub info_hash: String,
    /// The numbers of the member and the torrent, where `accounts` knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<u64>,
    /// Whether the member is disabled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub banned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torrent: Option<u64>,
    /// `ok`, `rejected` or `dropped`.
    pub outcome: &'static str,
    pub decided_by: Option<String>,
    /// The answer, without the peers.
    pub answer: Value,
    /// In the order of the calls.
    pub policies: Vec<Step>,
}

/// The result of one policy.
#[derive(Serialize)]
pub struct Step {
    pub policy: String,
    pub mode: &'static str,
    /// Why it was not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// Why there is no verdict. The configuration's `on_error` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its changes to the answer.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub changes: Map<String, Value>,
    /// The requests that the verdict would be remembered for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<Value>,
    /// The duration of the call alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microseconds: Option<f64>,
}

/// A running question. It creates at most one instance of each policy, even for several
/// info-hashes.
pub struct Inquiry<'g> {
    witnesses: Vec<Witness<'g>>,
}

/// One policy in an inquiry.
struct Witness<'g> {
    policy: &'g Policy,
    /// Created at the first call; or why it could not be created.
    instance: Option<Result<Instance, String>>,
    /// Its last result.
    step: Step,
}

impl<'g> Inquiry<'g> {
    /// Creates an inquiry for the policies of a generation.
    pub fn open(generation: &'g Generation) -> Self {
        let witness =
            |policy: &'g Arc<Policy>| Witness { policy, instance: None, step: Step::of(policy) };
        Self { witnesses: generation.policies.iter().map(witness).collect() }
    }

    /// Calls the policies for an announce, or for one info-hash of a scrape.
    pub fn explain(&mut self, exchange: &mut Box<Exchange>, scrape: bool) -> Explanation {
        let hook = if scrape { Hook::Scrape } else { Hook::Announce };
        walk(&mut self.witnesses, std::slice::from_mut(exchange), hook);
        let steps = self.witnesses.iter_mut();
        let steps =
            steps.map(|witness| std::mem::replace(&mut witness.step, Step::of(witness.policy)));
        summary(exchange, scrape, steps.collect())
    }
}

impl Member for Witness<'_> {
    fn policy(&self) -> &Policy {
        self.policy
    }

    fn consult(&mut self, exchange: &mut Box<Exchange>, hook: Hook) -> Option<Verdict> {
        let result = self.ask(exchange, hook);
        self.step.changes = shown::changes(&exchange.draft);
        self.step.verdict = result.as_ref().ok().map(|verdict| shown::label(*verdict).name());
        result.map_err(|error| self.step.error = Some(error)).ok()
    }

    fn pass(&mut self, reason: Passed) {
        self.step.skipped = Some(match reason {
            Passed::NoHook => "it does not have this hook",
            Passed::When => "`when` does not match",
            Passed::Decided(Ruling::Open | Ruling::Accepted) => "an earlier policy accepted",
            Passed::Decided(Ruling::Rejected | Ruling::Dropped) => "an earlier policy refused",
        });
    }
}

impl Witness<'_> {
    fn ask(&mut self, exchange: &mut Box<Exchange>, hook: Hook) -> Result<Verdict, String> {
        let plugin = self.policy.plugin();
        if plugin.lacks_data() {
            return Err(format!("{}: it is waiting for its data", Cause::Unavailable.name()));
        }
        let made = || Instance::scratch(plugin).map_err(|error| error.to_string());
        let instance =
            self.instance.get_or_insert_with(made).as_mut().map_err(|why| why.clone())?;
        let start = Instant::now();
        let result = ask(instance, exchange, hook);
        self.step.microseconds = Some(start.elapsed().as_nanos() as f64 / 1000.0);
        self.step.remember = instance.remember().map(
            |(scope, time, _)| json!({ "scope": shown::names(scope), "seconds": time.as_secs() }),
        );
        result.unwrap_or(Ok(Verdict::Next)).map_err(|failure| {
            self.instance = Some(Err(format!("{}: {GONE}", Cause::Unavailable.name())));
            failure.to_string()
        })
    }
}

fn summary(exchange: &Exchange, scrape: bool, policies: Vec<Step>) -> Explanation {
    let answer = &exchange.answer;
    let extras = answer.extras.read();
    let outcome = match answer.ruling {
        Ruling::Open | Ruling::Accepted => "ok",
        Ruling::Rejected => "rejected",
        Ruling::Dropped => "dropped",
    };
    let shown = match answer.ruling {
        Ruling::Dropped => json!(null),
        Ruling::Rejected => json!({
            "failure_reason": extras.failure,
            "retry_in": extras.retry.map(shown::retry),
        }),
        _ if scrape => json!({ "hidden": answer.hidden }),
        _ => json!({
            "interval": answer.interval,
            "min_interval": answer.min_interval,
            "num_want": answer.num_want,
            "warning_message": extras.warning,
        }),
    };
    Explanation {
        info_hash: exchange.request.announce.info_hash.to_string(),
        member: exchange.request.account.member.map(|(id, _)| id),
        banned: exchange.request.account.member.is_some_and(|(_, member)| !member.enabled),
        torrent: exchange.request.account.torrent.map(|(id, _)| id),
        outcome,
        decided_by: answer.decided_by.as_deref().map(str::to_owned),
        answer: shown,
        policies,
    }
}

impl Step {
    fn of(policy: &Policy) -> Self {
        Self {
            policy: policy.plugin().name.to_string(),
            mode: policy.mode.name(),
            skipped: None,
            verdict: None,
            error: None,
            changes: Map::new(),
            remember: None,
            microseconds: None,
        }
    }
}
