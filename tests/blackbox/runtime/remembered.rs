//! Remembered verdicts, for which the policy is not asked again.

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, run, write_config};

/// Starts a daemon with one worker, so that every request finds the same cache.
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
    // The policy has promised that only the info-hash and the event matter.
    assert!(Announce::of('a').with("bad=1").http(daemon.http).is_ok());
    let udp = Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    assert_eq!(udp.interval, 77);
    assert_eq!(calls(&daemon, "next", true), 6.0);
    // The verdict does not hold for another torrent or another event.
    let refused = Err("seven".to_owned());
    assert_eq!(Announce::of('b').with("bad=1").http(daemon.http), refused);
    assert_eq!(Announce::of('b').http(daemon.http), refused, "the rejection is remembered");
    assert!(Announce::of('b').event("started").http(daemon.http).is_ok());
    assert_eq!((calls(&daemon, "reject", false), calls(&daemon, "reject", true)), (1.0, 1.0));
    assert_eq!(calls(&daemon, "next", false), 2.0);
}

#[test]
fn a_reload_forgets_remembered_verdicts() {
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
