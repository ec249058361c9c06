//! `/api/export`: all torrents, written while they are read.

use clap::ValueEnum;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, Response, StatusCode};
use url::form_urlencoded;

use super::Admin;
use super::exporting::Exporting;
use super::reply::{Reply, line, written};
use super::request::Request;
use crate::export::{Export, Format, Wanted};

/// Answers with all torrents that the query asks for.
pub fn export(admin: &Admin, request: &Request) -> Reply {
    let wanted = match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(turn) = admin.swarms.exports.clone().try_acquire_owned() else {
        return line(StatusCode::TOO_MANY_REQUESTS, "another export is under way");
    };
    let mut export = Export::new(admin.swarms.store.clone(), wanted, admin.swarms.clock());
    let gzip = takes_gzip(&request.head.headers);
    let body = Exporting::new(move |part| export.next(part), gzip, Some(turn));
    let mut reply = Response::new(written(body));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(wanted.format.content_type()));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

fn wanted(query: &str) -> Result<Wanted, String> {
    let mut wanted =
        Wanted { format: Format::Txt, min_peers: 0, prefix: Default::default(), peers: false };
    let mut format = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |expected: &str| format!("{key}: expected {expected}");
        match &*key {
            "format" => format = Format::from_str(&value, false).ok(),
            "min_peers" => {
                wanted.min_peers = value.parse().map_err(|_| wrong("a number"))?;
            }
            "prefix" => {
                wanted.prefix = value
                    .parse()
                    .map_err(|error: crate::export::NotHex| format!("{key}: {error}"))?;
            }
            "peers" => {
                wanted.peers = match &*value {
                    "0" => false,
                    "1" => true,
                    _ => return Err(wrong("0 or 1")),
                }
            }
            _ => return Err(format!("unknown parameter `{key}`")),
        }
    }
    let names: Vec<_> = Format::value_variants().iter().map(|format| format.name()).collect();
    let known = || format!("format: expected one of {}", names.join(", "));
    wanted.format = format.ok_or_else(known)?;
    if wanted.peers && wanted.format != Format::Ndjson {
        return Err("peers: only `ndjson` carries peers".to_owned());
    }
    Ok(wanted)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).into_iter();
    let mut codings =
        accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused() {
        let read = wanted("format=ndjson&peers=1&min_peers=3&prefix=aB").unwrap();
        assert_eq!((read.format, read.min_peers, read.peers), (Format::Ndjson, 3, true));
        assert_eq!(read.prefix, "ab".parse().unwrap());
        for (query, reason) in [
            ("", "format: expected one of ben, txt, txtp, bin, url, statedump, aquatic, ndjson"),
            (
                "format=xml",
                "format: expected one of ben, txt, txtp, bin, url, statedump, aquatic, ndjson",
            ),
            ("format=txt&min_peers=-1", "min_peers: expected a number"),
            ("format=txt&prefix=xy", "prefix: expected up to 40 hexadecimal digits"),
            ("format=txt&peers=yes", "peers: expected 0 or 1"),
            ("format=txt&peers=1", "peers: only `ndjson` carries peers"),
            ("format=txt&all=1", "unknown parameter `all`"),
        ] {
            assert_eq!(wanted(query).map(|_| ()), Err(reason.to_owned()), "{query}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        for value in ["gzip", "deflate, GZIP;q=0.5, br", "br,gzip"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "identity", "gzip;q=0", "br, gzip; q=0.0", "gzipped"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
