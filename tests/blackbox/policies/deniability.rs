//! deniability: answers have made-up peers among the real ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, ipv6};

fn haunted(config: &str, more: &str) -> Daemon {
    Daemon::start(&format!(
        "tracker: {{ workers: 1 }}\npolicies:\n  - name: ghosts\n    \
         plugin: PLUGINS/deniability.wasm\n    config: {{ {config} }}\n{more}"
    ))
}

/// Splits the peers of an answer into real ones and made-up ones.
fn told_apart(peers: &[SocketAddr]) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    peers.iter().partition(|peer| peer.ip().is_loopback())
}

fn is_plausible(peer: &SocketAddr) -> bool {
    match peer.ip() {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            !ip.is_private() && !ip.is_link_local() && first != 0 && first < 224
        }
        IpAddr::V6(ip) => ip.segments()[0] >> 12 == 2,
    }
}

#[test]
fn made_up_peers_are_of_the_address_family_of_the_client() {
    let daemon = haunted("probability: 1, max_peers: 2, ports: [7000, 7009]", "");
    for port in [1, 2, 3] {
        Announce::of('a').port(port).seeder().http(daemon.http).unwrap();
        Announce::of('a').port(port).seeder().http(ipv6(daemon.http)).unwrap();
    }
    let mut counts = BTreeSet::new();
    for _ in 0..40 {
        for (answer, is_ipv4, real) in [
            (Announce::of('a').http(daemon.http), true, 6),
            (Announce::of('a').http(ipv6(daemon.http)), false, 6),
            (Announce::of('a').udp(&Client::connect(daemon.udp)), true, 3),
            (Announce::of('a').udp(&Client::connect(ipv6(daemon.udp))), false, 3),
        ] {
            let answer = answer.unwrap();
            assert_eq!(answer.seeders, 6, "they are not counted");
            let (there, made_up) = told_apart(&answer.peers);
            // The other of the two leechers is in the answer too, over HTTP from the second round
            // on.
            assert!(there.len() >= real, "{answer:?}");
            assert!((1..=2).contains(&made_up.len()), "{answer:?}");
            for peer in &made_up {
                assert_eq!(peer.is_ipv4(), is_ipv4);
                assert!(is_plausible(peer) && (7000..=7009).contains(&peer.port()), "{peer}");
            }
            counts.insert(made_up.len());
        }
    }
    assert_eq!(counts, BTreeSet::from([1, 2]));
    assert_eq!(Client::connect(daemon.udp).scrape(&[torrent('a')]).unwrap(), [[6, 0, 2]]);
}

#[test]
fn made_up_peers_count_towards_num_want_and_never_come_alone() {
    let daemon = haunted("probability: 1, max_peers: 200", "");
    for port in 1..=5 {
        Announce::of('a').port(port).seeder().http(daemon.http).unwrap();
    }
    let udp = Client::connect(daemon.udp);
    for want in [1, 2, 3, 5, 20, 200] {
        for _ in 0..20 {
            let me = Announce::of('a').want(want);
            for answer in [me.http(daemon.http), me.udp(&udp)] {
                let answer = answer.unwrap();
                let (there, made_up) = told_apart(&answer.peers);
                assert!(answer.peers.len() <= want as usize, "{want}: {answer:?}");
                assert!(!there.is_empty(), "{want}: {answer:?}");
                assert!(want == 1 || !made_up.is_empty(), "{want}: {answer:?}");
            }
        }
    }
}

#[test]
fn an_answer_without_peers_of_the_family_gets_no_made_up_ones() {
    let daemon = haunted("probability: 1, max_peers: 5", "");
    for _ in 0..10 {
        assert_eq!(Announce::of('a').http(daemon.http).unwrap().peers, [], "alone");
    }
    Announce::of('a').port(1).seeder().http(ipv6(daemon.http)).unwrap();
    for _ in 0..10 {
        let answer = Announce::of('a').http(daemon.http).unwrap();
        assert_eq!(answer.peers.len(), 1, "none of its family: {answer:?}");
    }
    Announce::of('a').port(1).seeder().http(daemon.http).unwrap();
    for announce in [Announce::of('a').event("stopped"), Announce::of('a').want(0)] {
        assert_eq!(announce.http(daemon.http).unwrap().peers, []);
    }
}

#[test]
fn without_randomness_the_sequence_is_fixed() {
    let made_up = |more: &str| {
        let daemon = haunted("probability: 0.5, max_peers: 3", more);
        Announce::of('a').port(1).seeder().http(daemon.http).unwrap();
        let answers =
            (0..20).map(|_| told_apart(&Announce::of('a').http(daemon.http).unwrap().peers).1);
        answers.collect::<Vec<_>>()
    };
    let fixed = "    allow: { random: false }\n";
    let first = made_up(fixed);
    assert_eq!(first, made_up(fixed));
    let with = first.iter().filter(|answer| !answer.is_empty()).count();
    assert!((1..20).contains(&with), "some, by the probability: {with}");
    assert_ne!(made_up(""), made_up(""), "otherwise each is drawn anew");
}
