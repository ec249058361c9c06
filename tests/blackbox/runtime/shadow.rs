//! Policies in shadow mode: they are asked, and their verdicts are only counted.

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, get};

fn told(name: &str, more: &str, rules: &str) -> String {
    format!(
        "  - {{ name: {name}, plugin: PLUGINS/test-hostile.wasm, {more} config: {{ rules: [{rules}] }} }}\n"
    )
}

fn would(daemon: &Daemon, what: &str) -> f64 {
    daemon.metric(&format!("karuta_policy_shadow_total{{policy=\"told\",would=\"{what}\"}}"))
}

#[test]
fn a_shadow_policy_is_counted_and_never_obeyed() {
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
    let daemon = Daemon::start(&format!("tracker: {{ workers: 1 }}\npolicies:\n{shadow}{witness}"));
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
