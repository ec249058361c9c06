//! What the policies would say to a request: asked in instances made for the question, which share
//! nothing with those that serve.

use std::time::Instant;

use karuta_bittorrent::Event;
use karuta_bittorrent::http::Retry;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::bindings::imports::response::Scope;
use super::bindings::imports::types::Verdict;
use super::chain::Policy;
use super::exchange::{Changes, Exchange};
use super::generation::Generation;
use super::instance::Instance;
use crate::config::Mode;
use crate::metrics::{Cause, Hook};

/// Why a policy is not asked again.
const GONE: &str = "its instance failed at an info-hash before this one";

/// What became of the request, and by whom.
#[derive(Serialize)]
pub struct Explanation {
    pub info_hash: String,
    /// `ok`, `rejected` or `dropped`.
    pub outcome: &'static str,
    pub decided_by: Option<String>,
    /// What the answer would say beside the peers.
    pub answer: Value,
    /// In the order of the calls.
    pub policies: Vec<Step>,
}

/// What one policy said.
#[derive(Serialize)]
pub struct Step {
    pub policy: String,
    pub mode: &'static str,
    /// Why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// Why there is no verdict; the configuration's `on_error` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it changes of the answer.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub changes: Map<String, Value>,
    /// For which requests the verdict would be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<Value>,
    /// Of the call alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microseconds: Option<f64>,
}

/// A question under way. It makes one instance of each policy at most, whatever it is about.
pub struct Inquiry<'g> {
    policies: Vec<(&'g Policy, Witness)>,
}

/// The instance of one policy, from when it is asked first; or why there is none.
type Witness = Option<Result<Instance, String>>;

impl<'g> Inquiry<'g> {
    /// Opens an inquiry among the policies of a generation.
    pub fn open(generation: &'g Generation) -> Self {
        let policies = generation.policies.iter();
        Self { policies: policies.map(|policy| (&**policy, None)).collect() }
    }

    /// Asks them about an announce, or about one info-hash of a scrape.
    pub fn explain(&mut self, exchange: &mut Box<Exchange>, scrape: bool) -> Explanation {
        let hook = if scrape { Hook::Scrape } else { Hook::Announce };
        let event = (!scrape).then_some(exchange.request.announce.event);
        let mut decision = Verdict::Next;
        let mut steps = Vec::new();
        for (policy, witness) in &mut self.policies {
            steps.push(match skipped(policy, exchange, hook, event, decision) {
                Some(reason) => Step { skipped: Some(reason), ..Step::of(policy) },
                None => ask(policy, witness, exchange, scrape, &mut decision),
            });
        }
        summary(exchange, scrape, decision, steps)
    }
}

fn summary(
    exchange: &Exchange,
    scrape: bool,
    decision: Verdict,
    policies: Vec<Step>,
) -> Explanation {
    let answer = &exchange.answer;
    let outcome = match decision {
        Verdict::Next | Verdict::Accept => "ok",
        Verdict::Reject => "rejected",
        Verdict::Drop => "dropped",
    };
    let shown = match decision {
        Verdict::Drop => json!(null),
        Verdict::Reject => json!({
            "failure_reason": answer.failure,
            "retry_in": answer.retry.map(retry),
        }),
        _ if scrape => json!({ "hidden": answer.hidden }),
        _ => json!({
            "interval": answer.interval,
            "min_interval": answer.min_interval,
            "num_want": answer.num_want,
            "warning_message": answer.warning,
        }),
    };
    Explanation {
        info_hash: exchange.request.announce.info_hash.to_string(),
        outcome,
        decided_by: answer.decided_by.as_deref().map(str::to_owned),
        answer: shown,
        policies,
    }
}

fn skipped(
    policy: &Policy,
    exchange: &Exchange,
    hook: Hook,
    event: Option<Event>,
    decision: Verdict,
) -> Option<&'static str> {
    match decision {
        _ if !policy.supplier.plugin().code.hooks.has(hook) => Some("it has no such hook"),
        _ if !policy.when.covers(&exchange.request, event) => Some("`when` leaves it out"),
        Verdict::Next => None,
        Verdict::Accept => Some("a policy before it has accepted"),
        Verdict::Reject | Verdict::Drop => Some("a policy before it has refused"),
    }
}

fn ask(
    policy: &Policy,
    witness: &mut Witness,
    exchange: &mut Box<Exchange>,
    scrape: bool,
    decision: &mut Verdict,
) -> Step {
    let plugin = policy.supplier.plugin();
    let mut step = Step::of(policy);
    let result = if plugin.lacks_data() {
        Err(format!("{}: it waits for its data", Cause::Unavailable.name()))
    } else {
        match witness.get_or_insert_with(|| Instance::scratch(plugin)) {
            Err(reason) => Err(reason.clone()),
            Ok(instance) => {
                let start = Instant::now();
                let result = match scrape {
                    true => instance.scrape(exchange),
                    false => instance.announce(exchange),
                };
                step.microseconds = Some(start.elapsed().as_nanos() as f64 / 1000.0);
                step.remember = instance.remember().map(
                    |(scope, time)| json!({ "scope": names(scope), "seconds": time.as_secs() }),
                );
                result.unwrap_or(Ok(Verdict::Next)).map_err(|failure| {
                    *witness = Some(Err(format!("{}: {GONE}", Cause::Unavailable.name())));
                    failure.to_string()
                })
            }
        }
    };
    step.changes = shown(&exchange.changes);
    step.verdict = result.as_ref().ok().copied().map(label);
    if policy.mode == Mode::Shadow {
        exchange.discard();
    } else {
        *decision = policy.settle(exchange, result.as_ref().ok().copied());
    }
    step.error = result.err();
    step
}

impl Step {
    fn of(policy: &Policy) -> Self {
        Self {
            policy: policy.supplier.plugin().name.to_string(),
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

pub(super) fn label(verdict: Verdict) -> &'static str {
    super::chain::label(verdict).name()
}

fn retry(retry: Retry) -> Value {
    match retry {
        Retry::Minutes(minutes) => json!(minutes),
        Retry::Never => json!("never"),
    }
}

/// The flags of a scope as the contract names them.
pub(super) fn names(scope: Scope) -> Vec<&'static str> {
    let flags = [
        (Scope::INFO_HASH, "info-hash"),
        (Scope::ADDRESS, "address"),
        (Scope::CLIENT, "client"),
        (Scope::CREDENTIAL, "credential"),
        (Scope::EVENT, "event"),
        (Scope::TRANSPORT, "transport"),
        (Scope::PEER_ID, "peer-id"),
        (Scope::PORT, "port"),
        (Scope::ROLE, "role"),
    ];
    flags.into_iter().filter(|(flag, _)| scope.contains(*flag)).map(|(_, name)| name).collect()
}

pub(super) fn shown(changes: &Changes) -> Map<String, Value> {
    let Changes { any, failure, retry: again, warning, interval, min_interval, .. } = changes;
    let mut map = Map::new();
    if !any {
        return map;
    }
    let mut add = |name: &str, value: Option<Value>| {
        map.extend(value.map(|value| (name.to_owned(), value)));
    };
    let addresses = |list: &Vec<_>| {
        (!list.is_empty()).then(|| json!(list.iter().map(ToString::to_string).collect::<Vec<_>>()))
    };
    let attributes = &changes.attributes;
    add("failure_reason", failure.as_ref().map(|text| json!(text)));
    add("retry_in", again.map(retry));
    add("warning_message", warning.as_ref().map(|text| json!(text)));
    add("interval", interval.map(|seconds| json!(seconds)));
    add("min_interval", min_interval.map(|seconds| json!(seconds)));
    add("num_want", changes.num_want.map(|count| json!(count)));
    add("peers_first", addresses(&changes.first));
    add("peers_mixed", addresses(&changes.mixed));
    add("label", changes.locality.map(|at| json!(format!("{:016x}", at.label))));
    add("attributes", (!attributes.is_empty()).then(|| json!(attributes)));
    add("hidden", changes.hidden.then_some(json!(true)));
    map
}
