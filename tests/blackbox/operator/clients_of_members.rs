//! How many clients a member has at a torrent: as policies see it, and how many of them count.

use karuta_tests::announce::{Announce, hex, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, ipv6};
use serde_json::{Value, json};

const POLICIES: &str = "
policies:
  - { name: control, plugin: PLUGINS/test-control.wasm }
  - { name: tally, plugin: PLUGINS/test-tally.wasm }
";
const MEMBERS: [&str; 2] = ["the-passkey-of-member-1", "the-passkey-of-member-2"];

/// Starts a tracker with two members, and the torrents `a` and `b`.
fn start(accounts: &str, more: &str) -> Daemon {
    let yaml = format!("accounts: {{ credential: ['query:passkey'], {accounts} }}\n{more}");
    let daemon = Daemon::start(&format!("{yaml}{POLICIES}"));
    for (id, passkey) in [1, 2].into_iter().zip(MEMBERS) {
        daemon.accounts(&format!("add {id} --passkey {passkey}"));
    }
    daemon.accounts(&format!("torrent 12 --info-hash {}", hex('a')));
    daemon.accounts(&format!("torrent 13 --info-hash {}", hex('b')));
    daemon
}

/// An announce of a member's client. With an event, it is answered once it is in the books.
fn of(member: usize, letter: char, client: u8) -> Announce {
    let passkey = format!("passkey={}&ask=account", MEMBERS[member - 1]);
    Announce::of(letter).port(6000 + u16::from(client)).peer_id([client; 20]).with(&passkey)
}

/// Sends an announce, and returns how many peers of its member a policy has seen at the torrent.
#[track_caller]
fn here(tracker: std::net::SocketAddr, announce: &Announce) -> u32 {
    let said = announce.dictionary(tracker).text("warning message").unwrap();
    // `Some((ID, HERE, …`
    said.split(", ").nth(1).and_then(|here| here.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

fn member(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.admin_page("/api/accounts/members/1")).unwrap()
}

#[test]
fn a_policy_sees_how_many_peers_a_member_had_before() {
    let daemon = start("", "");
    let sees = |announce: &Announce| here(daemon.http, announce);
    let started = |member, letter, client| of(member, letter, client).event("started");
    assert_eq!(sees(&started(1, 'a', 1)), 0);
    assert_eq!(sees(&of(1, 'a', 1)), 1, "itself");
    assert_eq!(here(ipv6(daemon.http), &started(1, 'a', 1)), 1, "over the other family");
    assert_eq!(here(ipv6(daemon.http), &of(1, 'a', 1)), 1, "it is one client");
    assert_eq!(sees(&started(1, 'a', 1).port(7000)), 1, "at another address, too");
    assert_eq!(sees(&started(1, 'a', 2)), 1, "another client");
    assert_eq!(sees(&started(2, 'a', 1)), 0, "another member");
    assert_eq!(sees(&started(1, 'b', 1)), 0, "another torrent");
    started(1, 'a', 3).with("verdict=reject").http(daemon.http).unwrap_err();
    assert_eq!(sees(&of(1, 'a', 1)), 2, "who is refused is not there");
    assert_eq!(sees(&of(1, 'a', 2).event("stopped")), 2);
    assert_eq!(sees(&of(1, 'a', 1)), 1);
    let daemon = Daemon::start_in(daemon.kill());
    let sees = |announce: &Announce| here(daemon.http, announce);
    assert_eq!(sees(&of(1, 'a', 1).event("stopped")), 1);
    assert_eq!((sees(&of(1, 'a', 1)), sees(&of(2, 'a', 2))), (0, 1));
}

#[test]
fn a_policy_does_not_see_peers_that_have_expired() {
    let tracker = "tracker: { announce_interval: 1s, min_announce_interval: 1s, max_interval: 1s,
                   peer_lifetime: 2s }\n";
    let daemon = start("", tracker);
    assert_eq!(here(daemon.http, &of(1, 'a', 1).event("started")), 0);
    eventually("it expires", || member(&daemon)["leeching"] == 0);
    assert_eq!(here(daemon.http, &of(1, 'a', 2)), 0);
}

/// It is let in like any other: a policy that refuses it is a matter of the site.
#[test]
fn one_client_too_many_counts_nothing_until_there_is_room() {
    let daemon = start("sessions: { per_member_and_torrent: 2 }", "");
    let surplus = || daemon.metric("karuta_accounts_surplus_total");
    let sees = |announce: Announce| here(daemon.http, &announce);
    let moved = || member(&daemon)["raw_uploaded"].clone();
    let started = |client| of(1, 'a', client).event("started");
    assert_eq!([1, 2].map(|client| sees(started(client))), [0, 1]);
    assert_eq!(surplus(), 0.0);
    assert_eq!(sees(started(3)), 2);
    assert_eq!(sees(started(3).moved(50, 0)), 2, "it is none of the two");
    assert_eq!((surplus(), moved()), (2.0, json!(0)));
    let leechers = Client::connect(daemon.udp).scrape(&[torrent('a')]).unwrap()[0][2];
    assert_eq!(leechers, 3, "it is in the swarm");
    // Those that are there may come back as often as they like, from wherever.
    assert_eq!(sees(started(1).moved(10, 0)), 2);
    assert_eq!(here(ipv6(daemon.http), &started(1).moved(11, 0)), 2);
    assert_eq!((surplus(), moved()), (2.0, json!(11)));
    assert_eq!(sees(of(1, 'a', 2).event("stopped")), 2);
    assert_eq!(sees(started(3).moved(60, 0)), 1);
    assert_eq!(sees(started(3).moved(65, 0)), 2);
    assert_eq!((surplus(), moved()), (2.0, json!(16)), "from then on it counts");
    assert_eq!(sees(started(2)), 2, "and another one is too many");
    assert_eq!(surplus(), 3.0);
}
