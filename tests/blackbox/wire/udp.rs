//! UDP announces and scrapes, to the byte, and connection ids.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use karuta_tests::announce::{Announce, torrent, url_data};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Daemon, LISTENERS, SOON, eventually, get, ipv6};

/// Starts a daemon with more settings for its UDP listener.
fn daemon(udp: &str) -> Daemon {
    Daemon::start_with(&LISTENERS.replace("udp: [{ ", &format!("udp: [{{ {udp}, ")))
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn announce_answers_are_right_to_the_byte() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let leecher = Announce::of('a').packet(client.id, 0x0102_0304);
    // action, transaction, interval, leechers, seeders
    let alone = words(&[1, 0x0102_0304, 1800, 1, 0]);
    assert_eq!(client.exchange(&leecher), alone);
    let seeder = Announce::of('a').seeder().port(6882).packet(client.id, 5);
    let with_peer = [words(&[1, 5, 1800, 1, 1]), vec![127, 0, 0, 1, 0x1a, 0xe1]].concat();
    assert_eq!(client.exchange(&seeder), with_peer);
    let stopped = Announce::of('a').seeder().port(6882).event("stopped").packet(client.id, 6);
    assert_eq!(client.exchange(&stopped), words(&[1, 6, 1800, 1, 0]));
    let gone = Announce::of('a').event("stopped").packet(client.id, 7);
    assert_eq!(client.exchange(&gone), words(&[1, 7, 1800, 0, 0]));
}

/// NATs, firewalls and libtorrent drop answers from any other address.
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let loopback = |last| SocketAddr::from(([127, 0, 0, last], 0));
    let ipv4: Vec<_> = [1, 2, 3, 2, 1, 1, 200].map(loopback).to_vec();
    let ipv6 = [(Ipv6Addr::LOCALHOST, 0).into()];
    // IPv4 and IPv6 take turns, so that packets to one address are not next to each other.
    let both: Vec<_> = ipv4.iter().flat_map(|address| [*address, ipv6[0]]).collect();
    for (listen, only_v6, asked) in [
        ("[::]:0", false, &both[..]),
        ("[::]:0", true, &ipv6),
        ("0.0.0.0:0", false, &ipv4),
        ("[::ffff:0.0.0.0]:0", false, &ipv4),
        ("127.0.0.2:0", false, &[loopback(2)]),
    ] {
        let daemon = Daemon::start_with(&format!(
            "udp: [{{ listen: '{listen}', only_v6: {only_v6} }}]\ntracker: {{ workers: 1 }}\n\
             admin: {{ listen: '127.0.0.1:0' }}\n"
        ));
        let [over_ipv4, over_ipv6] =
            [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(|any| {
                let socket = UdpSocket::bind((any, 0)).unwrap();
                socket.set_read_timeout(Some(SOON)).unwrap();
                socket
            });
        let socket = |at: &SocketAddr| if at.is_ipv4() { &over_ipv4 } else { &over_ipv6 };
        // All packets arrive before the first is read.
        daemon.signal("STOP");
        for (transaction, at) in asked.iter().enumerate() {
            let packet = udp::header(0x0417_2710_1980, udp::CONNECT, transaction as u32);
            socket(at).send_to(&packet, (at.ip(), daemon.udp.port())).unwrap();
        }
        daemon.signal("CONT");
        for at in asked {
            let mut answer = [0; 100];
            let (length, from) = socket(at).recv_from(&mut answer).expect("an answer");
            let transaction = u32::from_be_bytes(answer[4..8].try_into().unwrap());
            let at = asked[transaction as usize].ip();
            assert_eq!((length, from), (16, (at, daemon.udp.port()).into()), "on {listen}");
        }
    }
}

#[test]
fn ipv6_announce_answers_are_right_to_the_byte() {
    let daemon = Daemon::start("");
    let client = Client::connect(ipv6(daemon.udp));
    client.exchange(&Announce::of('a').packet(client.id, 1));
    let answer = client.exchange(&Announce::of('a').port(6882).packet(client.id, 2));
    let mut expected = words(&[1, 2, 1800, 2, 0]);
    expected.extend([0; 15]);
    expected.extend([1, 0x1a, 0xe1]);
    assert_eq!(answer, expected);
    // Over IPv4, the counts are those of the whole swarm, and the peers are only those of IPv4.
    let over_ipv4 = Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    assert_eq!((over_ipv4.leechers, over_ipv4.peers), (3, vec![]));
}

/// Some clients send an address of 16 bytes with this action.
#[test]
fn action_4_is_an_announce_with_a_longer_address() {
    let daemon = Daemon::start("");
    let client = Client::connect(ipv6(daemon.udp));
    let mut packet = Announce::of('a').packet(client.id, 9);
    packet[11] = udp::ANNOUNCE_IPV6 as u8;
    assert_eq!(client.exchange(&packet), [&words(&[3, 9])[..], b"malformed packet\0"].concat());
    let longer = [&packet[..84], &[0xfd; 16], &packet[88..]].concat();
    assert_eq!(client.exchange(&longer), words(&[4, 9, 1800, 1, 0]));
}

#[test]
fn scrape_answers_are_right_to_the_byte() {
    let daemon = Daemon::start("tracker: { max_scrape: 3 }");
    let client = Client::connect(daemon.udp);
    Announce::of('a').udp(&client).unwrap();
    Announce::of('a').port(1).udp(&client).unwrap();
    Announce::of('a').port(1).seeder().event("completed").udp(&client).unwrap();
    let mut packet = udp::header(client.id, udp::SCRAPE, 8);
    packet.extend([torrent('z'), torrent('a')].as_flattened());
    // seeders, downloads, leechers of each, in the order of the request
    assert_eq!(client.exchange(&packet), words(&[2, 8, 0, 0, 0, 1, 1, 1]));
    let many = ['a', 'z', 'z', 'a'].map(torrent);
    assert_eq!(client.scrape(&many), Ok(vec![[1, 1, 1], [0; 3], [0; 3]]), "cut");
    let over_ipv6 = Client::connect(ipv6(daemon.udp)).scrape(&[torrent('a')]);
    assert_eq!(over_ipv6, Ok(vec![[1, 1, 1]]));
}

#[test]
fn both_transports_share_the_swarms() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    Announce::of('a').http(daemon.http).unwrap();
    let reply = Announce::of('a').port(1).seeder().udp(&client).unwrap();
    assert_eq!(reply.peers, ["127.0.0.1:6881".parse().unwrap()]);
    let reply = Announce::of('a').http(daemon.http).unwrap();
    assert_eq!((reply.seeders, reply.leechers), (1, 1));
    assert_eq!(reply.peers, ["127.0.0.1:1".parse().unwrap()]);
}

#[test]
fn packets_that_are_no_requests_get_no_answer() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let connect = udp::header(0x0417_2710_1980, udp::CONNECT, 1);
    let packets = [
        vec![],
        vec![0; 15],
        connect[..15].to_vec(),
        udp::header(0x0417_2710_1981, udp::CONNECT, 1),
        udp::header(client.id, udp::CONNECT, 1),
        vec![0; 1400],
    ];
    assert_eq!(client.answers(&packets), [[0; 0]; 0]);
    // A request for a connection id may be longer.
    let answers = client.answers(&[[connect, vec![0xff; 100]].concat()]);
    assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [16]);
}

#[test]
fn malformed_requests_are_answered_with_their_errors() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let announce = Announce::of('a').packet(client.id, 3);
    let at = |place: usize, bytes: &[u8]| {
        let mut packet = announce.clone();
        packet[place..place + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let scrape = |length: usize| [udp::header(client.id, udp::SCRAPE, 3), vec![0; length]].concat();
    let cases = [
        (announce[..97].to_vec(), "malformed packet"),
        (announce[..16].to_vec(), "malformed packet"),
        (at(96, &[0, 0]), "invalid port"),
        (scrape(0), "malformed packet"),
        (scrape(19), "malformed packet"),
        (udp::header(client.id, 5, 3), "unknown action ID"),
        (udp::header(client.id, udp::ERROR, 3), "unknown action ID"),
    ];
    for (packet, text) in cases {
        let expected = [&words(&[3, 3])[..], text.as_bytes(), &[0]].concat();
        assert_eq!(client.exchange(&packet), expected, "{}", packet.escape_ascii());
    }
    assert_eq!(client.scrape(&[torrent('a')]), Ok(vec![[0; 3]]), "none of them entered a peer");
}

#[test]
fn url_data_is_accepted_in_every_form() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let announce = Announce::of('a').packet(client.id, 3);
    let long = url_data(&format!("/announce?x={}", "y".repeat(600)));
    for options in [
        &url_data("/announce")[..],
        &url_data("/announce/key?a=b"),
        &url_data("/key/announce?info_hash=short"),
        &url_data("/nothing/of/ours"),
        &url_data("\u{fc}\u{0}%zz?%"),
        &long,
        &[1, 1, 1],
        &[0, 77, 77],
        &[2, 0],
        &[1, 2, 1, b'/', 0],
        // Unknown kinds of options, and options that are cut short.
        &[3, 2, b'a', b'b'],
        &[0xff, 0, 2, 1, b'/'],
        &[1, 1, 3],
        &[2],
        &[2, 5, b'/'],
    ] {
        let answer = client.exchange(&[&announce, options].concat());
        assert_eq!(answer, words(&[1, 3, 1800, 1, 0]), "{}", options.escape_ascii());
    }
}

/// libtorrent sends event 4 in every announce of a partial seed.
#[test]
fn event_4_is_a_partial_seed_and_unknown_events_are_none() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    let reply = Announce::of('a').event("paused").udp(&client).unwrap();
    assert_eq!((reply.seeders, reply.leechers), (0, 1));
    let scraped = get(daemon.http, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa", &[]).body_text();
    assert!(scraped.contains("11:downloadersi0e10:incompletei1e"), "{scraped}");

    let tell = |event: u32, left: u64| {
        let mut packet = Announce::of('a').left(left).packet(client.id, 3);
        packet[80..84].copy_from_slice(&event.to_be_bytes());
        client.exchange(&packet)
    };
    let counted = |leechers, seeders| words(&[1, 3, 1800, leechers, seeders]);
    assert_eq!(tell(4, 5), counted(1, 0));
    assert_eq!(tell(4, 0), counted(1, 0), "a partial seed is no seeder");
    for event in [0, 5, 0x0300_0000, u32::MAX] {
        assert_eq!(tell(event, 5), counted(1, 0), "{event}");
        assert_eq!(tell(event, 0), counted(0, 1), "{event}");
    }
    let leecher = Announce::of('a').port(1).udp(&client).unwrap();
    assert_eq!(leecher.peers, ["127.0.0.1:6881".parse().unwrap()]);
}

#[test]
fn a_scrape_ends_at_its_last_whole_info_hash() {
    let daemon = Daemon::start("");
    let client = Client::connect(daemon.udp);
    Announce::of('a').udp(&client).unwrap();
    let mut packet = udp::header(client.id, udp::SCRAPE, 8);
    packet.extend(torrent('a'));
    packet.extend([0; 19]);
    assert_eq!(client.exchange(&packet), words(&[2, 8, 0, 0, 1]));
}

#[test]
fn num_want_is_obeyed_up_to_its_maximum() {
    let daemon = Daemon::start("tracker: { num_want: { default: 3, max: 5 } }");
    let client = Client::connect(daemon.udp);
    for port in 1..=10 {
        Announce::of('a').port(port).udp(&client).unwrap();
    }
    for (num_want, expected) in [(-1, 3), (0, 0), (4, 4), (5, 5), (i32::MAX, 5), (i32::MIN, 3)] {
        let reply = Announce::of('a').want(num_want).udp(&client).unwrap();
        assert_eq!(reply.peers.len(), expected, "{num_want}");
    }
}

#[test]
fn answers_fit_an_ethernet_frame() {
    let daemon = Daemon::start("tracker: { num_want: { default: 50, max: 400 }, max_scrape: 500 }");
    for (address, longest) in [(daemon.udp, 20 + 242 * 6), (ipv6(daemon.udp), 20 + 79 * 18)] {
        let client = Client::connect(address);
        for port in 1000..1300 {
            Announce::of('a').port(port).want(0).udp(&client).unwrap();
        }
        let answer = client.exchange(&Announce::of('a').want(400).packet(client.id, 1));
        assert_eq!(answer.len(), longest);
        let answer = client.exchange(&Announce::of('a').want(30).packet(client.id, 1));
        assert_eq!(answer.len(), 20 + 30 * if address.is_ipv6() { 18 } else { 6 });
    }
    let hashes: Vec<_> = (0..101_u8).map(|n| [n; 20]).collect();
    let found = Client::connect(daemon.udp).scrape(&hashes).unwrap();
    assert_eq!(found.len(), 101);
}

#[test]
fn wrong_connection_ids_are_answered_within_an_error_budget() {
    let daemon = daemon("error_budget: { per_second: 1, ipv4_prefix: 24 }");
    let client = |last: [u8; 2]| Client::new(IpAddr::from([127, 0, last[0], last[1]]), daemon.udp);
    let wrong: Vec<_> = [Announce::of('a').packet(0x1234, 7), udp::header(0, udp::SCRAPE, 7)]
        .into_iter()
        .cycle()
        .take(60)
        .collect();
    let refused = [&words(&[3, 7])[..], b"bad connection ID\0"].concat();
    let flood = |client: &Client| {
        let answers = client.answers(&wrong);
        assert!(answers.iter().all(|answer| *answer == refused), "{answers:?}");
        answers.len()
    };
    let answered = flood(&client([0, 1]));
    assert!((1..wrong.len()).contains(&answered), "{answered} of {}", wrong.len());

    // The whole prefix shares the budget. Each neighbour is new, so it has spent nothing itself.
    let mut neighbours = 2..;
    eventually("a neighbour finds the budget spent", || {
        flood(&client([0, 1]));
        let neighbour = client([0, neighbours.next().unwrap()]);
        neighbour.answers(&wrong[..1]).is_empty()
    });
    assert_eq!(client([9, 1]).answers(&wrong[..1]), [refused], "another prefix has its own");

    // A client with a right id is still served.
    let client = client([0, 1]);
    let id = client.connection_id();
    let answers = client.answers(&[Announce::of('a').packet(id, 1)]);
    assert_eq!(answers, [words(&[1, 1, 1800, 1, 0])]);
}

/// Otherwise one forged error would make two trackers answer each other's errors for ever.
#[test]
fn only_requests_with_a_wrong_connection_id_are_answered() {
    let daemon = Daemon::start("");
    let client = Client::new(daemon.udp.ip(), daemon.udp);
    let error = [&words(&[udp::ERROR, 7])[..], b"bad connection ID\0"].concat();
    let answer_of_another = words(&[udp::CONNECT, 7, 0xabcd, 2]);
    let unknown = [udp::ERROR, 5, 99, u32::MAX].map(|action| udp::header(0x1234, action, 7));
    let silent = [&[error.clone(), answer_of_another][..], &unknown].concat();
    assert_eq!(client.answers(&silent), [[0; 0]; 0]);
    let requests = [udp::ANNOUNCE, udp::SCRAPE, udp::ANNOUNCE_IPV6]
        .map(|action| [udp::header(0x1234, action, 7), vec![0; 100]].concat());
    assert_eq!(client.answers(&requests), vec![error; 3]);
}

#[test]
fn without_an_error_budget_wrong_ids_get_no_answer() {
    let daemon = daemon("error_budget: { per_second: 0 }");
    let client = Client::new(daemon.udp.ip(), daemon.udp);
    assert_eq!(client.answers(&[Announce::of('a').packet(1, 1)]), [[0; 0]; 0]);
}

#[test]
fn connection_ids_hold_for_their_whole_lifetime() {
    let daemon = daemon("connection_id_lifetime: 2s");
    let start = Instant::now();
    let client = Client::connect(daemon.udp);
    eventually("the id expires", || match client.scrape(&[torrent('a')]) {
        Ok(_) => false,
        Err(text) => {
            assert_eq!(text, "bad connection ID");
            true
        }
    });
    assert!(start.elapsed() >= Duration::from_secs(2), "it expired early");
    let id = client.connection_id();
    let answers = client.answers(&[Announce::of('a').packet(id, 1)]);
    assert_eq!(answers, [words(&[1, 1, 1800, 1, 0])], "a new one is good");
}

#[test]
fn a_forged_id_is_refused() {
    let daemon = Daemon::start("");
    let mut client = Client::connect(daemon.udp);
    let good = client.id;
    for flipped in [0, 7, 31, 40, 63] {
        client.id = good ^ (1 << flipped);
        assert_eq!(client.scrape(&[[0; 20]]), Err("bad connection ID".to_owned()), "{flipped}");
    }
    client.id = good;
    assert_eq!(client.scrape(&[[0; 20]]), Ok(vec![[0; 3]]));
}

/// Several daemons start at once with a new folder. Whichever creates the secret, all use it.
#[test]
fn daemons_that_share_a_state_folder_accept_the_same_ids() {
    for _ in 0..4 {
        let shared = tempfile::tempdir().unwrap();
        let state = shared.path().join("new");
        // Only one of them could keep its swarms there.
        let state = format!("state_dir: {}\nswarms: {{ snapshot: false }}\n", state.display());
        let daemons: Vec<Daemon> = std::thread::scope(|scope| {
            let start = || Daemon::start(&state);
            let starts = [(); 3].map(|()| scope.spawn(start));
            starts.map(|start| start.join().expect("it starts")).into()
        });
        let id = Client::connect(daemons[0].udp).id;
        for daemon in &daemons {
            let client = Client::new(daemon.udp.ip(), daemon.udp).with_id(id);
            assert_eq!(client.scrape(&[[0; 20]]), Ok(vec![[0; 3]]));
        }
        let files = std::fs::read_dir(shared.path().join("new")).unwrap();
        let unfinished = files.filter(|file| {
            file.as_ref().unwrap().file_name().to_string_lossy().contains("secret.")
        });
        assert_eq!(unfinished.count(), 0);
    }
}

#[test]
fn trackers_with_the_same_secret_accept_the_same_ids() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "shared between the hosts").unwrap();
    let setting = format!("connection_id_secret: {{ file: '{}' }}", secret.path().display());
    let [one, other] = [daemon(&setting), daemon(&setting)];
    let id = Client::connect(one.udp).id;
    let client = Client::new(other.udp.ip(), other.udp).with_id(id);
    assert_eq!(client.scrape(&[[0; 20]]), Ok(vec![[0; 3]]));
    let own = Daemon::start("");
    let stranger = Client::new(own.udp.ip(), own.udp).with_id(id);
    assert_eq!(stranger.scrape(&[[0; 20]]), Err("bad connection ID".to_owned()));
}
