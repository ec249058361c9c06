//! The approval policies by addresses and by lists, and what is left of chihaya's tables beside
//! `policies.rs`.

use std::fs;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, ipv6};

fn one(plugin: &str, config: &str, more: &str) -> Daemon {
    Daemon::start(&format!(
        "policies:\n  - name: one\n    plugin: PLUGINS/{plugin}.wasm\n    config: {config}\n{more}"
    ))
}

/// Whether an announce is let in over IPv4, by HTTP and by UDP, and over IPv6.
#[track_caller]
fn let_in(daemon: &Daemon, announce: &Announce, text: &str) -> [[bool; 2]; 2] {
    let addresses = [[daemon.http, daemon.udp], [ipv6(daemon.http), ipv6(daemon.udp)]];
    addresses.map(|[http, udp]| {
        let answers = [announce.http(http), announce.udp(&Client::connect(udp))];
        answers.map(|answer| answer.map_err(|reason| assert_eq!(reason, text)).is_ok())
    })
}

#[test]
fn address_approval_judges_both_families_over_both_transports() {
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
fn address_approval_judges_who_asks_not_who_is_announced() {
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

fn rename_in(daemon: &Daemon, name: &str, text: &str) {
    let file = daemon.folder.path().join(name);
    fs::write(file.with_extension("new"), text).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
}

#[test]
fn lists_of_addresses_and_clients_are_followed() {
    let data = "    data: { banned: { file: banned.txt, format: addresses } }\n";
    let daemon = one("address-approval", "{ deny_from: banned }", data);
    let found = || let_in(&daemon, &Announce::of('a'), "unapproved address");
    assert_eq!(found(), [[true; 2]; 2]);
    rename_in(&daemon, "banned.txt", "# ours\n::1\n");
    eventually("the list counts", || found() == [[true; 2], [false; 2]]);
    rename_in(&daemon, "banned.txt", "127.0.0.0/8 7\r\n");
    eventually("so does the next", || found() == [[false; 2], [true; 2]]);

    let data = "    data: { approved: { file: approved.txt, format: strings } }\n";
    let daemon = one("client-approval", "{ allow: [-TR4], allow_from: approved }", data);
    let found = |client: &str, expected| {
        let announce = Announce::of('a').client(client);
        let_in(&daemon, &announce, "unapproved client") == [[expected; 2]; 2]
    };
    assert!(found("-TR4050-", true) && found("-qB5000-", false));
    rename_in(&daemon, "approved.txt", "-qB5\n-lt20A0-0123456789ab # one single peer\n");
    eventually("the list counts", || found("-qB5000-", true));
    assert!(found("-TR4050-", true) && found("-qB4000-", false), "both lists count");
    assert!(found("-lt20A0-x", false) && found("-lt20A0-0123456789ab", true));
}

/// chihaya's filter of 2016 skipped some, and crashed where there were several.
#[test]
fn any_number_of_unwanted_torrents_in_one_scrape_are_hidden_in_place() {
    let deny = ["61", "62", "64"].map(|byte| format!("'{}'", byte.repeat(20))).join(", ");
    let daemon = one("torrent-approval", &format!("{{ deny: [{deny}] }}"), "");
    Announce::of('c').http(daemon.http).unwrap();
    let udp = Client::connect(daemon.udp);
    let (no, yes) = ([0; 3], [0, 0, 1]);
    for (letters, expected) in [
        ("ab", vec![no, no]),
        ("abdabdc", vec![no, no, no, no, no, no, yes]),
        ("cabcdc", vec![yes, no, no, yes, no, yes]),
    ] {
        let info_hashes: Vec<_> = letters.chars().map(torrent).collect();
        assert_eq!(udp.scrape(&info_hashes), Ok(expected), "{letters}");
    }
}
