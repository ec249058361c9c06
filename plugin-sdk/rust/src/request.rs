//! The rest of the request that the current hook decides on, asked for when it is needed.
//!
//! Where no request is decided (`init`) there is nothing: zeros and `None`.

use std::net::{IpAddr, SocketAddr};

use crate::{host::request, values};

/// The whole peer id; [`Announce::client`](crate::Announce::client) has its first eight bytes for
/// nothing. Zeros in a scrape.
#[must_use]
pub fn peer_id() -> [u8; 20] {
    request::peer_id().try_into().unwrap_or_default()
}

/// How many bytes are left to download, or the highest number where the client did not say.
#[must_use]
pub fn left() -> u64 {
    request::left()
}

/// How many bytes the peer says it has uploaded since `started`.
#[must_use]
pub fn uploaded() -> u64 {
    request::uploaded()
}

/// How many bytes the peer says it has downloaded since `started`.
#[must_use]
pub fn downloaded() -> u64 {
    request::downloaded()
}

/// A parameter of the query (of BEP 41's URL data on UDP), percent-decoded.
#[must_use]
pub fn query_param(name: &str) -> Option<String> {
    request::query_param(name)
}

/// A named parameter of the route, as `passkey` in `/announce/{passkey}`.
#[must_use]
pub fn path_param(name: &str) -> Option<String> {
    request::path_param(name)
}

/// The first header of that name, in any case. There are none on UDP.
#[must_use]
pub fn header(name: &str) -> Option<String> {
    request::header(name)
}

/// What the policy's `credential` rule in the configuration found.
#[must_use]
pub fn credential() -> Option<String> {
    request::credential()
}

/// Who asks, whatever address is announced.
#[must_use]
pub fn client_address() -> IpAddr {
    values::address(request::client_address())
}

/// Where the packet or connection came from; a proxy, where there is one.
#[must_use]
pub fn socket_address() -> SocketAddr {
    let (address, port) = request::socket_address();
    SocketAddr::new(values::address(address), port)
}

/// A value that an earlier policy of the chain left with
/// [`response::set_attribute`](crate::response::set_attribute).
#[must_use]
pub fn attribute(name: &str) -> Option<String> {
    request::attribute(name)
}
