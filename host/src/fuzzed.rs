//! Parsers for the targets of `host/fuzz` that are not part of the public API.

use std::net::IpAddr;

use hyper::HeaderMap;
use karuta_bittorrent::Invalid;

use crate::config::RealIp;
use crate::doors::gazelle::Target;

/// See `frontend/real_ip.rs`.
///
/// # Errors
///
/// There is no usable address.
pub fn real_ip(
    headers: &HeaderMap,
    rule: &RealIp,
    socket: IpAddr,
) -> Result<(IpAddr, bool), Invalid> {
    crate::frontend::real_ip::client(headers, Some(rule), socket)
}

/// Reads the target of a call that a Gazelle makes of Ocelot.
pub fn gazelle(target: &str) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if let Ok(target) = Target::read(path, query) {
        let (_, _) = (target.report(), target.update());
    }
}

/// Reads a key as the host does for a policy.
pub fn jwk(json: &str) -> Result<(), String> {
    crate::jwk::Key::from_jwk(json).map(drop)
}

/// Checks a plugin's file up to where it would be compiled.
///
/// # Errors
///
/// It cannot be a plugin.
pub fn component(bytes: &[u8]) -> Result<(), crate::policy::Refusal> {
    crate::policy::look(bytes).map(drop)
}

/// Decodes a text from outside.
pub fn text(bytes: &[u8]) -> Result<&str, String> {
    crate::text::decode(bytes).map_err(|error| error.to_string())
}
