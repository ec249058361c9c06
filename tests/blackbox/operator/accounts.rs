//! The books of a private tracker: what members have moved is counted once, whatever happens.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use karuta_tests::announce::{Announce, hex, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, get, karuta, run};
use serde_json::{Value, json};

const ACCOUNTS: &str = "accounts: { credential: ['query:passkey'] }\n";

/// Returns what a command of `karuta accounts` prints.
#[track_caller]
fn accounts(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = try_accounts(daemon, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn try_accounts(daemon: &Daemon, arguments: &[&str]) -> Output {
    let admin = daemon.admin.to_string();
    let all: Vec<_> =
        ["accounts"].iter().chain(arguments).chain(&["--admin", &admin]).copied().collect();
    run(&all, daemon.folder.path())
}

/// Starts a tracker with the torrents `a` and `b`, and member 1. Returns the member's passkey, too.
fn start() -> (Daemon, String) {
    let daemon = Daemon::start(ACCOUNTS);
    let passkey = accounts(&daemon, &["add", "1"]).trim().to_owned();
    accounts(&daemon, &["torrent", "1", "--info-hash", &hex('a')]);
    accounts(&daemon, &["torrent", "2", "--info-hash", &hex('b')]);
    (daemon, passkey)
}

fn member(daemon: &Daemon, id: u64) -> Value {
    let page = daemon.admin_page(&format!("/api/accounts/members/{id}"));
    serde_json::from_str(&page).unwrap_or_else(|_| panic!("{page}"))
}

/// Returns what a member has up- and downloaded, as credited.
fn credit(daemon: &Daemon, id: u64) -> (u64, u64) {
    let member = member(daemon, id);
    let of = |key: &str| member[key].as_u64().unwrap();
    (of("uploaded"), of("downloaded"))
}

fn of(letter: char, passkey: &str) -> Announce {
    Announce::of(letter).with(&format!("passkey={passkey}"))
}

/// Kills a tracker, and starts it again in its folder.
fn kill(mut daemon: Daemon) -> Daemon {
    daemon.signal("KILL");
    daemon.wait();
    let folder = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
    Daemon::start_in(folder)
}

#[test]
fn what_members_move_is_counted() {
    let (daemon, passkey) = start();
    let mine = of('a', &passkey);
    mine.clone().moved(70, 70).event("started").http(daemon.http).unwrap();
    mine.clone().moved(1070, 570).http(daemon.http).unwrap();
    mine.clone().moved(2070, 570).event("stopped").http(daemon.http).unwrap();
    assert_eq!(credit(&daemon, 1), (2000, 500));
    // Over UDP, and with the same client over both families.
    let udp = Client::connect(daemon.udp);
    let mine = of('b', &passkey);
    mine.clone().event("started").udp(&udp).unwrap();
    mine.clone().moved(9, 0).http(daemon.http).unwrap();
    mine.clone().moved(9, 0).seeder().event("completed").udp(&udp).unwrap();
    mine.clone().moved(9, 0).seeder().event("completed").http(daemon.http).unwrap();
    assert_eq!(credit(&daemon, 1), (2009, 500));
    let shown = member(&daemon, 1);
    assert_eq!((&shown["seeding"], &shown["leeching"]), (&json!(1), &json!(0)));
    let torrent: Value =
        serde_json::from_str(&accounts(&daemon, &["torrent", "2", "--json"])).unwrap();
    assert_eq!(torrent["completed"], 1);
    // Strangers and unknown torrents are none of its business.
    of('a', "nobody-has-this-passkey")
        .moved(1 << 40, 0)
        .event("stopped")
        .http(daemon.http)
        .unwrap();
    of('c', &passkey).moved(1 << 40, 0).event("stopped").http(daemon.http).unwrap();
    assert_eq!(credit(&daemon, 1), (2009, 500));
    assert_eq!(daemon.metric("karuta_accounts_sessions"), 2.0);
    assert_eq!(daemon.metric("karuta_accounts_writable"), 1.0);
}

#[test]
fn what_is_free_is_not_counted() {
    let (daemon, passkey) = start();
    accounts(&daemon, &["torrent", "1", "--download-percent", "0", "--upload-percent", "300"]);
    accounts(&daemon, &["token", "1", "2"]);
    for letter in ['a', 'b'] {
        let mine = of(letter, &passkey);
        mine.clone().event("started").http(daemon.http).unwrap();
        mine.clone().moved(10, 10).event("stopped").http(daemon.http).unwrap();
    }
    assert_eq!(credit(&daemon, 1), (40, 0));
    let shown = member(&daemon, 1);
    assert_eq!((&shown["raw_uploaded"], &shown["raw_downloaded"]), (&json!(20), &json!(20)));
    assert_eq!(shown["tokens"], json!([2]));
}

/// Whoever got the answer to a `started`, a `completed` or a `stopped` is in the books, whenever the
/// tracker is killed; and what was not written comes with the next announce.
#[test]
fn no_byte_is_lost_and_none_is_counted_twice_by_a_kill() {
    const CLIENTS: u64 = 4;
    let (mut daemon, passkey) = start();
    let [said, answered] = [(); 2].map(|()| [(); CLIENTS as usize].map(|()| AtomicU64::new(0)));
    // Each torrent has clients with peer ids of their own.
    let of_client =
        |client: u64| of(['a', 'b'][client as usize % 2], &passkey).peer_id([client as u8; 20]);
    for client in 0..CLIENTS {
        of_client(client).event("started").http(daemon.http).unwrap();
    }
    for round in 0..10_u64 {
        let (address, stop) = (daemon.http, AtomicBool::new(false));
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (said, answered) = (&said[client as usize], &answered[client as usize]);
                let (mine, stop) = (of_client(client), &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let total =
                            said.fetch_add(1000 + client, Ordering::Relaxed) + 1000 + client;
                        let event = ["", "", "started", "completed"][total as usize / 1000 % 4];
                        let sent = ask(&mine.clone().moved(total, 0).event(event), address);
                        if sent && !event.is_empty() {
                            answered.store(total, Ordering::Relaxed);
                        }
                    }
                });
            }
            let before = daemon.metric("karuta_accounts_announces_total");
            eventually("some are written", || {
                daemon.metric("karuta_accounts_announces_total") >= before + 5.0 + round as f64
            });
            daemon.signal("KILL");
            stop.store(true, Ordering::Relaxed);
        });
        daemon = kill(daemon);
        let sessions = member(&daemon, 1)["sessions"].clone();
        for session in sessions.as_array().unwrap() {
            let peer_id = session["peer_id"].as_str().unwrap();
            let client = usize::from_str_radix(&peer_id[..2], 16).unwrap();
            let known = session["uploaded"].as_u64().unwrap();
            assert!(known >= answered[client].load(Ordering::Relaxed), "{session}");
        }
    }
    let mut moved = 0;
    for client in 0..CLIENTS {
        let total = said[client as usize].load(Ordering::Relaxed);
        of_client(client).moved(total, 0).event("stopped").http(daemon.http).unwrap();
        moved += total;
    }
    assert_eq!(credit(&daemon, 1), (moved, 0));
}

/// Sends an announce to a tracker that may die. Returns whether it was answered.
fn ask(announce: &Announce, tracker: SocketAddr) -> bool {
    std::panic::catch_unwind(|| announce.get(tracker, &[]).status == 200).unwrap_or(false)
}

#[test]
fn members_are_changed_from_the_command_line() {
    let (daemon, passkey) = start();
    let wrong = |arguments: &[&str], expected: &str| {
        let output = try_accounts(&daemon, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
    };
    assert_eq!(passkey.len(), 32);
    wrong(&["add", "1"], "there is a member 1 already");
    wrong(&["add", "2", "--passkey", &passkey], "line 1: the passkey is another member's");
    wrong(&["add", "2", "--passkey", "a b"], "expected 16 to 64 letters, digits, - and _");
    wrong(&["ban", "2"], "there is no member 2");
    wrong(&["show", "99"], "there is no member 99");
    wrong(&["set", "1"], "nothing to set");
    wrong(&["torrent", "9"], "there is no torrent 9");
    wrong(&["token", "1", "9"], "there is no such torrent");
    accounts(&daemon, &["ban", "1"]);
    assert_eq!(member(&daemon, 1)["enabled"], false);
    let audit = daemon.admin_page("/api/audit");
    assert!(audit.contains("member 1: ban") && audit.contains("member 1: passkey"), "{audit}");
    assert!(!audit.contains(&passkey), "{audit}");
    let explained = |letter| {
        let query = of(letter, &passkey).query();
        let url = format!("http://127.0.0.1:{}/announce?{query}", daemon.http.port());
        let admin = daemon.admin.to_string();
        let output = run(&["explain", &url, "--admin", &admin], daemon.folder.path());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explained('a').contains("  member 1 (banned)\n  torrent 1\n"), "{}", explained('a'));
    assert!(explained('c').contains("  torrent unknown\n"), "{}", explained('c'));
    assert!(accounts(&daemon, &["list"]).contains("banned"));
    accounts(&daemon, &["unban", "1"]);
    accounts(&daemon, &["set", "1", "--leech", "false", "--group", "3", "--slots", "5"]);
    let shown = member(&daemon, 1);
    assert_eq!(json!([shown["leech"], shown["group"], shown["slots"]]), json!([false, 3, 5]));
    accounts(&daemon, &["set", "1", "--slots", "none", "--leech", "true"]);
    assert_eq!(member(&daemon, 1)["slots"], Value::Null);
    let other = accounts(&daemon, &["passkey", "1"]);
    assert_ne!(other.trim(), passkey);
    let mine = |passkey: &str| of('a', passkey).event("started").http(daemon.http).unwrap();
    mine(&passkey);
    assert_eq!(member(&daemon, 1)["sessions"], json!([]), "the old passkey is unknown");
    mine(other.trim());
    assert!(accounts(&daemon, &["show", "1"]).contains("session     torrent 1, active"));
    assert!(accounts(&daemon, &["torrent", "1"]).contains(&hex('a')));
}

#[test]
fn a_ban_holds_from_the_next_announce_on() {
    let daemon = Daemon::start(&format!(
        "{ACCOUNTS}policies: [{{ name: members, plugin: PLUGINS/passkey.wasm,
         credential: ['query:passkey'], config: {{ accounts: true }} }}]\n"
    ));
    accounts(&daemon, &["torrent", "1", "--info-hash", &hex('a')]);
    let passkeys = ["1", "2"].map(|id| accounts(&daemon, &["add", id]).trim().to_owned());
    let refusal = |letter, passkey: &str| of(letter, passkey).http(daemon.http).err();
    let is = |text: &str| Some(text.to_owned());
    for _ in 0..3 {
        // The second time, the verdict is remembered.
        assert_eq!(refusal('a', &passkeys[0]), None);
        assert_eq!(refusal('a', &passkeys[1]), None);
        assert_eq!(refusal('b', &passkeys[1]), is("unregistered torrent"));
        accounts(&daemon, &["ban", "1"]);
        assert_eq!(refusal('a', &passkeys[0]), is("account disabled"));
        assert_eq!(refusal('a', &passkeys[1]), None);
        accounts(&daemon, &["unban", "1"]);
    }
    accounts(&daemon, &["set", "1", "--leech", "false"]);
    assert_eq!(refusal('a', &passkeys[0]), is("leeching not allowed"));
    accounts(&daemon, &["torrent", "1", "--status", "0"]);
    assert_eq!(refusal('a', &passkeys[1]), is("torrent not approved"));
    accounts(&daemon, &["torrent", "1", "--deleted", "true"]);
    assert_eq!(refusal('a', &passkeys[1]), is("unregistered torrent"));
    assert_eq!(refusal('a', "nobody-has-this-passkey"), is("unknown passkey"));
    // A refused announce is counted: who may not download any more cannot download for nothing.
    of('a', &passkeys[0]).moved(0, 9).http(daemon.http).unwrap_err();
    of('a', &passkeys[0]).moved(0, 9).event("stopped").http(daemon.http).unwrap();
    assert_eq!(credit(&daemon, 1), (0, 9));
}

#[test]
fn own_peers_are_not_given_and_those_of_a_banned_member_leave_at_once() {
    let (daemon, first) = start();
    let second = accounts(&daemon, &["add", "2"]).trim().to_owned();
    let at = |letter, passkey: &str, port: u16| {
        let reply =
            of(letter, passkey).port(port).peer_id([port as u8; 20]).http(daemon.http).unwrap();
        let mut ports: Vec<_> = reply.peers.iter().map(|peer| peer.port()).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(at('a', &first, 1), [0_u16; 0]);
    assert_eq!(at('a', &first, 2), [0_u16; 0], "its own");
    assert_eq!(at('a', &second, 3), [1, 2]);
    assert_eq!(at('a', &first, 1), [3]);
    at('b', &first, 1);
    let few = of('a', &first).port(1).peer_id([1; 20]).want(1).http(daemon.http).unwrap();
    assert_eq!(few.peers[0].port(), 3, "others take the place of its own");
    let daemon = daemon.restart();
    let count = |letter| Client::connect(daemon.udp).scrape(&[torrent(letter)]).unwrap()[0];
    assert_eq!((count('a')[2], count('b')[2]), (3, 1));
    accounts(&daemon, &["ban", "1"]);
    assert_eq!((count('a')[2], count('b')[2]), (1, 0));
    accounts(&daemon, &["torrent", "1", "--deleted", "true"]);
    assert_eq!(count('a')[2], 0);
}

#[test]
fn a_policy_decides_what_is_credited() {
    let daemon = Daemon::start(&format!(
        "{ACCOUNTS}policies: [{{ name: tally, plugin: PLUGINS/test-tally.wasm }}]\n"
    ));
    accounts(&daemon, &["torrent", "12", "--info-hash", &hex('a')]);
    let passkey = accounts(&daemon, &["add", "7"]).trim().to_owned();
    accounts(&daemon, &["token", "7", "12"]);
    let asking = of('a', &passkey).with("ask=account");
    let warning =
        |announce: Announce| announce.dictionary(daemon.http).text("warning message").unwrap();
    let said = warning(asking.clone().event("started"));
    assert_eq!(
        said,
        "Some((7, 0, Rights(ENABLED | LEECH | VISIBLE))) Some((12, Marks(APPROVED | TOKEN)))"
    );
    assert!(warning(asking.clone().moved(10, 10)).starts_with("Some((7, 1,"), "its peer is there");
    asking.clone().moved(100, 100).event("stopped").http(daemon.http).unwrap();
    assert_eq!(credit(&daemon, 7), (200, 50));
    assert_eq!(warning(of('b', "nobody-has-this-passkey").with("ask=account")), "None None");
    let url = format!("http://127.0.0.1:{}/announce?{}", daemon.http.port(), asking.query());
    let admin = daemon.admin.to_string();
    let explained = run(&["explain", &url, "--admin", &admin], daemon.folder.path());
    let explained = String::from_utf8(explained.stdout).unwrap();
    for line in ["  member 7\n", "  torrent 12\n", "    credit: [200,50]\n"] {
        assert!(explained.contains(line), "{explained}");
    }
    assert_eq!(credit(&daemon, 7), (200, 50), "an explanation has no effect");
}

#[test]
fn many_are_imported_at_once() {
    let (daemon, _) = start();
    let lines = |members: std::ops::Range<u64>| -> String {
        members.map(|id| format!("{{\"member\": {id}, \"passkey\": \"{id:032}\"}}\n")).collect()
    };
    let file = daemon.folder.path().join("members");
    fs::write(&file, lines(2..30_000)).unwrap();
    let said = accounts(&daemon, &["import", file.to_str().unwrap()]);
    assert_eq!(said, "29998 members, 0 groups, 0 torrents, 0 tokens\n");
    assert_eq!(accounts(&daemon, &["list", "--json"]).lines().count(), 29_999);
    assert_eq!(daemon.metric("karuta_accounts_members"), 29_999.0);
    fs::write(&file, lines(40_000..40_002) + "{\"member\": 7, \"lech\": true}\n").unwrap();
    let output = try_accounts(&daemon, &["import", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 3: unknown field `lech`"), "{said}");
    assert_eq!(daemon.metric("karuta_accounts_members"), 29_999.0, "nothing was changed");
    fs::write(&file, "\n{\"member\": 2, \"leech\": true, \"leech\": false}\n").unwrap();
    let output = try_accounts(&daemon, &["import", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 2: `leech` is there twice"), "{said}");
    let daemon = daemon.restart();
    assert_eq!(daemon.metric("karuta_accounts_members"), 29_999.0);
}

#[test]
fn torrents_are_listed() {
    let (daemon, _) = start();
    accounts(&daemon, &["torrent", "2", "--deleted", "true"]);
    let all = accounts(&daemon, &["torrents"]);
    let lines: Vec<Vec<_>> = all.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3, "{all}");
    assert_eq!(lines[1], ["1", &hex('a'), "approved", "0"]);
    assert_eq!(lines[2], ["2", &hex('b'), "deleted", "0"]);
    let file = daemon.folder.path().join("torrents");
    let line = |id: u64| format!("{{\"torrent\": {id}, \"info_hash\": \"{id:040}\"}}\n");
    fs::write(&file, (3..=2500).map(line).collect::<String>()).unwrap();
    accounts(&daemon, &["import", file.to_str().unwrap()]);
    let all = accounts(&daemon, &["torrents", "--json"]);
    let id = |line| serde_json::from_str::<Value>(line).unwrap()["torrent"].as_u64().unwrap();
    assert!(all.lines().map(id).eq(1..=2500), "each once, in order, over several pages");
}

#[test]
fn a_policy_that_needs_accounts_is_not_accepted_without_them() {
    let policy = "policies: [{ name: members, plugin: PLUGINS/passkey.wasm, \
                  credential: ['query:passkey'], config: { accounts: true } }]\n";
    let said = complaint(folder(&format!("{LISTENERS}{policy}")).path());
    let expected = "policies[0].config.accounts: expected a section `accounts` as well";
    assert!(said.contains(expected), "{said}");
}

/// Returns why a tracker does not start in a folder.
fn complaint(folder: &Path) -> String {
    let output = karuta(&["run"], folder).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn books_that_cannot_be_used_are_an_error_at_the_start() {
    let folder = folder(&format!("{LISTENERS}{ACCOUNTS}state_dir: state\n"));
    let first = Daemon::start_in(folder);
    let second = karuta_tests::folder(&format!("{LISTENERS}{ACCOUNTS}"));
    let config = fs::read_to_string(second.path().join("config.yaml")).unwrap();
    let state = first.folder.path().join("state");
    let shared = config.lines().filter(|line| !line.starts_with("state_dir"));
    let shared: String = shared.map(|line| format!("{line}\n")).collect();
    let shared = format!("{shared}state_dir: {}\n", state.display());
    fs::write(second.path().join("config.yaml"), shared).unwrap();
    assert!(complaint(second.path()).contains("accounts.db: another process has it open"));
    let folder = first.stop();
    fs::write(folder.path().join("state/accounts.db"), [b'x'; 5000]).unwrap();
    let said = complaint(folder.path());
    assert!(said.contains("it is damaged") && said.contains("put a backup in its place"), "{said}");
}

#[test]
fn only_who_has_the_right_sees_members() {
    let admin =
        "admin: { listen: '127.0.0.1:0', tokens: [{ name: a, token: { file: a }, may: [read] },
        { name: b, token: { file: b }, may: [accounts] }] }";
    let yaml = LISTENERS.replace("admin: { listen: '127.0.0.1:0' }", admin);
    let folder = folder(&format!("{yaml}{ACCOUNTS}"));
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), name.repeat(32)).unwrap();
    }
    let daemon = Daemon::start_in(folder);
    let status = |token: &str, path: &str| {
        let header = format!("authorization: Bearer {}", token.repeat(32));
        get(daemon.admin, path, &[&header]).status
    };
    assert_eq!(status("a", "/api/accounts"), 403);
    assert_eq!(status("a", "/api/accounts/members"), 403);
    assert_eq!(status("b", "/api/accounts/members"), 200);
    assert_eq!(status("b", "/api/accounts/members/1"), 404);
    assert_eq!(status("b", "/api/accounts/members?n=0"), 400);
    assert_eq!(status("b", "/api/accounts"), 200);
}
