//! subnet: peers are picked by their addresses, and by the groups of the operator.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, folder, run, write_config};

/// Clients may choose their address, so that a test can place them anywhere.
const ANYWHERE: &str = "\
http: [{ listen: '127.0.0.1:0', allow_address_override: true }]
udp: [{ listen: '127.0.0.1:0' }]
admin: { listen: '127.0.0.1:0' }
";

fn policy(config: &str, data: &str) -> String {
    format!(
        "{ANYWHERE}policies: [{{ name: near, plugin: PLUGINS/subnet.wasm, config: {{ {config} }}, \
         data: {{ {data} }} }}]\n"
    )
}

fn daemon(config: &str) -> Daemon {
    Daemon::start_with(&policy(config, ""))
}

/// Returns the announce of one more peer, at an address of its choice.
fn at(address: &str) -> Announce {
    Announce::of('a').with(&format!("ip={address}"))
}

/// Announces, and returns the addresses of the answer.
#[track_caller]
fn given(daemon: &Daemon, announce: &Announce) -> BTreeSet<IpAddr> {
    let peers = announce.http(daemon.http).unwrap().peers;
    peers.iter().map(SocketAddr::ip).collect()
}

#[track_caller]
fn join(daemon: &Daemon, addresses: &[&str]) {
    for address in addresses {
        at(address).want(0).http(daemon.http).unwrap();
    }
}

#[track_caller]
fn assert_given(daemon: &Daemon, announce: &Announce, expected: &[&str]) {
    let expected: BTreeSet<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
    for _ in 0..5 {
        assert_eq!(given(daemon, announce), expected, "{announce:?}");
    }
}

/// The table of chihaya's first version: 44/8, 45/8, fc01::/16 and fc02::/16.
#[test]
fn peers_of_the_same_prefix_are_preferred_as_in_chihaya() {
    for order in ["near-first", "role-first"] {
        let daemon = daemon(&format!("ipv4: [8], ipv6: [16], order: {order}, far_percent: 0"));
        join(&daemon, &["44.0.0.1", "44.0.0.2", "45.0.0.1", "fc01::1", "fc01::2", "fc02::1"]);
        for (who, want, expected) in [
            ("45.0.0.2", 1, &["45.0.0.1"][..]),
            ("44.0.0.3", 2, &["44.0.0.1", "44.0.0.2"]),
            ("fc02::2", 1, &["fc02::1"]),
            ("fc01::3", 2, &["fc01::1", "fc01::2"]),
        ] {
            let announce = at(who).want(want);
            assert_given(&daemon, &announce, expected);
            announce.event("stopped").http(daemon.http).unwrap();
        }
        // Far peers fill the rest of the answer.
        let all = ["44.0.0.1", "44.0.0.2", "45.0.0.1", "fc01::1", "fc01::2", "fc02::1"];
        assert_given(&daemon, &at("46.0.0.1").want(50), &all);
    }
}

/// chihaya's second version gives near seeders, near leechers, far seeders, then far leechers. Its
/// first version gives all seeders first.
#[test]
fn each_order_is_that_of_a_version_of_chihaya() {
    let (near_seeder, near_leecher) = ("10.0.0.1", "10.0.0.2");
    let (far_seeder, far_leecher) = ("11.0.0.1", "11.0.0.2");
    for (order, expected) in [
        ("near-first", [near_seeder, near_leecher, far_seeder, far_leecher]),
        ("role-first", [near_seeder, far_seeder, near_leecher, far_leecher]),
    ] {
        let daemon = daemon(&format!("ipv4: [8], order: {order}, far_percent: 0"));
        join(&daemon, &[near_leecher, far_leecher]);
        for seeder in [near_seeder, far_seeder] {
            at(seeder).seeder().http(daemon.http).unwrap();
        }
        for want in 1..=4 {
            assert_given(&daemon, &at("10.0.0.9").want(want), &expected[..want as usize]);
        }
        // A seeder is given only leechers.
        let seeder = at("10.0.0.8").seeder();
        at("10.0.0.9").event("stopped").http(daemon.http).unwrap();
        assert_given(&daemon, &seeder.clone().want(1), &[near_leecher]);
        assert_given(&daemon, &seeder.want(4), &[near_leecher, far_leecher]);
    }
}

/// One host of each rack, a /24, exchanges with other racks.
#[test]
fn few_hosts_of_a_rack_are_given_hosts_of_other_racks() {
    let daemon = daemon("ipv4: [24], gateways: 1, far_percent: 0");
    let (first, second, third) = ("10.0.1.1", "10.0.1.2", "10.0.1.3");
    at("10.0.9.1").seeder().http(daemon.http).unwrap();
    join(&daemon, &[first, second, "10.0.2.1", "10.0.2.2"]);
    for _ in 0..3 {
        assert_given(&daemon, &at(first), &[second, "10.0.2.1", "10.0.9.1"]);
        assert_given(&daemon, &at(second), &[first]);
    }
    assert_given(&daemon, &at("10.0.9.1").seeder(), &[first, "10.0.2.1"]);
    // Who announces next takes its place.
    at(first).event("stopped").http(daemon.http).unwrap();
    assert_given(&daemon, &at(second), &["10.0.2.1", "10.0.9.1"]);
    assert_given(&daemon, &at(third), &[second]);
    // A seeder in the rack is enough.
    at(second).seeder().event("completed").http(daemon.http).unwrap();
    assert_given(&daemon, &at(first), &[second, third]);
}

/// A rack is a /24 and a row is a /16, by the source addresses of the packets.
#[test]
fn peers_of_the_rack_come_before_those_of_the_row() {
    let daemon = daemon("ipv4: [24, 16], far_percent: 0");
    let announce = Announce::of('a');
    for address in [[127, 50, 1, 1], [127, 50, 1, 2], [127, 50, 2, 1], [127, 51, 1, 1]] {
        announce.udp(&Client::connect_from(address.into(), daemon.udp)).unwrap();
    }
    let me = Client::connect_from([127, 50, 1, 9].into(), daemon.udp);
    let given = |want| -> Vec<IpAddr> {
        let peers = announce.clone().want(want).udp(&me).unwrap().peers;
        peers.iter().map(SocketAddr::ip).collect()
    };
    let rack: [IpAddr; 2] = [[127, 50, 1, 1].into(), [127, 50, 1, 2].into()];
    for _ in 0..5 {
        assert!(rack.contains(&given(1)[0]));
        assert_eq!(given(2), rack);
        assert_eq!(given(3), [&rack[..], &[[127, 50, 2, 1].into()]].concat());
        assert_eq!(given(4).len(), 4);
    }
}

#[test]
fn the_families_of_a_group_are_near_each_other() {
    let daemon = daemon(
        "ipv4: [8], ipv6: [32], far_percent: 0, groups: { \
         eu/fra1/rack7: ['10.1.7.0/24', '2001:db8:1:7::/64'], eu/fra1/rack8: ['10.1.8.0/24'], \
         eu/ams1/rack7: ['10.2.7.0/24'] }",
    );
    // The last two share prefixes with the others, but no group.
    let all = ["10.1.7.1", "2001:db8:1:7::1", "10.1.8.1", "10.2.7.1", "10.9.0.1", "2001:db8:2::1"];
    join(&daemon, &all);
    for (want, expected) in [
        (2, &["10.1.7.1", "2001:db8:1:7::1"][..]),
        (3, &["10.1.7.1", "2001:db8:1:7::1", "10.1.8.1"]),
        (4, &["10.1.7.1", "2001:db8:1:7::1", "10.1.8.1", "10.2.7.1"]),
        (6, &all),
    ] {
        for who in ["10.1.7.99", "2001:db8:1:7::99"] {
            assert_given(&daemon, &at(who).want(want), expected);
            at(who).event("stopped").http(daemon.http).unwrap();
        }
    }
    // For a client outside of the groups, prefixes count, and peers in groups are far.
    assert_given(&daemon, &at("10.8.0.1").want(1), &["10.9.0.1"]);
    at("10.8.0.1").event("stopped").http(daemon.http).unwrap();
    assert_given(&daemon, &at("2001:db8:3::1").want(1), &["2001:db8:2::1"]);
}

/// Counts the near and the far peers of an answer, for different numbers of both in the swarm.
#[test]
fn far_peers_have_their_share_of_each_answer() {
    let mixture = |far_percent: u32, near: u8, far: u8, want: i32| {
        let daemon = daemon(&format!("ipv4: [8], far_percent: {far_percent}"));
        for host in 1..=near {
            join(&daemon, &[&format!("10.0.0.{host}")]);
        }
        for host in 1..=far {
            join(&daemon, &[&format!("11.0.0.{host}")]);
        }
        let peers = given(&daemon, &at("10.0.0.99").want(want));
        let near: Vec<_> =
            peers.iter().filter(|peer| peer.to_string().starts_with("10.")).collect();
        (near.len(), peers.len() - near.len())
    };
    assert_eq!(mixture(0, 10, 10, 10), (10, 0));
    assert_eq!(mixture(10, 10, 10, 10), (9, 1));
    assert_eq!(mixture(11, 10, 10, 10), (8, 2), "rounded up");
    assert_eq!(mixture(1, 10, 10, 3), (2, 1), "rounded up");
    assert_eq!(mixture(100, 10, 10, 10), (0, 10));
    assert_eq!(mixture(10, 10, 0, 10), (10, 0), "there are no far ones");
    assert_eq!(mixture(10, 2, 10, 10), (2, 8), "there are few near ones");
    assert_eq!(mixture(90, 10, 2, 10), (8, 2), "there are few far ones");
    assert_eq!(mixture(10, 10, 10, 20), (10, 10));
}

#[test]
fn groups_are_followed_while_the_tracker_serves() {
    let daemon = Daemon::start_with(&policy(
        "far_percent: 0, groups: { eu/fra1: ['10.1.0.0/16'] }, groups_from: sites",
        "sites: { file: sites.txt, format: raw }",
    ));
    let replace = |text: &str| {
        let fresh = daemon.folder.path().join("sites.new");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, daemon.folder.path().join("sites.txt")).unwrap();
    };
    let version = |version: u64| {
        eventually("the new groups are in use", || {
            let status: serde_json::Value =
                serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
            status["policies"][0]["data"][0]["version"] == version
        });
    };
    // Each announce places its peer anew.
    let nearest = || {
        join(&daemon, &["10.2.0.1", "10.3.0.1"]);
        let peers = given(&daemon, &at("10.1.0.9").want(1));
        peers.first().expect("there are two others").to_string()
    };
    let is_nearest = |address: &str| (0..10).all(|_| nearest() == address);

    replace("# sites\n10.2.0.0/16 eu/ams1\n10.3.0.0/16 us/iad1\n");
    version(1);
    eventually("all workers know that ams1 is near fra1", || is_nearest("10.2.0.1"));

    replace("10.2.0.0/16 us/iad1\n10.3.0.0/16 eu/ams1\n");
    version(2);
    eventually("all workers know that ams1 has moved", || is_nearest("10.3.0.1"));

    // A peer keeps its place as long as its group stays the same.
    join(&daemon, &["10.1.0.1"]);
    replace("10.2.0.0/16 us/iad1\n10.3.0.0/16 eu/ams1\n10.4.0.0/16 eu/lon1\n");
    version(3);
    let in_eu = ["10.1.0.1", "10.3.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
    let lon = || {
        at("10.1.0.9").event("stopped").http(daemon.http).unwrap();
        let peers = given(&daemon, &at("10.4.0.9").want(1));
        at("10.4.0.9").event("stopped").http(daemon.http).unwrap();
        peers.iter().all(|peer| in_eu.contains(peer))
    };
    eventually("all workers know lon1", || (0..20).all(|_| lon()));
    assert!(is_nearest("10.1.0.1"));

    replace("10.1.0.0/16 us\n");
    let series = "karuta_data_errors_total{policy=\"near\",data=\"sites\"}";
    eventually("the wrong version is refused", || daemon.metric(series) == 1.0);
    daemon.logs("line 1: 10.1.0.0/16 is also in the group `eu/fra1`");
    assert!(lon() && is_nearest("10.1.0.1"), "the last good one stays");
}

#[test]
fn a_configuration_error_is_shown_at_its_place() {
    let folder = folder("");
    for (config, wrong, text) in [
        ("ipv4: [16, 22]", "22", "config.ipv4[1]: found the number `22`"),
        ("far_percent: 10", "{", "config: no prefixes and no groups"),
        ("groups: { eu/x: ['10.0.0.0/33'] }", "'10.", "config.groups.eu/x[0]: invalid network"),
        ("groups: { eu.x: ['10.0.0.0/33'] }", "'10.", "config.groups.eu.x[0]: invalid network"),
        ("groups_from: sites", "sites", "config.groups_from: there is no data source `sites`"),
    ] {
        let line = format!("    config: {{ {config} }}\n");
        let column = line.find(wrong).unwrap() + 1;
        let yaml = format!(
            "udp: [{{ listen: '127.0.0.1:0' }}]\npolicies:\n  - name: near\n    plugin: \
             PLUGINS/subnet.wasm\n{line}"
        );
        write_config(folder.path(), &yaml);
        let output = run(&["check"], folder.path());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{message}");
        let expected = format!("config.yaml:5:{column}: policies[0].{text}");
        assert!(message.starts_with(&expected), "{message}");
    }
}
