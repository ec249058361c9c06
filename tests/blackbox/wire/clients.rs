//! What real clients were seen to do on the wire, and how the tracker answers them.

use karuta_tests::announce::{Announce, torrent, url_data};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, get, ipv6};

/// libtorrent and qBittorrent would connect to themselves, and ban their own address.
#[test]
fn a_client_is_never_given_itself() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let events = ["started", "", "", "completed", "", "stopped"];
    for (event, left) in events.into_iter().zip([5, 5, 0, 0, 0, 0]) {
        let me = Announce::of('a').event(event).left(left);
        assert_eq!(me.http(daemon.http).unwrap().peers, [], "{event} over HTTP");
        assert_eq!(me.udp(&client).unwrap().peers, [], "{event} over UDP");
    }
    // The same holds if there are others in the swarm.
    for port in 1..=5 {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    for me in 1..=5 {
        let others: Vec<u16> = (1..=5).filter(|port| *port != me).collect();
        let announce = Announce::of('a').port(me);
        let replies = [announce.http(daemon.http).unwrap(), announce.udp(&client).unwrap()];
        for reply in replies {
            let ports: Vec<u16> = reply.peers.iter().map(|peer| peer.port()).collect();
            assert_eq!(ports, others);
        }
    }
}

/// rtorrent treats an announce as failed if the answer has no `peers`, and never sends `stopped`.
#[test]
fn every_announce_answer_has_the_key_peers() {
    let daemon = Daemon::start("");
    let ask = |announce: Announce, expected: &str| {
        let answer = announce.get(daemon.http, &[]).body.escape_ascii().to_string();
        assert!(answer.contains(expected), "{answer}");
    };
    ask(Announce::of('a'), "5:peers0:");
    ask(Announce::of('a').with("compact=0"), "5:peersle");
    ask(Announce::of('a').want(0), "5:peers0:");
    ask(Announce::of('a').event("stopped"), "5:peers0:");
    Announce::of('b').port(1).get(ipv6(daemon.http), &[]);
    ask(Announce::of('b'), "5:peers0:6:peers618:");
}

/// webtorrent and bittorrent-tracker's client cannot read dictionaries if they asked for strings.
#[test]
fn a_compact_announce_never_gets_dictionaries() {
    let daemon = Daemon::start("swarms: { keep_peer_ids: true }");
    Announce::of('a').port(1).http(daemon.http).unwrap();
    Announce::of('a').port(2).peer_id(*b"-KA0100-bbbbbbbbbbbb").http(ipv6(daemon.http)).unwrap();
    for more in ["compact=1", "no_peer_id=0", "no_peer_id=1", "event=stopped", "numwant=0"] {
        let answer = Announce::of('a').with(more).dictionary(daemon.http);
        assert!(answer.bytes("peers").is_some(), "{more}: {answer:?}");
    }
    let answer = Announce::of('a').dictionary(daemon.http);
    assert_eq!(answer.bytes("peers"), Some(&[127, 0, 0, 1, 0, 1][..]));
    assert_eq!(answer.bytes("peers6").map(<[u8]>::len), Some(18));
}

/// If the status is 400, libtorrent, qBittorrent and webtorrent show it, and not the reason.
#[test]
fn a_failure_has_the_status_200() {
    let daemon = Daemon::start(
        "
tracker: { limits: { per_second: 1, burst: 4 } }
policies:
  - { name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }
",
    );
    let wrong = get(daemon.http, "/announce?port=x", &[]);
    let no_scrape = get(daemon.http, "/scrape", &[]);
    let refused = Announce::of('a').client("-XL").get(daemon.http, &[]);
    let mut many = (0..30).map(|_| Announce::of('a').get(daemon.http, &[]));
    let limited = many.find(|answer| answer.body.starts_with(b"d14:failure"));
    for answer in [wrong, no_scrape, refused, limited.expect("a limit")] {
        assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        assert!(answer.body.starts_with(b"d14:failure reason"), "{answer:?}");
    }
}

/// libtorrent keeps an id for 1 min for the whole process, and tries again with an id that was
/// refused.
#[test]
fn connection_ids_outlive_a_restart() {
    let state = tempfile::tempdir().unwrap();
    // The state folder must belong to the daemon alone.
    let yaml = format!("state_dir: '{}'", state.path().join("state").display());
    let mut first = Daemon::start(&yaml);
    let id = Client::connect(first.udp).id;
    first.signal("TERM");
    assert!(first.wait().success());
    let second = Daemon::start(&yaml);
    let client = Client::new(second.udp.ip(), second.udp).with_id(id);
    for _ in 0..3 {
        Announce::of('a').udp(&client).expect("an id is good more than once");
    }
    // The id is good only for the address that requested it. At another one, the client is told to
    // request a new id.
    let elsewhere = Client::new([127, 0, 0, 2].into(), second.udp).with_id(id);
    assert_eq!(elsewhere.scrape(&[torrent('a')]), Err("bad connection ID".to_owned()));
    let anew = elsewhere.connection_id();
    assert_eq!(elsewhere.with_id(anew).scrape(&[torrent('a')]), Ok(vec![[0, 0, 1]]));
}

/// rtorrent, webtorrent and bittorrent-tracker's client use a new source port for nearly every
/// announce.
#[test]
fn neither_ids_nor_peers_depend_on_the_source_port() {
    let daemon = Daemon::start("");
    for address in [daemon.udp, ipv6(daemon.udp)] {
        let id = Client::connect(address).id;
        let mut sockets = Vec::new();
        for _ in 0..8 {
            let client = Client::new(address.ip(), address).with_id(id);
            let reply = Announce::of('a').udp(&client).expect("a good id");
            assert_eq!(reply.peers, []);
            sockets.push(client);
        }
        let other = Announce::of('a').port(1).udp(&sockets[0]).unwrap();
        assert_eq!(
            other.peers,
            [(address.ip(), 6881).into()],
            "one peer, at the port it announced"
        );
        Announce::of('a').port(1).event("stopped").udp(&sockets[1]).unwrap();
        Announce::of('a').event("stopped").udp(&sockets[2]).unwrap();
    }
}

/// libtorrent and qBittorrent append URL data to every announce.
#[test]
fn announces_with_url_data_are_accepted() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    for (port, url) in [(1, "/announce"), (2, "/announce/key"), (3, "/whatever?it=is")] {
        let mut packet = Announce::of('a').port(port).packet(client.id, 1);
        packet.extend(url_data(url));
        let answer = client.exchange(&packet);
        assert_eq!(answer[..8], [0, 0, 0, 1, 0, 0, 0, 1], "{url}");
    }
    assert_eq!(client.scrape(&[torrent('a')]), Ok(vec![[0, 0, 3]]));
}

/// A seeding webtorrent sends `started` with nothing left, and `completed`, in either order.
#[test]
fn only_a_known_leecher_completes_a_download() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let counts = || client.scrape(&[torrent('a')]).unwrap()[0];
    let tell = |port, event, left| {
        Announce::of('a').port(port).event(event).left(left).http(daemon.http).unwrap();
    };
    tell(1, "started", 0);
    tell(1, "completed", 0);
    tell(2, "completed", 0);
    tell(2, "started", 0);
    assert_eq!(counts(), [2, 0, 0]);
    tell(3, "started", 10);
    assert_eq!(counts(), [2, 0, 1]);
    tell(3, "completed", 0);
    tell(3, "completed", 0);
    assert_eq!(counts(), [3, 1, 0]);
}

/// webtorrent's `stopped` carries `left=16384` over HTTP and 2^64-1 over UDP.
#[test]
fn a_stop_never_fails_because_of_left() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    for left in [16384, u64::MAX, 0, 1 << 63] {
        for over_udp in [false, true] {
            let ask = |announce: Announce| {
                if over_udp { announce.udp(&client) } else { announce.http(daemon.http) }
            };
            ask(Announce::of('a').seeder()).unwrap();
            let stopped = ask(Announce::of('a').event("stopped").left(left)).unwrap();
            assert_eq!((stopped.seeders, stopped.leechers, stopped.peers), (0, 0, vec![]));
        }
    }
}

/// rtorrent checks the file before it sends `completed`. It may stop during the check, with nothing
/// left.
#[test]
fn a_stop_with_nothing_left_is_no_download() {
    let daemon = Daemon::start("");
    Announce::of('a').port(1).http(daemon.http).unwrap();
    Announce::of('a').left(10).event("started").http(daemon.http).unwrap();
    Announce::of('a').left(0).http(daemon.http).unwrap();
    let late = Announce::of('a').left(0).event("completed").dictionary(daemon.http);
    assert_eq!(late.integer("complete"), 1);
    let answer = Announce::of('a').left(0).event("stopped").dictionary(daemon.http);
    let counts = ["complete", "incomplete", "downloaded"].map(|key| answer.integer(key));
    assert_eq!(counts[..2], [0, 1]);
    Announce::of('a').left(10).event("started").http(daemon.http).unwrap();
    let answer = Announce::of('a').left(0).event("stopped").dictionary(daemon.http);
    let again = ["complete", "incomplete", "downloaded"].map(|key| answer.integer(key));
    assert_eq!(again, counts, "a stop is no download");
}
