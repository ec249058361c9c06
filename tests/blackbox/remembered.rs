//! Verdicts that need not be asked for again, and policies that are only tried.

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, get, run, write_config};

/// One worker, so that every request finds the same memory.
fn one_worker(policies: &str) -> Daemon {
    Daemon::start(&format!("tracker: {{ workers: 1 }}\npolicies:\n{policies}"))
}

fn told(name: &str, more: &str, rules: &str) -> String {
    format!(
        "  - {{ name: {name}, plugin: PLUGINS/test-hostile.wasm, {more} config: {{ rules: [{rules}] }} }}\n"
    )
}

fn calls(daemon: &Daemon, verdict: &str, remembered: bool) -> f64 {
    daemon.metric(&format!(
        "karuta_policy_calls_total{{policy=\"told\",hook=\"announce\",verdict=\"{verdict}\",remembered=\"{remembered}\"}}"
    ))
}

fn would(daemon: &Daemon, what: &str) -> f64 {
    daemon.metric(&format!("karuta_policy_shadow_total{{policy=\"told\",would=\"{what}\"}}"))
}

#[test]
fn a_verdict_is_remembered_with_its_changes() {
    let daemon = one_worker(&told(
        "told",
        "",
        "{ on: announce, do: set-interval, number: 77 }, \
         { on: announce, do: remember, number: 600 }, \
         { on: announce, do: fail, text: seven }, \
         { on: announce, do: reject, query: bad }",
    ));
    for _ in 0..5 {
        assert_eq!(Announce::of('a').http(daemon.http).unwrap().interval, 77);
    }
    assert_eq!((calls(&daemon, "next", false), calls(&daemon, "next", true)), (1.0, 4.0));
    // By promising that only the info-hash and the event matter, it is held to that.
    assert!(Announce::of('a').with("bad=1").http(daemon.http).is_ok());
    let udp = Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    assert_eq!(udp.interval, 77);
    assert_eq!(calls(&daemon, "next", true), 6.0);
    // Another torrent or another event is another matter.
    let refused = Err("seven".to_owned());
    assert_eq!(Announce::of('b').with("bad=1").http(daemon.http), refused);
    assert_eq!(Announce::of('b').http(daemon.http), refused, "the rejection is remembered");
    assert!(Announce::of('b').event("started").http(daemon.http).is_ok());
    assert_eq!((calls(&daemon, "reject", false), calls(&daemon, "reject", true)), (1.0, 1.0));
    assert_eq!(calls(&daemon, "next", false), 2.0);
}

#[test]
fn a_reload_forgets() {
    let rules = "{ on: announce, do: remember, number: 600 }";
    let daemon = one_worker(&told("told", "", rules));
    for _ in 0..2 {
        assert!(Announce::of('a').http(daemon.http).is_ok());
    }
    assert_eq!(calls(&daemon, "next", true), 1.0);
    let listeners = karuta_tests::LISTENERS;
    let policies = told("told", "on_error: next,", rules);
    let yaml = format!("{listeners}tracker: {{ workers: 1 }}\npolicies:\n{policies}");
    write_config(daemon.folder.path(), &yaml);
    let admin = daemon.admin.to_string();
    assert!(run(&["reload", "--admin", &admin], daemon.folder.path()).status.success());
    assert!(Announce::of('a').http(daemon.http).is_ok());
    assert_eq!((calls(&daemon, "next", false), calls(&daemon, "next", true)), (2.0, 1.0));
}

#[test]
fn a_policy_in_the_shadow_is_counted_and_never_obeyed() {
    let hash = |letter: char| torrent(letter).map(|byte| format!("{byte:02x}")).concat();
    let on =
        |letter, act: &str| format!("{{ on: announce, do: {act}, info_hash: '{}' }}", hash(letter));
    let rules = [
        on('r', "reject"),
        on('d', "drop"),
        on('t', "trap"),
        on('c', "set-note"),
        "{ on: scrape, do: hide }".to_owned(),
    ];
    let shadow = told("told", "mode: shadow,", &rules.join(", "));
    let witness = told("witness", "", "{ on: announce, do: warn-note }");
    let daemon = one_worker(&(shadow + &witness));
    let client = Client::connect(daemon.udp);
    for letter in ['r', 'd', 't', 'c', 'p'] {
        let announce = Announce::of(letter);
        assert!(announce.http(daemon.http).is_ok(), "{letter}");
        assert!(announce.udp(&client).is_ok(), "{letter}");
        assert_eq!(
            announce.dictionary(daemon.http).text("warning message").unwrap(),
            "",
            "{letter}"
        );
    }
    for (what, count) in
        [("reject", 3.0), ("drop", 3.0), ("change", 3.0), ("pass", 3.0), ("error", 3.0)]
    {
        assert_eq!(would(&daemon, what), count, "{what}");
    }
    let scraped = get(daemon.http, &format!("/scrape?info_hash={}", "r".repeat(20)), &[]);
    assert!(scraped.body_text().contains("10:incompletei1e"), "{}", scraped.body_text());
}
