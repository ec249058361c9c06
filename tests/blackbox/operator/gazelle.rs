//! The calls that a Gazelle makes of Ocelot, as the bytes that it sends.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use karuta_tests::announce::{Announce, escape, reply, torrent};
use karuta_tests::{Daemon, LISTENERS, bencode, eventually, folder, get};
use serde_json::Value;

use super::replay::{SAME, record, replayed};

const PASSWORD: &str = "0123456789abcdef0123456789ABCDEF";
const REPORTS: &str = "abcdefghijklmnopqrstuvwxyz012345";
const MEMBER: &str = "1c2cc1a0a3bd0e6fc2a94e6bb7f0a1d5";
const OTHER: &str = "5fb0cc0e8a2d4913c1a90e7d66b84f25";

const BOOKS: &str = "
policies:
  - name: members
    plugin: PLUGINS/passkey.wasm
    credential: ['path:passkey']
    config: { accounts: true }
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: { allow_from: whitelist }
    data: { whitelist: { file: whitelist.txt, format: strings, edits: true } }
log: { level: trace }
";

fn start() -> Daemon {
    start_with("accounts: {}")
}

fn start_with(accounts: &str) -> Daemon {
    let door = "gazelle: { listen: '127.0.0.1:0', password: { file: password }, \
                report_password: { file: reports }, whitelist: clients/whitelist }";
    let listeners = LISTENERS.replace("admin: { ", &format!("admin: {{ {door}, "));
    assert_ne!(listeners, LISTENERS);
    let folder = folder(&format!("{listeners}{accounts}{BOOKS}"));
    let url = ("database.url", "postgres://karuta@127.0.0.1:9/none");
    let passwords = [("password", PASSWORD), ("reports", REPORTS)];
    for (name, text) in passwords.into_iter().chain([("whitelist.txt", "-KA\n"), url]) {
        fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
    }
    Daemon::start_in(folder)
}

fn door(daemon: &Daemon) -> SocketAddr {
    daemon.listener("gazelle")
}

/// Sends bytes, and returns all that comes until the connection ends.
fn send(door: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(door).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Asks as Gazelle does: without a header `Host`.
fn ask(door: SocketAddr, target: &str) -> String {
    send(door, format!("GET {target} HTTP/1.1\r\nConnection: Close\r\n\r\n").as_bytes())
}

/// Makes a call that must succeed: what follows the last line break of all is `success`.
#[track_caller]
fn update(daemon: &Daemon, query: &str) {
    let answer = ask(door(daemon), &format!("/{PASSWORD}/update?action={query}"));
    assert_eq!(answer.rsplit('\n').next(), Some("success"), "{query}: {answer}");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.to_lowercase().contains("chunked"), "{answer}");
}

/// Makes a call that must not be obeyed, and returns why.
#[track_caller]
fn refused(daemon: &Daemon, query: &str) -> String {
    let answer = ask(door(daemon), &format!("/{PASSWORD}/update?action={query}"));
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Ocelot's keys are not in the order of BEP 3.
    let (_, body) = answer.split_once("\r\n\r\nd14:failure reason").unwrap();
    let (length, rest) = body.split_once(':').unwrap();
    let (reason, rest) = rest.split_at(length.parse().unwrap());
    assert_eq!(rest, "12:min intervali5400e8:intervali5400ee");
    reason.to_owned()
}

#[test]
fn members_of_a_database_are_changed_there() {
    let daemon = start_with("accounts: { database: { file: database.url } }");
    let query = format!("add_user&id=1&passkey={MEMBER}");
    assert!(refused(&daemon, &query).contains("`accounts.database`"));
}

fn report(daemon: &Daemon, query: &str) -> String {
    let answer = ask(door(daemon), &format!("/{REPORTS}/report?{query}"));
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Announces with a passkey. Returns why that is refused, or nothing.
fn refusal(daemon: &Daemon, passkey: &str, announce: &Announce) -> String {
    let answer = get(daemon.http, &format!("/announce/{passkey}?{}", announce.query()), &[]);
    reply(&bencode::read(&answer.body)).err().unwrap_or_default()
}

fn of(letter: char) -> Announce {
    Announce::of(letter)
}

fn hash(letter: char) -> String {
    escape(&torrent(letter))
}

fn page(daemon: &Daemon, path: &str) -> Value {
    serde_json::from_str(&daemon.admin_page(&format!("/api/accounts/{path}"))).unwrap()
}

/// A tracker with member 7, and the torrent 12, `a`.
fn with_member() -> Daemon {
    let daemon = start();
    update(&daemon, &format!("add_user&id=7&passkey={MEMBER}&visible=1"));
    update(&daemon, &format!("add_torrent&id=12&info_hash={}&freetorrent=0", hash('a')));
    daemon
}

#[test]
fn a_site_adds_changes_and_removes_members() {
    let daemon = start();
    update(&daemon, &format!("add_torrent&id=12&info_hash={}&freetorrent=0", hash('a')));
    let says = |passkey: &str, expected: &str| {
        assert_eq!(refusal(&daemon, passkey, &of('a')), expected);
    };
    says(MEMBER, "unknown passkey");
    for _ in 0..2 {
        update(&daemon, &format!("add_user&id=7&passkey={MEMBER}&visible=0"));
    }
    says(MEMBER, "");
    assert_eq!(page(&daemon, "members/7")["visible"], false);
    for (can_leech, expected) in [("can_leech=0&", "leeching not allowed"), ("", "")] {
        update(&daemon, &format!("update_user&{can_leech}passkey={MEMBER}"));
        says(MEMBER, expected);
        assert_eq!(page(&daemon, "members/7")["visible"], true, "what is absent is true");
    }
    for _ in 0..2 {
        update(&daemon, &format!("change_passkey&oldpasskey={MEMBER}&newpasskey={OTHER}"));
    }
    says(MEMBER, "unknown passkey");
    says(OTHER, "");
    update(&daemon, &format!("remove_user&passkey={OTHER}"));
    says(OTHER, "account disabled");
    update(&daemon, &format!("add_user&id=7&passkey={OTHER}"));
    says(OTHER, "");
    update(&daemon, &format!("add_user&id=8&passkey={MEMBER}"));
    update(&daemon, &format!("remove_users&passkeys={OTHER}{}{MEMBER}", "0".repeat(32)));
    says(OTHER, "account disabled");
    says(MEMBER, "account disabled");
}

#[test]
fn a_removed_member_s_peers_leave_at_once() {
    let daemon = with_member();
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "");
    assert_eq!(daemon.metric("karuta_swarms"), 1.0);
    update(&daemon, &format!("remove_user&passkey={MEMBER}"));
    assert_eq!(daemon.metric("karuta_swarms"), 0.0);
}

#[test]
fn a_site_adds_changes_and_deletes_torrents() {
    let daemon = start();
    update(&daemon, &format!("add_user&id=7&passkey={MEMBER}"));
    let says = |letter: char, expected: &str| {
        assert_eq!(refusal(&daemon, MEMBER, &of(letter)), expected, "{letter}");
    };
    let percent = |id: u64| {
        let torrent = page(&daemon, &format!("torrents/{id}"));
        ["upload_percent", "download_percent"].map(|key| torrent[key].as_u64().unwrap())
    };
    says('a', "unregistered torrent");
    for (id, letter, free) in [(12, 'a', 0), (13, 'b', 1), (14, 'c', 2)] {
        for _ in 0..2 {
            let hash = hash(letter);
            update(&daemon, &format!("add_torrent&id={id}&info_hash={hash}&freetorrent={free}"));
        }
        says(letter, "");
    }
    assert_eq!([percent(12), percent(13), percent(14)], [[100, 100], [100, 0], [0, 0]]);
    update(&daemon, &format!("update_torrent&info_hash={}&freetorrent=1", hash('a')));
    assert_eq!(percent(12), [100, 0]);
    let all = hash('a') + &hash('x') + &hash('c');
    update(&daemon, &format!("update_torrents&info_hashes={all}&freetorrent=0"));
    assert_eq!([percent(12), percent(13), percent(14)], [[100, 100], [100, 0], [100, 100]]);
    update(&daemon, &format!("add_torrent&id=99&info_hash={}&freetorrent=2", hash('a')));
    assert_eq!(percent(12), [0, 0], "one that is known keeps its number");
    for _ in 0..2 {
        update(&daemon, &format!("delete_torrent&info_hash={}&id=12&reason=1", hash('a')));
    }
    says('a', "unregistered torrent");
    assert_eq!(page(&daemon, "torrents/12")["reason"], 2);
    update(&daemon, &format!("delete_torrent&info_hash={}&id=13&reason=-1", hash('b')));
    assert_eq!(page(&daemon, "torrents/13")["reason"], 0);
    // Both come back: one with its number, and one with a new one.
    update(&daemon, &format!("add_torrent&id=12&info_hash={}&freetorrent=0", hash('a')));
    update(&daemon, &format!("add_torrent&id=20&info_hash={}&freetorrent=0", hash('b')));
    says('a', "");
    says('b', "");
    assert_eq!(page(&daemon, "torrents/12")["reason"], 0);
    assert_eq!(get(daemon.admin, "/api/accounts/torrents/13", &[]).status, 404);
}

#[test]
fn a_token_makes_downloads_free() {
    let daemon = with_member();
    let downloaded = || page(&daemon, "members/7")["downloaded"].as_u64().unwrap();
    let moved = |bytes| {
        let announce = of('a').moved(0, bytes).event("started");
        assert_eq!(refusal(&daemon, MEMBER, &announce), "");
    };
    moved(0);
    moved(10);
    assert_eq!(downloaded(), 10);
    for _ in 0..2 {
        update(&daemon, &format!("add_token&info_hash={}&userid=7", hash('a')));
    }
    moved(30);
    assert_eq!(downloaded(), 10);
    for _ in 0..2 {
        update(&daemon, &format!("remove_token&info_hash={}&userid=7", hash('a')));
    }
    moved(70);
    assert_eq!(downloaded(), 50);
    // Of what is not known.
    update(&daemon, &format!("add_token&info_hash={}&userid=8", hash('a')));
    update(&daemon, &format!("add_token&info_hash={}&userid=7", hash('b')));
}

#[test]
fn a_site_edits_the_whitelist() {
    let daemon = with_member();
    let says = |client: &str, expected: &str| {
        eventually(client, || refusal(&daemon, MEMBER, &of('a').client(client)) == expected);
    };
    says("-TR3", "unapproved client");
    update(&daemon, "add_whitelist&peer_id=-TR3");
    says("-TR3", "");
    update(&daemon, "edit_whitelist&old_peer_id=-TR3&new_peer_id=-TR4");
    says("-TR3", "unapproved client");
    says("-TR4", "");
    for _ in 0..2 {
        update(&daemon, "remove_whitelist&peer_id=-TR4");
    }
    says("-TR4", "unapproved client");
    says("-KA0", "");
}

#[test]
fn a_site_sets_the_interval_until_the_restart() {
    let daemon = with_member();
    let interval = |daemon: &Daemon| {
        let answer = get(daemon.http, &format!("/announce/{MEMBER}?{}", of('a').query()), &[]);
        reply(&bencode::read(&answer.body)).unwrap().interval
    };
    assert_eq!(interval(&daemon), 1800);
    update(&daemon, "update_announce_interval&new_announce_interval=2000");
    assert_eq!(interval(&daemon), 2000);
    // A replay knows it, too.
    record(&daemon, || {
        interval(&daemon);
        1
    });
    let (same, code) = replayed(daemon.folder.path(), &[]);
    assert_eq!(code, SAME, "{same:#}");
    let said = refused(&daemon, "update_announce_interval&new_announce_interval=7");
    assert_eq!(said, "new_announce_interval: expected 900 to 2400");
    let daemon = daemon.restart();
    assert_eq!(interval(&daemon), 1800);
}

#[test]
fn what_has_no_meaning_here_is_answered_and_counted() {
    let daemon = with_member();
    for query in
        ["update_announce_jitter&new_announce_jitter=9", "trace_user&passkey=x&trace=1", ""]
    {
        update(&daemon, query);
    }
    let calls = |action: &str, result: &str| {
        let labels = format!("{{action=\"{action}\",result=\"{result}\"}}");
        daemon.metric(&format!("karuta_gazelle_calls_total{labels}"))
    };
    assert_eq!(calls("unknown", "nothing"), 3.0);
    assert_eq!(calls("add_user", "done"), 1.0);
    update(&daemon, "info_torrent&info_hash=unknown");
    let info = format!("/{PASSWORD}/update?action=info_torrent&info_hash={}", hash('a'));
    let info = ask(door(&daemon), &info);
    let expected = format!(r#"{{"hash":"{}","id":12,"free":0}}"#, "61".repeat(20));
    assert!(info.ends_with(&expected), "{info}");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let daemon = with_member();
    for (query, expected) in [
        (format!("add_user&id=8&passkey={MEMBER}"), "the passkey is another member's"),
        (format!("add_user&id=0&passkey={OTHER}"), "id: expected a number, 1 or more"),
        (
            "add_user&id=8&passkey=a%20b".to_owned(),
            "passkey: expected 16 to 64 letters, digits, - and _",
        ),
        ("add_torrent&id=9&info_hash=short".to_owned(), "info_hash: expected 20 bytes"),
        ("add_whitelist&peer_id=%ff%fe".to_owned(), "peer_id: expected 1 to 20 bytes of text"),
    ] {
        assert_eq!(refused(&daemon, &query), expected, "{query}");
    }
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "");
    assert_eq!(get(daemon.admin, "/api/accounts/members/8", &[]).status, 404);
    assert_eq!(daemon.metric("karuta_accounts_torrents"), 1.0);
    // Whom nobody knows needs no change.
    update(&daemon, "update_user&passkey=%00%ff&can_leech=0");
    update(&daemon, "remove_users&passkeys=short");
    update(&daemon, "delete_torrent&info_hash=&reason=x");
}

#[test]
fn what_is_no_call_is_answered_as_by_ocelot() {
    let daemon = start();
    let door = door(&daemon);
    let failure = |text: &str| {
        let length = text.len();
        format!("d14:failure reason{length}:{text}12:min intervali5400e8:intervali5400ee")
    };
    let wrong = "x".repeat(32);
    for (target, expected) in [
        ("/".to_owned(), failure("Malformed announce")),
        (format!("/{PASSWORD}"), failure("Malformed announce")),
        (format!("/{PASSWORD}/update"), "Nothing to see here".to_owned()),
        (format!("/{PASSWORD}/announce?x"), failure("Invalid action")),
        (format!("/{wrong}/update?action=add_user"), failure("Authentication failure")),
        (format!("/{REPORTS}/update?action=add_user"), failure("Authentication failure")),
        (format!("/{PASSWORD}/report?get=stats"), failure("Authentication failure")),
        (format!("/{PASSWORD}/update?{}", "x".repeat(9000)), failure("GET string too long")),
    ] {
        let answer = ask(door, &target);
        assert!(answer.ends_with(&expected), "{target}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for bytes in [
        &b"\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x00\xff\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        &[b'x'; 40_000],
    ] {
        let mut stream = TcpStream::connect(door).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.ends_with(b"success"), "{}", answer.escape_ascii());
    }
    let page = get(daemon.http, &format!("/{PASSWORD}/update?action=add_user"), &[]);
    assert_eq!(page.status, 404, "never on the public port");
}

#[test]
fn wrong_passwords_are_slowed_down_and_counted() {
    let daemon = start();
    let door = door(&daemon);
    let wrong = format!("/{}/update?action=add_user", "x".repeat(32));
    let answers: Vec<_> = (0..100).map(|_| ask(door, &wrong)).collect();
    assert!(answers[0].starts_with("HTTP/1.1 403"), "{}", answers[0]);
    assert!(answers.iter().any(|answer| answer.starts_with("HTTP/1.1 429")), "{answers:?}");
    let one = &answers[0];
    assert!(one.contains("Authentication failure"), "{one}");
    let denied = |reason: &str| {
        daemon.metric(&format!("karuta_admin_failures_total{{reason=\"{reason}\"}}"))
    };
    assert_eq!(denied("wrong") + denied("limited"), 100.0);
}

#[test]
fn a_password_of_another_length_is_a_wrong_one() {
    let daemon = start();
    for password in ["x", &PASSWORD[1..], &format!("{PASSWORD}x")] {
        let answer = ask(door(&daemon), &format!("/{password}/update?action=add_user"));
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains("Authentication failure"), "{answer}");
    }
    assert_eq!(daemon.metric("karuta_admin_failures_total{reason=\"wrong\"}"), 3.0);
}

#[test]
fn a_site_asks_for_reports() {
    let daemon = with_member();
    assert_eq!(refusal(&daemon, MEMBER, &of('a').event("started")), "");
    let stats = report(&daemon, "get=stats");
    assert!(stats.starts_with("Uptime: 0 days, 00:"), "{stats}");
    assert!(stats.contains("\n1 successful announcements\n"), "{stats}");
    assert!(stats.ends_with("\n1 leechers tracked\n0 seeders tracked\nsuccess"), "{stats}");
    let user = report(&daemon, &format!("get=user&key={MEMBER}"));
    assert_eq!(user, "1 leeching\n0 seeding\nsuccess");
    assert_eq!(report(&daemon, &format!("get=user&key={OTHER}")), "success");
    assert_eq!(report(&daemon, "get=jemalloc"), "Invalid action\nsuccess");
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let mut daemon = start();
    for round in 0..5_u64 {
        let passkey = format!("{round:032}");
        let letter = char::from(b'a' + round as u8);
        update(&daemon, &format!("add_user&id={}&passkey={passkey}", round + 1));
        update(&daemon, &format!("add_torrent&id={}&info_hash={}", round + 1, hash(letter)));
        update(&daemon, &format!("add_whitelist&peer_id=-T{round}"));
        daemon.signal("KILL");
        daemon.wait();
        let folder = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
        daemon = Daemon::start_in(folder);
        let announce = of(letter).client(&format!("-T{round}"));
        assert_eq!(refusal(&daemon, &passkey, &announce), "", "{round}");
    }
}

#[test]
fn neither_the_audit_nor_the_log_has_a_passkey_or_a_password() {
    let daemon = with_member();
    update(&daemon, &format!("change_passkey&oldpasskey={MEMBER}&newpasskey={OTHER}"));
    refused(&daemon, &format!("add_user&id=8&passkey={OTHER}"));
    let audit = daemon.admin_page("/api/audit");
    for told in ["/update?action=add_user", "member 7: passkey", "torrent 12", "gazelle"] {
        assert!(audit.contains(told), "{told}: {audit}");
    }
    let log = daemon.log();
    for secret in [PASSWORD, REPORTS, MEMBER, OTHER] {
        assert!(!audit.contains(secret), "{secret}: {audit}");
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn passwords_change_at_a_reload() {
    let daemon = with_member();
    fs::write(daemon.folder.path().join("password"), "y".repeat(32)).unwrap();
    assert!(
        karuta_tests::run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path())
            .status
            .success()
    );
    let door = door(&daemon);
    assert!(ask(door, &format!("/{PASSWORD}/update?action=x")).starts_with("HTTP/1.1 403"));
    let new = format!("/{}/update?action=x", "y".repeat(32));
    assert!(ask(door, &new).ends_with("\nsuccess"));
}
