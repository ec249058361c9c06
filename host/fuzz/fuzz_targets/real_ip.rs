//! The header in which a proxy names its client: what a client writes to the left of it changes
//! nothing.
#![no_main]

use std::net::IpAddr;

use karuta::config::RealIp;
use karuta::fuzzed::real_ip;
use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn ask(name: &HeaderName, value: &[u8]) -> Option<IpAddr> {
    let rule = RealIp {
        header: name.as_str().to_owned(),
        trusted: vec!["10.0.0.0/8".parse().expect("a network")],
    };
    let mut headers = HeaderMap::new();
    headers.append(name, HeaderValue::from_bytes(value).ok()?);
    real_ip(&headers, &rule, PROXY).ok().map(|(address, _)| address)
}

fuzz_target!(|value: &[u8]| {
    let xff = HeaderName::from_static("x-forwarded-for");
    for (name, appended) in [(xff, ", 203.0.113.7"), (FORWARDED, ", for=203.0.113.7;proto=http")] {
        let _ = ask(&name, value);
        // A proxy appends the address of its client, and that address counts. With Forwarded, only
        // if what the client wrote is well-formed.
        let whole = [value, appended.as_bytes()].concat();
        if let Some(found) = ask(&name, &whole) {
            assert_eq!(found, IpAddr::from([203, 0, 113, 7]));
        }
    }
});
