//! Finds the client's address behind proxies.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::HeaderMap;
use karuta_bittorrent::{Invalid, canonical};

use crate::config::RealIp;

/// Returns the client's address, and whether a trusted proxy reported it.
///
/// If the connection comes from a trusted proxy, the header is read from the right, past trusted
/// addresses, to the first that is not trusted: that is the client. Anything to the left of it
/// cannot be trusted and is ignored. If all are trusted, the left-most is the client.
///
/// # Errors
///
/// [`Invalid::Address`] if a trusted proxy sent no header, or if an element on the way is not an
/// address.
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
    for line in headers.get_all(&rule.header).iter().rev() {
        for element in from_the_right(line.as_bytes(), b',') {
            let node = if forwarded { forwarded_for(element) } else { Some(element) };
            let address = node.and_then(address).ok_or(Invalid::Address)?;
            client = Some(address);
            if !trusted(address) {
                return Ok((address, true));
            }
        }
    }
    client.map(|address| (address, true)).ok_or(Invalid::Address)
}

/// Returns the elements of a list from its end, without empty ones (RFC 9110, 5.6.1). A separator
/// in a quoted string does not count.
///
/// A proxy appends its element to whatever it received. Read from the right, that element comes
/// first and intact, even if the client's part has an unclosed quotation mark.
fn from_the_right(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    let elements = std::iter::from_fn(move || {
        let list = rest?;
        let (before, element) = match last_separator(list, separator) {
            Some(at) => (Some(&list[..at]), &list[at + 1..]),
            None => (None, list),
        };
        rest = before;
        Some(element.trim_ascii())
    });
    elements.filter(|element| !element.is_empty())
}

fn last_separator(list: &[u8], separator: u8) -> Option<usize> {
    let mut quoted = false;
    (0..list.len()).rev().find(|&at| {
        if list[at] == b'"' {
            // After an odd number of backslashes, the mark belongs to the string.
            let backslashes = list[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
            quoted = !quoted || backslashes % 2 == 1;
        }
        !quoted && list[at] == separator
    })
}

/// Returns the `for` parameter of one element of a `Forwarded` header (RFC 7239). It must occur
/// once.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut values = from_the_right(element, b';').filter_map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then_some(&value[1..])
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Parses an address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(node: &[u8]) -> Option<IpAddr> {
    let node = unquoted(node.trim_ascii())?;
    let node = std::str::from_utf8(&node).ok()?;
    let bare = match node.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            if !port.is_empty() {
                check_port(port.strip_prefix(':')?)?;
            }
            inside
        }
        None => match node.split_once(':') {
            Some((host, port)) if !port.contains(':') => {
                check_port(port)?;
                host
            }
            _ => node,
        },
    };
    bare.parse().ok().map(canonical)
}

/// Accepts a port number, or a name that hides it (RFC 7239, 6.2).
fn check_port(port: &str) -> Option<()> {
    (port.starts_with('_') || port.parse::<u16>().is_ok()).then_some(())
}

/// Returns a value without quotation marks and escapes (RFC 9110, 5.6.4), or `None` if a quotation
/// mark is missing.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(inside) = value.strip_prefix(b"\"") else {
        return Some(value.into());
    };
    let mut inside = inside.strip_suffix(b"\"")?;
    if !inside.contains(&b'\\') {
        return Some(inside.into());
    }
    let mut text = Vec::new();
    while let [byte, behind @ ..] = inside {
        let (byte, behind) = match (byte, behind) {
            (b'\\', [escaped, behind @ ..]) => (escaped, behind),
            plain => plain,
        };
        text.push(*byte);
        inside = behind;
    }
    Some(text.into())
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

    /// The client's address, and whether a proxy reported it.
    type Found = Result<(String, bool), Invalid>;

    fn ask<T: AsRef<[u8]>>(header: &str, lines: &[T], socket: &str) -> Found {
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = HeaderName::from_bytes(header.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(line.as_ref()).unwrap());
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
            (&["203.0.113.7,"], found("203.0.113.7")),
            (&[" ,203.0.113.7 , ,\t, 10.1.2.3,,"], found("203.0.113.7")),
            (&["203.0.113.7", ""], found("203.0.113.7")),
            (&["\u{fc}, \", 203.0.113.7"], found("203.0.113.7")),
            (&["\"203.0.113.7\""], found("203.0.113.7")),
            (&[","], Err(Invalid::Address)),
            (&["\"203.0.113.7"], Err(Invalid::Address)),
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
    fn only_a_trusted_proxy_is_believed() {
        let found = ask("x-forwarded-for", &["203.0.113.7"], "192.0.2.1");
        assert_eq!(found, Ok(("192.0.2.1".to_owned(), false)));
    }

    #[test]
    fn the_forwarded_header_is_read_as_in_rfc_7239() {
        for (line, client) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=203.0.113.7:4711;Proto=http", "203.0.113.7"),
            ("for=\"[2001:db9::1]:80\";proto=http, for=10.0.0.2", "2001:db9::1"),
            ("for=\"203.0.113.7:_hidden\"", "203.0.113.7"),
            ("for=\"20\\3.0.113\\.7\"", "203.0.113.7"),
            ("for=203.0.113.7;host=\"a, for=9.9.9.9\"", "203.0.113.7"),
            ("for=203.0.113.7;host=\"a;for=9.9.9.9\"", "203.0.113.7"),
            ("host=\"a\\\", for=9.9.9.9\";for=203.0.113.7", "203.0.113.7"),
            ("for=203.0.113.7;host=\"a\\\\\";by=\"x, for=9.9.9.9;\\\\\"", "203.0.113.7"),
            ("for=unknown, for=203.0.113.7 ; by=_secret ,, ", "203.0.113.7"),
            ("for=\", for=203.0.113.7", "203.0.113.7"),
            ("for=9.9.9.9;host=\"a, for=\"203.0.113.7\"", "203.0.113.7"),
        ] {
            assert_eq!(
                ask("forwarded", &[line], "10.0.0.1"),
                Ok((client.to_owned(), true)),
                "{line}"
            );
        }
        for line in [
            "by=10.0.0.2",
            "for=unknown",
            "for=_hidden",
            "for=",
            "for",
            "203.0.113.7",
            "for=9.9.9.9, for=unknown",
            "for=203.0.113.7;for=9.9.9.9",
            "for=\"203.0.113.7",
            "for=\"203.0.113.7\" for=9.9.9.9",
            "host=\"for=9.9.9.9\"",
        ] {
            assert_eq!(ask("forwarded", &[line], "10.0.0.1"), Err(Invalid::Address), "{line}");
        }
    }

    fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            (0x20..=0xff_u8).prop_filter("a control character", |byte| *byte != 0x7f),
            prop::sample::select(b"\"\"\\,;=".to_vec()),
        ];
        prop::collection::vec(byte, 0..30)
    }

    fn quoted(text: &[u8]) -> Vec<u8> {
        let mut quoted = vec![b'"'];
        for byte in text {
            if b"\"\\".contains(byte) {
                quoted.push(b'\\');
            }
            quoted.push(*byte);
        }
        quoted.push(b'"');
        quoted
    }

    proptest! {
        /// What the client sent does not count, even if a proxy quotes it.
        #[test]
        fn only_the_element_of_the_proxy_counts(
            before in header_bytes(), lines in prop::collection::vec(header_bytes(), 0..3), host in header_bytes(),
        ) {
            let found = Ok(("203.0.113.7".to_owned(), true));
            let with = |own: &[u8]| [&lines[..], &[[&before, &b", "[..], own].concat()]].concat();
            prop_assert_eq!(&ask("x-forwarded-for", &with(b"203.0.113.7"), "10.0.0.1"), &found);
            let host = quoted(&host);
            for own in [
                [b"for=203.0.113.7;host=", &host[..]].concat(),
                [b"host=", &host[..], b";for=\"203.0.113.7\""].concat(),
                [b"by=", &host[..], b";for=203.0.113.7;host=", &host[..]].concat(),
            ] {
                prop_assert_eq!(&ask("forwarded", &with(&own), "10.0.0.1"), &found);
            }
        }

        #[test]
        fn no_header_panics(line in header_bytes()) {
            let _ = ask("x-forwarded-for", &[&line], "10.0.0.1");
            let _ = ask("forwarded", &[&line], "10.0.0.1");
        }
    }
}
