//! The log, and how it is protected from the texts of others and from slow readers.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, run};

const EVIL: &str = r#""broken\nFORGED line\e[2J\u202e""#;
const PLAIN: &str = r"broken\nFORGED line\u{1b}[2J\u{202e}";

fn hostile(rules: &str) -> String {
    format!(
        "tracker: {{ workers: 1 }}
policies:
  - name: talker
    plugin: PLUGINS/test-hostile.wasm
    config:
      rules:
{rules}"
    )
}

#[test]
fn policies_cannot_forge_log_lines() {
    let folder = folder(&format!(
        "{LISTENERS}log: {{ format: text, level: debug }}\n{}    data: {{ list: {{ file: list, format: raw }} }}\n",
        hostile(&format!(
            "        - {{ on: announce, do: log, text: {EVIL} }}
        - {{ on: announce, do: println, text: {EVIL} }}
        - {{ on: data, do: refuse, text: {EVIL} }}
"
        ))
    ));
    let daemon = Daemon::start_in(folder);
    Announce::of('a').http(daemon.http).unwrap();
    eventually("it is logged in one line", || daemon.log().matches(PLAIN).count() >= 1);
    // Printed text is split at each line break.
    eventually("so is what is printed", || daemon.log().contains(r"FORGED line\u{1b}[2J"));
    let text = "x broken\nFORGED line\u{1b}[2J\u{202e} x";
    fs::write(daemon.folder.path().join("list"), text).unwrap();
    eventually("a reason is shown in one line", || daemon.log().contains("cannot use new data"));
    for line in daemon.log().lines() {
        assert!(line.starts_with("20"), "{line}");
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}

#[test]
fn a_refusal_is_one_line_without_control_characters() {
    let rules = format!("        - {{ on: init, do: refuse, text: {EVIL} }}\n");
    let folder = folder(&format!("{LISTENERS}{}", hostile(&rules)));
    let output = run(&["check"], folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(PLAIN), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn explain_escapes_what_policies_answer() {
    let rules = format!(
        "        - {{ on: announce, do: fail, text: {EVIL} }}
        - {{ on: announce, do: reject }}
"
    );
    let daemon = Daemon::start(&hostile(&rules));
    let url = format!("http://a:{}/announce?{}", daemon.http.port(), Announce::of('a').query());
    let admin = daemon.admin.to_string();
    let output = run(&["explain", "--admin", &admin, &url], daemon.folder.path());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(PLAIN), "{said}");
}

#[test]
fn long_texts_are_cut_and_marked() {
    const MANY: &str = "number: 1000000";
    let refuse = format!("        - {{ on: init, do: refuse, {MANY} }}\n");
    let wrong = folder(&format!("{LISTENERS}{}", hostile(&refuse)));
    let output = run(&["check"], wrong.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("x… (1000000 bytes)"), "{} bytes", said.len());
    assert!(said.len() < 5000, "{} bytes", said.len());

    let folder = folder(&format!(
        "{LISTENERS}{}    data: {{ list: {{ file: list, format: raw }} }}
  - name: books
    plugin: PLUGINS/test-control.wasm
    tick: 100ms
    config: {{ observe: {{ fail_long: 1000001 }} }}
",
        hostile(&format!(
            "        - {{ on: announce, do: log, {MANY} }}
        - {{ on: data, do: refuse, number: 1000002 }}
"
        ))
    ));
    let daemon = Daemon::start_in(folder);
    Announce::of('a').http(daemon.http).unwrap();
    fs::write(daemon.folder.path().join("list"), "new").unwrap();
    for bytes in 1_000_000..=1_000_002 {
        let note = format!("x… ({bytes} bytes)");
        eventually(&note, || daemon.log().contains(&note));
    }
    for line in daemon.log().lines() {
        assert!(line.len() < 5000, "{} bytes", line.len());
    }
    let config = fs::read_to_string(daemon.folder.path().join("config.yaml")).unwrap();
    let refuse = format!("      rules:\n{refuse}");
    fs::write(daemon.folder.path().join("config.yaml"), config.replace("      rules:\n", &refuse))
        .unwrap();
    let output = run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("x… (1000000 bytes)") && said.len() < 5000, "{} bytes", said.len());
}

/// The pipe of standard error is full, and is not read.
#[test]
fn workers_do_not_wait_for_the_reader_of_the_log() {
    let rules = "        - { on: announce, do: log, number: 4000 }\n";
    let policies = hostile(rules);
    // A line for each announce is more than one policy may write, so there are 41.
    let more: String = (0..40)
        .map(|at| {
            format!(
                "  - name: talker-{at}\n    plugin: PLUGINS/test-hostile.wasm\n    config:\n      rules:\n{rules}"
            )
        })
        .collect();
    let mut daemon = Daemon::start(&format!("{policies}{more}"));
    let dropped = || daemon.metric("karuta_log_dropped_total");
    let client = Client::connect(daemon.udp);
    let unread = daemon.stop_reading();
    // About 160 KB for each announce.
    while dropped() == 0.0 {
        Announce::of('a').udp(&client).expect("it is served");
    }
    let client = Client::connect(daemon.udp);
    Announce::of('b').udp(&client).expect("it is served");
    drop(unread);
    eventually("that lines are missing is said", || daemon.log().contains("dropped log lines"));
    eventually("and what comes then is logged", || {
        let _ = Announce::of('c').udp(&client);
        let log = daemon.log();
        log[log.rfind("dropped log lines").unwrap_or(0)..].contains("talker-7")
    });
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    eventually("the end is logged", || daemon.log().contains("\"stopped\""));
}

#[test]
fn shutdown_does_not_wait_for_the_reader_of_the_log() {
    let rules = "        - { on: announce, do: log, number: 4000 }\n";
    let mut daemon = Daemon::start(&hostile(rules));
    let client = Client::connect(daemon.udp);
    let pid = daemon.pid().to_string();
    for _ in 0..50 {
        Announce::of('a').udp(&client).unwrap();
    }
    let kill = |signal: &str| std::process::Command::new("kill").args([signal, &pid]).status();
    // The lock holds back the reader of the test, which acts like one that has stopped.
    let log = daemon.stop_reading();
    let start = std::time::Instant::now();
    assert!(kill("-TERM").unwrap().success());
    eventually("it ends", || !is_alive(&pid));
    assert!(start.elapsed().as_secs() < 10);
    drop(log);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// Returns whether a process runs, and is not a zombie.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The addresses and torrents of clients stay out of the log.
#[test]
fn no_request_is_logged() {
    let daemon = Daemon::start(
        "policies:
  - name: watched
    plugin: PLUGINS/test-hostile.wasm
    mode: shadow
    config: { rules: [{ on: announce, do: reject }] }
",
    );
    let client = Client::connect_from([127, 0, 0, 9].into(), daemon.udp);
    Announce::of('a').udp(&client).unwrap();
    let would = "karuta_policy_shadow_total{policy=\"watched\",would=\"reject\"}";
    eventually("it is counted", || daemon.metric(would) == 1.0);
    let log = daemon.log();
    assert!(!log.contains("127.0.0.9") && !log.contains("616161"), "{log}");
}
