//! A dry run says what the last requests would become.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, exchange, folder, write_config};
use serde_json::{Value, json};

use super::generations::{command, post, standing};

fn yaml(deny: &str, mode: &str, limit: u32, more: &str) -> String {
    format!(
        "{LISTENERS}tracker: {{ workers: 1 }}
{more}policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    mode: {mode}
    config: {{ deny: [{deny}] }}
  - name: limits
    plugin: PLUGINS/rate-limit.wasm
    config: {{ by: address, requests: {limit}, every: 1h }}
"
    )
}

/// Announces over both transports, and returns how many are let in.
fn announce(daemon: &Daemon, agent: &str, times: u16) -> usize {
    let client = Client::connect(daemon.udp);
    let ask = |time: &u16| {
        let announce = Announce::of('a').client(agent).port(1000 + time);
        match time % 2 {
            0 => announce.udp(&client).is_ok(),
            _ => announce.http(daemon.http).is_ok(),
        }
    };
    (0..times).filter(ask).count()
}

fn preview(daemon: &Daemon) -> Value {
    let (status, preview) = post(daemon, "/api/reload", &json!({ "dry_run": true }));
    assert_eq!(status, 200, "{preview}");
    preview
}

#[test]
fn a_dry_run_says_what_the_last_requests_would_become() {
    let daemon = Daemon::start_with(&yaml("-XL", "enforce", 12, ""));
    let path = daemon.folder.path();
    write_config(path, &yaml("-XL, -KA", "enforce", 12, ""));
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("\nno request was asked about: none is recorded yet\n"), "{said}");

    assert_eq!(announce(&daemon, "-KA0100-", 5), 5);
    assert_eq!(announce(&daemon, "-XL0001-", 3), 0);
    assert_eq!(announce(&daemon, "-TR4060-", 4), 4);
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 3, "{said}");
    for line in [
        "would be generation 2: replaced clients",
        "of the last 12 requests, 7 would become the same; 5 ok → rejected by clients",
        "  5 ok → rejected by clients: most from 127.0.0.0/24 5, of peer id -KA0100- 5, of torrent \
         6161616161616161616161616161616161616161 5",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    let verdicts = &preview(&daemon)["verdicts"];
    assert_eq!((&verdicts["requests"], &verdicts["same"]), (&json!(12), &json!(7)));
    assert_eq!((&verdicts["left"], &verdicts["drifted"]), (&json!(0), &json!(0)));
    assert_eq!((&verdicts["skipped"], &verdicts["unrepeatable"]), (&json!(null), &json!([])));
    let change = &verdicts["changes"][0];
    assert_eq!((&change["what"], &change["count"]), (&json!("outcome"), &json!(5)));
    assert_eq!(change["clients"], json!([{ "name": "127.0.0.1", "count": 5 }]));
    assert_eq!(change["example"]["reasons"], json!(["", "unapproved client"]));
    assert_eq!(
        change["example"]["policies"],
        json!([{ "policy": "clients", "verdict": "reject", "remembered": false, "shadow": false }])
    );
    // What was asked again has counted nowhere: 3 of 12 announces are left.
    assert_eq!(announce(&daemon, "-TR4060-", 5), 3);
    assert_eq!(standing(&daemon).0, 1);
    let calls = "karuta_policy_calls_total{policy=\"limits\",hook=\"announce\",verdict=\"next\",remembered=\"false\"}";
    assert_eq!(daemon.metric(calls), 12.0);
}

#[test]
fn what_is_different_without_the_change_is_no_difference() {
    let daemon = Daemon::start_with(&yaml("-XL", "enforce", 4, ""));
    let path = daemon.folder.path();
    assert_eq!(announce(&daemon, "-TR4060-", 10), 4);
    // From here on, those six would be let in.
    write_config(path, &yaml("-XL", "enforce", 40, ""));
    assert_eq!(command(&daemon, &["reload"]).0, 0);
    assert_eq!(announce(&daemon, "-KA0100-", 2), 2);
    write_config(path, &yaml("-XL, -KA", "enforce", 40, ""));
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 3);
    let found = "of the last 12 requests, 10 would become the same; 2 ok → rejected by clients\n\
                 what serves would answer 6 of them otherwise by now\n";
    assert!(said.contains(found), "{said}");
    // Without a change of what decides, nobody is asked.
    write_config(path, &yaml("-XL", "enforce", 40, "landlock: false\n"));
    let verdicts = &preview(&daemon)["verdicts"];
    assert_eq!(verdicts["skipped"], "nothing that decides would change");
}

#[test]
fn a_policy_that_leaves_shadow_mode_has_its_numbers_beside_it() {
    let daemon = Daemon::start_with(&yaml("-XL", "shadow", 100, ""));
    assert_eq!(announce(&daemon, "-XL0001-", 4), 4);
    assert_eq!(announce(&daemon, "-TR4060-", 6), 6);
    write_config(daemon.folder.path(), &yaml("-XL", "enforce", 100, ""));
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 3);
    let found = "clients leaves shadow mode; since the start it would have said: pass 6, reject 4\n\
                 of the last 10 requests, 6 would become the same; 4 ok → rejected by clients\n";
    assert!(said.contains(found), "{said}");
    let promoted = &preview(&daemon)["promoted"];
    assert_eq!(promoted[0]["policy"], "clients");
    assert_eq!(
        (&promoted[0]["counts"]["reject"], &promoted[0]["counts"]["pass"]),
        (&json!(4), &json!(6))
    );
}

#[test]
fn a_policy_that_fails_on_what_came_is_seen_before_it_serves() {
    let hostile = |rules: &str| {
        format!(
            "{LISTENERS}tracker: {{ workers: 1 }}
policies:
  - name: told
    plugin: PLUGINS/test-hostile.wasm
    on_error: reject
    config: {{ rules: [{rules}] }}
"
        )
    };
    let daemon = Daemon::start_with(&hostile(""));
    Announce::of('a').http(daemon.http).unwrap();
    Announce::of('a').with("bomb=").http(daemon.http).unwrap();
    let path = daemon.folder.path();
    write_config(path, &hostile("{ on: announce, do: trap, query: bomb }"));
    let preview = preview(&daemon);
    let change = &preview["verdicts"]["changes"][0];
    assert_eq!((&change["count"], &change["after"]["decided_by"]), (&json!(1), &json!("told")));
    assert_eq!(change["example"]["policies"][0]["verdict"], "error");
    assert!(!daemon.log().contains("policy failed"), "it does not serve");
}

#[test]
fn without_a_recorder_nothing_is_asked_about() {
    let daemon = Daemon::start_with(&yaml("-XL", "enforce", 9, "record: false\n"));
    announce(&daemon, "-TR4060-", 2);
    write_config(daemon.folder.path(), &yaml("-TR", "enforce", 9, "record: false\n"));
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 3);
    let line = "\nno request was asked about: requests are not recorded: `record` is false\n";
    assert!(said.contains(line), "{said}");
}

#[test]
fn who_may_not_see_peers_sees_networks() {
    let tokens = "\
admin:
  listen: '127.0.0.1:0'
  tokens:
    - { name: changer, token: { file: changer }, may: [read, reload] }
";
    let tracker = "http: [{ listen: '[::]:0' }]\nudp: [{ listen: '[::]:0' }]\n";
    let yaml = |deny: &str| yaml(deny, "enforce", 9, tokens).replace(LISTENERS, tracker);
    let folder = folder(&yaml("-XL"));
    fs::write(folder.path().join("changer"), "changer".repeat(4)).unwrap();
    let daemon = Daemon::start_in(folder);
    announce(&daemon, "-TR4060-", 2);
    write_config(daemon.folder.path(), &yaml("-TR"));
    let body = json!({ "dry_run": true }).to_string();
    let request = format!(
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        "changer".repeat(4),
        body.len()
    );
    let answer = exchange(daemon.admin, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    let preview: Value = serde_json::from_str(&answer.body_text()).unwrap();
    let change = &preview["verdicts"]["changes"][0];
    assert_eq!(change["count"], 2);
    assert_eq!(change["networks"], json!([{ "name": "127.0.0.0/24", "count": 2 }]));
    assert!(!preview["verdicts"].to_string().contains("127.0.0.1"), "{preview}");
}
