//! Levels of single targets and policies.

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, run, write_config};

/// Two policies that log at each announce, and a third one after them.
fn yaml(levels: &str) -> String {
    let policies: String = ["one", "two", "last"]
        .map(|name| {
            format!(
                "  - name: {name}
    plugin: PLUGINS/test-hostile.wasm
    config: {{ rules: [{{ on: announce, do: log, text: said by {name} }}] }}
"
            )
        })
        .concat();
    format!("log: {{ format: json, level: info, levels: {levels} }}\npolicies:\n{policies}")
}

/// Announces, and returns how often the first two policies have said something by now.
fn said(daemon: &Daemon) -> [usize; 2] {
    let count = |name: &str| daemon.log().matches(name).count();
    let before = count("said by last");
    Announce::of('a').http(daemon.http).unwrap();
    // Lines keep their order.
    karuta_tests::eventually("the last one logs", || count("said by last") > before);
    ["said by one", "said by two"].map(count)
}

/// Reloads with other levels, and returns what the command says.
fn reload(daemon: &Daemon, levels: &str) -> String {
    write_config(daemon.folder.path(), &format!("{LISTENERS}{}", yaml(levels)));
    let output = run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_policy_has_a_level_of_its_own_and_a_reload_changes_it() {
    let daemon = Daemon::start(&yaml("{ policy.two: error }"));
    assert_eq!(said(&daemon), [1, 0]);
    let changed = "generation 2: settings changed\n";
    assert_eq!(reload(&daemon, "{ plugin: error, policy.two: warn, policy.last: trace }"), changed);
    assert_eq!(said(&daemon), [1, 1]);
    assert_eq!(reload(&daemon, "{}"), changed.replace('2', "3"));
    assert_eq!(said(&daemon), [2, 2]);
}

#[test]
fn a_part_of_karuta_has_a_level_of_its_own() {
    let daemon = Daemon::start(&yaml("{}"));
    reload(&daemon, "{ karuta::daemon::reload: error }");
    reload(&daemon, "{ karuta: debug }");
    daemon.logs("reloaded: settings changed");
    assert_eq!(daemon.log().matches("reloaded: ").count(), 1, "only the second");
}
