//! `/api/record`: the requests of a while, as a file.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::access::Admission;

use super::narrow::{self, Outcomes};
use super::reply::{Changed, written};
use super::request::Request;
use crate::recording::{Filter, Running, Wanted};

/// The longest recording in seconds.
const LONGEST: u64 = 24 * 3600;
/// The maximum size of a question in bytes.
const QUESTION: usize = 4096;

const FILE: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What is to be recorded, and for how long.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordQuestion {
    pub seconds: u64,
    /// The most requests; any number by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Only one client in so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<NonZeroU32>,
    /// The clients' addresses, such as 198.51.100.0/24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info_hash: Option<String>,
    /// All by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcomes>,
    /// `credentials`, `addresses`, or both, divided by a comma. Nothing by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact: Option<String>,
}

/// Answers with a recording while it is made.
pub async fn record(admin: &Admin, request: Request) -> Changed {
    let Some(rings) = &admin.rings else {
        return Changed::line(StatusCode::CONFLICT, "requests are not recorded: `record`");
    };
    let admission = Admission::of(&request, &admin.access);
    let question: RecordQuestion = match request.json(QUESTION).await {
        Ok(question) => question,
        Err(reply) => return Changed { reply, result: "not a question".to_owned() },
    };
    let wanted = match wanted(question) {
        Ok(wanted) => wanted,
        Err(reason) => return Changed::line(StatusCode::BAD_REQUEST, &reason),
    };
    let seconds = wanted.time.as_secs();
    match rings.record(wanted) {
        Ok(Some(running)) => {
            let mut reply = Response::new(written(Growing { running, admission }));
            reply.headers_mut().insert(CONTENT_TYPE, FILE);
            Changed { reply, result: format!("recording for {seconds} s") }
        }
        Ok(None) => Changed::line(StatusCode::TOO_MANY_REQUESTS, "there is a recording already"),
        Err(error) => {
            Changed::line(StatusCode::INTERNAL_SERVER_ERROR, &format!("no thread: {error}"))
        }
    }
}

fn wanted(question: RecordQuestion) -> Result<Wanted, String> {
    let RecordQuestion { seconds, n, sample, from, info_hash, outcome, redact } = question;
    if !(1..=LONGEST).contains(&seconds) {
        return Err(format!("seconds: expected 1 to {LONGEST}"));
    }
    if n == Some(0) {
        return Err("n: expected 1 or more".to_owned());
    }
    let filter = Filter {
        sample,
        from: from.as_deref().map(narrow::network).transpose()?,
        info_hash: info_hash.as_deref().map(narrow::info_hash).transpose()?,
        outcomes: narrow::outcomes(outcome)?,
        key: rand::random(),
    };
    let hidden = redact.as_deref().map(str::parse).transpose();
    let hidden = hidden.map_err(|expected| format!("redact: {expected}"))?;
    let (time, hidden) = (Duration::from_secs(seconds), hidden.unwrap_or_default());
    Ok(Wanted { time, most: n, filter, hidden })
}

/// A recording as the body of an answer.
struct Growing {
    running: Running,
    admission: Admission,
}

impl Body for Growing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.admission.has_ended() {
            return Poll::Ready(None);
        }
        self.running.pieces.poll_recv(context).map(|piece| Some(Ok(Frame::data(piece?))))
    }
}
