//! Policies from end to end: the shipped ones, and how a chain of them works.

use std::fmt::Write;

use karuta_tests::announce::{Announce, Reply, escape, torrent, url_data};
use karuta_tests::bencode::{self, Value};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Daemon, exchange, get, ipv6};

/// One shipped policy, with its `config`.
fn one(plugin: &str, config: &str) -> Daemon {
    Daemon::start(&format!(
        "policies: [{{ name: {plugin}, plugin: PLUGINS/{plugin}.wasm, config: {config} }}]"
    ))
}

/// A policy of the chain that does as it is told: `rules` as in `tests/plugins/hostile`.
fn told(name: &str, more: &str, rules: &str) -> String {
    format!(
        "  - {{ name: {name}, plugin: PLUGINS/test-hostile.wasm, {more} config: {{ rules: [{rules}] }} }}\n"
    )
}

fn chain(policies: &[String]) -> Daemon {
    Daemon::start(&format!("policies:\n{}", policies.concat()))
}

/// What an announce is answered over HTTP and UDP, on IPv4 and IPv6.
fn everywhere(daemon: &Daemon, announce: &Announce) -> [Result<Reply, String>; 4] {
    [
        announce.http(daemon.http),
        announce.http(ipv6(daemon.http)),
        announce.udp(&Client::connect(daemon.udp)),
        announce.udp(&Client::connect(ipv6(daemon.udp))),
    ]
}

#[track_caller]
fn refused_everywhere(daemon: &Daemon, announce: &Announce, reason: &str) {
    let refused = Err(reason.to_owned());
    assert_eq!(everywhere(daemon, announce), std::array::from_fn(|_| refused.clone()));
}

#[track_caller]
fn admitted_everywhere(daemon: &Daemon, announce: &Announce) {
    let answers = everywhere(daemon, announce);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

fn warning(answer: &Value) -> String {
    answer.text("warning message").unwrap_or_else(|| panic!("no warning in {answer:?}"))
}

#[test]
fn client_approval_refuses_clients_everywhere() {
    let daemon = one("client-approval", "{ deny: [-XL, '-SD01', M7-1-0--] }");
    for client in ["-XL0012-", "-SD0100-", "M7-1-0--"] {
        refused_everywhere(&daemon, &Announce::of('a').client(client), "unapproved client");
    }
    for client in ["-TR4050-", "-SD0200-", "-xl0012-", "XL-0012-", "M7-1-1--"] {
        admitted_everywhere(&daemon, &Announce::of('a').client(client));
    }
    let answer = Announce::of('a').client("-XL0012-").get(daemon.http, &[]);
    assert_eq!(answer.body_text(), "d14:failure reason17:unapproved cliente");
    let udp = Client::connect(daemon.udp);
    let packet = Announce::of('a').client("-XL0012-").packet(udp.id, 0x0a0b_0c0d);
    let expected = b"\x00\x00\x00\x03\x0a\x0b\x0c\x0dunapproved client\0";
    assert_eq!(udp.exchange(&packet), expected);
    assert_eq!(udp.scrape(&[torrent('a')]).unwrap()[0][2], 2, "only those that were let in");
}

#[test]
fn client_approval_admits_those_of_its_list_alone() {
    let daemon = one("client-approval", "{ allow: [-TR, '-qB4'], deny: ['-TR0'] }");
    for client in ["-TR4050-", "-qB4500-"] {
        admitted_everywhere(&daemon, &Announce::of('a').client(client));
    }
    for client in ["-TR0001-", "-qB3000-", "-XL0012-"] {
        refused_everywhere(&daemon, &Announce::of('a').client(client), "unapproved client");
    }
}

#[test]
fn torrent_approval_refuses_torrents_everywhere() {
    let hex = "61".repeat(20);
    let daemon = one("torrent-approval", &format!("{{ deny: ['{hex}'] }}"));
    refused_everywhere(&daemon, &Announce::of('a'), "unapproved torrent");
    admitted_everywhere(&daemon, &Announce::of('b'));
    let daemon = one("torrent-approval", &format!("{{ allow: ['{}'] }}", "6A".repeat(20)));
    refused_everywhere(&daemon, &Announce::of('a'), "unapproved torrent");
    admitted_everywhere(&daemon, &Announce::of('j'));
}

/// `torrent` was known before the policy refused it: the policy lets one client in that others
/// find, by standing behind a policy that accepts it.
#[test]
fn torrent_approval_hides_rejects_or_passes_scrapes() {
    let hidden = [0; 3];
    let known = [0, 0, 1];
    for (scrapes, a, both) in [
        ("", Ok(hidden), Ok(vec![hidden, known])),
        ("scrapes: hide", Ok(hidden), Ok(vec![hidden, known])),
        ("scrapes: pass", Ok(known), Ok(vec![known, known])),
        (
            "scrapes: reject",
            Err("unapproved torrent".to_owned()),
            Err("unapproved torrent".to_owned()),
        ),
    ] {
        let vip = told("vip", "", "{ on: announce, do: accept, query: vip }");
        let torrents = format!(
            "  - name: torrents\n    plugin: PLUGINS/torrent-approval.wasm\n    \
             config: {{ deny: ['{}'], {scrapes} }}\n",
            "61".repeat(20)
        );
        let daemon = chain(&[vip, torrents]);
        Announce::of('a').with("vip=1").http(daemon.http).expect("let in by the first");
        Announce::of('b').http(daemon.http).unwrap();
        for address in [daemon.udp, ipv6(daemon.udp)] {
            let udp = Client::connect(address);
            assert_eq!(udp.scrape(&[torrent('a')]).map(|found| found[0]), a, "{scrapes}");
            assert_eq!(udp.scrape(&[torrent('a'), torrent('b')]), both, "{scrapes}");
            assert_eq!(udp.scrape(&[torrent('b')]), Ok(vec![known]), "{scrapes}");
        }
        let query = ['a', 'b'].map(|letter| format!("info_hash={}", escape(&torrent(letter))));
        let answer = get(daemon.http, &format!("/scrape?{}", query.join("&")), &[]);
        let answer = bencode::read(&answer.body);
        match both {
            Err(reason) => assert_eq!(answer.text("failure reason"), Some(reason)),
            Ok(counts) => {
                let files = answer.get("files").unwrap();
                let leechers = ['a', 'b'].map(|letter| {
                    let file = files.get(&letter.to_string().repeat(20)).unwrap();
                    file.integer("incomplete") as u32
                });
                assert_eq!(leechers, [counts[0][2], counts[1][2]], "{scrapes}");
            }
        }
    }
}

/// The vectors of chihaya's arithmetic: an info-hash, a peer id, what is added at most 60 seconds.
const VECTORS: [([u8; 20], [u8; 20], u32); 3] = [
    (*b"00000000000000000001", *b"-TR2840-000000000001", 57),
    (*b"aaaaaaaaaaaaaaaaaaaa", *b"-qB4500-abcdefghijkl", 21),
    (
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
        [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39],
        16,
    ),
];

#[test]
fn interval_variation_computes_as_chihaya_does() {
    let both = one("interval-variation", "{ probability: 1, max_increase: 60s }");
    let interval_alone =
        one("interval-variation", "{ probability: 1, max_increase: 1m, min_interval: false }");
    for (info_hash, peer_id, delta) in VECTORS {
        let announce = Announce::of_hash(info_hash).peer_id(peer_id);
        for reply in everywhere(&both, &announce) {
            assert_eq!(reply.unwrap().interval, 1800 + delta);
        }
        let intervals = |daemon: &Daemon| {
            let answer = announce.dictionary(daemon.http);
            ["interval", "min interval"].map(|key| answer.integer(key))
        };
        let delta = i64::from(delta);
        assert_eq!(intervals(&both), [1800 + delta, 900 + delta]);
        assert_eq!(intervals(&interval_alone), [1800 + delta, 900]);
    }
}

/// The draws of the vectors are 0.231434, 0.349035 and 0.298101.
#[test]
fn interval_variation_leaves_the_others_as_they_are() {
    for (probability, changed) in
        [("0.2314", [false; 3]), ("0.25", [true, false, false]), ("0.3", [true, false, true])]
    {
        let config = format!("{{ probability: {probability}, max_increase: 60s }}");
        let daemon = one("interval-variation", &config);
        for ((info_hash, peer_id, delta), changed) in VECTORS.into_iter().zip(changed) {
            let reply = Announce::of_hash(info_hash).peer_id(peer_id).http(daemon.http).unwrap();
            let expected = if changed { 1800 + delta } else { 1800 };
            assert_eq!(reply.interval, expected, "{probability}");
        }
    }
}

#[test]
fn policies_are_asked_in_their_order() {
    let reject = |text: &str| {
        format!("{{ on: announce, do: fail, text: {text} }}, {{ on: announce, do: reject }}")
    };
    let daemon = chain(&[
        told("one", "", "{ on: announce, do: warn, text: one }"),
        told("two", "", &reject("two")),
        told("three", "", &reject("three")),
    ]);
    assert_eq!(Announce::of('a').http(daemon.http), Err("two".to_owned()));
    let calls = |policy: &str, verdict: &str| {
        let labels = format!("hook=\"announce\",verdict=\"{verdict}\",remembered=\"false\"");
        daemon.metric(&format!("karuta_policy_calls_total{{policy=\"{policy}\",{labels}}}"))
    };
    assert_eq!(
        (calls("one", "next"), calls("two", "reject"), calls("three", "reject")),
        (1.0, 1.0, 0.0)
    );
}

#[test]
fn the_last_writer_wins() {
    let daemon = chain(&[
        told(
            "one",
            "",
            "{ on: announce, do: set-interval, number: 2000 }, { on: announce, do: warn, text: one }",
        ),
        told("two", "", "{ on: announce, do: set-interval, number: 2100 }"),
    ]);
    let answer = Announce::of('a').dictionary(daemon.http);
    assert_eq!((answer.integer("interval"), warning(&answer).as_str()), (2100, "one"));
    let daemon =
        chain(&[told("far", "", "{ on: announce, do: set-interval, number: 4000000000 }")]);
    assert_eq!(Announce::of('a').http(daemon.http).unwrap().interval, 2400, "the maximum");
    let daemon = chain(&[told("near", "", "{ on: announce, do: set-interval, number: 0 }")]);
    assert_eq!(Announce::of('a').http(daemon.http).unwrap().interval, 1, "the minimum");
}

#[test]
fn accept_skips_the_rest() {
    let daemon = chain(&[
        told("first", "", "{ on: announce, do: accept, query: vip }"),
        told("second", "", "{ on: announce, do: reject }, { on: scrape, do: reject }"),
    ]);
    let vip = Announce::of('a').with("vip=1");
    admitted_everywhere(&daemon, &vip);
    refused_everywhere(&daemon, &Announce::of('a'), "unapproved request");
    let udp = Client::connect(daemon.udp);
    assert_eq!(udp.scrape(&[torrent('a')]), Err("unapproved request".to_owned()));
}

#[test]
fn a_rejection_says_what_the_policy_says() {
    let reject = "{ on: announce, do: reject }";
    let daemon = chain(&[told("mute", "", reject)]);
    let body = Announce::of('a').get(daemon.http, &[]).body_text();
    assert_eq!(body, "d14:failure reason18:unapproved requeste");
    let daemon = chain(&[told(
        "eloquent",
        "",
        &format!(
            "{{ on: announce, do: fail, text: 'go away ü' }}, {{ on: announce, do: retry-never }}, {reject}"
        ),
    )]);
    let body = Announce::of('a').get(daemon.http, &[]).body_text();
    assert_eq!(body, "d14:failure reason10:go away ü8:retry in5:nevere");
    refused_everywhere(&daemon, &Announce::of('a'), "go away ü");
    // What is said without a rejection means nothing.
    let daemon = chain(&[told("harmless", "", "{ on: announce, do: fail, text: no }")]);
    admitted_everywhere(&daemon, &Announce::of('a'));
}

#[test]
fn a_dropped_request_is_not_answered() {
    let daemon = chain(&[told("wall", "", "{ on: announce, do: drop }, { on: scrape, do: drop }")]);
    let request =
        format!("GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", Announce::of('a').query());
    for request in
        [&request[..], "GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let answer = exchange(daemon.http, request.as_bytes());
        assert_eq!((answer.head.as_str(), answer.body.as_slice()), ("", &[][..]), "{request}");
    }
    let udp = Client::connect(daemon.udp);
    let scrape = [udp::header(udp.id, udp::SCRAPE, 1), vec![0; 20]].concat();
    assert_eq!(udp.answers(&[Announce::of('a').packet(udp.id, 1), scrape]), [[0; 0]; 0]);
    let dropped = |transport: &str, action: &str| {
        let labels = format!("action=\"{action}\",family=\"ipv4\",outcome=\"dropped\"");
        daemon.metric(&format!("karuta_requests_total{{transport=\"{transport}\",{labels}}}"))
    };
    for transport in ["http", "udp"] {
        assert_eq!((dropped(transport, "announce"), dropped(transport, "scrape")), (1.0, 1.0));
    }
}

#[test]
fn a_policy_is_asked_only_when_it_says_so() {
    let reject = "{ on: announce, do: reject }, { on: scrape, do: reject }";
    let refused = Err("unapproved request".to_owned());

    let daemon = chain(&[told("udp", "when: { transports: [udp] },", reject)]);
    let udp = Client::connect(daemon.udp);
    Announce::of('a').http(daemon.http).expect("it is for UDP");
    assert_eq!(Announce::of('a').udp(&udp), refused);
    assert_eq!(udp.scrape(&[torrent('a')]).map(drop), refused.clone().map(drop));

    let daemon = chain(&[told("events", "when: { events: [started, paused] },", reject)]);
    for (event, is_refused) in
        [("", false), ("started", true), ("paused", true), ("completed", false), ("stopped", false)]
    {
        let answer = Announce::of('a').event(event).http(daemon.http);
        assert_eq!(answer == refused, is_refused, "{event}: {answer:?}");
    }
    let scrape = Client::connect(daemon.udp).scrape(&[torrent('a')]);
    assert_eq!(
        scrape.map(drop),
        refused.clone().map(drop),
        "a scrape has no event, and is not exempt"
    );

    let daemon =
        chain(&[told("routes", "when: { routes: ['/announce/{passkey}', /scrape] },", reject)]);
    let query = Announce::of('a').query();
    for (path, is_refused) in [
        ("/announce", false),
        ("/announce/key", true),
        ("/key/announce", false),
        ("/scrape", true),
        ("/scrape/key", false),
    ] {
        let answer = get(daemon.http, &format!("{path}?{query}"), &[]).body_text();
        assert_eq!(answer.starts_with("d14:failure"), is_refused, "{path}: {answer}");
    }
    let udp = Client::connect(daemon.udp);
    for (url, is_refused) in
        [("/announce", false), ("/announce/key", true), ("/key/announce", false)]
    {
        let mut packet = Announce::of('a').packet(udp.id, 1);
        packet.extend(url_data(url));
        assert_eq!(udp.exchange(&packet)[3] == 3, is_refused, "{url}");
    }
}

#[test]
fn policies_leave_word_for_those_behind_them() {
    let note =
        |text: &str| format!("{{ on: announce, do: set-note, text: '{text}', query: {text} }}");
    let daemon = chain(&[
        told("one", "", &note("one")),
        told("two", "", &format!("{{ on: announce, do: warn-note }}, {}", note("two"))),
    ]);
    let said = |announce: Announce| warning(&announce.dictionary(daemon.http));
    assert_eq!(said(Announce::of('a').with("one")), "one");
    assert_eq!(
        said(Announce::of('a').with("two")),
        "",
        "not for itself, nor from the last request"
    );
    assert_eq!(said(Announce::of('a')), "");
}

/// The answer to an announce at a path, with headers.
fn at(daemon: &Daemon, path: &str, headers: &[&str]) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    let answer = get(daemon.http, &format!("{path}{join}{}", Announce::of('a').query()), headers);
    warning(&bencode::read(&answer.body))
}

#[test]
fn a_credential_is_the_first_of_its_rules_that_is_there() {
    let daemon = chain(&[told(
        "door",
        "credential: ['query:jwt', 'path:passkey', 'header:authorization'],",
        "{ on: announce, do: warn-credential }",
    )]);
    let bearer = "Authorization: Bearer of-the-header";
    for (path, headers, expected) in [
        ("/announce", &[][..], ""),
        ("/announce?jwt=of-the-query", &[bearer], "of-the-query"),
        ("/announce?JWT=of-the-query", &[], "of-the-query"),
        ("/announce?jwt=of%2dthe+query", &[], "of-the query"),
        ("/announce/of-the-path?jwt=", &[bearer], "of-the-path"),
        ("/of-the-path/announce", &[], "of-the-path"),
        ("/announce", &[bearer], "of-the-header"),
        ("/announce", &["authorization: bEARER of-the-header"], "of-the-header"),
        ("/announce", &["Authorization: of-the-header"], "of-the-header"),
        ("/announce", &["Authorization: Bearer "], ""),
    ] {
        assert_eq!(at(&daemon, path, headers), expected, "{path} {headers:?}");
    }
}

#[test]
fn policies_see_parameters_and_headers() {
    let rules = "{ on: announce, do: warn-query, text: note, query: note }, \
                 { on: announce, do: warn-header, text: User-Agent, query: agent }, \
                 { on: announce, do: warn-passkey, query: key }";
    let daemon = chain(&[told("eyes", "", rules)]);
    assert_eq!(at(&daemon, "/announce?note=a%20b%3D%26&NOTE=last+one", &[]), "last one");
    assert_eq!(
        at(&daemon, "/announce?agent", &["user-agent: Transmission/4.0"]),
        "Transmission/4.0"
    );
    assert_eq!(at(&daemon, "/announce?agent", &[]), "");
    assert_eq!(at(&daemon, "/announce/s%2fecret?key", &[]), "s/ecret");
    assert_eq!(at(&daemon, "/announce?key", &[]), "");
}

/// UDP has no warnings, but reasons: the credential decides there by its own rule.
#[test]
fn policies_see_the_url_data_of_udp() {
    let daemon = chain(&[told(
        "door",
        "",
        "{ on: announce, do: accept, query: open }, { on: announce, do: reject }",
    )]);
    let udp = Client::connect(daemon.udp);
    let mut long = String::from("/announce?");
    let _ = write!(long, "filler={}&open=1", "x".repeat(400));
    for (url, is_admitted) in [
        ("/announce?open=1", true),
        ("/announce/key?OPEN", true),
        (&long, true),
        ("/announce", false),
        ("/open", false),
        ("/elsewhere?open=1", false),
    ] {
        let mut packet = Announce::of('a').packet(udp.id, 1);
        packet.extend(url_data(url));
        assert_eq!(udp.exchange(&packet)[3] == 1, is_admitted, "{url}");
    }
}

#[test]
fn a_policy_has_a_say_in_how_many_peers() {
    let daemon =
        chain(&[told("few", "", "{ on: announce, do: set-num-want, number: 2, query: few }")]);
    for port in 1..=5 {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    for answer in
        [Announce::of('a').http(daemon.http), Announce::of('a').udp(&Client::connect(daemon.udp))]
    {
        assert_eq!(answer.unwrap().peers.len(), 5);
    }
    let few = Announce::of('a').with("few=1").want(5);
    for answer in [few.http(daemon.http), few.udp(&Client::connect(daemon.udp))] {
        assert_eq!(answer.unwrap().peers.len(), 2);
    }
}
