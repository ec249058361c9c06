//! `/api/tap`: decisions as they are made.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::access::Admission;
use super::narrow::{self, Outcomes};
use super::reply::{Reply, line, written};
use super::request::Request;
use super::shadow::NO_POLICY;
use super::tapping::Tapping;
use crate::decisions::Filter;

/// The most lines of a tap.
const MOST: u64 = 100_000;
/// The maximum size of a question in bytes.
const QUESTION: usize = 4096;

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Which decisions are to be shown, and how many.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct TapQuestion {
    /// The clients' addresses, such as 198.51.100.0/24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// All by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcomes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How many lines; the most by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// Answers with decisions for as long as the client reads, up to a limit.
pub async fn tap(admin: &Admin, request: Request) -> Reply {
    let admission = Admission::of(&request, &admin.access);
    let question: TapQuestion = match request.json(QUESTION).await {
        Ok(question) => question,
        Err(reply) => return reply,
    };
    let count = question.n.unwrap_or(MOST);
    if !(1..=MOST).contains(&count) {
        return line(StatusCode::BAD_REQUEST, &format!("n: expected 1 to {MOST}"));
    }
    let filter = match filter(question) {
        Ok(filter) => filter,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    if filter.policy.as_deref().is_some_and(|name| !admin.decides(name)) {
        return line(StatusCode::NOT_FOUND, NO_POLICY);
    }
    let Some(tap) = admin.decisions.tap(filter) else {
        return line(StatusCode::TOO_MANY_REQUESTS, "there are 4 taps already");
    };
    let tapping = Tapping::new(tap, count, admission);
    let mut reply = Response::new(written(tapping));
    reply.headers_mut().insert(CONTENT_TYPE, NDJSON);
    reply
}

fn filter(question: TapQuestion) -> Result<Filter, String> {
    let TapQuestion { from, outcome, info_hash, policy, n: _ } = question;
    Ok(Filter {
        from: from.as_deref().map(narrow::network).transpose()?,
        outcomes: narrow::outcomes(outcome)?,
        info_hash: info_hash.as_deref().map(narrow::info_hash).transpose()?,
        policy,
    })
}

#[cfg(test)]
mod tests {
    use karuta_bittorrent::InfoHash;

    use super::*;
    use crate::metrics::Outcome;

    #[test]
    fn a_question_is_read_or_refused() {
        let read = |text: &str| filter(serde_json::from_str(text).unwrap());
        let hash = "ab".repeat(20);
        let found = read(&format!(
            r#"{{"from":"::ffff:192.0.2.1","outcome":"ok","info_hash":"{hash}","policy":"a"}}"#
        ));
        let expected = Filter {
            from: "192.0.2.1/32".parse().ok(),
            outcomes: vec![Outcome::Ok],
            info_hash: Some(InfoHash([0xab; 20])),
            policy: Some("a".to_owned()),
        };
        assert_eq!(found, Ok(expected));
        let outcomes = |text: &str| read(text).unwrap().outcomes;
        assert_eq!(outcomes("{}"), [Outcome::Ok, Outcome::Rejected, Outcome::Dropped]);
        let refused = outcomes(r#"{"outcome":["dropped","rejected"]}"#);
        assert_eq!(refused, [Outcome::Dropped, Outcome::Rejected]);
        for text in [
            r#"{"from":"here"}"#,
            r#"{"outcome":"invalid"}"#,
            r#"{"outcome":["ok","invalid"]}"#,
            r#"{"outcome":[]}"#,
            r#"{"info_hash":"ab"}"#,
        ] {
            assert!(read(text).unwrap_err().contains(": expected "), "{text}");
        }
    }
}
