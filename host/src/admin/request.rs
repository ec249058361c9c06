//! A request: its head, and reading its body within bounds.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::caller::{Caller, Peer};
use super::reply::{Reply, line};
use crate::text;

/// A request whose body has not been read.
pub struct Request {
    pub peer: Peer,
    /// Who makes it, as far as that is known: a token's name once the request has been judged.
    pub caller: Caller,
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

    /// As [`Self::json`]; an empty body stands for the default.
    pub async fn json_or_nothing<T: DeserializeOwned + Default>(
        self,
        most: usize,
    ) -> Result<T, Reply> {
        match self.body.is_end_stream() {
            true => Ok(T::default()),
            false => self.json(most).await,
        }
    }

    /// Returns whether the body is a form of a web page.
    pub fn is_form(&self) -> bool {
        self.is("application/x-www-form-urlencoded")
    }

    /// Returns whether the body is a form of our own page: a browser says where a form comes from, and
    /// other origins are refused.
    pub fn is_own_form(&self) -> bool {
        self.is_form() && self.head.headers.contains_key(ORIGIN)
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
        let text = self.text(most).await?;
        object(text.as_bytes()).map_err(wrong)
    }

    /// Reads the body as text, of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// The answer that says what is wrong with the body.
    pub async fn text(self, most: usize) -> Result<String, Reply> {
        let body = self.bytes(most).await?;
        let text = text::decode(&body).map_err(|error| wrong(error.to_string()))?;
        Ok(text.to_owned())
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

/// Reads a JSON object. An array is none, although serde would take one for a struct.
///
/// # Errors
///
/// What is wrong with it.
pub fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    match json.trim_ascii_start().first() {
        Some(b'[') => Err("expected an object, found an array".to_owned()),
        _ => serde_json::from_slice(json).map_err(|error| error.to_string()),
    }
}

fn wrong(reason: String) -> Reply {
    line(StatusCode::BAD_REQUEST, &reason)
}
