//! The calls that a UNIT3D makes of UNIT3D-Announce, as the bytes that it sends.

use std::fs;
use std::net::SocketAddr;

use karuta_tests::announce::{Announce, reply};
use karuta_tests::{Answer, Daemon, LISTENERS, bencode, eventually, exchange, folder, get};
use serde_json::{Value, json};

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const MEMBER: &str = "1c2cc1a0a3bd0e6fc2a94e6bb7f0a1d5";
const OTHER: &str = "5fb0cc0e8a2d4913c1a90e7d66b84f25";

const BOOKS: &str = "
policies:
  - name: members
    plugin: PLUGINS/unit3d.wasm
    credential: ['path:passkey']
    config: { blacklist_from: blacklist }
    data: { blacklist: { file: blacklist.txt, format: strings, edits: true } }
log: { level: trace }
";

fn start() -> Daemon {
    start_with("accounts: {}")
}

fn start_with(accounts: &str) -> Daemon {
    let door = "unit3d: { listen: '127.0.0.1:0', key: { file: key }, \
                blacklist: members/blacklist, donors: { double_upload: true } }";
    let listeners = LISTENERS.replace("admin: { ", &format!("admin: {{ {door}, "));
    assert_ne!(listeners, LISTENERS);
    let folder = folder(&format!("{listeners}{accounts}{BOOKS}"));
    let url = ("database.url", "postgres://karuta@127.0.0.1:9/none");
    for (name, text) in [("key", KEY), ("blacklist.txt", "-XX\n"), url] {
        fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
    }
    Daemon::start_in(folder)
}

/// Sends a request as Laravel's client does.
fn send(door: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nContent-Length: {length}\r\nUser-Agent: GuzzleHttp/7\r\n\
         Content-Type: application/json\r\nHost: {door}\r\n\r\n"
    );
    exchange(door, format!("{head}{body}").as_bytes())
}

fn call(daemon: &Daemon, method: &str, what: &str, body: &Value) -> Answer {
    let path = format!("/announce/{KEY}/{what}");
    send(daemon.listener("unit3d"), method, &path, &body.to_string())
}

/// Makes a call that must succeed: UNIT3D looks at the status only.
#[track_caller]
fn put(daemon: &Daemon, what: &str, body: &Value) {
    let answer = call(daemon, "PUT", what, body);
    assert_eq!(answer.status, 200, "{what} {body}: {answer:?}");
}

#[track_caller]
fn delete(daemon: &Daemon, what: &str, body: &Value) {
    let answer = call(daemon, "DELETE", what, body);
    assert_eq!(answer.status, 200, "{what} {body}: {answer:?}");
}

fn ask(daemon: &Daemon, what: &str) -> Answer {
    let path = format!("/announce/{KEY}/{what}");
    get(daemon.listener("unit3d"), &path, &["Accept: application/json"])
}

fn shown(daemon: &Daemon, what: &str) -> Value {
    serde_json::from_slice(&ask(daemon, what).body).unwrap()
}

fn user(id: u64, passkey: &str, more: &[(&str, Value)]) -> Value {
    let mut user = json!({
        "id": id, "group_id": 3, "passkey": passkey, "can_download": true,
        "num_seeding": 0, "num_leeching": 0, "is_donor": false, "is_lifetime": false,
    });
    more.iter().for_each(|(key, value)| user[*key] = value.clone());
    user
}

fn torrent(id: u64, letter: char, more: &[(&str, Value)]) -> Value {
    let mut torrent = json!({
        "id": id, "status": 1, "info_hash": hash(letter), "is_deleted": false,
        "seeders": 0, "leechers": 0, "times_completed": 0,
        "download_factor": 100, "upload_factor": 100,
    });
    more.iter().for_each(|(key, value)| torrent[*key] = value.clone());
    torrent
}

fn group(id: u32, slug: &str, more: &[(&str, Value)]) -> Value {
    let mut group = json!({
        "id": id, "slug": slug, "download_slots": null,
        "is_immune": false, "is_freeleech": false, "is_double_upload": false,
    });
    more.iter().for_each(|(key, value)| group[*key] = value.clone());
    group
}

fn hash(letter: char) -> String {
    hex(&[letter as u8; 20])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of(letter: char) -> Announce {
    Announce::of(letter)
}

/// Announces with a passkey, and returns the answer.
fn announce(daemon: &Daemon, passkey: &str, announce: &Announce) -> bencode::Value {
    let path = format!("/announce/{passkey}?{}", announce.query());
    bencode::read(&get(daemon.http, &path, &["User-Agent: qBittorrent/5.0.0"]).body)
}

/// Announces with a passkey. Returns why that is refused, or nothing.
fn refusal(daemon: &Daemon, passkey: &str, one: &Announce) -> String {
    reply(&announce(daemon, passkey, one)).err().unwrap_or_default()
}

/// Has a member move bytes, and returns what it has in all, as credited.
fn moved(daemon: &Daemon, id: u64, passkey: &str, one: &Announce) -> (u64, u64) {
    assert_eq!(refusal(daemon, passkey, one), "");
    let member: Value =
        serde_json::from_str(&daemon.admin_page(&format!("/api/accounts/members/{id}"))).unwrap();
    let [up, down] = ["uploaded", "downloaded"].map(|key| member[key].as_u64().unwrap());
    (up, down)
}

/// A tracker with member 7, and the torrent 12, `a`.
fn with_member() -> Daemon {
    let daemon = start();
    put(&daemon, "users", &user(7, MEMBER, &[]));
    put(&daemon, "torrents", &torrent(12, 'a', &[]));
    daemon
}

#[test]
fn a_site_adds_changes_and_removes_users() {
    let daemon = start();
    put(&daemon, "torrents", &torrent(12, 'a', &[]));
    let says = |passkey: &str, expected: &str| {
        assert_eq!(refusal(&daemon, passkey, &of('a')), expected);
    };
    let unknown = "Passkey does not exist. Please re-download the .torrent file.";
    says(MEMBER, unknown);
    for _ in 0..2 {
        put(&daemon, "users", &user(7, MEMBER, &[]));
        says(MEMBER, "");
    }
    put(&daemon, "users", &user(7, MEMBER, &[("can_download", json!(false))]));
    says(MEMBER, "Your downloading privileges have been disabled.");
    put(&daemon, "users", &user(7, MEMBER, &[("new_passkey", json!(OTHER))]));
    says(MEMBER, unknown);
    says(OTHER, "");
    for _ in 0..2 {
        delete(&daemon, "users", &json!({ "id": 7, "passkey": OTHER }));
        says(OTHER, "User does not exist. Please re-download the .torrent file.");
    }
    put(&daemon, "users", &user(7, OTHER, &[]));
    says(OTHER, "");
    delete(&daemon, "users", &json!({ "id": 99, "passkey": MEMBER }));
}

#[test]
fn a_group_decides_for_all_of_its_members() {
    let daemon = with_member();
    let up = |bytes: u64| of('a').moved(bytes, bytes).event("started");
    let move_on = |bytes| moved(&daemon, 7, MEMBER, &up(bytes));
    assert_eq!((move_on(0), move_on(10)), ((0, 0), (10, 10)));
    let lucky = [("is_freeleech", json!(true)), ("is_double_upload", json!(true))];
    put(&daemon, "groups", &group(3, "user", &lucky));
    assert_eq!(move_on(20), (30, 10));
    // Who is still in a group that is gone may do nothing, as with UNIT3D-Announce.
    delete(&daemon, "groups", &json!({ "id": 3 }));
    assert_eq!(daemon.metric("karuta_swarms"), 0.0, "its peers leave at once");
    let nobody = "User does not exist. Please re-download the .torrent file.";
    assert_eq!(refusal(&daemon, MEMBER, &up(30)), nobody);
    put(&daemon, "groups", &group(3, "user", &[("download_slots", json!(1))]));
    assert_eq!(refusal(&daemon, MEMBER, &up(40)), "");
    put(&daemon, "torrents", &torrent(13, 'b', &[]));
    assert_eq!(refusal(&daemon, MEMBER, &of('b')), "Download slot limit reached");
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "", "who is there has a slot");
    assert_eq!(daemon.metric("karuta_swarms"), 1.0);
    // A ban is another group.
    put(&daemon, "groups", &group(5, "banned", &[]));
    put(&daemon, "users", &user(7, MEMBER, &[("group_id", json!(5))]));
    assert_eq!(daemon.metric("karuta_swarms"), 0.0, "its peers leave at once");
    let banned = "Your account is not enabled. (Current: banned).";
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), banned);
    put(&daemon, "users", &user(7, MEMBER, &[]));
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "");
    // So is one of all of a group.
    put(&daemon, "groups", &group(3, "disabled", &[]));
    assert_eq!(daemon.metric("karuta_swarms"), 0.0);
}

#[test]
fn a_site_adds_moderates_and_deletes_torrents() {
    let daemon = start();
    put(&daemon, "users", &user(7, MEMBER, &[]));
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "InfoHash not found.");
    for (status, text, interval) in [
        (0, Some("Torrent is pending moderation."), 30),
        (2, Some("Torrent has been rejected."), 30),
        (3, Some("Torrent has been postponed."), 30),
        (1, None, 1800),
    ] {
        put(&daemon, "torrents", &torrent(12, 'a', &[("status", json!(status))]));
        let answer = announce(&daemon, MEMBER, &of('a'));
        assert_eq!(answer.text("warning message").as_deref(), text);
        assert_eq!(answer.integer("interval"), interval);
    }
    for _ in 0..2 {
        delete(&daemon, "torrents", &json!({ "id": 12, "info_hash": hash('a') }));
        assert_eq!(refusal(&daemon, MEMBER, &of('a')), "Torrent has been deleted.");
    }
    assert_eq!(daemon.metric("karuta_swarms"), 0.0, "its peers leave at once");
    put(&daemon, "torrents", &torrent(20, 'a', &[]));
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "");
    delete(&daemon, "torrents", &json!({ "id": 99 }));
}

#[test]
fn what_counts_is_what_the_site_says() {
    let daemon = with_member();
    let mut so_far = 0;
    let mut move_on = |bytes: u64| {
        so_far += bytes;
        moved(&daemon, 7, MEMBER, &of('a').moved(so_far, so_far).event("started"))
    };
    assert_eq!((move_on(0), move_on(10)), ((0, 0), (10, 10)));
    let pair = json!({ "user_id": 7, "torrent_id": 12 });
    for (what, body, doubles) in [
        ("freeleech-tokens", &pair, false),
        ("personal-freeleech", &json!({ "user_id": 7 }), false),
        ("featured-torrents", &json!({ "torrent_id": 12 }), true),
    ] {
        let (up, down) = move_on(0);
        put(&daemon, what, body);
        put(&daemon, what, body);
        let factor = if doubles { 2 } else { 1 };
        assert_eq!(move_on(10), (up + 10 * factor, down), "{what}");
        delete(&daemon, what, body);
        delete(&daemon, what, body);
        assert_eq!(move_on(10), (up + 10 * factor + 10, down + 10), "{what}");
    }
    let (up, down) = move_on(0);
    let factors = [("upload_factor", json!(200)), ("download_factor", json!(50))];
    put(&daemon, "torrents", &torrent(12, 'a', &factors));
    assert_eq!(move_on(100), (up + 200, down + 50));
}

#[test]
fn donors_get_what_is_configured_for_as_long_as_they_are_donors() {
    let daemon = with_member();
    let up = |bytes: u64| of('a').moved(bytes, 0).event("started");
    let move_on = |bytes| moved(&daemon, 7, MEMBER, &up(bytes)).0;
    put(&daemon, "users", &user(7, MEMBER, &[("is_donor", json!(true))]));
    assert_eq!((move_on(0), move_on(10)), (0, 20));
    put(&daemon, "users", &user(7, MEMBER, &[("is_lifetime", json!(true))]));
    assert_eq!(move_on(20), 40);
    put(&daemon, "users", &user(7, MEMBER, &[]));
    assert_eq!(move_on(30), 50);
}

#[test]
fn a_site_edits_the_blacklist() {
    let daemon = with_member();
    let says = |client: &str, expected: &str| {
        eventually(client, || refusal(&daemon, MEMBER, &of('a').client(client)) == expected);
    };
    let refused = "Client is not acceptable. Please check our blacklist.";
    says("-XX", refused);
    says("-XL", "");
    for _ in 0..2 {
        put(&daemon, "blacklisted-agents", &json!({ "peer_id_prefix": "-XL" }));
    }
    says("-XL", refused);
    for _ in 0..2 {
        delete(&daemon, "blacklisted-agents", &json!({ "peer_id_prefix": "-XL" }));
    }
    says("-XL", "");
    // UNIT3D sends the name of a client.
    let name = json!({ "peer_id_prefix": "A client with a long name/1.0" });
    put(&daemon, "blacklisted-agents", &name);
}

#[test]
fn a_site_looks_at_users_torrents_and_numbers() {
    let daemon = with_member();
    let started = of('a').moved(3, 4).event("started");
    assert_eq!(refusal(&daemon, MEMBER, &started), "");
    let expected = json!({
        "id": 7, "group_id": 3, "passkey": "", "can_download": true,
        "num_seeding": 0, "num_leeching": 1, "is_donor": false, "is_lifetime": false,
    });
    assert_eq!(shown(&daemon, "users/7"), expected);
    let mut shown_torrent = shown(&daemon, "torrents/12");
    let peer_id = hex(b"-KA0100-0123456789ab");
    let peer = shown_torrent["peers"][format!("7-{peer_id}")].take();
    assert!(peer["updated_at"].is_u64() && peer["ip_address"].is_string(), "{peer}");
    for (key, value) in [
        ("user_id", json!(7)),
        ("torrent_id", json!(12)),
        ("port", json!(6881)),
        ("is_seeder", json!(false)),
        ("is_active", json!(true)),
        ("uploaded", json!(3)),
        ("downloaded", json!(4)),
    ] {
        assert_eq!(peer[key], value, "{key}");
    }
    for (key, value) in [
        ("status", json!("Approved")),
        ("is_deleted", json!(false)),
        ("seeders", json!(0)),
        ("leechers", json!(1)),
        ("times_completed", json!(0)),
        ("download_factor", json!(100)),
        ("upload_factor", json!(100)),
    ] {
        assert_eq!(shown_torrent[key], value, "{key}");
    }
    eventually("a second has passed", || {
        shown(&daemon, "stats")["announce_responses_per_60s"].as_f64().unwrap() > 0.0
    });
    let stats = shown(&daemon, "stats");
    let stats = stats.as_object().unwrap();
    assert!(stats.len() == 13 && stats.values().all(Value::is_f64), "{stats:?}");
    for what in ["users/8", "torrents/13", "groups/3", "nothing"] {
        assert_eq!(ask(&daemon, what).status, 404, "{what}");
    }
}

#[test]
fn a_site_asks_whether_the_tracker_is_there_and_has_it_reload() {
    let daemon = start();
    let ping = get(daemon.listener("unit3d"), "/announce/health/ping", &[]);
    assert_eq!((ping.status, ping.body_text().as_str()), (200, "PONG"));
    let last = || {
        let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
        status["last_reload"].clone()
    };
    assert_eq!(last(), Value::Null);
    let answer = call(&daemon, "POST", "config/reload", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(last().is_object());
    fs::write(daemon.folder.path().join("config.yaml"), "nonsense").unwrap();
    assert_eq!(call(&daemon, "POST", "config/reload", &json!({})).status, 409);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let daemon = with_member();
    let wrong = |what: &str, body: &Value, status: u16, expected: &str| {
        let answer = call(&daemon, "PUT", what, body);
        assert_eq!((answer.status, answer.body_text().as_str()), (status, expected), "{body}");
    };
    wrong("users", &user(8, MEMBER, &[]), 400, "the passkey is another member's");
    wrong("users", &user(8, "short", &[]), 400, "`passkey` is wrong");
    wrong("users", &user(0, OTHER, &[]), 400, "`id` is wrong");
    wrong("users", &json!([]), 400, "expected a JSON object");
    wrong("torrents", &torrent(13, 'a', &[]), 400, "the info-hash is another torrent's");
    wrong("torrents", &torrent(13, 'b', &[("status", json!(9))]), 400, "`status` is wrong");
    let missing = json!({ "user_id": 8, "torrent_id": 12 });
    wrong("freeleech-tokens", &missing, 404, "not found");
    wrong("personal-freeleech", &json!({ "user_id": 8 }), 404, "not found");
    wrong("featured-torrents", &json!({ "torrent_id": 13 }), 404, "not found");
    assert_eq!(call(&daemon, "PUT", "users", &json!("x".repeat(70_000))).status, 400);
    assert_eq!(call(&daemon, "POST", "users", &user(8, OTHER, &[])).status, 405);
    assert_eq!(refusal(&daemon, MEMBER, &of('a')), "");
    assert_eq!(daemon.metric("karuta_accounts_members"), 1.0);
    assert_eq!(daemon.metric("karuta_accounts_torrents"), 1.0);
    let calls = |action: &str, result: &str| {
        let labels = format!("{{action=\"{action}\",result=\"{result}\"}}");
        daemon.metric(&format!("karuta_unit3d_calls_total{labels}"))
    };
    assert_eq!((calls("put_users", "done"), calls("put_users", "refused")), (1.0, 5.0));
    assert_eq!(calls("put_featured_torrents", "nothing"), 1.0);
}

#[test]
fn a_key_is_needed_and_is_not_guessed() {
    let daemon = start();
    let door = daemon.listener("unit3d");
    let body = user(7, MEMBER, &[]).to_string();
    let with = |key: &str| send(door, "PUT", &format!("/announce/{key}/users"), &body).status;
    assert_eq!(with(&KEY[1..]), 403);
    assert_eq!(get(door, &format!("/announce/{MEMBER}"), &[]).status, 404, "no announces here");
    let answers: Vec<_> = (0..100).map(|_| with(&"x".repeat(36))).collect();
    assert!(answers.contains(&403) && answers.contains(&429), "{answers:?}");
    let denied = |reason: &str| {
        daemon.metric(&format!("karuta_admin_failures_total{{reason=\"{reason}\"}}"))
    };
    assert_eq!(denied("wrong") + denied("limited"), 101.0);
    assert_eq!(daemon.metric("karuta_accounts_members"), 0.0);
    let public = get(daemon.http, &format!("/announce/{KEY}/stats"), &[]);
    assert_ne!(public.status, 200, "never on the public port");
}

#[test]
fn members_of_a_database_are_changed_there() {
    let daemon = start_with("accounts: { database: { file: database.url } }");
    let answer = call(&daemon, "PUT", "users", &user(7, MEMBER, &[]));
    assert_eq!(answer.status, 409);
    assert!(answer.body_text().contains("`accounts.database`"), "{answer:?}");
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let mut daemon = with_member();
    for round in 0..5_u32 {
        let lucky = [("is_freeleech", json!(round % 2 == 0))];
        put(&daemon, "groups", &group(3, "user", &lucky));
        put(&daemon, "blacklisted-agents", &json!({ "peer_id_prefix": format!("-T{round}") }));
        daemon = Daemon::start_in(daemon.kill());
        let member: Value =
            serde_json::from_str(&daemon.admin_page("/api/accounts/members/7")).unwrap();
        assert_eq!(member["freeleech"], round % 2 == 0);
        let listed = of('a').client(&format!("-T{round}"));
        let expected = "Client is not acceptable. Please check our blacklist.";
        eventually("the blacklist", || refusal(&daemon, MEMBER, &listed) == expected);
    }
}

#[test]
fn neither_passkeys_nor_the_key_are_told() {
    let daemon = with_member();
    put(&daemon, "users", &user(7, MEMBER, &[("new_passkey", json!(OTHER))]));
    call(&daemon, "PUT", "users", &user(8, OTHER, &[]));
    let audit = daemon.admin_page("/api/audit");
    assert!(
        audit.contains("member 7: passkey, unban, leech true, double_upload false, group 3"),
        "{audit}"
    );
    assert!(audit.contains("\"unit3d\"") && audit.contains("PUT /users"), "{audit}");
    let told = audit + &daemon.log() + &daemon.admin_page("/api/accounts/members/7");
    for secret in [KEY, MEMBER, OTHER] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}
