//! Shared swarms, as far as they need no engine: it is away in these tests. `tests/cluster` has those with one.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, LISTENERS, folder, get, run, write_config};
use serde_json::Value;

/// Nobody listens at this port.
const AWAY: &str = "nodes: ['127.0.0.1:9'], topology: single, catch_up: 1s, timeout: 100ms";

fn yaml(more: &str) -> String {
    format!("{LISTENERS}swarms: {{ share: {{ {AWAY}{more} }} }}\n")
}

#[test]
fn who_cannot_reach_the_engine_serves_and_says_so() {
    let folder = folder(&yaml(", password: { file: secret }"));
    fs::write(folder.path().join("secret"), "correct horse").unwrap();
    let daemon = Daemon::start_in(folder);
    daemon.logs("serving without having read the log of shared swarms");
    Announce::of('a').http(daemon.http).unwrap();
    let ready = get(daemon.admin, "/readyz", &[]);
    let said = ready.body_text();
    assert_eq!(ready.status, 200);
    assert!(
        said.starts_with("degraded: parts 0, 1, 2 and 3 of the shared swarms cut off"),
        "{said}"
    );
    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    let share = &status["share"];
    assert_eq!((&share["state"], &share["engine"]), (&"cut off".into(), &Value::Null));
    let reason = share["cut_off"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("127.0.0.1:9: Connection refused"), "{reason}");
    assert_eq!(status["health"]["word"], "look");
    let admin = format!("--admin={}", daemon.admin);
    let said = run(&["status", &admin], daemon.folder.path()).stdout;
    let said = String::from_utf8(said).unwrap();
    let line = "shared   engine, name karuta: part 0, 1, 2 and 3 cut off for";
    assert!(said.lines().any(|found| found.starts_with(line)), "{said}");
    assert_eq!(daemon.metric("karuta_share_connected{part=\"3\"}"), 0.0);
    assert!(daemon.metric("karuta_share_waiting_bytes") > 0.0);
    let shown = daemon.admin_page("/api/config");
    assert!(shown.contains("\"password\": \"***\""), "{shown}");
    for text in [&shown, &daemon.log(), &daemon.admin_page("/api/status")] {
        assert!(!text.contains("correct horse"), "{text}");
    }
}

#[test]
fn a_change_waits_for_a_restart() {
    let daemon = Daemon::start_in(folder(&yaml("")));
    write_config(daemon.folder.path(), &yaml(", parts: 8"));
    let admin = format!("--admin={}", daemon.admin);
    let output = run(&["reload", &admin], daemon.folder.path());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("waiting for a restart: swarms"), "{said}");
}

#[test]
fn check_reads_the_files_and_warns_of_clients_that_move() {
    let folder = folder(&yaml(", tls: { ca: ca.pem }"));
    let check = || {
        let output = run(&["check"], folder.path());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains(": swarms.share.tls.ca: no such file: `ca.pem`"), "{said}");
    fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("swarms.share.tls.ca: no certificate in it, expected PEM"), "{said}");
    fs::write(folder.path().join("ca.pem"), Authority::new().pem()).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    let warning =
        "udp[0].connection_id_secret: warning: missing: nodes that share swarms need the same one";
    assert!(said.contains(warning), "{said}");
}
