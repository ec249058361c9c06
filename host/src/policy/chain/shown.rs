//! Verdicts, scopes and changes in the form of `karuta explain` and `karuta plugin test`.

use karuta_bittorrent::http::Retry;
use serde_json::{Map, Value, json};

use crate::exchange::{Draft, Extras};
use crate::metrics;
use crate::policy::contract::Verdict;
use crate::policy::contract::bindings::imports::response::Scope;

/// Returns the metric label of a verdict, which is its name in the contract.
pub fn label(verdict: Verdict) -> metrics::Verdict {
    match verdict {
        Verdict::Next => metrics::Verdict::Next,
        Verdict::Accept => metrics::Verdict::Accept,
        Verdict::Reject => metrics::Verdict::Reject,
        Verdict::Drop => metrics::Verdict::Drop,
    }
}

/// Returns BEP 31's value.
pub fn retry(retry: Retry) -> Value {
    match retry {
        Retry::Minutes(minutes) => json!(minutes),
        Retry::Never => json!("never"),
    }
}

/// Returns the contract's names of a scope's flags.
pub fn names(scope: Scope) -> Vec<&'static str> {
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

/// Returns a hook's changes, by the names of the answer.
pub fn changes(asked: &Draft) -> Map<String, Value> {
    let Draft {
        any,
        interval,
        min_interval,
        num_want,
        locality,
        hidden,
        credit,
        hides_peer,
        extras,
    } = asked;
    let Extras { failure, retry: again, warning, first, mixed, attributes } = extras.read();
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
    add("failure_reason", failure.as_ref().map(|text| json!(text)));
    add("retry_in", again.map(retry));
    add("warning_message", warning.as_ref().map(|text| json!(text)));
    add("interval", interval.map(|seconds| json!(seconds)));
    add("min_interval", min_interval.map(|seconds| json!(seconds)));
    add("num_want", num_want.map(|count| json!(count)));
    add("peers_first", addresses(first));
    add("peers_mixed", addresses(mixed));
    add("label", locality.map(|at| json!(format!("{:016x}", at.label))));
    add("attributes", (!attributes.is_empty()).then(|| json!(attributes)));
    add("hidden", hidden.then_some(json!(true)));
    add("credit", credit.map(|terms| json!([terms.upload, terms.download])));
    add("hide_peer", hides_peer.then_some(json!(true)));
    map
}
