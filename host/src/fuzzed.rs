//! Parsers for the targets of `host/fuzz` that are not part of the public API.

use std::net::IpAddr;

use hyper::{HeaderMap, Method};
use karuta_bittorrent::Invalid;

use crate::config::RealIp;
use crate::doors::{gazelle, unit3d};

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
    if let Ok(target) = gazelle::Target::read(path, query) {
        let (_, _) = (target.report(), target.update());
    }
}

/// Reads a call of a UNIT3D, with the path on the first line, and its body.
pub fn unit3d(call: &[u8]) {
    let end = call.iter().position(|byte| *byte == b'\n').unwrap_or(call.len());
    let (path, body) = call.split_at(end);
    let Ok(path) = std::str::from_utf8(path) else { return };
    let Ok(unit3d::Target::Call { rest, .. }) = unit3d::Target::read(path) else { return };
    for method in [Method::PUT, Method::DELETE, Method::GET] {
        if let Ok(unit3d::Route::Edit { what, adds, .. }) = unit3d::Route::read(&method, rest) {
            let _ = unit3d::Call::read(what, adds, body);
        }
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
