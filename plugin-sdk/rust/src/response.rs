//! Changes to the answer. They take effect when the hook returns; the last writer wins.

use std::net::SocketAddr;
use std::time::Duration;

pub use crate::bindings::imports::response::{Place, Scope};
use crate::values::to_words;
use crate::{Verdict, host::response};

/// Rejects the request with a `failure reason`: `return response::reject("unknown passkey")`.
#[must_use]
pub fn reject(reason: &str) -> Verdict {
    response::fail(reason);
    Verdict::Reject
}

/// Tells a rejected client when to try again, in minutes; `None` for never (BEP 31).
pub fn set_retry_in(minutes: Option<u32>) {
    response::retry_in(minutes);
}

/// Adds a `warning message`.
pub fn warn(message: &str) {
    response::warn(message);
}

/// The seconds until the next announce, as the answer would say now.
#[must_use]
pub fn interval() -> u32 {
    response::interval()
}

/// The seconds that a client must wait at least, as the answer would say now.
#[must_use]
pub fn min_interval() -> u32 {
    response::min_interval()
}

/// Sets the seconds until the next announce. The host keeps them between one second and the
/// configuration's `max_interval`.
pub fn set_interval(seconds: u32) {
    response::set_interval(seconds);
}

/// Sets the seconds that a client must wait at least, within the same bounds.
pub fn set_min_interval(seconds: u32) {
    response::set_min_interval(seconds);
}

/// Sets how many peers the answer holds at most.
pub fn set_num_want(count: u32) {
    response::set_num_want(count);
}

/// Adds a peer to the answer. It counts towards the wanted number, not in the swarm's counts, and is
/// left out where its family cannot be sent.
pub fn add_peer(peer: SocketAddr, place: Place) {
    response::add_peer(to_words(peer.ip()), peer.port(), place);
}

/// Says that the verdict, and what this call changed, hold for every request to the same hook that
/// is equal in `scope`, for that many whole seconds: the host need not ask again.
///
/// By calling it the policy promises that nothing else it looked at matters. An empty scope is
/// ignored.
pub fn remember(scope: Scope, time: Duration) {
    response::remember(scope, u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
}

/// Leaves a value for the policies behind this one.
pub fn set_attribute(name: &str, value: &str) {
    response::set_attribute(name, value);
}

/// In a scrape: answers zeros for this info-hash.
pub fn hide() {
    response::hide();
}
