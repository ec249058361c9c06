//! Who may use the admin API.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use subtle::ConstantTimeEq;

use super::Admin;
use super::reply::{Reply, line};
use super::request::{Peer, Request};

/// What the caller of an endpoint must be allowed to do. The token may do everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Look at metrics and status.
    Read,
    /// Ask how a request would be answered.
    Explain,
    /// Reload, and write snapshots.
    Reload,
}

impl Admin {
    /// Returns why access is denied, if it is. Requests must not come from a web page of another
    /// origin. They need the token, except over a socket file.
    pub(super) fn refusal(&self, right: Option<Right>, request: &Request) -> Option<Reply> {
        let headers = &request.head.headers;
        let is_local = request.peer == Peer::Process;
        // A name that is not text is not a loopback address.
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        let own_origin = |origin: &HeaderValue| {
            let scheme = if self.tls.is_some() && !is_local { "https://" } else { "http://" };
            let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix(scheme));
            origin.is_some() && origin == host
        };
        if headers.get(ORIGIN).is_some_and(|origin| !own_origin(origin)) {
            return Some(line(
                StatusCode::FORBIDDEN,
                "requests from other origins are not allowed",
            ));
        }
        match &self.token {
            _ if is_local => None,
            None if host.is_some_and(|host| !is_loopback(host)) => Some(line(
                StatusCode::FORBIDDEN,
                "without a token, the host must be a loopback address",
            )),
            Some(token) if right.is_some() => {
                let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
                if shown.and_then(bearer).is_some_and(|shown| shown.ct_eq(token.expose()).into()) {
                    return None;
                }
                let mut reply = line(StatusCode::UNAUTHORIZED, "a bearer token is required");
                let scheme = HeaderValue::from_static("Bearer");
                reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                Some(reply)
            }
            _ => None,
        }
    }
}

/// Returns the token of an `Authorization` header. The scheme's name is case-insensitive (RFC 9110,
/// 11.1), and more than one blank may follow it.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_first_chunk::<6>()?;
    let begins = scheme.eq_ignore_ascii_case(b"bearer") && token.starts_with(b" ");
    begins.then(|| token.trim_ascii())
}

/// Returns whether a `Host` header names this machine by a loopback address.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_bearer_is_read_in_any_case() {
        for header in ["Bearer a b", "bearer a b", "BEARER  a b ", "Bearer \ta b"] {
            assert_eq!(bearer(header.as_bytes()), Some(&b"a b"[..]), "{header}");
        }
        for header in ["", "Bearer", "Bearera b", "Basic a b", "a b", " Bearer a b"] {
            assert_eq!(bearer(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn only_loopback_names_and_addresses_are_loopback_hosts() {
        for host in
            ["localhost", "LOCALHOST:6880", "127.0.0.1:6880", "127.9.9.9", "[::1]:6880", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.org", "127.0.0.1.example.org", "10.0.0.1:6880", "", "[::1", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
