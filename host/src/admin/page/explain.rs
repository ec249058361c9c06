//! Explain: a form for a request, and what each policy would do with it.

use std::collections::BTreeMap;

use askama::Template;
use percent_encoding::{CONTROLS, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::number;
use super::viewer::Viewer;
use crate::admin::explain::{Answer, Answers, Question};
use crate::config::Right;
use crate::decisions::{SWARM_LIMITS, Shown, TRACKER_LIMITS};
use crate::policy::{Explanation, Step};

/// What is in the form.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Asked {
    /// A URL, or a text that contains one.
    pub url: String,
    pub from: String,
    /// One on each line.
    pub headers: String,
}

#[derive(Template)]
#[template(path = "explain.html")]
pub struct Explain {
    asked: Asked,
    /// `None`: nothing was asked.
    result: Option<Result<Answers, String>>,
    lacks: Option<&'static str>,
}

impl Explain {
    pub fn of(viewer: &Viewer, asked: Asked, result: Option<Result<Answers, String>>) -> Self {
        Self { asked, result, lacks: viewer.lacks(&Right::Explain) }
    }

    /// Returns the limit that would refuse a request that the policies allow, and what it would say.
    fn refused_by<'a>(&'a self, answer: &'a Answer) -> Option<(&'static str, &'a str)> {
        let answers = self.result.as_ref()?.as_ref().ok()?;
        let tracker = answers.tracker_limits.as_ref().and_then(|limits| limits.refusal.as_deref());
        let swarms = answer.swarms_limits.as_ref().and_then(|limits| limits.refusal.as_deref());
        let first = tracker.map(|reason| (TRACKER_LIMITS, reason));
        let last = swarms.map(|reason| (SWARM_LIMITS, reason));
        let is_allowed = answer.by_policies.outcome == "ok";
        first.or(last).filter(|_| is_allowed)
    }

    /// Returns the command that asks the same; `None`: none could, because it is no request.
    fn command(&self) -> Option<String> {
        let question = self.asked.question().ok()?;
        Url::parse(&question.url).ok().filter(|url| url.has_host())?;
        let Asked { url: _, from, headers } = &self.asked;
        let mut command = format!("karuta explain {}", quoted(&question.url));
        if !from.trim().is_empty() {
            command.push_str(&format!(" --from {}", quoted(from.trim())));
        }
        for header in headers.lines().map(str::trim).filter(|line| !line.is_empty()) {
            command.push_str(&format!(" --header {}", quoted(header)));
        }
        Some(command)
    }
}

impl Asked {
    /// Reads the form.
    ///
    /// # Errors
    ///
    /// Which field is wrong.
    pub fn question(&self) -> Result<Question, String> {
        let from = match self.from.trim() {
            "" => None,
            text => {
                let address = text.parse();
                Some(address.map_err(|_| format!("client's address: not an address: {text}"))?)
            }
        };
        let mut headers = BTreeMap::new();
        for line in self.headers.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("headers: expected `Name: value`, found {line}"))?;
            headers.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        Ok(Question { url: pasted(&self.url), from, headers })
    }
}

/// Returns the URL in a line of a log. A path alone gets a scheme and a host.
fn pasted(text: &str) -> String {
    let marks = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '<' | '>');
    let mut words = text.split(marks).filter(|word| !word.is_empty());
    let is_request = |word: &&str| {
        let path = word.split('?').next().unwrap_or_default();
        word.contains("://") && word.contains("info_hash=")
            || path.starts_with('/') && word.contains("info_hash=")
    };
    match words.clone().find(is_request).or_else(|| words.next()) {
        Some(path) if path.starts_with('/') => format!("http://tracker{}", visible(path)),
        Some(url) => visible(url),
        None => String::new(),
    }
}

/// Escapes what is not visible in a URL, as every client does.
fn visible(url: &str) -> String {
    utf8_percent_encode(url, CONTROLS).to_string()
}

/// Returns where the page asks the policies about a request like one that was decided. What was not kept
/// of it is made up: the rest of the peer id, the port, and how much is left.
pub fn link(decision: &Shown<'_>) -> String {
    let hash = hex::decode(&decision.info_hash).unwrap_or_default();
    let mut peer_id = decision.agent.clone().unwrap_or_default().into_bytes();
    peer_id.push(b'-');
    peer_id.resize(20, b'0');
    let escaped = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    let mut url = format!("/{}?info_hash={}", decision.action, escaped(&hash));
    if decision.action == "announce" {
        url.push_str(&format!("&peer_id={}&port=6881&left=1&compact=1", escaped(&peer_id)));
        let event = decision.event.filter(|event| *event != "none");
        event.into_iter().for_each(|event| url.push_str(&format!("&event={event}")));
    }
    // A network stands for an address that may not be seen.
    let from = decision.client.split('/').next().unwrap_or_default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("url", &url).append_pair("from", from);
    format!("/?{}#explain", query.finish())
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns the style of an outcome or a verdict.
fn tone(outcome: &str) -> &'static str {
    match outcome {
        "ok" | "accept" => "ok",
        "rejected" | "reject" => "bad",
        "dropped" | "drop" => "drop",
        _ => "",
    }
}

/// Returns the style of a policy in the chain.
fn mark(step: &Step) -> &'static str {
    match step.verdict {
        Some("accept" | "next") => "now-ok",
        Some(_) if step.mode == "shadow" => "",
        Some(_) => "now-bad",
        None => "",
    }
}

fn reason(explanation: &Explanation) -> Option<String> {
    explanation.answer.get("failure_reason")?.as_str().map(str::to_owned)
}

/// Returns what else is in the answer.
fn rest(explanation: &Explanation) -> Vec<(String, String)> {
    let fields = explanation.answer.as_object().into_iter().flatten();
    let others =
        fields.filter(|(name, value)| *name != "failure_reason" && !matches!(value, Value::Null));
    others.map(|(name, value)| (name.replace('_', " "), value.to_string())).collect()
}

/// Says which requests a verdict is remembered for.
fn remembered(remember: &Value) -> String {
    let scope = remember["scope"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let scope: Vec<_> = scope.collect();
    let seconds = remember["seconds"].as_u64().unwrap_or_default();
    format!("{} by {}", number::span(seconds), scope.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_found_in_a_line_of_a_log() {
        let path = "/announce?info_hash=%aa%20b&port=1";
        for line in [
            format!("  http://tracker{path}\n"),
            path.to_owned(),
            format!("192.0.2.1 - - [29/Nov/2026:15:00:00 +0000] \"GET {path} HTTP/1.1\" 200 81"),
            format!("{{\"referer\":\"https://example.org/\",\"url\":\"{path}\"}}"),
        ] {
            assert_eq!(pasted(&line), format!("http://tracker{path}"), "{line}");
        }
        assert_eq!(pasted("http://t/\u{202e}"), "http://t/%E2%80%AE");
        assert_eq!(pasted("udp://t:6969?info_hash=x and more"), "udp://t:6969?info_hash=x");
        assert_eq!((pasted("nonsense here"), pasted(" ")), ("nonsense".to_owned(), String::new()));
    }

    #[test]
    fn a_form_becomes_a_question_or_says_what_is_wrong() {
        let mut asked = Asked {
            url: "/announce?info_hash=x".into(),
            from: " 2001:db8::1 ".into(),
            headers: "User-Agent: a: b\n\n X: y".into(),
        };
        let question = asked.question().unwrap();
        assert_eq!(question.from, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(question.headers["User-Agent"], "a: b");
        assert_eq!(question.headers["X"], "y");
        asked.from = "nowhere".into();
        assert!(asked.question().unwrap_err().contains("client's address"));
        asked.from.clear();
        asked.headers = "none".into();
        assert!(asked.question().unwrap_err().contains("headers"));
    }

    #[test]
    fn the_command_is_quoted() {
        let asked = Asked {
            url: "/announce?info_hash=x".into(),
            from: "::1".into(),
            headers: "User-Agent: it's".into(),
        };
        let command = |asked| Explain { asked, result: None, lacks: None }.command();
        assert_eq!(command(Asked { url: "nonsense".into(), ..Asked::default() }), None);
        assert_eq!(
            command(asked).unwrap(),
            r"karuta explain 'http://tracker/announce?info_hash=x' --from '::1' --header 'User-Agent: it'\''s'"
        );
    }
}
