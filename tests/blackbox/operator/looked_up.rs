//! The configuration that serves and the last lines of the log, over the admin API.

use karuta_tests::{Daemon, LISTENERS, eventually, folder, get, write_config};
use serde_json::Value;

fn page(daemon: &Daemon, path: &str) -> Value {
    serde_json::from_str(&daemon.admin_page(path)).unwrap()
}

#[test]
fn the_configuration_is_shown_with_defaults_and_origins_and_without_secrets() {
    let folder = folder(&format!(
        "{LISTENERS}tracker: {{ announce_interval: 40m }}
policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: {{ deny: [-XL] }}
    data: {{}}
    allow: {{ env: [HOME] }}
"
    ));
    let daemon = Daemon::start_in(folder);
    let shown = page(&daemon, "/api/config");
    let status = page(&daemon, "/api/status");
    assert_eq!(shown["sha256"], status["configuration"]["sha256_serving"]);
    assert_eq!(shown["path"], "config.yaml");
    assert_eq!(shown["config"]["tracker"]["announce_interval"], "40m");
    assert_eq!(shown["config"]["tracker"]["num_want"]["default"].as_u64().map(|_| ()), Some(()));
    assert_eq!(shown["config"]["policies"][0]["config"]["deny"][0], "-XL");
    let line = 1 + LISTENERS.lines().count() as u64;
    assert_eq!(shown["origins"]["tracker.announce_interval"], line);
    assert_eq!(shown["origins"]["policies[0].config.deny[0]"], line + 4);
    assert_eq!(shown["origins"]["tracker.num_want.default"], "default");

    write_config(daemon.folder.path(), &format!("{LISTENERS}swarms: {{ keep_peer_ids: true }}\n"));
    daemon.signal("HUP");
    eventually("it serves", || {
        let shown = page(&daemon, "/api/config");
        shown["needs_restart"][0] == "swarms" && shown["config"]["policies"][0].is_null()
    });
}

#[test]
fn secrets_are_not_shown() {
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0' }]
udp: [{ listen: '127.0.0.1:0', connection_id_secret: { file: secret } }]
admin: { listen: '127.0.0.1:0', token: { file: secret } }
",
    );
    std::fs::write(folder.path().join("secret"), "a secret of some length").unwrap();
    let daemon = Daemon::start_in(folder);
    let answer =
        get(daemon.admin, "/api/config", &["Authorization: Bearer a secret of some length"]);
    let text = answer.body_text();
    assert_eq!(answer.status, 200, "{text}");
    assert!(text.contains("\"***\"") && !text.contains("a secret"), "{text}");
}

#[test]
fn the_last_lines_of_the_log_are_shown() {
    let daemon = Daemon::start("");
    let lines = page(&daemon, "/api/log");
    let lines = lines.as_array().unwrap();
    let has = |text: &str| {
        lines.iter().any(|line| line["text"].as_str().is_some_and(|known| known.starts_with(text)))
    };
    assert!(has("ready workers=") && has("listening transport="), "{lines:?}");
    assert!(lines.iter().all(|line| line["unix_ms"].is_u64() && line["target"].is_string()));
    let one = page(&daemon, "/api/log?lines=1");
    assert_eq!(one.as_array().unwrap().len(), 1);
    let severe = page(&daemon, "/api/log?level=error");
    assert_eq!(severe, Value::Array(vec![]));
    for wrong in ["lines=0", "lines=1001", "level=loud", "levels=info"] {
        assert_eq!(get(daemon.admin, &format!("/api/log?{wrong}"), &[]).status, 400, "{wrong}");
    }
}
