//! Policies that order peers.

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, folder, run};

const RANKER: &str = "
policies:
  - name: order
    plugin: PLUGINS/test-ranker.wasm
    on_error: reject
";

/// Announces ten peers: leechers on the ports 1 to 5, seeders on 6 to 10.
fn swarm(daemon: &Daemon) {
    for port in 1..=10 {
        let announce = Announce::of('a').port(port);
        let announce = if port > 5 { announce.seeder() } else { announce };
        announce.http(daemon.http).unwrap();
    }
}

/// Returns the ports that a leecher is given.
fn ports(daemon: &Daemon, order: &str, want: i32) -> Vec<u16> {
    let announce = Announce::of('a').port(99).want(want).with(&format!("order={order}"));
    let answer = announce.dictionary(daemon.http);
    let peers = answer.bytes("peers").unwrap().as_chunks::<6>().0;
    peers.iter().map(|peer| u16::from_be_bytes([peer[4], peer[5]])).collect()
}

#[test]
fn the_first_peers_of_the_order_are_given() {
    let daemon = Daemon::start(RANKER);
    swarm(&daemon);
    assert_eq!(ports(&daemon, "ports", 4), [1, 2, 3, 4]);
    assert_eq!(ports(&daemon, "seeders", 7), [6, 7, 8, 9, 10, 1, 2]);
    assert_eq!(ports(&daemon, "garbage", 3), [1, 2, 3], "repeats and strangers are dropped");
    let one = ports(&daemon, "one", 10);
    assert_eq!(one[0], 7, "those left out come last");
    assert_eq!(one.len(), 10);
    assert!(ports(&daemon, "ports", 0).is_empty());

    let client = Client::connect(daemon.udp);
    let announce = Announce::of('a').port(99).want(3).with("order=ports");
    let reply = announce.udp(&client).unwrap();
    assert_eq!(reply.peers.iter().map(|peer| peer.port()).collect::<Vec<_>>(), [1, 2, 3]);
    let stopped = Announce::of('a').port(99).event("stopped").with("order=ports");
    assert!(stopped.http(daemon.http).unwrap().peers.is_empty());
    let calls = "karuta_policy_calls_total{policy=\"order\",hook=\"rank\",verdict=\"ok\",remembered=\"false\"}";
    assert!(daemon.metric(calls) >= 5.0);
}

#[test]
fn a_failure_leaves_the_order_of_the_host() {
    let daemon = Daemon::start(RANKER);
    swarm(&daemon);
    for (order, cause) in [("trap", "trap"), ("loop", "deadline")] {
        // The torrent and the client of a failure are held back for 1 s.
        assert_eq!(ports(&daemon, order, 10).len(), 10, "{order}");
        let errors = format!(
            "karuta_policy_errors_total{{policy=\"order\",hook=\"rank\",cause=\"{cause}\"}}"
        );
        karuta_tests::eventually(cause, || {
            ports(&daemon, order, 10);
            daemon.metric(&errors) >= 1.0
        });
    }
    karuta_tests::eventually("it is asked again", || ports(&daemon, "ports", 3) == [1, 2, 3]);
    assert_eq!(ports(&daemon, "reject", 10).len(), 10, "changes of a ranker count for nothing");
}

#[test]
fn only_one_policy_may_order_peers() {
    let second = "
  - name: again
    plugin: PLUGINS/test-ranker.wasm
";
    let config = folder(&format!("{LISTENERS}{RANKER}{second}"));
    let output = run(&["check"], config.path());
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("orders peers, like policy `order`; only one policy may"), "{text}");

    let shadow = format!("{RANKER}{second}    mode: shadow\n");
    let daemon = Daemon::start(&shadow);
    swarm(&daemon);
    assert_eq!(ports(&daemon, "ports", 3), [1, 2, 3]);
}
