//! A tracker with something to look at.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karuta_tests::announce::Announce;
use karuta_tests::tls::Authority;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, folder};

/// Its policies: one that rejects clients, one that only watches, one with a list.
const POLICIES: &str = "
policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: { allow: [-TR4, -qB5], deny: [-TR400] }
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    mode: shadow
    config: { deny_from: denied }
    data: { denied: { file: denied.txt, format: info-hashes, edits: true } }
  - name: spread
    plugin: PLUGINS/interval-variation.wasm
    config: { probability: 0.5, max_increase: 10m }
swarms: { snapshot: { every: 10m } }
";

/// Starts one whose certificate ends in `days`.
pub fn start(days: u64) -> Daemon {
    start_with(days, "{ listen: '127.0.0.1:0' }")
}

/// Starts one with the given admin API.
pub fn start_with(days: u64, admin: &str) -> Daemon {
    let yaml = format!(
        "http:\n  - {{ listen: '[::]:0' }}\n  - {{ listen: '127.0.0.1:0', tls: {{ certificate: a.pem, key: a.key }} }}\n\
         udp: [{{ listen: '[::]:0' }}]\nadmin: {admin}\n{POLICIES}"
    );
    let folder = folder(&yaml);
    let issued = Authority::new().issue_with(&["tracker.example"], |parameters| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        // Some hours more, so that it is that many days until the test is over.
        let left = Duration::from_hours(24 * days + 2);
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + left;
    });
    for name in ["owner", "reader"] {
        std::fs::write(folder.path().join(name), token(name)).expect("a token");
    }
    issued.write(folder.path(), "a");
    let denied =
        "ffffffffffffffffffffffffffffffffffffffff\n6464646464646464646464646464646464646464\n";
    std::fs::write(folder.path().join("denied.txt"), denied).expect("a list");
    Daemon::start_in(folder)
}

/// Returns the token in the file `owner` or `reader`.
pub fn token(name: &str) -> String {
    format!("the-token-of-the-{name}")
}

/// Has clients announce: some are rejected, some are let in.
pub fn announce(daemon: &Daemon) {
    let udp = Client::connect(daemon.udp);
    for (at, letter) in ('a'..='f').enumerate() {
        for port in 1000..1004 + 3 * at as u16 {
            let announce = Announce::of(letter).client("-TR4050-").port(port);
            let announce = if port % 3 == 0 { announce.seeder() } else { announce };
            announce.udp(&udp).expect("let in");
        }
    }
    for port in 2000..2005 {
        let refused = Announce::of('a').client("-UT3550-").port(port).http(daemon.http);
        refused.expect_err("not let in");
    }
}
