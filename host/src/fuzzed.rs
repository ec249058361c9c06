//! What the targets of `host/fuzz` call besides the public API: parsers that nobody else needs
//! from outside of this crate.

use std::net::IpAddr;

use hyper::HeaderMap;
use karuta_bittorrent::Invalid;

use crate::config::RealIp;

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

/// Reads a key as the host does for a policy.
pub fn jwk(json: &str) -> Result<(), String> {
    crate::policy::jwk::Key::from_jwk(json).map(drop)
}

/// Looks at a plugin's file as far as that goes before anything is compiled.
///
/// # Errors
///
/// It is of no use as a plugin.
pub fn component(bytes: &[u8]) -> Result<(), crate::policy::Refusal> {
    crate::policy::component::look(bytes).map(drop)
}

/// Decodes a text from outside.
pub fn text(bytes: &[u8]) -> Result<&str, String> {
    crate::text::decode(bytes).map_err(|error| error.to_string())
}
