//! A request: its head, and reading its body within bounds.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
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

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("the body took too long")]
    Late,
    #[error("length limit exceeded")]
    TooLarge,
    #[error("{0}")]
    Broken(String),
}

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
    /// It is larger, or does not come.
    pub async fn body(self, most: usize) -> Result<Bytes, Unread> {
        match timeout(BODY, Limited::new(self.body, most).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
            Ok(Err(error)) => Err(Unread::Broken(error.to_string())),
            Err(_) => Err(Unread::Late),
        }
    }

    /// Reads a body of JSON, of at most `most` bytes.
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
        self.body(most).await.map_err(|unread| match unread {
            Unread::Late => line(StatusCode::REQUEST_TIMEOUT, &unread.to_string()),
            Unread::TooLarge | Unread::Broken(_) => {
                line(StatusCode::BAD_REQUEST, &unread.to_string())
            }
        })
    }
}
