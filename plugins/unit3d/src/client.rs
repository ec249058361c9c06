//! Which clients UNIT3D-Announce refuses, in its order.

use karuta_plugin::{request, sets};

/// The longest user agent, in bytes.
const LONGEST: usize = 64;
/// What no user agent may contain, in lower case.
const STRANGE: [&str; 10] = [
    "mozilla",
    "browser",
    "chrome",
    "safari",
    "applewebkit",
    "opera",
    "links",
    "lynx",
    "bot",
    "unknown",
];
/// Ports that other programs use, beside those below 1024.
const PORTS: [u16; 8] = [8080, 8081, 1214, 3389, 4662, 6346, 6347, 6699];

/// Returns why the client of an HTTP request is refused, by what it sends beside the announce.
pub fn refusal(headers: &[String], blacklist: Option<sets::Strings>) -> Option<&'static str> {
    if headers.iter().any(|name| request::header(name).is_some()) {
        return Some("Abnormal access blocked.");
    }
    let Some(agent) = request::header("user-agent") else { return Some("Invalid user agent.") };
    if agent.len() > LONGEST {
        return Some("The user agent of this client is too long.");
    }
    if is_listed(blacklist) {
        return Some(LISTED);
    }
    let agent = agent.to_ascii_lowercase();
    let is_strange = STRANGE.iter().any(|word| agent.contains(word));
    is_strange.then_some("Browser, crawler or cheater is not allowed.")
}

/// What a client that is listed is told.
pub const LISTED: &str = "Client is not acceptable. Please check our blacklist.";

/// Returns whether the peer id of the request begins with one that is listed.
pub fn is_listed(blacklist: Option<sets::Strings>) -> bool {
    blacklist.is_some_and(|list| list.contains_beginning_of(&request::peer_id()))
}

/// Returns whether a port is one that no peer may have.
pub fn is_taken(port: u16) -> bool {
    port < 1024 || PORTS.contains(&port)
}
