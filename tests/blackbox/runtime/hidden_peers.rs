//! Peers that a policy hides: counted, but given to nobody.

use karuta_tests::announce::{Announce, hex, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, run};
use serde_json::Value;

const NOBODY: [u16; 0] = [];

/// Returns the ports of the peers, and who is hidden.
fn swarm(daemon: &Daemon) -> Vec<(u16, bool)> {
    let page = daemon.admin_page(&format!("/api/swarms/{}?peers=10", hex('a')));
    let swarm: Value = serde_json::from_str(&page).unwrap();
    let of = |peer: &Value| {
        let (_, port) = peer["address"].as_str().unwrap().rsplit_once(':').unwrap();
        (port.parse().unwrap(), peer["hidden"] == true)
    };
    let mut peers: Vec<_> = swarm["peers"].as_array().unwrap().iter().map(of).collect();
    peers.sort_unstable();
    peers
}

#[test]
fn a_hidden_peer_is_counted_and_not_given() {
    let daemon = Daemon::start("policies: [{ name: tally, plugin: PLUGINS/test-tally.wasm }]\n");
    let of = |number: u8| Announce::of('a').port(number.into()).peer_id([number; 20]);
    let hidden = |number: u8| of(number).with("ask=hide");
    let given = |daemon: &Daemon, announce: Announce| {
        let answer = announce.http(daemon.http).unwrap();
        let mut ports: Vec<_> = answer.peers.iter().map(|peer| peer.port()).collect();
        ports.sort_unstable();
        ports
    };
    let counts = |daemon: &Daemon| Client::connect(daemon.udp).scrape(&[torrent('a')]).unwrap()[0];
    assert_eq!(given(&daemon, of(1)), NOBODY);
    assert_eq!(given(&daemon, hidden(2)), [1], "it is given others");
    assert_eq!(given(&daemon, hidden(3).seeder()), [1]);
    assert_eq!(given(&daemon, of(1)), NOBODY);
    assert_eq!(given(&daemon, of(4)), [1]);
    assert_eq!(counts(&daemon), [1, 0, 3]);
    assert_eq!(swarm(&daemon), [(1, false), (2, true), (3, true), (4, false)]);

    // Snapshots and exports know it.
    let daemon = daemon.restart();
    assert_eq!(given(&daemon, of(1)), [4]);
    assert_eq!(counts(&daemon), [1, 0, 3]);
    let (folder, admin) = (daemon.folder.path(), daemon.admin.to_string());
    let command = |arguments: &[&str]| {
        let output = run(&[arguments, &["--admin", &admin]].concat(), folder);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let exported = command(&["export", "--format", "ndjson", "--peers"]);
    assert_eq!(exported.matches(r#""hidden":true"#).count(), 2, "{exported}");
    let shown = command(&["swarm", &hex('a'), "--peers", "10"]);
    assert_eq!(shown.matches(" hidden").count(), 2, "{shown}");

    // An explanation says so, and hides nobody.
    let url = format!("http://127.0.0.1:{}/announce?{}", daemon.http.port(), hidden(4).query());
    let explained = command(&["explain", &url]);
    assert!(explained.contains("hide_peer: true"), "{explained}");
    assert_eq!(given(&daemon, of(1)), [4]);

    // It is shown again when no policy hides it, and it leaves like any other.
    given(&daemon, of(2));
    assert_eq!(given(&daemon, of(1)), [2, 4]);
    hidden(3).event("stopped").http(daemon.http).unwrap();
    assert_eq!(swarm(&daemon), [(1, false), (2, false), (4, false)]);
}

#[test]
fn an_import_keeps_peers_hidden() {
    let daemon = Daemon::start("");
    let file = daemon.folder.path().join("torrents");
    let peer = |port: u16, more: &str| {
        format!(r#"{{"address":"10.0.0.1:{port}","role":"seeder","age_seconds":1{more}}}"#)
    };
    let peers = [peer(1, ""), peer(2, r#","hidden":true"#)].join(",");
    let info_hash = hex('a');
    let line = format!(r#"{{"info_hash":"{info_hash}","downloaded":0,"peers":[{peers}]}}"#);
    std::fs::write(&file, line + "\n").unwrap();
    let admin = daemon.admin.to_string();
    let import = ["import", file.to_str().unwrap(), "--format", "ndjson", "--admin", &admin];
    let output = run(&import, daemon.folder.path());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(swarm(&daemon), [(1, false), (2, true)]);
    let given = Announce::of('a').http(daemon.http).unwrap().peers;
    assert_eq!(given.iter().map(|peer| peer.port()).collect::<Vec<_>>(), [1]);
}
