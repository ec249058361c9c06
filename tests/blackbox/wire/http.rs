//! HTTP announces and scrapes, to the byte.

use std::time::Instant;

use karuta_tests::announce::{Announce, escape, torrent};
use karuta_tests::{Connection, Daemon, LISTENERS, bencode, eventually, get, ipv6, udp};
use serde_json::Value;

/// Returns the body of an answer, with every byte visible.
fn body(daemon: &Daemon, path: &str) -> String {
    let answer = get(daemon.http, path, &[]);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body.escape_ascii().to_string()
}

fn announce(daemon: &Daemon, announce: &Announce) -> String {
    body(daemon, &format!("/announce?{}", announce.query()))
}

#[test]
fn announce_answers_are_right_to_the_byte() {
    let daemon = Daemon::start("");
    let alone = "d8:completei0e10:downloadedi0e11:external ip4:\\x7f\\x00\\x00\\x01\
                 10:incompletei1e8:intervali1800e12:min intervali900e5:peers0:e";
    assert_eq!(announce(&daemon, &Announce::of('a')), alone);

    let seeder = Announce::of('a').seeder().port(6882);
    let head = "d8:completei1e10:downloadedi0e11:external ip4:\\x7f\\x00\\x00\\x01\
                10:incompletei1e8:intervali1800e12:min intervali900e5:peers";
    assert_eq!(announce(&daemon, &seeder), format!("{head}6:\\x7f\\x00\\x00\\x01\\x1a\\xe1e"));
    let listed = format!("{head}ld2:ip9:127.0.0.14:porti6881eeee");
    for form in ["compact=0", "compact=", "compact=0&no_peer_id=1"] {
        assert_eq!(announce(&daemon, &seeder.clone().with(form)), listed, "{form}");
    }
    let compact = format!("{head}6:\\x7f\\x00\\x00\\x01\\x1a\\xe2e");
    for form in ["compact=1", "compact=yes", "compact=1&no_peer_id=1"] {
        assert_eq!(announce(&daemon, &Announce::of('a').with(form)), compact, "{form}");
    }
}

#[test]
fn ipv6_announce_answers_are_right_to_the_byte() {
    let daemon = Daemon::start("");
    let get_over_ipv6 = |announce: &Announce| {
        let answer = announce.get(ipv6(daemon.http), &[]);
        answer.body.escape_ascii().to_string()
    };
    let loopback = "\\x00".repeat(15) + "\\x01";
    let head = |leechers: u32, external: &str| {
        format!(
            "d8:completei0e10:downloadedi0e11:external ip{external}10:incompletei{leechers}e\
             8:intervali1800e12:min intervali900e5:peers"
        )
    };
    let first = get_over_ipv6(&Announce::of('a'));
    assert_eq!(first, head(1, &format!("16:{loopback}")) + "0:e");

    let over_ipv4 = announce(&daemon, &Announce::of('a').port(6882));
    let six = format!("6:peers618:{loopback}\\x1a\\xe1");
    assert_eq!(over_ipv4, head(2, "4:\\x7f\\x00\\x00\\x01") + "0:" + &six + "e");

    let both = get_over_ipv6(&Announce::of('a').port(6883));
    let four = "6:\\x7f\\x00\\x00\\x01\\x1a\\xe2";
    assert_eq!(both, head(3, &format!("16:{loopback}")) + four + &six + "e");

    let listed = get_over_ipv6(&Announce::of('a').port(6883).with("compact=0"));
    let list = "ld2:ip9:127.0.0.14:porti6882eed2:ip3:::14:porti6881eeee";
    assert_eq!(listed, head(3, &format!("16:{loopback}")) + list);
}

#[test]
fn peer_ids_are_given_if_they_are_kept() {
    let daemon = Daemon::start("swarms: { keep_peer_ids: true }");
    announce(&daemon, &Announce::of('a'));
    let seeder = Announce::of('a').seeder().port(6882).with("compact=0");
    let answer = announce(&daemon, &seeder);
    let peer = "ld2:ip9:127.0.0.17:peer id20:-KA0100-0123456789ab4:porti6881eee";
    assert!(answer.ends_with(&format!("5:peers{peer}e")), "{answer}");
    let answer = announce(&daemon, &seeder.with("no_peer_id=1"));
    assert!(answer.ends_with("5:peersld2:ip9:127.0.0.14:porti6881eeee"), "{answer}");
}

#[test]
fn every_failure_has_its_text() {
    let daemon = Daemon::start("");
    let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    let id = "peer_id=-KA0100-0123456789ab";
    let cases = [
        ("", "no info_hash parameter supplied"),
        ("INFO_HASH=aaaaaaaaaaaaaaaaaaaa&$p&port=1", "no info_hash parameter supplied"),
        ("$h&info_hash=bbbbbbbbbbbbbbbbbbbb&$p&port=1", "multiple info_hash parameters supplied"),
        ("info_hash=aaaa&$p&port=1", "provided invalid infohash"),
        ("info_hash=%zz&$p&port=1", "invalid query escape"),
        ("$h&peer_id=%&port=1", "invalid query escape"),
        ("$h&port=1", "failed to parse parameter: peer_id"),
        ("$h&peer_id=short&port=1", "failed to provide valid peer_id"),
        ("$h&$p", "failed to parse parameter: port"),
        ("$h&$p&port=65536", "failed to parse parameter: port"),
        ("$h&$p&port=%", "failed to parse parameter: port"),
        ("$h&$p&port=0", "invalid port"),
    ];
    for (query, reason) in cases {
        let query = query.replace("$h", hash).replace("$p", id);
        let answer = body(&daemon, &format!("/announce?{query}"));
        assert_eq!(answer, format!("d14:failure reason{}:{reason}e", reason.len()), "{query}");
    }
    for (query, reason) in [
        ("", "no info_hash parameter supplied"),
        ("?info_hash=a", "provided invalid infohash"),
        ("?info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=%", "invalid query escape"),
    ] {
        let answer = body(&daemon, &format!("/scrape{query}"));
        assert_eq!(answer, format!("d14:failure reason{}:{reason}e", reason.len()), "{query}");
    }
}

/// chihaya refuses these requests.
#[test]
fn optional_parameters_may_be_missing_or_wrong() {
    let daemon = Daemon::start("");
    let bare = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-KA0100-0123456789ab&port=1";
    let answer = bencode::read(&get(daemon.http, &format!("/announce?{bare}"), &[]).body);
    assert_eq!(answer.integer("incomplete"), 1, "without `left`, a client is a leecher");
    for more in [
        "numwant=-1",
        "numwant=many",
        "numwant=4294967296",
        "numwant=99999999999999999999999999",
        "event=",
        "event=STARTED",
        "event=paused",
        "event=seeding",
        "left",
        "left=",
        "left=-1",
        "left=x",
        "left=18446744073709551616",
        "downloaded=NaN",
        "uploaded=",
        "compact=%",
        "x=%zz",
        "%zz=x",
        "left=1;port=2",
        "&&;",
    ] {
        let answer = body(&daemon, &format!("/announce?{bare}&{more}"));
        assert!(answer.starts_with("d8:complete"), "{more}: {answer}");
    }
    // A value that can be read counts. A missing or wrong `left` does not make a seeder.
    let reply = |more: &str| {
        let answer =
            bencode::read(&get(daemon.http, &format!("/announce?{bare}&{more}"), &[]).body);
        (answer.integer("complete"), answer.integer("incomplete"))
    };
    assert_eq!(reply("port=2&left="), (0, 2));
    assert_eq!(reply("port=2&left=99999999999999999999&event=seeding"), (0, 2));
    assert_eq!(reply("port=2&left=0&event=seeding"), (1, 1));
    assert_eq!(reply("port=2&left=x&event=stopped"), (0, 1));
    let scrape = body(&daemon, "/scrape?x=%&info_hash=aaaaaaaaaaaaaaaaaaaa&%=&left=-1");
    assert!(scrape.starts_with("d5:files"), "{scrape}");
}

#[test]
fn numwant_is_obeyed_up_to_its_maximum() {
    let daemon = Daemon::start("tracker: { num_want: { default: 3, max: 5 } }");
    for port in 1..=10 {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    let asker = Announce::of('a').port(6881);
    let given = |asker: &Announce| asker.http(daemon.http).unwrap().peers.len();
    assert_eq!(given(&asker), 3);
    for (num_want, expected) in [("0", 0), ("-1", 3), ("4", 4), ("5", 5), ("4294967295", 5)] {
        assert_eq!(given(&asker.clone().with(&format!("numwant={num_want}"))), expected);
    }
}

/// One peer goes through all transitions. Another one keeps the swarm in existence.
#[test]
fn counts_are_right_after_every_transition() {
    let daemon = Daemon::start("");
    Announce::of('a').port(1).http(daemon.http).unwrap();
    let steps = [
        // event, left; then seeders, downloads, leechers
        ("started", 9, (0, 0, 2)),
        ("", 5, (0, 0, 2)),
        ("paused", 5, (0, 0, 2)),
        ("completed", 0, (1, 1, 1)),
        ("", 0, (1, 1, 1)),
        ("completed", 0, (1, 1, 1)),
        ("stopped", 0, (0, 1, 1)),
        ("stopped", 0, (0, 1, 1)),
        ("started", 0, (1, 1, 1)),
        ("", 7, (0, 1, 2)),
        ("", 0, (1, 1, 1)),
        ("paused", 0, (0, 1, 2)),
        // A download counts once until the peer stops.
        ("completed", 0, (1, 2, 1)),
        ("started", 9, (0, 2, 2)),
        ("completed", 0, (1, 2, 1)),
        ("stopped", 3, (0, 2, 1)),
        ("paused", 9, (0, 2, 2)),
        ("paused", 9, (0, 2, 2)),
        ("completed", 0, (1, 3, 1)),
        ("stopped", 0, (0, 3, 1)),
    ];
    for (step, (event, left, expected)) in steps.into_iter().enumerate() {
        let answer = Announce::of('a').event(event).left(left).dictionary(daemon.http);
        let counts = |key| answer.integer(key);
        let found = (counts("complete"), counts("downloaded"), counts("incomplete"));
        assert_eq!(found, expected, "the announce of step {step}");
        let (seeders, downloads, leechers) = expected;
        let downloaders = leechers - i64::from(event == "paused");
        let scrape = format!(
            "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei{seeders}e10:downloadedi{downloads}e\
             11:downloadersi{downloaders}e10:incompletei{leechers}eeee"
        );
        assert_eq!(body(&daemon, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa"), scrape, "step {step}");
    }
}

#[test]
fn downloads_are_known_after_the_last_peer_has_left() {
    let daemon = Daemon::start("swarms: { limits: { torrents: 1 } }");
    Announce::of('a').event("started").http(daemon.http).unwrap();
    Announce::of('a').left(0).event("completed").http(daemon.http).unwrap();
    let last = Announce::of('a').left(0).event("stopped").dictionary(daemon.http);
    assert_eq!(["complete", "downloaded", "incomplete"].map(|key| last.integer(key)), [0, 1, 0]);

    let udp = udp::Client::connect(daemon.udp);
    assert_eq!(udp.scrape(&[torrent('a'), torrent('b')]), Ok(vec![[0, 1, 0], [0, 0, 0]]));
    let scraped =
        bencode::read(&get(daemon.http, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa", &[]).body);
    let file = scraped.get("files").and_then(|files| files.get("aaaaaaaaaaaaaaaaaaaa")).unwrap();
    assert_eq!(["complete", "downloaded", "incomplete"].map(|key| file.integer(key)), [0, 1, 0]);

    // It is not a swarm and takes no place of one. The count goes on from there.
    assert_eq!(daemon.metric("karuta_swarms "), 0.0);
    Announce::of('b').http(daemon.http).unwrap();
    Announce::of('b').event("stopped").http(daemon.http).unwrap();
    let back = Announce::of('a').left(0).dictionary(daemon.http);
    assert_eq!(["complete", "downloaded", "incomplete"].map(|key| back.integer(key)), [1, 1, 0]);
}

#[test]
fn seeders_are_given_leechers_and_leechers_are_given_all_peers() {
    let daemon = Daemon::start("");
    #[track_caller]
    fn given(daemon: &Daemon, announce: &Announce, expected: &[u16]) {
        let peers = announce.http(daemon.http).unwrap().peers;
        assert_eq!(peers.iter().map(|peer| peer.port()).collect::<Vec<_>>(), expected);
    }
    let leecher = |port| Announce::of('a').port(port);
    let seeder = |port| leecher(port).seeder();
    given(&daemon, &leecher(1), &[]);
    given(&daemon, &leecher(2), &[1]);
    given(&daemon, &seeder(3), &[1, 2]);
    given(&daemon, &seeder(4), &[1, 2]);
    given(&daemon, &leecher(2), &[1, 3, 4]);
    given(&daemon, &leecher(2).event("stopped"), &[]);
    given(&daemon, &seeder(3), &[1]);
    given(&daemon, &Announce::of('b').port(1), &[]);
    // A partial seed uploads, and wants no data itself.
    let partial = |port| leecher(port).event("paused");
    given(&daemon, &partial(5), &[1]);
    given(&daemon, &partial(6), &[1]);
    given(&daemon, &seeder(3), &[1]);
    given(&daemon, &leecher(1), &[3, 4, 5, 6]);
    given(&daemon, &leecher(5), &[1, 3, 4, 6]);
    given(&daemon, &seeder(3), &[1, 5]);
}

/// After its lifetime of 3 s it takes 1 s or 2 s of the clock, and 1 s for a round of expiry.
#[test]
fn a_silent_peer_is_gone_soon_after_its_lifetime() {
    let daemon = Daemon::start(
        "tracker: { announce_interval: 1s, min_announce_interval: 1s, max_interval: 2s, peer_lifetime: 3s }",
    );
    let start = Instant::now();
    Announce::of('a').http(daemon.http).unwrap();
    eventually("it is forgotten", || {
        body(&daemon, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa").contains("incompletei0e")
    });
    let elapsed = start.elapsed();
    assert!((3..10).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[test]
fn a_client_on_both_families_counts_once_if_peer_ids_are_kept() {
    for (keep, count) in [("true", 1), ("false", 2)] {
        let daemon = Daemon::start(&format!("swarms: {{ keep_peer_ids: {keep} }}"));
        let announce =
            |event, left, tracker| Announce::of('a').event(event).left(left).dictionary(tracker);
        let trackers = [daemon.http, ipv6(daemon.http)];
        for event in ["started", ""] {
            let [_, second] = trackers.map(|tracker| announce(event, 9, tracker));
            assert_eq!(second.integer("incomplete"), count);
            let given = announce("", 9, daemon.http);
            assert_eq!(given.bytes("peers6").is_none(), keep == "true", "its own address");
        }
        let [_, second] = trackers.map(|tracker| announce("completed", 0, tracker));
        let counts = ["complete", "downloaded", "incomplete"].map(|key| second.integer(key));
        assert_eq!(counts, [count, count, 0]);
        let udp = udp::Client::connect(daemon.udp).scrape(&[torrent('a')]);
        assert_eq!(udp, Ok(vec![[count as u32, count as u32, 0]]));
        assert_eq!(daemon.metric(r#"karuta_peers{family="ipv6",role="seeder"}"#), 1.0);
    }
}

#[test]
fn a_restarted_client_replaces_itself() {
    let daemon = Daemon::start("");
    for id in [b"-KA0100-aaaaaaaaaaaa", b"-KA0100-bbbbbbbbbbbb"] {
        let reply = Announce::of('a').peer_id(*id).http(daemon.http).unwrap();
        assert_eq!((reply.leechers, reply.peers), (1, vec![]));
    }
}

#[test]
fn scrape_answers_are_right_to_the_byte() {
    let daemon = Daemon::start("tracker: { max_scrape: 3 }");
    Announce::of('a').http(daemon.http).unwrap();
    Announce::of('b').seeder().http(daemon.http).unwrap();
    let scrape = |letters: &str| {
        let hashes: Vec<_> = letters
            .chars()
            .map(|letter| format!("info_hash={}", escape(&torrent(letter))))
            .collect();
        body(&daemon, &format!("/scrape?{}", hashes.join("&")))
    };
    let entry = |letter: &str, complete: u32, incomplete: u32| {
        format!(
            "20:{}d8:completei{complete}e10:downloadedi0e11:downloadersi{incomplete}e\
             10:incompletei{incomplete}ee",
            letter.repeat(20)
        )
    };
    let [a, b, unknown] = [entry("a", 0, 1), entry("b", 1, 0), entry("z", 0, 0)];
    assert_eq!(scrape("a"), format!("d5:filesd{a}ee"));
    assert_eq!(scrape("zba"), format!("d5:filesd{a}{b}{unknown}ee"), "sorted");
    assert_eq!(scrape("aba"), format!("d5:filesd{a}{b}ee"), "each once");
    assert_eq!(scrape("zbxa"), format!("d5:filesd{b}{}{unknown}ee", entry("x", 0, 0)), "cut");
}

#[test]
fn response_heads_are_right_to_the_byte() {
    let daemon = Daemon::start("");
    let mut connection = Connection::open(daemon.http);
    let mut head = |request: &str| {
        connection.send(format!("{request}\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = connection.answer();
        let lines = answer.head.lines().filter(|line| !line.starts_with("date: "));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        head("GET /scrape HTTP/1.1"),
        "HTTP/1.1 200 OK\ncontent-type: text/plain; charset=utf-8\ncontent-length: 53"
    );
    assert_eq!(
        head("GET /nothing HTTP/1.1"),
        "HTTP/1.1 404 Not Found\ncontent-type: text/plain; charset=utf-8\ncontent-length: 9"
    );
    assert_eq!(
        head("POST /announce HTTP/1.1"),
        "HTTP/1.1 405 Method Not Allowed\ncontent-type: text/plain; charset=utf-8\nallow: GET\n\
         content-length: 18"
    );
}

#[test]
fn unknown_paths_other_methods_and_garbage_are_refused() {
    let daemon = Daemon::start("");
    for path in ["/", "/nothing", "/announce/", "/announce/a/b", "//announce", "/metrics"] {
        assert_eq!(get(daemon.http, path, &[]).status, 404, "{path}");
    }
    for method in ["HEAD", "POST", "PUT", "OPTIONS", "DELETE", "BREW"] {
        let mut connection = Connection::open(daemon.http);
        let request =
            format!("{method} /announce HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes());
        let answer = String::from_utf8(connection.rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("\r\nallow: GET\r\n"), "{method}: {answer}");
    }
    for line in ["GARBAGE", "GET /announce", "GET /announce HTTP/3.0"] {
        let mut connection = Connection::open(daemon.http);
        connection.send(format!("{line}\r\n\r\n").as_bytes());
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
    }
    Announce::of('a').http(daemon.http).expect("it serves on");
}

#[test]
fn each_listener_has_its_configured_routes() {
    let daemon = Daemon::start_with(
        "
http:
  - { listen: '127.0.0.1:0', announce: ['/t/{passkey}/a'], scrape: [] }
  - { listen: '127.0.0.1:0' }
admin: { listen: '127.0.0.1:0' }
",
    );
    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    let listeners = status["listeners"].as_array().unwrap().iter();
    let http: Vec<_> = listeners
        .filter(|listener| listener["transport"] == "http")
        .map(|listener| listener["address"].as_str().unwrap().parse().unwrap())
        .collect();
    let [own, usual] = http[..] else { panic!("{status}") };
    let query = Announce::of('a').query();
    let status = |address, path: &str| get(address, &format!("{path}?{query}"), &[]).status;
    for (path, on_own, on_usual) in [
        ("/t/key/a", 200, 404),
        ("/announce", 404, 200),
        ("/announce/key", 404, 200),
        ("/key/announce", 404, 200),
        ("/scrape", 404, 200),
        ("/scrape/key", 404, 200),
        ("/key/scrape", 404, 200),
    ] {
        assert_eq!((status(own, path), status(usual, path)), (on_own, on_usual), "{path}");
    }
    let both = Announce::of('a').port(2).http(usual).unwrap();
    assert_eq!(both.leechers, 2, "one swarm for all listeners");
}

#[test]
fn the_ip_parameter_counts_only_if_overrides_are_allowed() {
    let daemon = Daemon::start("");
    let with_ip = Announce::of('a').with("ip=203.0.113.9");
    with_ip.http(daemon.http).unwrap();
    Announce::of('a').with("ip=nonsense").http(daemon.http).expect("it is not even read");
    let other = Announce::of('a').port(1);
    assert_eq!(other.http(daemon.http).unwrap().peers, ["127.0.0.1:6881".parse().unwrap()]);

    let daemon = Daemon::start_with(
        &LISTENERS.replace("http: [{ ", "http: [{ allow_address_override: true, "),
    );
    let answer = with_ip.dictionary(daemon.http);
    assert_eq!(
        answer.bytes("external ip"),
        Some(&[127, 0, 0, 1][..]),
        "still the address that asks"
    );
    assert_eq!(other.http(daemon.http).unwrap().peers, ["203.0.113.9:6881".parse().unwrap()]);
    let over_ipv6 = Announce::of('a').port(2).with("ip=2001:db8::9");
    over_ipv6.http(daemon.http).unwrap();
    let peers = other.http(daemon.http).unwrap().peers;
    assert!(peers.contains(&"[2001:db8::9]:2".parse().unwrap()), "{peers:?}");
}

/// An address that cannot be used, or that is in another parameter, is ignored: the client has the
/// address that it asks from.
#[test]
fn only_an_address_in_the_ip_parameter_overrides() {
    let daemon = Daemon::start_with(
        &LISTENERS.replace("http: [{ ", "http: [{ allow_address_override: true, "),
    );
    for more in [
        "ip=",
        "ip",
        "ip=seed.example.org",
        "ip=203.0.113.9:6881",
        "ip=0.0.0.0",
        "ip=%",
        "ipv6=2001:db8::7",
        "ipv4=203.0.113.7",
        "ipv6=2001:db8::7&ipv4=203.0.113.7&ip=x",
    ] {
        Announce::of('a').with(more).http(daemon.http).expect(more);
        let reply = Announce::of('a').port(1).http(daemon.http).unwrap();
        assert_eq!(reply.peers, ["127.0.0.1:6881".parse().unwrap()], "{more}");
    }
}

#[test]
fn a_trusted_proxy_tells_the_address_of_the_client() {
    let real_ip = "real_ip: { header: X-Forwarded-For, trusted: [127.0.0.0/8] }";
    let daemon =
        Daemon::start_with(&LISTENERS.replace("http: [{ ", &format!("http: [{{ {real_ip}, ")));
    let external = |headers: &[&str]| {
        let answer = bencode::read(&Announce::of('a').get(daemon.http, headers).body);
        match answer.text("failure reason") {
            Some(reason) => Err(reason),
            None => Ok(answer.bytes("external ip").unwrap().to_vec()),
        }
    };
    let client = Ok(vec![203, 0, 113, 7]);
    for headers in [
        &["X-Forwarded-For: 203.0.113.7"][..],
        &["x-forwarded-for: 198.51.100.1, 203.0.113.7, 127.0.0.9"],
        &["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.7"],
        &["X-Forwarded-For: nonsense, 203.0.113.7"],
        &["X-Forwarded-For: ::ffff:203.0.113.7"],
        &["X-Forwarded-For: 203.0.113.7,"],
        &["X-Forwarded-For: , 203.0.113.7 ,, 127.0.0.9", "X-Forwarded-For:"],
        &["X-Forwarded-For: \u{fc}\", 203.0.113.7"],
    ] {
        assert_eq!(external(headers), client, "{headers:?}");
    }
    let refused = Err("failed to parse peer IP address".to_owned());
    for headers in [
        &[][..],
        &["X-Forwarded-For: "],
        &["X-Forwarded-For: ,"],
        &["X-Forwarded-For: 203.0.113.7, unknown"],
    ] {
        assert_eq!(external(headers), refused, "{headers:?}");
    }

    // Scrapes follow the same rule, and count for the address family of the client.
    let scrape = |headers: &[&str]| {
        get(daemon.http, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa", headers).body_text()
    };
    assert!(scrape(&["X-Forwarded-For: 2001:db8::7"]).starts_with("d5:files"));
    assert!(scrape(&[]).starts_with("d14:failure reason"));
    let scrapes = |family: &str, outcome: &str| {
        let labels = format!("action=\"scrape\",family=\"{family}\",outcome=\"{outcome}\"");
        daemon.metric(&format!("karuta_requests_total{{transport=\"http\",{labels}}}"))
    };
    assert_eq!((scrapes("ipv6", "ok"), scrapes("ipv4", "invalid")), (1.0, 1.0));

    // The IPv6 connection is not from a trusted proxy, so the header is ignored.
    let answer = Announce::of('a').get(ipv6(daemon.http), &["X-Forwarded-For: 203.0.113.7"]);
    let answer = bencode::read(&answer.body);
    assert_eq!(answer.bytes("external ip").map(<[u8]>::len), Some(16));
}

/// A client that could choose its own address would get around every limit.
#[test]
fn a_quoted_string_in_forwarded_is_not_an_address() {
    let real_ip = "real_ip: { header: Forwarded, trusted: [127.0.0.0/8] }";
    let daemon =
        Daemon::start_with(&LISTENERS.replace("http: [{ ", &format!("http: [{{ {real_ip}, ")));
    for header in [
        "Forwarded: for=203.0.113.7",
        "Forwarded: for=203.0.113.7;host=\"a, for=9.9.9.9\"",
        "forwarded: for=\"203.0.113.7:4711\";host=\"a\\\", for=9.9.9.9;x=\\\"\"",
        "Forwarded: for=9.9.9.9;host=\"a, for=203.0.113.7;proto=http, for=127.0.0.2",
        "Forwarded: host=\"for=9.9.9.9;\"; For=\"203.0.113.7\",",
    ] {
        let answer = bencode::read(&Announce::of('a').get(daemon.http, &[header]).body);
        assert_eq!(answer.bytes("external ip"), Some(&[203, 0, 113, 7][..]), "{header}");
    }
    for header in
        ["Forwarded: for=203.0.113.7;for=9.9.9.9", "Forwarded: for=unknown", "Forwarded: ,"]
    {
        let answer = bencode::read(&Announce::of('a').get(daemon.http, &[header]).body);
        let reason = answer.text("failure reason");
        assert_eq!(reason.as_deref(), Some("failed to parse peer IP address"), "{header}");
    }
}

#[test]
fn a_lone_peer_is_given_itself_only_with_echo_lone_peer() {
    let daemon = Daemon::start("tracker: { echo_lone_peer: true }");
    let me = ["127.0.0.1:6881".parse().unwrap()];
    let ask = |announce: Announce| announce.http(daemon.http).unwrap();
    let first = ask(Announce::of('a'));
    assert_eq!((first.leechers, &first.peers[..]), (1, &me[..]), "counted once");
    assert_eq!(ask(Announce::of('a').want(0)).peers, []);
    assert_eq!(ask(Announce::of('a').event("stopped")).peers, []);
    ask(Announce::of('a'));
    assert_eq!(ask(Announce::of('a').port(2)).peers, me, "not if there is another peer");
}
