//! A request: its head, and reading its body within bounds.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::reply::{Reply, line};
use crate::text;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Network(IpAddr),
    /// A process that may write to a socket file.
    Process {
        uid: u32,
    },
}

/// A request whose body has not been read.
pub struct Request {
    pub peer: Peer,
    pub head: Parts,
    pub body: Incoming,
}

/// How long the body of a request may take to arrive.
const BODY: Duration = Duration::from_secs(10);

impl Request {
    /// Returns whether the body is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        let given = self.head.headers.get(CONTENT_TYPE);
        let given = given.map(HeaderValue::as_bytes).unwrap_or_default();
        given.to_ascii_lowercase().starts_with(kind.as_bytes())
    }

    /// Reads the body, of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// The answer that says what is wrong with the body.
    pub async fn json<T: DeserializeOwned>(self, most: usize) -> Result<T, Reply> {
        let wrong = |reason: String| line(StatusCode::BAD_REQUEST, &reason);
        let body = self.bytes(most).await?;
        let text = text::decode(&body).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
    }

    /// Reads the body as it is, of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// The answer that says what is wrong with the body.
    pub async fn bytes(self, most: usize) -> Result<Bytes, Reply> {
        match timeout(BODY, Limited::new(self.body, most).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(line(StatusCode::BAD_REQUEST, &error.to_string())),
            Err(_) => Err(line(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
        }
    }
}
