//! Changes to the answer. They take effect when the hook returns; the last writer wins.

use std::net::SocketAddr;
use std::time::Duration;

pub use crate::bindings::imports::response::{Place, Scope};
use crate::units::{minutes_up, seconds_down, seconds_up};
use crate::values::to_words;
use crate::{Verdict, host::response};

/// Rejects the request with a `failure reason`: `return response::reject("unknown passkey")`.
#[must_use]
pub fn reject(reason: &str) -> Verdict {
    response::fail(reason);
    Verdict::Reject
}

/// Tells a rejected client when to try again (BEP 31), rounded up to whole minutes; `None` for never.
pub fn set_retry_in(time: Option<Duration>) {
    response::retry_in(time.map(minutes_up));
}

/// Adds a `warning message`.
pub fn warn(message: &str) {
    response::warn(message);
}

/// Returns the time until the next announce, as the answer would say now.
#[must_use]
pub fn interval() -> Duration {
    Duration::from_secs(response::interval().into())
}

/// Returns the time that a client must wait at least, as the answer would say now.
#[must_use]
pub fn min_interval() -> Duration {
    Duration::from_secs(response::min_interval().into())
}

/// Sets the time until the next announce, rounded up to whole seconds. The host keeps it between one
/// second and the configuration's `max_interval`.
pub fn set_interval(time: Duration) {
    response::set_interval(seconds_up(time));
}

/// Sets the time that a client must wait at least, rounded and bounded as [`set_interval`] does.
pub fn set_min_interval(time: Duration) {
    response::set_min_interval(seconds_up(time));
}

/// Sets the maximum number of peers in the answer.
pub fn set_num_want(count: u32) {
    response::set_num_want(count);
}

/// Adds a peer to the answer. It counts towards the wanted number, but not in the swarm's counts,
/// and is left out if the answer cannot hold its address family.
pub fn add_peer(peer: SocketAddr, place: Place) {
    response::add_peer(to_words(peer.ip()), peer.port(), place);
}

/// Lets the host reuse the verdict, and what this call changed, for every request to the same hook
/// that is equal in `scope`, without asking again. `time` is rounded down to whole seconds.
///
/// By calling this the policy promises that nothing else it looked at matters. An empty scope is
/// ignored.
pub fn remember(scope: Scope, time: Duration) {
    response::remember(scope, seconds_down(time));
}

/// Sets a value that later policies and observers can read.
pub fn set_attribute(name: &str, value: &str) {
    response::set_attribute(name, value);
}

/// Answers zeros for this info-hash, in a scrape.
pub fn hide() {
    response::hide();
}
