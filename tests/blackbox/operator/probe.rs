//! `karuta probe`: the tracker as a client sees it.

use std::net::{TcpListener, UdpSocket};
use std::process::Output;

use karuta_tests::server::{Server, reply};
use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, folder, run};
use serde_json::Value;

fn probe(daemon: &Daemon, arguments: &[&str]) -> Output {
    run(&[&["probe"], arguments].concat(), daemon.folder.path())
}

/// Returns what is printed, after checking the exit code.
#[track_caller]
fn said(daemon: &Daemon, code: i32, arguments: &[&str]) -> String {
    let output = probe(daemon, arguments);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("a text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

#[test]
fn a_tracker_that_answers_is_well_and_keeps_no_peer() {
    let daemon = Daemon::start("");
    let (http, udp) = (
        format!("http://{}/announce", daemon.http),
        format!("udp://{}/announce?key=hidden", daemon.udp),
    );
    let text = said(&daemon, 0, &[&http, &udp]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with(&format!("ok      {http}  ")), "{text}");
    assert!(lines.iter().all(|line| line.ends_with(" ms  interval 1800 s")), "{text}");
    assert!(!text.contains("hidden"), "{text}");

    let text = said(&daemon, 0, &["--scrape", "--count", "3", &http, &udp]);
    assert_eq!(text.matches("  3 of 3 answered  ").count(), 2, "{text}");
    assert_eq!(text.matches("  0 seeders, 0 leechers").count(), 2, "{text}");

    let json: Value = serde_json::from_str(&said(&daemon, 0, &["--json", &udp])).unwrap();
    assert_eq!(json["ok"], true);
    let tracker = &json["trackers"][0];
    assert_eq!(tracker["interval_seconds"], 1800);
    assert_eq!(tracker["address"], daemon.udp.to_string());
    assert!(tracker["milliseconds"][0].as_f64().is_some_and(|took| took > 0.0), "{json}");

    assert_eq!(daemon.metric("karuta_swarms "), 0.0);
    let peers = daemon.admin_page("/metrics");
    let peers = peers.lines().filter(|line| line.starts_with("karuta_peers{"));
    assert!(peers.map(|line| line.rsplit(' ').next()).all(|count| count == Some("0")));
}

#[test]
fn a_refusal_is_a_failure_unless_any_answer_will_do() {
    let daemon = Daemon::start(
        "policies:\n\
         - { name: clients, plugin: PLUGINS/client-approval.wasm, config: { allow: ['-AB'] } }\n\
         - { name: torrents, plugin: PLUGINS/torrent-approval.wasm, \
             config: { allow: ['6161616161616161616161616161616161616161'] } }",
    );
    for url in [format!("http://{}/announce", daemon.http), format!("udp://{}", daemon.udp)] {
        let refused = said(&daemon, 1, &[&url]);
        assert!(refused.ends_with("  refused: unapproved client\n"), "{refused}");
        said(&daemon, 0, &["--any-answer", &url]);
        let refused = said(&daemon, 1, &["--peer-id", "-AB0001-", &url]);
        assert!(refused.contains("refused: unapproved torrent"), "{refused}");
        let torrent = "61".repeat(20);
        said(&daemon, 0, &["--peer-id", "-AB0001-", "--info-hash", &torrent, &url]);
    }
}

#[test]
fn https_needs_an_issuer_that_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key } }]\n\
         admin: { listen: '127.0.0.1:0' }\n",
    );
    authority.issue(&["localhost"]).write(folder.path(), "a");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.pem()).unwrap();
    let daemon = Daemon::start_in(folder);
    let url = format!("https://localhost:{}/announce", daemon.http.port());
    said(&daemon, 0, &["--ca", "ca.pem", &url]);
    let failed = said(&daemon, 1, &["--ca", "other.pem", &url]);
    assert!(failed.contains("TLS: invalid peer certificate"), "{failed}");
    let elsewhere = url.replace("localhost", "127.0.0.1");
    let failed = said(&daemon, 1, &["--ca", "ca.pem", &elsewhere]);
    assert!(failed.contains("TLS: invalid peer certificate"), "{failed}");
    let failed = said(&daemon, 1, &[&url]);
    assert!(failed.contains("TLS: "), "{failed}");
    let failed = said(&daemon, 1, &["--ca", "none.pem", &url]);
    assert_eq!(failed, "karuta: --ca: none.pem: no such file: `none.pem`\n");
    let metrics = format!("https://{}/announce", daemon.admin);
    let failed = said(&daemon, 1, &[&metrics]);
    assert!(failed.ends_with("  what listens there does not speak TLS\n"), "{failed}");
    let plain = url.replace("https", "http");
    let failed = said(&daemon, 1, &[&plain]);
    assert!(failed.contains("the status is 400 Bad Request, expected 200"), "{failed}");
}

#[test]
fn what_does_not_answer_like_a_tracker_is_named() {
    let daemon = Daemon::start("");
    let server = Server::with("hello");
    let url = server.url("/announce");
    let failed = said(&daemon, 1, &[&url]);
    assert!(failed.ends_with("not an answer of a tracker: it is not valid bencode\n"), "{failed}");
    for (status, error) in [
        ("404 Not Found", "the status is 404 Not Found, expected 200"),
        ("301 Moved Permanently", "the status is 301 Moved Permanently, expected 200"),
    ] {
        server.behave(move |_, stream| reply(stream, status, &["location: /"], b""));
        let failed = said(&daemon, 1, &[&url]);
        assert!(failed.contains(error), "{failed}");
    }
    server.behave(|_, _| {});
    let failed = said(&daemon, 1, &[&url]);
    assert!(failed.contains("the connection ended before the answer"), "{failed}");
    let hostile = "d14:failure reason13:\u{1b}[2J\u{202e}\nok\r\ne";
    server.answer(hostile);
    let failed = said(&daemon, 1, &[&url]);
    assert_eq!(failed.lines().count(), 1, "{failed:?}");
    assert!(!failed.contains(['\u{1b}', '\u{202e}', '\r']), "{failed:?}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = said(&daemon, 1, &[&format!("http://{free}/announce")]);
    assert!(failed.contains("nothing listens there"), "{failed}");
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = said(&daemon, 1, &[&format!("udp://{free}/announce")]);
    assert!(failed.contains("nothing listens there"), "{failed}");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}/announce", silent.local_addr().unwrap());
    let failed = said(&daemon, 1, &["--deadline", "50ms", "--count", "2", &url]);
    assert!(failed.ends_with("0 of 2 answered  no answer within 50ms\n"), "{failed}");
    // One of several is enough to fail.
    let well = format!("udp://{}", daemon.udp);
    let both = said(&daemon, 1, &["--deadline", "50ms", &url, &well]);
    assert!(both.contains("failed") && both.contains("ok"), "{both}");
}

#[test]
fn wrong_usage_is_told_from_a_failure() {
    let daemon = Daemon::start("");
    for arguments in [
        &[][..],
        &["tracker.example:6969"],
        &["ftp://tracker.example"],
        &["udp://tracker.example/announce"],
        &["http://tracker.example/announce?info_hash=x"],
        &["--count", "0", "http://a"],
        &["--count", "1001", "http://a"],
        &["--deadline", "5", "http://a"],
        &["--info-hash", "abc", "http://a"],
        &["--peer-id", "far-too-long-for-a-peer-id", "http://a"],
    ] {
        said(&daemon, 2, arguments);
    }
    let url = format!("http://{}/other", daemon.http);
    let failed = said(&daemon, 1, &["--scrape", &url]);
    assert!(failed.contains("expected `announce` or `scrape` in its path"), "{failed}");
}
