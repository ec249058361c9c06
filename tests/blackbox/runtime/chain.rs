//! The chain of policies: their order, what they see of a request, and how they change the answer.

use std::fmt::Write;

use karuta_tests::announce::{Announce, torrent, url_data};
use karuta_tests::bencode::{self, Value};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Daemon, exchange, get};

use crate::everywhere;

/// Returns a policy of the chain that follows `rules`, which are those of `tests/plugins/hostile`.
fn told(name: &str, more: &str, rules: &str) -> String {
    format!(
        "  - {{ name: {name}, plugin: PLUGINS/test-hostile.wasm, {more} config: {{ rules: [{rules}] }} }}\n"
    )
}

fn chain(policies: &[String]) -> Daemon {
    Daemon::start(&format!("policies:\n{}", policies.concat()))
}

fn warning(answer: &Value) -> String {
    answer.text("warning message").unwrap_or_else(|| panic!("no warning in {answer:?}"))
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
fn an_accept_skips_the_rest_of_the_chain() {
    let daemon = chain(&[
        told("first", "", "{ on: announce, do: accept, query: vip }"),
        told("second", "", "{ on: announce, do: reject }, { on: scrape, do: reject }"),
    ]);
    let vip = Announce::of('a').with("vip=1");
    everywhere::admitted(&daemon, &vip);
    everywhere::refused(&daemon, &Announce::of('a'), "unapproved request");
    let udp = Client::connect(daemon.udp);
    assert_eq!(udp.scrape(&[torrent('a')]), Err("unapproved request".to_owned()));
}

#[test]
fn a_rejection_has_the_text_of_the_policy() {
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
    everywhere::refused(&daemon, &Announce::of('a'), "go away ü");
    // Without a rejection, the text has no effect.
    let daemon = chain(&[told("harmless", "", "{ on: announce, do: fail, text: no }")]);
    everywhere::admitted(&daemon, &Announce::of('a'));
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
fn a_policy_is_asked_only_if_its_when_matches() {
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
fn policies_pass_attributes_to_later_ones() {
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

/// Returns the warning in the answer to an announce at a path, with headers.
fn at(daemon: &Daemon, path: &str, headers: &[&str]) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    let answer = get(daemon.http, &format!("{path}{join}{}", Announce::of('a').query()), headers);
    warning(&bencode::read(&answer.body))
}

#[test]
fn the_credential_is_from_the_first_rule_that_finds_one() {
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

/// UDP has no warnings, so the verdict shows what the policy sees.
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
fn a_policy_sets_how_many_peers_an_answer_has() {
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
