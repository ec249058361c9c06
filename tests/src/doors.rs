//! Doors of the admin API, which have addresses of their own.

use std::net::SocketAddr;

use crate::Daemon;

/// Returns the address of a door, such as `gazelle`, as the log says.
pub fn address(daemon: &Daemon, name: &str) -> SocketAddr {
    let log = daemon.log();
    let mut lines = log.lines().rev();
    let line = lines.find(|line| line.contains("listening") && line.contains(name));
    let address = line.and_then(|line| line.split("address=").nth(1)).expect("the door is open");
    let mut words = address.split([' ', '"']);
    words.find(|word| !word.is_empty()).expect("its address").parse().expect("an address")
}
