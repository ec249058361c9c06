//! passkey: announces and scrapes are decided by the member that the passkey belongs to.

use std::fs;

use karuta_tests::announce::{Announce, reply, torrent, url_data};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, bencode, eventually, folder, get, run};

const MEMBERS: &str = "
tracker: { workers: 2 }
policies:
  - name: members
    plugin: PLUGINS/passkey.wasm
    credential: ['path:passkey', 'query:passkey']
    config: { users_from: users }
    data: { users: { file: users.jsonl, format: raw, required: true } }
";

const USERS: &str = r#"{"passkey": "full", "id": 7}
{"passkey": "seeder", "id": 8, "leech": false}
{"passkey": "banned", "id": 9, "enabled": false}
"#;

fn with(yaml: &str, users: &str) -> Daemon {
    let folder = folder(&format!("{}{yaml}", karuta_tests::LISTENERS));
    fs::write(folder.path().join("users.jsonl"), users).unwrap();
    Daemon::start_in(folder)
}

/// Replaces the list by renaming a new one over it, as documented.
fn replace(daemon: &Daemon, users: &str) {
    let file = daemon.folder.path().join("users.jsonl");
    fs::write(file.with_extension("new"), users).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
}

/// Returns why an announce on a path is refused, or nothing if it is admitted.
fn over_http(daemon: &Daemon, path: &str, announce: &Announce) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    let answer = get(daemon.http, &format!("{path}{join}{}", announce.query()), &[]);
    reply(&bencode::read(&answer.body)).err().unwrap_or_default()
}

fn over_udp(daemon: &Daemon, url: &str, announce: &Announce) -> String {
    let udp = Client::connect(daemon.udp);
    let mut packet = announce.packet(udp.id, 1);
    packet.extend(url_data(url));
    let answer = udp.exchange(&packet);
    match answer[3] {
        1 => String::new(),
        _ => String::from_utf8_lossy(&answer[8..]).trim_end_matches('\0').to_owned(),
    }
}

#[test]
fn a_passkey_is_taken_from_path_and_query_over_both_transports() {
    let daemon = with(MEMBERS, USERS);
    for (url, expected) in [
        ("/announce/full", ""),
        ("/full/announce", ""),
        ("/announce?passkey=full", ""),
        ("/announce?passkey=f%75ll", ""),
        ("/announce", "missing passkey"),
        ("/announce?passkey=", "missing passkey"),
        ("/announce?key=full", "missing passkey"),
        ("/announce/other", "unknown passkey"),
        ("/announce/other?passkey=full", "unknown passkey"),
        ("/announce/banned", "account disabled"),
        ("/announce/seeder", "leeching not allowed"),
    ] {
        // The second time, the verdict may be a remembered one.
        for _ in 0..2 {
            assert_eq!(over_http(&daemon, url, &Announce::of('a')), expected, "{url}");
            assert_eq!(over_udp(&daemon, url, &Announce::of('a')), expected, "{url}");
        }
    }
    assert_eq!(Announce::of('a').udp(&Client::connect(daemon.udp)), Err("missing passkey".into()));
}

#[test]
fn rights_are_judged_by_what_is_left() {
    let daemon = with(MEMBERS, USERS);
    for _ in 0..2 {
        for (event, left, expected) in [
            ("started", 0, ""),
            ("", 0, ""),
            ("completed", 0, ""),
            ("", 1, "leeching not allowed"),
            ("started", u64::MAX >> 1, "leeching not allowed"),
            ("paused", 1, "leeching not allowed"),
            ("stopped", 1, ""),
        ] {
            let announce = Announce::of('a').left(left).event(event);
            let answer = over_http(&daemon, "/announce/seeder", &announce);
            assert_eq!(answer, expected, "{event} {left}");
        }
    }
}

#[test]
fn any_client_may_stop_but_only_members_complete() {
    let daemon = with(MEMBERS, USERS);
    let (full, stranger) = (Announce::of('a').port(1), Announce::of('a').port(2));
    assert_eq!(over_http(&daemon, "/announce/full", &full), "");
    for (path, refused) in [
        ("/announce", "missing passkey"),
        ("/announce/other", "unknown passkey"),
        ("/announce/banned", "account disabled"),
    ] {
        let completed = full.clone().seeder().event("completed");
        assert_eq!(over_http(&daemon, path, &completed), refused, "{path}");
        let stopped = stranger.clone().event("stopped");
        assert_eq!(over_http(&daemon, path, &stopped), "", "{path}");
        let answer = get(daemon.http, &format!("{path}?{}", stopped.query()), &[]);
        assert_eq!(reply(&bencode::read(&answer.body)).unwrap().peers, [], "no peers for leaving");
    }
    let counts = || {
        let answer = get(daemon.http, "/scrape/full?info_hash=aaaaaaaaaaaaaaaaaaaa", &[]);
        answer.body_text()
    };
    assert!(
        counts().contains("d8:completei0e10:downloadedi0e11:downloadersi1e10:incompletei1ee"),
        "{}",
        counts()
    );
    // A member that has been disabled since then may stop.
    replace(&daemon, &USERS.replace("\"id\": 7", "\"enabled\": false"));
    eventually("the new list counts", || {
        over_http(&daemon, "/announce/full", &full) == "account disabled"
    });
    assert_eq!(over_http(&daemon, "/announce/full", &full.clone().event("stopped")), "");
    let answer = get(daemon.http, "/scrape/seeder?info_hash=aaaaaaaaaaaaaaaaaaaa", &[]).body_text();
    assert!(answer.contains("10:incompletei0e"), "{answer}");
}

#[test]
fn scrapes_need_a_passkey_unless_they_are_open() {
    let daemon = with(MEMBERS, USERS);
    let open = with(&MEMBERS.replace("users }", "users, scrapes: false }"), USERS);
    let scrape = |daemon: &Daemon, path: &str| {
        let answer = get(daemon.http, &format!("{path}info_hash=aaaaaaaaaaaaaaaaaaaa"), &[]);
        bencode::read(&answer.body).text("failure reason").unwrap_or_default()
    };
    for (path, expected) in [
        ("/scrape/full?", ""),
        ("/seeder/scrape?", ""),
        ("/scrape?passkey=full&", ""),
        ("/scrape?", "missing passkey"),
        ("/scrape/other?", "unknown passkey"),
        ("/scrape/banned?", "account disabled"),
    ] {
        for _ in 0..2 {
            assert_eq!(scrape(&daemon, path), expected, "{path}");
            assert_eq!(scrape(&open, path), "", "{path}");
        }
    }
    let over_udp = |daemon: &Daemon| Client::connect(daemon.udp).scrape(&[torrent('a')]).map(drop);
    assert_eq!(over_udp(&daemon), Err("missing passkey".into()), "UDP has no place for one");
    assert_eq!(over_udp(&open), Ok(()));
}

#[test]
fn members_come_and_go_and_a_broken_list_changes_nothing() {
    let daemon = with(MEMBERS, USERS);
    let is_in = |passkey: &str| {
        over_http(&daemon, &format!("/announce/{passkey}"), &Announce::of('a')).is_empty()
    };
    // 20 announces reach both workers, and each remembers its verdicts.
    let everywhere = |passkey, expected| (0..20).all(|_| is_in(passkey) == expected);
    assert!(everywhere("full", true) && everywhere("newcomer", false));
    let remembered = "karuta_policy_calls_total{policy=\"members\",hook=\"announce\",\
                      verdict=\"next\",remembered=\"true\"}";
    assert!(daemon.metric(remembered) >= 10.0);

    replace(&daemon, "{\"passkey\": \"newcomer\"}\n");
    eventually("the new list counts everywhere", || everywhere("newcomer", true));
    assert!(everywhere("full", false));

    let errors = "karuta_data_errors_total{policy=\"members\",data=\"users\"}";
    for (count, list, message) in [
        (
            1.0,
            "{\"passkey\": \"s3cret\"}\n{\"passkey\": \"s3cret\"}\n",
            "line 2: the same passkey as in line 1",
        ),
        (
            2.0,
            "\n{\"passkey\": \"s3cret\", \"enable\": false}\n",
            "line 2: expected a mapping such as",
        ),
        (3.0, "s3cret\n", "line 1: expected a mapping such as"),
        (4.0, "\n\n{\"s3cret\": 7}\n", "line 3: expected a mapping such as"),
    ] {
        replace(&daemon, list);
        eventually("it is refused", || daemon.metric(errors) == count);
        eventually(message, || daemon.log().contains(message));
        assert!(everywhere("newcomer", true) && everywhere("s3cret", false));
    }
    assert!(!daemon.log().contains("s3cret"), "passkeys are secrets");
    let restarts = "karuta_policy_restarts_total{policy=\"members\"}";
    assert_eq!(daemon.metric(restarts), 0.0);
}

#[test]
fn a_wrong_or_missing_list_is_a_configuration_error() {
    let check = |users: Option<&str>, yaml: &str| {
        let folder = folder(&format!("{}{yaml}", karuta_tests::LISTENERS));
        if let Some(users) = users {
            fs::write(folder.path().join("users.jsonl"), users).unwrap();
        }
        let output = run(&["check"], folder.path());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(Some(USERS), MEMBERS).0, Some(0));
    for (users, yaml, expected) in [
        (None, MEMBERS.to_owned(), "policies[0].data.users.file: no such file"),
        (
            Some("{}"),
            MEMBERS.to_owned(),
            "policies[0].data.users: line 1: expected a mapping such as",
        ),
        (
            Some(USERS),
            MEMBERS.replace("users_from: users", "users_from: user"),
            "policies[0].config.users_from: there is no data source `user`",
        ),
    ] {
        let (code, said) = check(users, &yaml);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

/// The documentation promises this number.
#[test]
fn a_list_of_150_000_members_fits_the_default_limits() {
    let line = |n: u32| format!("{{\"passkey\": \"{:032x}\", \"id\": {n}}}\n", u128::from(n) << 90);
    let users: String = (1..=150_000).map(line).collect();
    let daemon = with(MEMBERS, &users);
    for n in [1, 77_777, 150_000_u32] {
        let path = format!("/announce/{:032x}", u128::from(n) << 90);
        assert_eq!(over_http(&daemon, &path, &Announce::of('a')), "", "{n}");
    }
    let path = format!("/announce/{:032x}", 150_001_u128 << 90);
    assert_eq!(over_http(&daemon, &path, &Announce::of('a')), "unknown passkey");
}
