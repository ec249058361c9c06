//! Failures in `init`, in new data and in sleep: the metrics show every one with its cause.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, run, write_config};

fn errors(daemon: &Daemon, hook: &str, cause: &str) -> f64 {
    let labels = format!("policy=\"bad\",hook=\"{hook}\",cause=\"{cause}\"");
    daemon.metric(&format!("karuta_policy_errors_total{{{labels}}}"))
}

fn failed(daemon: &Daemon, hook: &str) -> f64 {
    let labels = format!("policy=\"bad\",hook=\"{hook}\",verdict=\"error\",remembered=\"false\"");
    daemon.metric(&format!("karuta_policy_calls_total{{{labels}}}"))
}

fn yaml(rules: &str) -> String {
    format!(
        "{LISTENERS}tracker: {{ workers: 1 }}
policies:
  - name: bad
    plugin: PLUGINS/test-hostile.wasm
    data: {{ list: {{ file: list, format: raw }} }}
    limits: {{ deadline: 50ms, data: 1s, init: 50ms, memory: 8MiB }}
    config:
      rules:
{rules}"
    )
}

fn start(rules: &str) -> Daemon {
    let folder = folder(&yaml(rules));
    fs::write(folder.path().join("list"), "good").unwrap();
    Daemon::start_in(folder)
}

fn replace(daemon: &Daemon, text: &str) {
    let new = daemon.folder.path().join("list.new");
    fs::write(&new, text).unwrap();
    fs::rename(new, daemon.folder.path().join("list")).unwrap();
}

#[test]
fn a_failure_on_new_data_is_counted_by_cause() {
    let daemon = start(
        "        - { on: data, do: trap, text: trap }
        - { on: data, do: loop, text: loop }
        - { on: data, do: sleep, text: sleep }
        - { on: data, do: eat-memory, text: memory }
        - { on: data, do: refuse, text: refuse }
",
    );
    let cases = [("trap", "trap"), ("loop", "deadline"), ("memory", "memory")];
    for (at, (text, cause)) in (1..).zip(cases) {
        replace(&daemon, text);
        eventually(text, || errors(&daemon, "data", cause) == 1.0);
        assert_eq!(failed(&daemon, "data"), f64::from(at));
    }
    replace(&daemon, "sleep");
    eventually("a sleep is over the deadline", || errors(&daemon, "data", "deadline") == 2.0);
    replace(&daemon, "refuse");
    eventually("a refusal is no error of the code", || failed(&daemon, "data") == 5.0);
}

#[test]
fn a_failed_init_at_a_reload_is_counted_and_the_old_policy_serves() {
    let daemon = start("        - { on: announce, do: warn, text: old }\n");
    for (at, (act, cause)) in
        (1..).zip([("trap", "trap"), ("loop", "deadline"), ("refuse", "refused")])
    {
        let rules = format!("        - {{ on: init, do: {act}, text: no }}\n");
        write_config(daemon.folder.path(), &yaml(&rules));
        let output = run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(failed(&daemon, "init"), f64::from(at), "{act}");
        assert!(errors(&daemon, "init", cause) >= 1.0, "{act}");
    }
    let answer = Announce::of('a').dictionary(daemon.http);
    assert_eq!(answer.text("warning message").as_deref(), Some("old"));
}

/// The first instances start, and their replacements do not.
#[test]
fn a_failed_init_of_a_replacement_is_counted() {
    let daemon = start(
        "        - { on: init, do: trap, from: 3 }
        - { on: announce, do: trap, query: bomb }
",
    );
    for torrent in 'a'..'d' {
        let _ = Announce::of(torrent).with("bomb").http(daemon.http);
    }
    eventually("it is counted", || errors(&daemon, "init", "trap") >= 1.0);
}

/// One long sleep fails, and so do many short ones.
#[test]
fn sleeps_add_up_towards_the_deadline() {
    let daemon = start(
        "        - { on: announce, do: sleep, query: long }
        - { on: announce, do: naps, number: 2, query: short }
        - { on: announce, do: naps, number: 100, query: many }
",
    );
    Announce::of('a').with("long").http(daemon.http).unwrap_err();
    assert_eq!(errors(&daemon, "announce", "deadline"), 1.0);
    eventually("a short one is fine", || Announce::of('b').with("short").http(daemon.http).is_ok());
    Announce::of('c').with("many").http(daemon.http).unwrap_err();
    assert_eq!(errors(&daemon, "announce", "deadline"), 2.0);
}
