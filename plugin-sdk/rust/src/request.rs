//! The rest of the request that the current hook decides on. Each function asks the host.
//!
//! Outside of a request, for example in `init`, they return zeros and `None`.

use std::net::{IpAddr, SocketAddr};

use crate::{host::request, values};

/// Returns the whole peer id; zeros in a scrape. [`Announce::client`](crate::Announce::client) has
/// its first eight bytes without a call to the host.
#[must_use]
pub fn peer_id() -> [u8; 20] {
    request::peer_id().try_into().unwrap_or_default()
}

/// Returns how many bytes are left to download; `None` if the client did not say.
#[must_use]
pub fn left() -> Option<u64> {
    values::said(request::left())
}

/// Returns how many bytes the peer says it has uploaded since `started`.
#[must_use]
pub fn uploaded() -> u64 {
    request::uploaded()
}

/// Returns how many bytes the peer says it has downloaded since `started`.
#[must_use]
pub fn downloaded() -> u64 {
    request::downloaded()
}

/// Returns a parameter of the query (of BEP 41's URL data on UDP), percent-decoded.
#[must_use]
pub fn query_param(name: &str) -> Option<String> {
    request::query_param(name)
}

/// Returns a named parameter of the route, such as `passkey` in `/announce/{passkey}`.
#[must_use]
pub fn path_param(name: &str) -> Option<String> {
    request::path_param(name)
}

/// Returns the first header of that name, in any case. There are none on UDP.
#[must_use]
pub fn header(name: &str) -> Option<String> {
    request::header(name)
}

/// Returns what the policy's `credential` rule in the configuration found.
#[must_use]
pub fn credential() -> Option<String> {
    request::credential()
}

/// Returns the address of the client that asks, whatever address it announces.
#[must_use]
pub fn client_address() -> IpAddr {
    values::address(request::client_address())
}

/// Returns where the packet or connection came from; the proxy, if there is one.
#[must_use]
pub fn socket_address() -> SocketAddr {
    let (address, port) = request::socket_address();
    SocketAddr::new(values::address(address), port)
}

/// Returns a value that an earlier policy of the chain set with
/// [`response::set_attribute`](crate::response::set_attribute).
#[must_use]
pub fn attribute(name: &str) -> Option<String> {
    request::attribute(name)
}
