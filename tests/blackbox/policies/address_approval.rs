//! address-approval: announces and scrapes are decided by the address that they come from.

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, ipv6};

use super::{let_in, one, rename_in};

#[test]
fn both_families_are_judged_over_both_transports() {
    for (config, expected) in [
        ("{ deny: [] }", [true, true]),
        ("{ deny: [127.0.0.0/8] }", [false, true]),
        ("{ deny: ['::1'] }", [true, false]),
        ("{ deny: ['::/0'] }", [true, false]),
        ("{ allow: ['::/0'] }", [false, true]),
        ("{ allow: [127.0.0.1, '::1'], deny: [127.0.0.0/30] }", [false, true]),
        ("{ allow: [192.0.2.0/24] }", [false, false]),
    ] {
        let daemon = one("address-approval", config, "");
        let found = let_in(&daemon, &Announce::of('a'), "unapproved address");
        assert_eq!(found, expected.map(|both| [both; 2]), "{config}");
        let scrapes = [daemon.udp, ipv6(daemon.udp)].map(|address| {
            let counts = Client::connect(address).scrape(&[torrent('a')]);
            counts.map_err(|reason| assert_eq!(reason, "unapproved address")).is_ok()
        });
        assert_eq!(scrapes, expected, "{config}");
    }
    let daemon = one("address-approval", "{ deny: [127.0.0.1, '::1'], scrapes: pass }", "");
    for address in [daemon.udp, ipv6(daemon.udp)] {
        let counts = Client::connect(address).scrape(&[torrent('a')]);
        assert_eq!(counts, Ok(vec![[0; 3]]), "scrapes pass where the operator says so");
    }
}

#[test]
fn the_address_that_asks_is_judged_and_not_the_one_announced() {
    let yaml = |denied: &str| {
        format!(
            "http: [{{ listen: '127.0.0.1:0', allow_address_override: true }}]\n\
             admin: {{ listen: '127.0.0.1:0' }}\npolicies:\n  - name: one\n    \
             plugin: PLUGINS/address-approval.wasm\n    config: {{ deny: [{denied}] }}\n"
        )
    };
    let announce = Announce::of('a').with("ip=198.51.100.7");
    let daemon = Daemon::start_with(&yaml("198.51.100.0/24"));
    announce.http(daemon.http).expect("it asks from 127.0.0.1");
    let daemon = Daemon::start_with(&yaml("127.0.0.1"));
    assert_eq!(announce.http(daemon.http), Err("unapproved address".into()));
}

#[test]
fn a_list_of_addresses_is_followed() {
    let data = "    data: { banned: { file: banned.txt, format: addresses } }\n";
    let daemon = one("address-approval", "{ deny_from: banned }", data);
    let found = || let_in(&daemon, &Announce::of('a'), "unapproved address");
    assert_eq!(found(), [[true; 2]; 2]);
    rename_in(&daemon, "banned.txt", "# ours\n::1\n");
    eventually("the list counts", || found() == [[true; 2], [false; 2]]);
    rename_in(&daemon, "banned.txt", "127.0.0.0/8 7\r\n");
    eventually("so does the next", || found() == [[false; 2], [true; 2]]);
}
