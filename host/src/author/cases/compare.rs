//! Compares the result of a call with what was expected.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::schema::{Expect, Label, Part, Place, Remember, Request, Wanted};
use crate::policy::{Asked, Said};

/// Returns a line for each field that differs; `values` looks up a key-value.
pub fn differences(
    expect: &Expect,
    said: &Said,
    logs: &[String],
    values: impl Fn(&str) -> Option<Vec<u8>>,
) -> Vec<String> {
    let mut lines = match (&said.error, &expect.error) {
        (None, Wanted::Any | Wanted::Nothing) => answered(expect, said),
        (None, Wanted::Is(text)) => vec![super::differs("error", text, "none")],
        (Some(error), Wanted::Is(text)) if error.contains(text.as_str()) => Vec::new(),
        (Some(error), Wanted::Is(text)) => return vec![super::differs("error", text, error)],
        (Some(error), _) => return failed(error, logs),
    };
    // Side effects of a call persist even if it fails.
    let mut check = |line: Option<String>| lines.extend(line);
    check(published(&expect.published, said));
    check(requested(&expect.requests, &said.requests));
    check(logged(&expect.logs, logs));
    for (key, wanted) in &expect.keyvalues {
        let found = values(key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if found != *wanted {
            let show = |text: &Option<String>| {
                text.as_ref().map_or("nothing".into(), |text| json!(text).to_string())
            };
            check(Some(format!(
                "keyvalues.{key}: expected {}, got {}",
                show(wanted),
                show(&found)
            )));
        }
    }
    lines
}

/// Returns the lines for a failed call. If the policy's language has logged the error, the
/// backtrace through its runtime is omitted.
fn failed(error: &str, logs: &[String]) -> Vec<String> {
    let parts = error.split_once(": error while executing at wasm backtrace:\n");
    let parts = parts.and_then(|(cause, rest)| Some((cause, rest.rsplit_once(": wasm trap: ")?)));
    let Some((cause, (frames, trap))) = parts else {
        return vec![format!("the call failed: {error}")];
    };
    let mut lines = vec![format!("the call failed: {cause}: {trap}")];
    if logs.is_empty() {
        lines.extend(frames.lines().map(|frame| format!("  at {}", frame.trim())));
    }
    lines
}

/// Compares what a hook returned, and what it changed in the answer.
fn answered(expect: &Expect, said: &Said) -> Vec<String> {
    let mut lines = Vec::new();
    // A plugin without the hook is not called, which has the same effect.
    let verdict = said.verdict.unwrap_or("next");
    let change = |name: &str| said.changes.get(name).cloned();
    let attributes = change("attributes").map(|list| {
        let pairs: Vec<(String, Value)> = serde_json::from_value(list).unwrap_or_default();
        Value::Object(pairs.into_iter().collect::<Map<_, _>>())
    });
    let mut check = |line: Option<String>| lines.extend(line);
    check(differs("verdict", &expect.verdict, Some(json!(verdict))));
    check(differs("failure", &expect.failure, change("failure_reason")));
    check(differs("retry_in", &expect.retry_in, change("retry_in")));
    check(differs("warning", &expect.warning, change("warning_message")));
    check(differs("interval", &expect.interval, change("interval")));
    check(differs("min_interval", &expect.min_interval, change("min_interval")));
    check(differs("num_want", &expect.num_want, change("num_want")));
    check(differs("peers_first", &expect.peers_first, change("peers_first").or(Some(json!([])))));
    check(differs("peers_mixed", &expect.peers_mixed, change("peers_mixed").or(Some(json!([])))));
    check(differs("label", &expect.label, said.label.map(|label| json!(Label(label)))));
    check(differs("attributes", &expect.attributes, attributes.or(Some(json!({})))));
    check(differs("hidden", &expect.hidden, change("hidden").or(Some(json!(false)))));
    check(differs("credit", &expect.credit, change("credit")));
    check(differs("hide_peer", &expect.hide_peer, change("hide_peer").or(Some(json!(false)))));
    check(remembers(&expect.remember, said));
    check(differs("ranking", &expect.ranking, said.ranking.as_deref().map(ranking)));
    lines
}

/// Shows peers as texts, and invalid indices as numbers.
fn ranking(peers: &[Result<SocketAddr, u32>]) -> Value {
    let one = |peer: &Result<SocketAddr, u32>| match peer {
        Ok(peer) => json!(peer),
        Err(index) => json!(index),
    };
    peers.iter().map(one).collect()
}

fn published(wanted: &Wanted<BTreeMap<String, String>>, said: &Said) -> Option<String> {
    let blobs = said.published.iter();
    let found = blobs.map(|(name, bytes)| (name.clone(), json!(String::from_utf8_lossy(bytes))));
    differs("published", wanted, Some(Value::Object(found.collect())))
}

fn requested(wanted: &Wanted<Vec<Request>>, found: &[Asked]) -> Option<String> {
    let wanted = match wanted {
        Wanted::Any => return None,
        Wanted::Nothing => &[][..],
        Wanted::Is(list) => list,
    };
    let same = wanted.len() == found.len() && wanted.iter().zip(found).all(|(w, f)| is_one(w, f));
    let show = |asked: &Asked| {
        let Asked { method, url, headers, body } = asked;
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())))
        };
        let headers: Map<_, _> = headers.iter().map(header).collect();
        let body = String::from_utf8_lossy(body);
        json!({ "method": method, "url": url, "headers": headers, "body": body })
    };
    let found: Vec<Value> = found.iter().map(show).collect();
    (!same).then(|| format!("requests: expected {}, got {}", json!(wanted), json!(found)))
}

/// Returns whether a request matches the expected one.
fn is_one(wanted: &Request, found: &Asked) -> bool {
    let Request { method, url, headers, body } = wanted;
    let header = |(name, value): (&String, &String)| {
        found.headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes())
    };
    method.as_ref().is_none_or(|method| *method == found.method)
        && url.as_ref().is_none_or(|Place(url)| url.as_str() == found.url)
        && headers.iter().all(header)
        && body.as_ref().is_none_or(|body| String::from_utf8_lossy(&found.body).contains(body))
}

/// Returns a line if a field differs. Empty lists and mappings and `false` count as nothing.
fn differs(field: &str, wanted: &Wanted<impl Serialize>, found: Option<Value>) -> Option<String> {
    let wanted = match wanted {
        Wanted::Any => return None,
        Wanted::Nothing => None,
        Wanted::Is(value) => Some(json!(value)),
    };
    let bare = |value: &Value| *value == json!([]) || *value == json!({}) || *value == json!(false);
    let same = match (&wanted, &found) {
        (None, Some(found)) => bare(found),
        (wanted, found) => wanted == found,
    };
    let show =
        |value: Option<Value>| value.map_or_else(|| "nothing".into(), |value| value.to_string());
    (!same).then(|| format!("{field}: expected {}, got {}", show(wanted), show(found)))
}

fn remembers(wanted: &Wanted<Remember>, said: &Said) -> Option<String> {
    let found = said.remember.as_ref().map(|(scope, seconds)| {
        let scope =
            scope.iter().filter_map(|part| serde_json::from_value::<Part>(json!(part)).ok());
        let mut scope: Vec<Part> = scope.collect();
        scope.sort_unstable();
        json!(Remember { scope, seconds: *seconds })
    });
    // A scope is a set.
    let sorted = match wanted {
        Wanted::Is(Remember { scope, seconds }) => {
            let mut scope = scope.clone();
            scope.sort_unstable();
            Wanted::Is(Remember { scope, seconds: *seconds })
        }
        other => other.clone(),
    };
    differs("remember", &sorted, found)
}

fn logged(wanted: &Wanted<Vec<String>>, logs: &[String]) -> Option<String> {
    match wanted {
        Wanted::Any => None,
        Wanted::Nothing => {
            (!logs.is_empty()).then(|| format!("logs: expected nothing, got {}", json!(logs)))
        }
        Wanted::Is(texts) => {
            let mut rest = logs.iter();
            let missing =
                texts.iter().find(|text| !rest.any(|line| line.contains(text.as_str())))?;
            Some(format!("logs: expected {}, got {}", json!(missing), json!(logs)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(changes: Value) -> Said {
        let Value::Object(changes) = changes else { panic!("an object") };
        Said { verdict: Some("reject"), changes, ..Said::default() }
    }

    fn lines(expect: &str, said: &Said) -> Vec<String> {
        let expect: Expect = serde_yaml::from_str(expect).unwrap();
        let logs = ["info: one".to_owned(), "warn: two".to_owned()];
        differences(&expect, said, &logs, |key| (key == "k").then(|| b"v".to_vec()))
    }

    #[test]
    fn fields_that_are_not_named_are_not_compared() {
        let said = said(json!({ "failure_reason": "no", "retry_in": 5, "interval": 60 }));
        for expect in [
            "reject",
            "{}",
            "{ failure: \"no\", retry_in: 5, interval: 60, warning: null, hidden: false, \
             peers_first: [], attributes: null, logs: [one, \"warn: t\"], keyvalues: { k: v, l: null } }",
        ] {
            assert_eq!(lines(expect, &said), [""; 0], "{expect}");
        }
    }

    #[test]
    fn every_field_that_differs_is_named() {
        let said = Said {
            label: Some(26),
            remember: Some((vec!["info-hash", "event"], 60)),
            ..said(
                json!({ "failure_reason": "no", "retry_in": "never", "attributes": [["a", "b"]] }),
            )
        };
        for (expect, line) in [
            ("next", "verdict: expected \"next\", got \"reject\""),
            ("{ failure: null }", "failure: expected nothing, got \"no\""),
            ("{ retry_in: 5 }", "retry_in: expected 5, got \"never\""),
            ("{ interval: 5 }", "interval: expected 5, got nothing"),
            ("{ hidden: true }", "hidden: expected true, got false"),
            ("{ attributes: { a: c } }", "attributes: expected {\"a\":\"c\"}, got {\"a\":\"b\"}"),
            ("{ label: 0x1b }", "label: expected \"0x1b\", got \"0x1a\""),
            (
                "{ remember: { scope: [event], seconds: 60 } }",
                "remember: expected {\"scope\":[\"event\"],\"seconds\":60}, got \
                 {\"scope\":[\"info-hash\",\"event\"],\"seconds\":60}",
            ),
            ("{ logs: [two, one] }", "logs: expected \"one\", got [\"info: one\",\"warn: two\"]"),
            ("{ logs: null }", "logs: expected nothing, got [\"info: one\",\"warn: two\"]"),
            ("{ keyvalues: { k: w } }", "keyvalues.k: expected \"w\", got \"v\""),
            ("{ error: trap }", "error: expected \"trap\", got \"none\""),
        ] {
            assert_eq!(lines(expect, &said), [line], "{expect}");
        }
        assert_eq!(lines("{ retry_in: never, label: 26 }", &said), [""; 0]);
        assert_eq!(
            lines("{ remember: { scope: [event, info-hash], seconds: 60 } }", &said),
            [""; 0]
        );
    }

    #[test]
    fn a_call_that_fails_is_a_difference_unless_it_is_expected() {
        let said = Said { error: Some("trap: unreachable".into()), ..Said::default() };
        assert_eq!(lines("{ error: trap }", &said), [""; 0]);
        assert_eq!(lines("next", &said), ["the call failed: trap: unreachable"]);
        assert_eq!(
            lines("{ error: deadline }", &said),
            ["error: expected \"deadline\", got \"trap: unreachable\""]
        );
    }

    #[test]
    fn the_backtrace_of_a_trap_is_shown_if_nothing_was_logged() {
        let error = "trap: error while executing at wasm backtrace:\n    0: 0x1 - a!b\n    1: 0x2 - a!c: \
                     wasm trap: wasm `unreachable` instruction executed";
        let line = "the call failed: trap: wasm `unreachable` instruction executed";
        assert_eq!(failed(error, &[]), [line, "  at 0: 0x1 - a!b", "  at 1: 0x2 - a!c"]);
        assert_eq!(failed(error, &["warn: index out of bounds".into()]), [line]);
        assert_eq!(failed("deadline: x", &[]), ["the call failed: deadline: x"]);
    }
}
