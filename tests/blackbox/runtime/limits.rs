//! Limits that need no policy: requests for each prefix, torrents and peers.

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, bencode, udp};

#[test]
fn a_prefix_that_asks_too_often_is_refused() {
    let daemon = Daemon::start("tracker: { limits: { per_second: 1, burst: 2 } }");
    let answers: Vec<_> = (0..30).map(|_| Announce::of('a').dictionary(daemon.http)).collect();
    assert!(answers[..2].iter().all(|answer| answer.get("peers").is_some()), "{answers:?}");
    let refused = bencode::read(
        b"d14:failure reason17:too many requests8:intervali60e12:min intervali60e8:retry ini1ee",
    );
    assert!(answers.contains(&refused), "{answers:?}");
    Announce::of('a').http(karuta_tests::ipv6(daemon.http)).expect("another prefix");
}

/// The source address of a packet can be forged, so a packet without a connection id does not
/// count.
#[test]
fn udp_packets_count_only_with_a_connection_id() {
    let daemon = Daemon::start("tracker: { limits: { per_second: 1, burst: 1 } }");
    let client = udp::Client::connect(daemon.udp);
    for _ in 0..5 {
        client.connection_id();
    }
    client.answers(&vec![Announce::of('a').packet(client.id ^ 1, 1); 30]);
    Announce::of('a').udp(&client).expect("the first that counts");
    let packets = vec![Announce::of('a').packet(client.id, 1); 30];
    let answers = client.answers(&packets);
    assert_eq!(answers.len(), packets.len());
    let refused = Err("too many requests".to_owned());
    let refusals =
        answers.iter().filter(|answer| udp::body(answer, udp::ANNOUNCE, 1).map(drop) == refused);
    assert!(refusals.count() > 0);
}

#[test]
fn there_are_no_more_torrents_than_allowed() {
    let daemon = Daemon::start("swarms: { limits: { torrents: 2 } }");
    let full = Err("torrent limit reached".to_owned());
    Announce::of('a').http(daemon.http).unwrap();
    Announce::of('b').http(daemon.http).unwrap();
    assert_eq!(Announce::of('c').http(daemon.http), full);
    assert_eq!(Announce::of('c').udp(&udp::Client::connect(daemon.udp)), full);
    Announce::of('b').port(2).http(daemon.http).expect("a known torrent");
    Announce::of('a').event("stopped").http(daemon.http).unwrap();
    Announce::of('c').http(daemon.http).expect("there is room again");
}

#[test]
fn a_torrent_has_no_more_peers_than_allowed() {
    let daemon = Daemon::start("swarms: { limits: { peers_per_torrent: 2 } }");
    let full = Err("peer limit reached".to_owned());
    Announce::of('a').port(1).http(daemon.http).unwrap();
    Announce::of('a').port(2).http(daemon.http).unwrap();
    assert_eq!(Announce::of('a').port(3).http(daemon.http), full);
    Announce::of('a').port(2).seeder().http(daemon.http).expect("a known peer");
    Announce::of('b').port(3).http(daemon.http).expect("another torrent");
    Announce::of('a').port(1).event("stopped").http(daemon.http).unwrap();
    Announce::of('a').port(3).http(daemon.http).expect("there is room again");
}

#[test]
fn an_address_has_no_more_peers_than_allowed() {
    let daemon = Daemon::start("swarms: { limits: { peers_per_address: 2 } }");
    let full = Err("peer limit reached".to_owned());
    Announce::of('a').http(daemon.http).unwrap();
    Announce::of('b').http(daemon.http).unwrap();
    assert_eq!(Announce::of('c').http(daemon.http), full);
    let other = udp::Client::connect_from([127, 0, 0, 2].into(), daemon.udp);
    Announce::of('c').udp(&other).expect("another address");
    Announce::of('a').event("stopped").http(daemon.http).unwrap();
    Announce::of('c').http(daemon.http).expect("there is room again");
}
