//! The calls of torrust-tracker's API, as the Torrust Index makes them.

use std::fs;
use std::net::SocketAddr;

use karuta_tests::announce::{Announce, hex, reply};
use karuta_tests::{Answer, Connection, Daemon, LISTENERS, bencode, exchange, folder, get};
use serde_json::{Value, json};

const TOKEN: &str = "a token & of the site";
/// As in a query.
const SHOWN: &str = "token=a+token+%26+of+the+site";

const DOOR: &str = "
tracker: { workers: 2 }
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: { allow_from: approved }
    data: { approved: { file: approved.txt, format: info-hashes, edits: true } }
  - name: members
    plugin: PLUGINS/passkey.wasm
    credential: ['path:passkey']
    config: { keys_from: keys }
    data: { keys: { file: keys.txt, format: strings, edits: true } }
log: { level: trace }
";

fn with_door() -> Daemon {
    let admin = "torrust: { whitelist: torrents/approved, keys: members/keys, token: { file: torrust.token } }";
    let listeners = LISTENERS.replace("admin: { ", &format!("admin: {{ {admin}, "));
    assert_ne!(listeners, LISTENERS);
    let folder = folder(&format!("{listeners}{DOOR}"));
    fs::write(folder.path().join("torrust.token"), TOKEN).unwrap();
    Daemon::start_in(folder)
}

/// Makes a call with the token in the query.
fn call(admin: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let join = if path.contains('?') { '&' } else { '?' };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!(
        "{method} /api/v1/{path}{join}{SHOWN} HTTP/1.1\r\nHost: tracker.example\r\n{kind}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    exchange(admin, (head + body).as_bytes())
}

/// Makes a call that succeeds, and returns the answer.
#[track_caller]
fn told(daemon: &Daemon, method: &str, path: &str, body: &str) -> Value {
    let answer = call(daemon.admin, method, path, body);
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Announces a torrent with a key. Returns why that is refused, or nothing.
fn refusal(daemon: &Daemon, letter: char, key: &str) -> String {
    let path = format!("/announce/{key}?{}", Announce::of(letter).query());
    reply(&bencode::read(&get(daemon.http, &path, &[]).body)).err().unwrap_or_default()
}

#[test]
fn a_site_lists_torrents_and_hands_out_keys() {
    let daemon = with_door();
    let ok = json!({ "status": "ok" });
    let made = told(&daemon, "POST", "key/7257600", "");
    let key = made["key"].as_str().unwrap();
    assert_eq!(key.len(), 32);
    assert!(made["valid_until"].as_i64().is_some(), "{made}");
    assert!(made["expiry_time"].as_str().is_some_and(|time| time.ends_with(" UTC")), "{made}");
    assert_eq!(refusal(&daemon, 'a', key), "unapproved torrent");
    for _ in 0..2 {
        assert_eq!(told(&daemon, "POST", &format!("whitelist/{}", hex('a')), ""), ok);
    }
    assert_eq!(refusal(&daemon, 'a', key), "");
    assert_eq!(refusal(&daemon, 'b', key), "unapproved torrent");
    assert_eq!(refusal(&daemon, 'a', "old-passkey"), "unknown passkey");
    let lasting = told(&daemon, "POST", "keys", r#"{"key": "old-passkey", "seconds_valid": null}"#);
    assert_eq!(lasting, json!({ "key": "old-passkey", "valid_until": null, "expiry_time": null }));
    assert_eq!(refusal(&daemon, 'a', "old-passkey"), "");

    let daemon = daemon.restart();
    assert_eq!(refusal(&daemon, 'a', key), "");
    for _ in 0..2 {
        assert_eq!(told(&daemon, "DELETE", &format!("key/{key}"), ""), ok);
    }
    assert_eq!(refusal(&daemon, 'a', key), "unknown passkey");
    assert_eq!(told(&daemon, "DELETE", &format!("whitelist/{}", hex('a')), ""), ok);
    assert_eq!(refusal(&daemon, 'a', "old-passkey"), "unapproved torrent");
    for path in ["whitelist/reload", "keys/reload"] {
        assert_eq!(told(&daemon, "GET", path, ""), ok);
    }

    let audit = get(daemon.admin, "/api/audit", &[]).body_text();
    assert!(audit.contains("torrents/approved: added 0, removed 1"), "{audit}");
    assert!(audit.contains("members/keys: added 0, removed 1"), "{audit}");
    let log = daemon.log();
    for secret in ["of the site", "of+the+site", key, "old-passkey"] {
        assert!(!audit.contains(secret), "{secret}: {audit}");
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn a_site_looks_at_torrents() {
    let daemon = with_door();
    for letter in ['a', 'b'] {
        told(&daemon, "POST", &format!("whitelist/{}", hex(letter)), "");
    }
    told(&daemon, "POST", "keys", r#"{"key": "k", "seconds_valid": null}"#);
    for letter in ['a', 'b'] {
        assert_eq!(refusal(&daemon, letter, "k"), "");
    }
    let of =
        |letter| json!({ "info_hash": hex(letter), "seeders": 0, "completed": 0, "leechers": 1 });
    let mut alone = of('a');
    alone["peers"] = json!([]);
    assert_eq!(told(&daemon, "GET", &format!("torrent/{}", hex('a')), ""), alone);
    let unknown = call(daemon.admin, "GET", &format!("torrent/{}", hex('c')), "");
    assert_eq!((unknown.status, &*unknown.body_text()), (200, "\"torrent not known\""));
    let mut all = [of('a'), of('b')];
    all.sort_by_key(|torrent| torrent["info_hash"].to_string());
    assert_eq!(told(&daemon, "GET", "torrents", ""), json!(all));
    assert_eq!(told(&daemon, "GET", "torrents?offset=1&limit=7", ""), json!(all[1..]));
    assert_eq!(told(&daemon, "GET", "torrents?limit=1", ""), json!(all[..1]));
    assert_eq!(told(&daemon, "GET", "torrents?offset=9", ""), json!([]));
    let these = format!("torrents?info_hash={}&info_hash={}", hex('b'), hex('c'));
    assert_eq!(told(&daemon, "GET", &these, ""), json!([of('b')]));
    let stats = told(&daemon, "GET", "stats", "");
    let numbers = ["torrents", "leechers", "tcp4_announces_handled", "udp4_announces_handled"];
    assert_eq!(numbers.map(|name| stats[name].as_u64()), [Some(2), Some(2), Some(2), Some(0)]);
}

#[test]
fn a_wrong_token_is_answered_as_the_index_expects_it_and_slowed_down() {
    let daemon = with_door();
    let ask = |query: &str, headers: &[&str]| {
        let answer = get(daemon.admin, &format!("/api/v1/keys/reload{query}"), headers);
        (answer.status, answer.body_text())
    };
    let rejected = |reason| (500, format!("Unhandled rejection: Err {{ reason: \"{reason}\" }}"));
    assert_eq!(ask("", &[]), rejected("unauthorized"));
    let header = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(ask("", &[&header]).0, 200);
    assert_eq!(ask(&format!("?{SHOWN}"), &[]).0, 200);
    // The token of the door is for the door, and an unknown call needs it, too.
    assert_eq!(get(daemon.admin, "/api/v1/nothing", &[]).status, 500);
    let mut guesser = Connection::open(daemon.admin);
    let guess = "GET /api/v1/stats?token=guess HTTP/1.1\r\nHost: localhost\r\n\r\n";
    guesser.send(guess.repeat(200).as_bytes());
    let answers: Vec<_> = (0..200).map(|_| guesser.answer()).collect();
    for answer in &answers[..10] {
        assert_eq!((answer.status, answer.body_text()), rejected("token not valid"));
    }
    assert!(answers.iter().any(|answer| answer.status == 429));
    assert_eq!(daemon.metric("karuta_admin_failures_total{reason=\"missing\"}"), 2.0);
    assert!(daemon.metric("karuta_admin_failures_total{reason=\"wrong\"}") >= 10.0);
    assert!(daemon.metric("karuta_admin_failures_total{reason=\"limited\"}") >= 1.0);
    let log = daemon.log();
    assert!(!log.contains("guess") && !log.contains("of the site"), "{log}");
}

#[test]
fn without_the_key_there_is_no_door() {
    let daemon = Daemon::start("");
    for path in ["stats", "keys/reload", "whitelist/reload"] {
        assert_eq!(call(daemon.admin, "GET", path, "").status, 404);
    }
    let path = format!("whitelist/{}", hex('a'));
    assert_eq!(call(daemon.admin, "POST", &path, "").status, 404);
}
