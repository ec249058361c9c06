//! Whether all is well, what serves, and what has become of reloads.

use std::fs;

use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, LISTENERS, eventually, exchange, folder, run, write_config};
use serde_json::{Value, json};

const INTERVAL: &str = "tracker: { announce_interval: 5m, min_announce_interval: 1m }\n";

fn page(daemon: &Daemon, path: &str) -> Value {
    serde_json::from_str(&daemon.admin_page(path)).unwrap()
}

fn status(daemon: &Daemon) -> Value {
    page(daemon, "/api/status")
}

/// Returns the word and the reasons.
fn health(daemon: &Daemon) -> (String, Vec<String>) {
    let health = &status(daemon)["health"];
    let reasons = health["reasons"].as_array().unwrap().iter();
    let reasons = reasons.map(|reason| {
        format!("{}: {}", reason["panel"].as_str().unwrap(), reason["text"].as_str().unwrap())
    });
    (health["word"].as_str().unwrap().to_owned(), reasons.collect())
}

/// Asks for a reload with a body.
fn reload(daemon: &Daemon, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let answer = exchange(daemon.admin, request.as_bytes());
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[test]
fn a_file_that_is_not_in_use_is_said_until_it_is() {
    let daemon = Daemon::start("");
    assert_eq!(health(&daemon), ("serving".into(), vec![]));
    let first = status(&daemon);
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert!(first["host"].is_string());
    assert_eq!(first["last_reload"], Value::Null);
    let configuration = &first["configuration"];
    assert_eq!(configuration["path"], "config.yaml");
    assert_eq!(configuration["sha256_on_disk"], configuration["sha256_serving"]);
    assert_eq!(configuration["changed_on_disk"], false);

    write_config(daemon.folder.path(), &format!("{LISTENERS}{INTERVAL}"));
    let changed = "reload: config.yaml has changed and is not in use".to_owned();
    eventually("the change is seen", || health(&daemon) == ("look".into(), vec![changed.clone()]));
    let printed = run(&["status", "--admin", &daemon.admin.to_string()], daemon.folder.path());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.starts_with(&format!("look\n  {changed}\ngeneration 1, ")), "{printed}");

    assert_eq!(reload(&daemon, "").0, 200);
    let second = status(&daemon);
    assert_ne!(second["configuration"]["sha256_serving"], configuration["sha256_serving"]);
    assert_eq!(second["health"], json!({ "word": "serving", "reasons": [] }));
    assert_eq!(second["last_reload"]["outcome"], "applied");
    assert_eq!(second["last_reload"]["by"], "address 127.0.0.1");
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    let daemon = Daemon::start("");
    fs::remove_file(daemon.folder.path().join("config.yaml")).unwrap();
    let unread =
        "reload: the configuration cannot be read: config.yaml: no such file: `config.yaml`";
    eventually("it is missed", || health(&daemon) == ("look".into(), vec![unread.to_owned()]));
    let configuration = &status(&daemon)["configuration"];
    assert_eq!(configuration["sha256_on_disk"], Value::Null);
    assert_eq!(configuration["changed_on_disk"], false);
}

#[test]
fn what_became_of_reloads_is_kept() {
    let daemon = Daemon::start("");
    assert_eq!(page(&daemon, "/api/reloads"), json!([]));
    let serving = status(&daemon)["configuration"]["sha256_serving"].clone();
    assert_eq!(reload(&daemon, "{}").0, 200);
    write_config(daemon.folder.path(), "nonsense: 1\n");
    assert_eq!(reload(&daemon, "").0, 409);
    let reasons = health(&daemon).1;
    let refused = |reason: &String| {
        reason.starts_with("reload: the last reload was refused: ") && reason.contains("`nonsense`")
    };
    assert!(reasons.iter().any(refused), "{reasons:?}");
    write_config(daemon.folder.path(), &format!("{LISTENERS}{INTERVAL}"));
    daemon.signal("HUP");
    eventually("it is reloaded", || page(&daemon, "/api/reloads").as_array().unwrap().len() == 3);
    let reloads = page(&daemon, "/api/reloads");
    let told = reloads.as_array().unwrap().iter().map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        (text("by"), text("outcome"), one["generation"].as_u64().unwrap(), text("stage"))
    });
    let told: Vec<_> = told.collect();
    let said = |by: &str, outcome: &str, generation, stage: &str| {
        (by.to_owned(), outcome.to_owned(), generation, stage.to_owned())
    };
    assert_eq!(
        told,
        [
            said("SIGHUP", "applied", 2, ""),
            said("address 127.0.0.1", "refused", 1, "configuration"),
            said("address 127.0.0.1", "unchanged", 1, ""),
        ]
    );
    assert_eq!(reloads[2]["sha256"], serving);
    assert_eq!(reloads[0]["sha256"], status(&daemon)["configuration"]["sha256_serving"]);
    assert_eq!(reloads[0]["report"]["settings"], true);
}

#[test]
fn a_reload_is_refused_if_the_file_is_not_the_expected_one() {
    let daemon = Daemon::start("");
    let on_disk = || status(&daemon)["configuration"]["sha256_on_disk"].clone();
    let looked_at = on_disk();
    write_config(daemon.folder.path(), &format!("{LISTENERS}{INTERVAL}"));
    let expect = |digest: &Value| reload(&daemon, &json!({ "expect": digest }).to_string());
    let (code, refusal) = expect(&looked_at);
    assert_eq!((code, &refusal["stage"]), (409, &json!("expect")));
    assert_eq!(status(&daemon)["generation"], 1);
    eventually("the new file is seen", || on_disk() != looked_at);
    let (code, report) = expect(&on_disk());
    assert_eq!((code, &report["generation"]), (200, &json!(2)));
    for wrong in [json!({ "expect": "ab" }), json!({ "expects": on_disk() }), json!([])] {
        assert_eq!(reload(&daemon, &wrong.to_string()).0, 400, "{wrong}");
    }
}

#[test]
fn certificates_and_data_are_in_the_status() {
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key } }]
admin: { listen: '127.0.0.1:0' }
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: { allow_from: approved }
    data: { approved: { file: list, format: info-hashes } }
",
    );
    Authority::new().issue(&["b.example", "a.example"]).write(folder.path(), "a");
    fs::write(folder.path().join("list"), "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3\n").unwrap();
    let daemon = Daemon::start_in(folder);
    let shown = status(&daemon);
    let certificate = &shown["certificates"][0];
    assert_eq!(certificate["names"], json!(["a.example", "b.example"]));
    assert!(certificate["not_after"].as_u64() > certificate["read"].as_u64());
    let data = |key: &str| status(&daemon)["policies"][0]["data"][0][key].clone();
    assert_eq!([data("kind"), data("format")], ["file", "info-hashes"]);
    assert_eq!((data("entries"), data("error")), (json!(1), Value::Null));
    fs::write(daemon.folder.path().join("list"), "nonsense\n").unwrap();
    eventually("the list is refused", || data("error").is_string());
    let (word, reasons) = health(&daemon);
    let said = "lists: the data `approved` of `torrents` could not be read again: line 1: ";
    assert!(word == "look" && reasons[0].starts_with(said), "{reasons:?}");
}
