//! What observers are told of amounts: the differences of a client, wherever it announces from.

use karuta_tests::announce::{Announce, hex};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, SOON, ipv6};
use serde_json::{Value, json};

const ACCOUNTS: &str = "accounts: { credential: ['query:passkey'] }\n";
const OBSERVER: &str = "policies: [{ name: books, plugin: PLUGINS/test-control.wasm }]\n";
const MEMBERS: [&str; 2] = ["the-passkey-of-member-1", "the-passkey-of-member-2"];

/// Checks what the observer was told of the announce from a port: the differences up and down, and
/// whether the client had been there since the announce before.
#[track_caller]
fn check(daemon: &Daemon, port: u16, expected: (u64, u64, bool)) {
    let ask = Announce::of('z').with(&format!("show=port-{port}"));
    let mut told = Value::Null;
    let end = std::time::Instant::now() + SOON;
    while told.is_null() {
        assert!(std::time::Instant::now() < end, "nothing was told of port {port}");
        let said = ask.dictionary(daemon.http).text("warning message").unwrap_or_default();
        told = serde_json::from_str(&said).unwrap_or_default();
    }
    let (up, down, known) = expected;
    let expected = json!([up, down, known]);
    assert_eq!(json!([told["up"], told["down"], told["known"]]), expected, "port {port}");
}

/// Each of its announces comes from another address.
#[test]
fn a_client_that_moves_or_has_two_addresses_is_one() {
    let daemon = Daemon::start(OBSERVER);
    let mine = |port, peer_id| Announce::of('a').port(port).peer_id([peer_id; 20]);
    mine(1, 1).moved(10, 20).http(daemon.http).unwrap();
    check(&daemon, 1, (0, 0, false));
    mine(2, 1).moved(15, 27).http(daemon.http).unwrap();
    check(&daemon, 2, (5, 7, true));
    mine(3, 1).moved(15, 27).http(ipv6(daemon.http)).unwrap();
    check(&daemon, 3, (0, 0, true));
    mine(4, 1).moved(16, 29).udp(&Client::connect(ipv6(daemon.udp))).unwrap();
    check(&daemon, 4, (1, 2, true));
    mine(5, 1).moved(18, 29).event("started").udp(&Client::connect(daemon.udp)).unwrap();
    check(&daemon, 5, (2, 0, true));
    let other = mine(6, 2).moved(99, 99);
    other.http(daemon.http).unwrap();
    check(&daemon, 6, (0, 0, false));
    Announce::of('b').port(7).peer_id([1; 20]).moved(99, 99).http(daemon.http).unwrap();
    check(&daemon, 7, (0, 0, false));
    mine(8, 1).moved(19, 29).event("stopped").http(daemon.http).unwrap();
    check(&daemon, 8, (1, 0, true));
    mine(9, 1).moved(19, 29).event("stopped").http(ipv6(daemon.http)).unwrap();
    check(&daemon, 9, (0, 0, false));
    mine(10, 1).with("verdict=reject").moved(40, 29).http(daemon.http).unwrap_err();
    check(&daemon, 10, (0, 0, false));
    mine(11, 1).moved(41, 29).http(daemon.http).unwrap();
    check(&daemon, 11, (22, 0, false));
    // What a snapshot has goes on, and what only memory had is gone.
    let daemon = daemon.restart();
    mine(12, 1).moved(42, 30).http(daemon.http).unwrap();
    check(&daemon, 12, (1, 1, true));
    mine(13, 3).http(daemon.http).unwrap();
    check(&daemon, 13, (0, 0, false));
    let daemon = Daemon::start_in(daemon.kill());
    mine(14, 3).moved(9, 9).http(daemon.http).unwrap();
    check(&daemon, 14, (0, 0, false));
}

/// Both members have clients with one peer id.
#[test]
fn members_go_on_after_a_kill_and_do_not_mix() {
    let daemon = Daemon::start(&format!("{ACCOUNTS}{OBSERVER}"));
    for (id, passkey) in [1, 2].into_iter().zip(MEMBERS) {
        daemon.accounts(&format!("add {id} --passkey {passkey}"));
    }
    let (first, second) = (hex('a'), format!("{}{}", hex('b'), "0".repeat(24)));
    daemon.accounts(&format!("torrent 12 --info-hash {first} --info-hash-v2 {second}"));
    let mine = |member: usize, letter, port, up| {
        let passkey = format!("passkey={}", MEMBERS[member - 1]);
        Announce::of(letter).port(port).moved(up, 0).with(&passkey)
    };
    // Announces with an event are answered once they are written.
    mine(1, 'a', 1, 10).event("started").http(daemon.http).unwrap();
    mine(2, 'a', 2, 70).event("started").http(daemon.http).unwrap();
    Announce::of('a').port(3).moved(100, 0).http(daemon.http).unwrap();
    (1..=3).for_each(|port| check(&daemon, port, (0, 0, false)));
    mine(1, 'b', 4, 15).http(daemon.http).unwrap();
    check(&daemon, 4, (5, 0, true));
    mine(2, 'a', 5, 71).event("started").http(ipv6(daemon.http)).unwrap();
    check(&daemon, 5, (1, 0, true));
    mine(1, 'a', 6, 20).with("verdict=reject").http(daemon.http).unwrap_err();
    check(&daemon, 6, (5, 0, true));
    mine(1, 'a', 7, 30).event("started").http(daemon.http).unwrap();
    check(&daemon, 7, (10, 0, false));
    let daemon = Daemon::start_in(daemon.kill());
    mine(1, 'b', 8, 37).http(daemon.http).unwrap();
    check(&daemon, 8, (7, 0, true));
    mine(2, 'a', 9, 80).http(daemon.http).unwrap();
    check(&daemon, 9, (9, 0, true));
    Announce::of('a').port(10).moved(200, 0).http(daemon.http).unwrap();
    check(&daemon, 10, (0, 0, false));
    mine(1, 'a', 11, 38).event("stopped").http(daemon.http).unwrap();
    check(&daemon, 11, (1, 0, true));
    let daemon = Daemon::start_in(daemon.kill());
    mine(1, 'a', 12, 40).event("started").http(daemon.http).unwrap();
    check(&daemon, 12, (2, 0, false));
    let daemon = daemon.restart();
    mine(1, 'a', 13, 44).event("started").http(daemon.http).unwrap();
    check(&daemon, 13, (4, 0, true));
    let member: Value =
        serde_json::from_str(&daemon.admin_page("/api/accounts/members/1")).unwrap();
    assert_eq!(member["raw_uploaded"], 34, "the books count as much as the observer was told");
}
