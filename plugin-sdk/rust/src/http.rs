//! Outbound HTTP for control instances, to what the configuration's `allow.http` lists.
//!
//! ```no_run
//! use std::time::Duration;
//! use karuta_plugin::http;
//!
//! let headers = [("content-type", "application/json")];
//! let answer =
//!     http::fetch("POST", "https://example.com/hook", &headers, b"{}", Duration::from_secs(5))?;
//! assert_eq!(answer.status, 200);
//! # Ok::<(), String>(())
//! ```

use std::time::Duration;

use crate::control::http;

pub use crate::bindings::control::http::Response;

/// Sends a request and waits for the whole answer, which has 8 MiB at most; the request's body has
/// 1 MiB. A GET or HEAD follows up to three redirects, as far as `allow.http` covers them.
///
/// # Errors
///
/// Why there is no answer, in words for the log. A status is not an error.
pub fn fetch(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<Response, String> {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    http::fetch(method, url, &headers, body, timeout)
}

/// Gets a URL.
///
/// # Errors
///
/// As [`fetch`].
pub fn get(url: &str, timeout: Duration) -> Result<Response, String> {
    fetch("GET", url, &[], &[], timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_test_answers_for_the_servers() {
        let second = Duration::from_secs(1);
        assert!(get("https://a.example/", second).is_err(), "nobody is there");
        testing::serve("https://a.example/", 200, b"hello");
        let answer = get("https://a.example/", second).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    }
}
