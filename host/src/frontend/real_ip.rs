//! Who asks, where proxies stand in between.

use std::net::IpAddr;

use hyper::HeaderMap;

use crate::bittorrent::{Invalid, canonical};
use crate::config::RealIp;

/// The client's address, and whether a trusted proxy told it.
///
/// Where the connection comes from a trusted proxy, the header's entries are walked from the right,
/// over those that are trusted themselves, to the first that is not: nothing left of it can be
/// believed. If all are trusted, the left-most is the client.
///
/// # Errors
///
/// [`Invalid::Address`] where a trusted proxy sent no header, or one with an entry on the way that
/// is no address.
pub fn client(
    headers: &HeaderMap,
    rule: Option<&RealIp>,
    socket: IpAddr,
) -> Result<(IpAddr, bool), Invalid> {
    let Some(rule) = rule else {
        return Ok((socket, false));
    };
    let trusted = |address: IpAddr| rule.trusted.iter().any(|net| net.contains(&address));
    if !trusted(socket) {
        return Ok((socket, false));
    }
    let mut client = None;
    let forwarded = rule.header.eq_ignore_ascii_case("forwarded");
    let lines: Vec<_> = headers.get_all(&rule.header).iter().collect();
    for line in lines.iter().rev() {
        let line = std::str::from_utf8(line.as_bytes()).map_err(|_| Invalid::Address)?;
        for entry in line.rsplit(',') {
            let entry = if forwarded { forwarded_for(entry) } else { Some(entry) };
            let address = entry.and_then(address).ok_or(Invalid::Address)?;
            client = Some(address);
            if !trusted(address) {
                return Ok((address, true));
            }
        }
    }
    client.map(|address| (address, true)).ok_or(Invalid::Address)
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bare = match entry.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            if !port.is_empty() {
                port.strip_prefix(':')?.parse::<u16>().ok()?;
            }
            inside
        }
        None => match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => {
                port.parse::<u16>().ok()?;
                host
            }
            _ => entry,
        },
    };
    bare.parse().ok().map(canonical)
}

/// The `for` parameter of one element of a `Forwarded` header (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn rule(header: &str) -> RealIp {
        RealIp {
            header: header.to_owned(),
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        }
    }

    /// The client's address, and whether a proxy told it.
    type Found = Result<(String, bool), Invalid>;

    fn ask(header: &str, lines: &[&str], socket: &str) -> Found {
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = HeaderName::from_bytes(header.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        client(&headers, Some(&rule(header)), socket.parse().unwrap())
            .map(|(address, proxied)| (address.to_string(), proxied))
    }

    #[test]
    fn the_right_most_untrusted_hop_counts() {
        let xff = "x-forwarded-for";
        let found = |address: &str| Ok((address.to_owned(), true));
        let cases: &[(&[&str], Found)] = &[
            (&["203.0.113.7"], found("203.0.113.7")),
            (&["198.51.100.1, 203.0.113.7"], found("203.0.113.7")),
            (&["203.0.113.7, 10.1.2.3"], found("203.0.113.7")),
            (&["junk, 203.0.113.7, 10.1.2.3"], found("203.0.113.7")),
            (&["203.0.113.7", "10.1.2.3"], found("203.0.113.7")),
            (&["10.9.9.9, 10.1.2.3"], found("10.9.9.9")),
            (&["203.0.113.7:4711"], found("203.0.113.7")),
            (&["[2001:db9::1]:4711, 2001:db8::5"], found("2001:db9::1")),
            (&["::ffff:203.0.113.7"], found("203.0.113.7")),
            (&[], Err(Invalid::Address)),
            (&[""], Err(Invalid::Address)),
            (&["unknown"], Err(Invalid::Address)),
            (&["203.0.113.7, junk"], Err(Invalid::Address)),
            (&["203.0.113.7:99999"], Err(Invalid::Address)),
        ];
        for (lines, expected) in cases {
            assert_eq!(&ask(xff, lines, "10.0.0.1"), expected, "{lines:?}");
        }
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let found = ask("x-forwarded-for", &["203.0.113.7"], "192.0.2.1");
        assert_eq!(found, Ok(("192.0.2.1".to_owned(), false)));
    }

    #[test]
    fn rfc_7239() {
        let found =
            ask("forwarded", &["for=\"[2001:db9::1]:80\";proto=http, for=10.0.0.2"], "10.0.0.1");
        assert_eq!(found, Ok(("2001:db9::1".to_owned(), true)));
        assert_eq!(ask("forwarded", &["by=10.0.0.2"], "10.0.0.1"), Err(Invalid::Address));
    }

    proptest! {
        #[test]
        fn any_header_is_survived(line in "[ -~]{0,60}") {
            let _ = ask("x-forwarded-for", &[&line], "10.0.0.1");
            let _ = ask("forwarded", &[&line], "10.0.0.1");
        }
    }
}
