//! Answers: JSON, or a line of text.

use std::error::Error;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub type Reply = Response<Body>;

/// The body of an answer: whole, or written while it is read.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// Why a body ends before its end.
pub type Broken = Box<dyn Error + Send + Sync>;

/// An answer that is being made.
pub type Pending<'a, R = Reply> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// The answer to a request to change something.
pub struct Changed {
    pub reply: Reply,
    /// For the audit.
    pub result: String,
}

impl Changed {
    pub fn json(status: StatusCode, value: &impl Serialize, result: impl Into<String>) -> Self {
        Self { reply: json(status, value), result: result.into() }
    }

    /// Answers with the result itself.
    pub fn line(status: StatusCode, result: &str) -> Self {
        Self { reply: line(status, result), result: result.to_owned() }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers with a line, which gets its line break here.
pub fn line(status: StatusCode, line: &str) -> Reply {
    reply(status, TEXT, format!("{line}\n"))
}

pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => reply(status, JSON, body),
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Answers with JSON in one line, for what is large and made for programs.
pub fn compact(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, JSON, body),
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub fn reply(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(written(Full::new(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// Returns a body that is written while it is read.
pub fn written(
    body: impl hyper::body::Body<Data = Bytes, Error: Into<Broken>> + Send + 'static,
) -> Body {
    body.map_err(Into::into).boxed_unsync()
}

/// What is said if the thread that would know has ended, with [`StatusCode::SERVICE_UNAVAILABLE`].
pub const STOPPING: &str = "stopping";
