//! Sessions of web pages: a cookie for a token.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use karuta_tests::tls::{Authority, Client};
use karuta_tests::{Answer, Daemon, exchange, folder, run, write_config};
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const READER: &str = "the token of a reader";
const OWNER: &str = "the token of the owner";

fn yaml(tokens: &str) -> String {
    format!(
        "http: [{{ listen: '127.0.0.1:0' }}]
admin:
  listen: '127.0.0.1:0'
  token: {{ file: owner }}
{tokens}"
    )
}

const TOKENS: &str = "  tokens: [{ name: reader, token: { file: reader }, may: [read] }]\n";

fn write_tokens(folder: &Path) {
    fs::write(folder.join("owner"), OWNER).unwrap();
    fs::write(folder.join("reader"), READER).unwrap();
}

fn start() -> Daemon {
    let folder = folder(&yaml(TOKENS));
    write_tokens(folder.path());
    Daemon::start_in(folder)
}

/// Posts a body; `headers` are complete lines.
fn post(daemon: &Daemon, path: &str, kind: &str, body: &str, headers: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: tracker\r\nContent-Type: {kind}\r\n{headers}\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    exchange(daemon.admin, request.as_bytes())
}

fn see(daemon: &Daemon, path: &str, cookie: &str) -> u16 {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: tracker\r\nCookie: theme=dark; {cookie}\r\n\
         Connection: close\r\n\r\n"
    );
    exchange(daemon.admin, request.as_bytes()).status
}

/// Returns the whole `Set-Cookie` header.
fn set_cookie(answer: &Answer) -> &str {
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    cookie.unwrap_or_else(|| panic!("no cookie: {}", answer.head))
}

/// Returns what a browser sends for it.
fn kept(answer: &Answer) -> String {
    set_cookie(answer).split(';').next().unwrap().to_owned()
}

fn log_in(daemon: &Daemon, token: &str) -> Answer {
    post(daemon, "/api/login", JSON, &json!({ "token": token }).to_string(), "")
}

#[test]
fn a_session_has_the_rights_of_its_token_until_logout() {
    let daemon = start();
    let answer = log_in(&daemon, READER);
    assert_eq!(answer.status, 200);
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(said, json!({ "token": "reader", "may": ["read"] }));
    let cookie = set_cookie(&answer);
    let (id, rest) = cookie.strip_prefix("karuta_session=").unwrap().split_once(';').unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(rest, " HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
    let cookie = kept(&answer);
    assert_eq!(see(&daemon, "/api/status", &cookie), 200);
    assert_eq!(see(&daemon, "/api/export", &cookie), 403);
    assert_eq!(see(&daemon, "/api/status", "karuta_session=0"), 401);
    assert_eq!(see(&daemon, "/api/status", ""), 401);

    let answer = post(&daemon, "/api/logout", JSON, "", &format!("Cookie: {cookie}\r\n"));
    assert_eq!((answer.status, &*kept(&answer)), (200, "karuta_session="));
    assert_eq!(see(&daemon, "/api/status", &cookie), 401);
    assert!(!daemon.log().contains(id), "the session is in the log");
    assert!(!daemon.log().contains(READER), "the token is in the log");
}

#[test]
fn a_form_without_script_is_enough() {
    let daemon = start();
    let answer = post(&daemon, "/api/login", FORM, "token=the+token+of%20the+owner", "");
    assert_eq!(answer.status, 303);
    assert!(answer.head.contains("\r\nlocation: /\r\n"), "{}", answer.head);
    let cookie = kept(&answer);
    assert_eq!(see(&daemon, "/api/status", &cookie), 200);
    let answer = post(&daemon, "/api/logout", FORM, "", &format!("Cookie: {cookie}\r\n"));
    assert_eq!(answer.status, 303);
    assert_eq!(see(&daemon, "/api/status", &cookie), 401);
    assert_eq!(post(&daemon, "/api/login", FORM, "tokens=1", "").status, 400);
    assert_eq!(post(&daemon, "/api/login", "text/plain", READER, "").status, 415);
    let owner = format!("Authorization: Bearer {OWNER}\r\n");
    assert_eq!(post(&daemon, "/api/reload", FORM, "", &owner).status, 415, "only there");
}

#[test]
fn wrong_tokens_count_like_all_others() {
    let daemon = start();
    let statuses: Vec<_> = (0..12).map(|_| log_in(&daemon, "a guess").status).collect();
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn other_origins_cannot_use_a_session() {
    let daemon = start();
    let cookie = kept(&log_in(&daemon, OWNER));
    let reload = |more: &str| {
        let headers = format!("Cookie: {cookie}\r\n{more}");
        post(&daemon, "/api/reload", JSON, "", &headers).status
    };
    assert_eq!(reload("Origin: http://tracker\r\n"), 200);
    for origin in ["http://evil.example", "null", "https://tracker"] {
        assert_eq!(reload(&format!("Origin: {origin}\r\n")), 403, "{origin}");
        let foreign = format!("Origin: {origin}\r\n");
        let body = format!("token={OWNER}");
        assert_eq!(post(&daemon, "/api/login", FORM, &body, &foreign).status, 403, "{origin}");
        assert_eq!(post(&daemon, "/api/logout", FORM, "", &foreign).status, 403, "{origin}");
    }
    assert_eq!(reload(""), 401, "a browser names the origin");
}

#[test]
fn a_session_ends_when_its_token_does() {
    let daemon = start();
    let cookie = kept(&log_in(&daemon, READER));
    let owner = kept(&log_in(&daemon, OWNER));
    let mut stream = TcpStream::connect(daemon.admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("GET /api/events HTTP/1.0\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut events = BufReader::new(stream);
    let mut line = String::new();
    events.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.0 200 "), "{line}");

    write_config(daemon.folder.path(), &yaml(""));
    let arguments = ["reload", "--admin", &daemon.admin.to_string(), "--token-file", "owner"];
    assert!(run(&arguments, daemon.folder.path()).status.success());
    assert_eq!(see(&daemon, "/api/status", &cookie), 401);
    assert_eq!(see(&daemon, "/api/status", &owner), 200);
    // Its stream ends too.
    while events.read_line(&mut line).unwrap() > 0 {}
}

#[test]
fn without_tokens_there_is_nothing_to_log_in_with() {
    let daemon = Daemon::start("");
    let body = json!({ "token": "anything" }).to_string();
    let request = format!(
        "POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(daemon.admin, request.as_bytes()).status, 409);
}

#[test]
fn the_cookie_is_secure_under_tls() {
    let authority = Authority::new();
    let folder = folder(&format!("{}  tls: {{ certificate: a.pem, key: a.key }}\n", yaml(TOKENS)));
    write_tokens(folder.path());
    authority.issue(&["localhost"]).write(folder.path(), "a");
    let daemon = Daemon::start_in(folder);
    let mut connection = Client::new(&authority).open(daemon.admin, "localhost");
    let body = json!({ "token": READER }).to_string();
    let request = format!(
        "POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n\
         Origin: https://localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(request.as_bytes());
    let answer = connection.answer();
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(set_cookie(&answer).ends_with("; Max-Age=43200; Secure"), "{}", answer.head);
}
