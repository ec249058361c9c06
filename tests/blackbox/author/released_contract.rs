//! Components that were built for an earlier contract.

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, eventually, folder};

#[test]
fn a_component_for_the_first_contract_is_loaded_and_called() {
    let folder = folder(&format!(
        "{LISTENERS}
tracker: {{ workers: 1 }}
policies:
  - name: old
    plugin: PLUGINS/test-released.wasm
    tick: 100ms
    data: {{ listed: {{ file: listed.txt, format: strings }} }}
    config: {{}}
"
    ));
    std::fs::write(folder.path().join("listed.txt"), "some\n").unwrap();
    let daemon = Daemon::start_in(folder);
    let announce = Announce::of('a');
    let answer = announce.dictionary(daemon.http);
    assert_eq!(answer.integer("interval"), 1740, "{answer:?}");
    let seen = answer.text("warning message").expect("what it saw");
    assert!(seen.starts_with("20 1 0 0 None None None None true 0 false false"), "{seen}");
    assert_eq!(answer.bytes("peers"), Some(&b"\xc0\x00\x02\x01\x00\x51"[..]));
    announce.clone().with("refuse=1").http(daemon.http).expect_err("it refuses");
    let calls = |hook: &str| {
        daemon.metric(&format!(
            "karuta_policy_calls_total{{policy=\"old\",hook=\"{hook}\",verdict=\"ok\",remembered=\"false\"}}"
        ))
    };
    eventually("it ticks and observes", || calls("tick") > 0.0 && calls("observe") > 0.0);
}
