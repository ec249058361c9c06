//! Peers that are picked by the places that a policy gives them.

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, folder, run, write_config};

/// Returns the policy that uses the port of a peer as its place.
fn racks(name: &str, more: &str, config: &str) -> String {
    format!(
        "  - {{ name: {name}, plugin: PLUGINS/test-racks.wasm, {more} config: {{ {config} }} }}\n"
    )
}

fn daemon(config: &str) -> Daemon {
    Daemon::start(&format!("policies:\n{}", racks("racks", "", config)))
}

/// Announces ten leechers and ten seeders in each of three racks.
fn fill(daemon: &Daemon) {
    for rack in [0x1100, 0x1200, 0x2100] {
        for port in rack..rack + 10 {
            Announce::of('a').port(port).want(0).http(daemon.http).unwrap();
            Announce::of('a').port(port + 0x80).seeder().want(0).http(daemon.http).unwrap();
        }
    }
}

/// Returns the ports in the answer to an announce, without their lowest four bits.
#[track_caller]
fn given(daemon: &Daemon, announce: &Announce) -> Vec<u16> {
    let over_http = announce.http(daemon.http).unwrap().peers;
    let over_udp = announce.udp(&Client::connect(daemon.udp)).unwrap().peers;
    let places = |peers: Vec<std::net::SocketAddr>| {
        let mut places: Vec<_> = peers.iter().map(|peer| peer.port() & 0xfff0).collect();
        places.sort_unstable();
        places
    };
    let places_over_udp = places(over_udp);
    assert_eq!(places(over_http), places_over_udp);
    places_over_udp
}

#[test]
fn near_peers_are_given_first() {
    let daemon = daemon("prefixes: [8, 4]");
    fill(&daemon);
    let me = |want| Announce::of('a').port(0x11ff).want(want);
    assert_eq!(given(&daemon, &me(10)), [0x1180; 10]);
    assert_eq!(given(&daemon, &me(20)), [[0x1100; 10], [0x1180; 10]].concat());
    let nearest = [[0x1100; 10], [0x1180; 10], [0x1280; 10]].concat();
    assert_eq!(given(&daemon, &me(30)), nearest);
    assert_eq!(given(&daemon, &me(10).seeder()), [0x1100; 10]);
}

#[test]
fn roles_may_come_first_and_far_peers_have_their_share() {
    let role_first = daemon("prefixes: [8, 4], role_first: true");
    fill(&role_first);
    let me = |want| Announce::of('a').port(0x11ff).want(want);
    assert_eq!(given(&role_first, &me(20)), [[0x1180; 10], [0x1280; 10]].concat());
    assert_eq!(given(&role_first, &me(30)), [[0x1180; 10], [0x1280; 10], [0x2180; 10]].concat());

    let mixed = daemon("prefixes: [8, 4], far_percent: 25");
    fill(&mixed);
    let expected = [vec![0x1180; 7], vec![0x2180; 3]].concat();
    assert_eq!(given(&mixed, &me(10)), expected);
}

#[test]
fn plans_are_defined_in_init_and_by_one_policy() {
    let daemon = daemon("prefixes: [8]");
    let late = Announce::of('a').with("do=define").http(daemon.http);
    assert_eq!(late, Err("plans can only be defined in `init`".to_owned()));

    let folder = folder("");
    let check = |policies: &str| {
        write_config(
            folder.path(),
            &format!("udp: [{{ listen: '127.0.0.1:0' }}]\npolicies:\n{policies}"),
        );
        let output = run(&["check"], folder.path());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = check(&racks("racks", "", "prefixes: [65]"));
    assert!(code == Some(78) && text.contains("a prefix of 65 bits"), "{text}");

    let first = racks("first", "", "prefixes: [8]");
    let (code, text) = check(&format!("{first}{}", racks("second", "", "prefixes: [8]")));
    assert!(code == Some(78) && text.contains("`first`") && text.contains("`second`"), "{text}");
    let shadow = racks("second", "mode: shadow,", "prefixes: [8]");
    let (code, text) = check(&format!("{first}{shadow}"));
    assert_eq!(code, Some(0), "{text}");
}
