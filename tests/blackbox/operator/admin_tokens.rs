//! Who may do what over the addresses of the admin API.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use karuta_tests::{
    Answer, Connection, Daemon, eventually, exchange, exchange_at, folder, run, write_config,
};

const TOKENS: &str = "
  token: { file: admin.token }
  tokens:
    - { name: grafana, token: { file: grafana.token }, may: [read] }
    - { name: asker, token: { file: asker.token }, may: [explain] }
    - { name: deployer, token: { file: deployer.token }, may: [reload, read] }
";

fn write_token(folder: &Path, name: &str, token: &str) {
    let file = folder.join(format!("{name}.token"));
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn yaml(listen: &str, tokens: &str) -> String {
    format!("http: [{{ listen: '127.0.0.1:0' }}]\nadmin:\n  listen: {listen}{tokens}")
}

fn start(listen: &str, tokens: &str) -> Daemon {
    let folder = folder(&yaml(listen, tokens));
    for name in ["admin", "grafana", "asker", "deployer"] {
        write_token(folder.path(), name, &format!("the token of {name}, in full\n"));
    }
    Daemon::start_in(folder)
}

fn request(method: &str, path: &str, token: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: tracker\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

fn ask(daemon: &Daemon, method: &str, path: &str, token: &str) -> Answer {
    exchange(daemon.admin, request(method, path, token).as_bytes())
}

#[test]
fn a_token_allows_what_it_is_for() {
    let daemon = start("'127.0.0.1:0'", TOKENS);
    let endpoints = [
        ("GET", "/metrics", "read"),
        ("GET", "/api/status", "read"),
        ("POST", "/api/explain", "explain"),
        ("POST", "/api/reload", "reload"),
        ("POST", "/api/snapshot", "reload"),
    ];
    for (name, may) in [
        ("admin", &["read", "explain", "reload"][..]),
        ("grafana", &["read"]),
        ("asker", &["explain"]),
        ("deployer", &["reload", "read"]),
    ] {
        let token = format!("the token of {name}, in full");
        for (method, path, right) in endpoints {
            let answer = ask(&daemon, method, path, &token);
            if may.contains(&right) {
                // An empty question is one that is understood as far as here.
                let expected = if path == "/api/explain" { 400 } else { 200 };
                assert_eq!(answer.status, expected, "{name} {path}: {}", answer.body_text());
            } else {
                assert_eq!(answer.status, 403, "{name} {path}");
                let said = format!("the token `{name}` lacks the right `{right}`\n");
                assert_eq!(answer.body_text(), said, "{path}");
            }
        }
    }
    let answer = ask(&daemon, "GET", "/metrics", "the token of admin, in full").body_text();
    assert!(answer.contains("karuta_admin_failures_total{reason=\"right\"} 8\n"), "{answer}");
    assert!(!daemon.log().contains("in full"), "a token is in the log");
}

#[test]
fn networks_are_shown_to_those_who_may_see_peers() {
    let daemon = start("'127.0.0.1:0'", TOKENS);
    let status = |path: &str, name: &str| {
        ask(&daemon, "GET", path, &format!("the token of {name}, in full")).status
    };
    assert_eq!(status("/api/top", "grafana"), 200);
    assert_eq!(status("/api/top?by=network", "grafana"), 403);
    assert_eq!(status("/api/top?by=network", "admin"), 200);
}

#[test]
fn tokens_and_rights_change_at_a_reload() {
    let daemon = start("'127.0.0.1:0'", TOKENS);
    let folder = daemon.folder.path();
    let status = |token: &str| ask(&daemon, "GET", "/metrics", token).status;
    let reload = || {
        let admin = format!("--admin={}", daemon.admin);
        let output = run(&["reload", &admin, "--token-file", "deployer.token"], folder);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(reload(), "generation 1: nothing has changed\n");
    let (old, new) = ("the token of grafana, in full", "the next token of grafana");
    write_token(folder, "grafana", new);
    assert_eq!((status(old), status(new)), (200, 401), "not yet");
    assert_eq!(reload(), "generation 1: tokens changed\n");
    assert_eq!((status(old), status(new)), (401, 200));

    write_token(folder, "grafana", "too short");
    assert!(reload().contains("admin.tokens[0].token: too short, expected at least 16 bytes"));
    assert_eq!(status(new), 200, "nothing changes");

    write_config(folder, &yaml("'127.0.0.1:0'", &TOKENS.replace("grafana, token", "other, token")));
    write_token(folder, "grafana", "the token of another name");
    assert_eq!(reload(), "generation 1: tokens changed\n");
    assert_eq!((status(new), status("the token of another name")), (401, 200));
    write_config(folder, &yaml("'127.0.0.1:0'", &TOKENS.replace("[explain]", "[read]")));
    assert_eq!(reload(), "generation 1: tokens changed\n");
    assert_eq!(status("the token of asker, in full"), 200);
}

/// The sockets stay those of the start.
#[test]
fn an_address_that_others_reach_keeps_its_tokens() {
    let daemon = start("'0.0.0.0:0'", TOKENS);
    write_config(daemon.folder.path(), &yaml("'127.0.0.1:0'", "\n"));
    let token = "the token of admin, in full";
    let answer = ask(&daemon, "POST", "/api/reload", token);
    let report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(report["needs_restart"], serde_json::json!(["admin.listen", "admin.tokens"]));
    assert_eq!(report["tokens"], false);
    assert_eq!(ask(&daemon, "GET", "/metrics", "").status, 401);
    assert_eq!(ask(&daemon, "GET", "/metrics", token).status, 200);
}

#[test]
fn guesses_are_slowed_down() {
    let daemon = start("['unix:admin.sock', '127.0.0.1:0']", TOKENS);
    let mut guesser = Connection::open(daemon.admin);
    let guess = request("GET", "/metrics", "guess").replace("Connection: close\r\n", "");
    guesser.send(guess.repeat(200).as_bytes());
    let answers: Vec<_> = (0..200).map(|_| guesser.answer()).collect();
    assert!(answers[..10].iter().all(|answer| answer.status == 401));
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(limited.len() > 50, "{}", limited.len());
    assert!(limited[0].head.contains("retry-after: 1"), "{}", limited[0].head);

    let file = daemon.folder.path().join("admin.sock");
    let page = exchange_at(&file, &request("GET", "/metrics", "")).body_text();
    let counted = format!("karuta_admin_failures_total{{reason=\"limited\"}} {}\n", limited.len());
    assert!(page.contains(&counted), "{page}");
    let token = "the token of grafana, in full";
    eventually("others are heard again", || ask(&daemon, "GET", "/metrics", token).status == 200);
}

#[test]
fn a_check_warns_of_secrets_that_are_none() {
    let folder = folder(&yaml("'127.0.0.1:0'", "\n  token: { file: admin.token }\n"));
    let check = || {
        let output = run(&["check"], folder.path());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    write_token(folder.path(), "admin", "a token that is fine");
    assert_eq!(check(), "");
    write_token(folder.path(), "admin", "short");
    let file = folder.path().join("admin.token");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        check(),
        "config.yaml:4:10: admin.token: warning: shorter than 16 bytes, and so easier to guess\n\
         config.yaml:4:10: admin.token: warning: every user can read `admin.token`, expected a mode \
         such as 0640\n"
    );
}
