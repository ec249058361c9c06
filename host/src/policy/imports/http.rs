//! `karuta:policy/http`: outgoing requests, on control instances only, to the URLs of `allow.http`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use wasmtime::component::HasData;

use super::call::Call;
use crate::config::canonical_url;
use crate::fetch::{Admit, Answer, Client, Request, Shown};
use crate::policy::contract::bindings::hooks::lifecycle::Role;
use crate::policy::contract::bindings::imports::http::{Host, Response};
use crate::policy::shared::shutdown::Shutdown;

/// The maximum sizes of a request's body and of a response's body, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;
const LONGEST_ANSWER: u64 = 8 * 1024 * 1024;
const HEADERS: usize = 64;

/// Headers that control how the message is sent, which only the host sets.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// Sends requests: an HTTP client, or in a trial a stand-in for the network.
pub trait Carrier: Send + Sync {
    /// # Errors
    ///
    /// As [`Client::fetch`].
    fn fetch(&self, request: Request) -> Result<Answer, String>;
}

impl Carrier for Client {
    fn fetch(&self, request: Request) -> Result<Answer, String> {
        self.fetch(request)
    }
}

/// The URLs that a policy may request: by origin, and by a prefix of the path in whole segments.
pub struct Allowed(pub Vec<Url>);

impl Admit for Allowed {
    fn url(&self, url: &Url) -> Result<(), String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL contains a user name or a password".to_owned());
        }
        let path = url.path().to_ascii_lowercase();
        if path.contains("%2f") || path.contains("%5c") {
            // Some servers would treat it as a separator of segments.
            return Err(format!("{}: an encoded slash or backslash in the path", Shown(url)));
        }
        match self.0.iter().any(|entry| covers(entry, url)) {
            true => Ok(()),
            false => Err(format!("{} is not in `allow.http`", Shown(url))),
        }
    }

    fn address(&self, host: &str, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        // The URL was admitted, so its host is that of the entry that covers it.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let listed = match bare.parse::<IpAddr>() {
            Ok(listed) => listed.to_canonical() == address,
            Err(_) => host == "localhost" && address.is_loopback(),
        };
        match listed || is_public(address) {
            true => Ok(()),
            false => Err(format!(
                "{host} has the private address {address}, which `allow.http` does not list"
            )),
        }
    }
}

/// The parser has resolved relative segments in both.
fn covers(entry: &Url, url: &Url) -> bool {
    let folder = entry.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(folder);
    entry.origin() == url.origin()
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether an address is public.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.segments() {
            // NAT64 and 6to4.
            [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
                is_public_v4(Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b)))
            }
            // Global unicast, except ranges reserved for protocols and documentation.
            [a, b, ..] => {
                a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x3fff
            }
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let set_aside = a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18);
    !(set_aside
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

/// The HTTP client, and the time that the call has left.
pub struct View<'a> {
    pub role: Role,
    pub carrier: Option<&'a dyn Carrier>,
    pub call: &'a mut Call,
    pub shutdown: &'a Shutdown,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn fetch(
        &mut self,
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> Result<Response, String> {
        if self.role != Role::Control {
            return Err("only control instances can make HTTP requests".to_owned());
        }
        let carrier = self.carrier.ok_or("the configuration has no `allow.http`")?;
        let method = match Method::from_bytes(method.as_bytes()) {
            Ok(method) if method != Method::CONNECT => method,
            _ => return Err("unsupported method".to_owned()),
        };
        let url = Url::parse(&url).map_err(|error| format!("not a URL: {error}"))?;
        let url = canonical_url(url);
        if body.len() > LONGEST_BODY {
            return Err(format!("the body has more than {LONGEST_BODY} bytes"));
        }
        let headers = parse(&headers)?;
        let timeout =
            Duration::from_millis(timeout_ms.into()).min(self.call.patience(Some(self.shutdown)));
        if timeout.is_zero() {
            return Err("the deadline of this call has passed".to_owned());
        }
        let request =
            Request { method, url: &url, headers, body: &body, timeout, max_size: LONGEST_ANSWER };
        let start = Instant::now();
        let answer = carrier.fetch(request);
        self.call.waited += start.elapsed();
        let answer = answer?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(Response { status: answer.status.as_u16(), headers, body: answer.body })
    }
}

fn parse(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    if headers.len() > HEADERS {
        return Err(format!("more than {HEADERS} headers"));
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| "invalid header name")?;
        if OURS.contains(&name.as_str()) {
            return Err(format!("the header `{name}` is set by the host"));
        }
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the header `{name}` has an invalid value"))?;
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(entries: &[&str]) -> Allowed {
        Allowed(entries.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    #[test]
    fn urls_are_allowed_by_origin_and_path_segments() {
        let allowed = allowed(&["https://a.example/api", "http://b.example:8080/"]);
        let is_allowed = |url: &str| allowed.url(&url.parse().unwrap()).is_ok();
        for url in [
            "https://a.example/api",
            "https://A.example:443/api/",
            "https://a.example/api/x/../y?z=/#f",
            "https://a.example/x/%2e%2e/api",
            "http://b.example:8080/anything",
        ] {
            assert!(is_allowed(url), "{url}");
        }
        for url in [
            "https://a.example/",
            "https://a.example/apix",
            "https://a.example/api/../x",
            "https://a.example/api/%2e%2e/x",
            "https://a.example/api/..%2fx",
            "https://a.example/api/..%5Cx",
            "https://a.example/api\\..\\x",
            "http://a.example/api",
            "https://a.example:444/api",
            "https://a.example.evil.example/api",
            "https://a.example@evil.example/api",
            "https://me@a.example/api",
            "http://b.example/",
            "file:///api",
        ] {
            assert!(!is_allowed(url), "{url}");
        }
    }

    #[test]
    fn private_addresses_are_allowed_only_if_listed_themselves() {
        let allowed = allowed(&["http://10.0.0.1/", "http://[fd00::1]/", "https://a.example/"]);
        let leads =
            |host: &str, address: &str| allowed.address(host, address.parse().unwrap()).is_ok();
        for (host, address) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "::ffff:10.0.0.1"),
            ("[fd00::1]", "fd00::1"),
            ("localhost", "127.0.0.1"),
            ("localhost", "::1"),
        ] {
            assert!(leads(host, address), "{host} at {address}");
        }
        for (host, address) in [("localhost", "10.0.0.1"), ("[fd00::1]", "fd00::2")] {
            assert!(!leads(host, address), "{host} at {address}");
        }
        let is_allowed = |address: &str| leads("a.example", address);
        assert!(is_allowed("8.8.8.8") && is_allowed("2606:4700::1"));
        for address in [
            // Another entry lists these two.
            "10.0.0.1",
            "fd00::1",
            "10.0.0.2",
            "127.0.0.1",
            "0.0.0.0",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
        ] {
            assert!(!is_allowed(address), "{address}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_refused() {
        let parse = |name: &str, value: &str| super::parse(&[(name.into(), value.into())]);
        assert!(parse("Authorization", "Bearer x").is_ok());
        for (name, value) in [("Host", "x"), ("a b", "x"), ("a", "x\r\nb: y"), ("", "x")] {
            assert!(parse(name, value).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_allowed_one(path in "[/.%2eEfF5cC\\\\a-c]{0,24}") {
            let allowed = allowed(&["https://a.example/api"]);
            if let Ok(url) = Url::parse(&format!("https://a.example/api{path}"))
                && allowed.url(&url).is_ok()
            {
                prop_assert!(url.path() == "/api" || url.path().starts_with("/api/"));
                let decoded = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy();
                prop_assert!(!decoded.split(['/', '\\']).any(|segment| segment == ".."));
            }
        }
    }
}
