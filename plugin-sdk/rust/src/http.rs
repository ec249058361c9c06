//! Outbound HTTP for control instances, to what the configuration's `allow.http` lists.
//!
//! ```no_run
//! use std::time::Duration;
//! use karuta_plugin::http;
//!
//! let headers = [("content-type", "application/json")];
//! let answer =
//!     http::fetch("POST", "https://example.com/hook", &headers, b"{}", Duration::from_secs(5))?;
//! assert_eq!(answer.status(), 200);
//! # Ok::<(), karuta_plugin::Error>(())
//! ```

use std::time::Duration;

use crate::{Error, bindings::control::http as types, control::http, units::milliseconds_up};

/// An answer, of at most 8 MiB.
#[derive(Clone, Debug)]
pub struct Response(types::Response);

impl Response {
    /// Returns the status, such as 200.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// Returns the names and values of the headers, in the server's order.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.headers
    }

    /// Returns the first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.0.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// Takes the body out of the answer.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.0.body
    }
}

/// Sends a request and waits for the whole answer.
///
/// The request's body has at most 1 MiB. A GET or HEAD follows up to three redirects, as far as
/// `allow.http` covers them.
///
/// # Errors
///
/// Fails if there is no answer, and says why. A status is not an error.
pub fn fetch(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<Response, Error> {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let answer = http::fetch(method, url, &headers, body, milliseconds_up(timeout))?;
    Ok(Response(answer))
}

/// Gets a URL.
///
/// # Errors
///
/// Fails as [`fetch`] does.
pub fn get(url: &str, timeout: Duration) -> Result<Response, Error> {
    fetch("GET", url, &[], &[], timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_test_answers_for_the_servers() {
        let second = Duration::from_secs(1);
        assert!(get("https://a.example/", second).is_err(), "there is no server");
        testing::serve("https://a.example/", 200, b"hello");
        let answer = get("https://a.example/", second).unwrap();
        assert_eq!((answer.status(), answer.body()), (200, &b"hello"[..]));
        assert_eq!(answer.header("etag"), None);
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let headers =
            vec![("ETag".to_owned(), "1".to_owned()), ("etag".to_owned(), "2".to_owned())];
        let answer = Response(types::Response { status: 200, headers, body: Vec::new() });
        assert_eq!((answer.header("etag"), answer.header("age")), (Some("1"), None));
        assert_eq!((answer.headers().len(), answer.into_body()), (2, Vec::new()));
    }
}
