//! What each shipped policy decides, over both transports and in both address families.

mod address_approval;
mod client_approval;
mod deniability;
mod gazelle;
mod interval_variation;
mod jwt;
mod passkey;
mod rate_limit;
mod subnet;
mod torrent_approval;
mod torrent_approval_under_load;

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, ipv6};

/// Starts a daemon with one shipped policy, its `config`, and more of its keys.
fn one(plugin: &str, config: &str, more: &str) -> Daemon {
    Daemon::start(&format!(
        "policies:\n  - name: one\n    plugin: PLUGINS/{plugin}.wasm\n    config: {config}\n{more}"
    ))
}

/// Returns whether an announce is admitted, over HTTP and UDP: first on IPv4, then on IPv6.
#[track_caller]
fn let_in(daemon: &Daemon, announce: &Announce, text: &str) -> [[bool; 2]; 2] {
    let addresses = [[daemon.http, daemon.udp], [ipv6(daemon.http), ipv6(daemon.udp)]];
    addresses.map(|[http, udp]| {
        let answers = [announce.http(http), announce.udp(&Client::connect(udp))];
        answers.map(|answer| answer.map_err(|reason| assert_eq!(reason, text)).is_ok())
    })
}

/// Replaces a file in the daemon's folder by renaming a new one over it.
fn rename_in(daemon: &Daemon, name: &str, text: &str) {
    let file = daemon.folder.path().join(name);
    fs::write(file.with_extension("new"), text).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
}
mod unit3d;
