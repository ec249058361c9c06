//! Lists that are edited while the tracker serves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;

use karuta_tests::announce::{Announce, hex};
use karuta_tests::{
    Daemon, LISTENERS, eventually, exchange, folder, get, karuta, run, write_config,
};
use serde_json::{Value, json};

const EDITED: &str = "
tracker: { workers: 3 }
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: { allow_from: approved, scrapes: pass }
    data:
      approved: { file: approved.txt, format: info-hashes, edits: true }
      fixed: { file: fixed.txt, format: strings }
";

const LIST: &str = "/api/lists/torrents/approved";

/// Starts a daemon whose list has these torrents.
fn with(letters: &str) -> Daemon {
    let folder = folder(&format!("{LISTENERS}{EDITED}"));
    let lines: String = letters.chars().map(|letter| hex(letter) + " # ours\n").collect();
    fs::write(folder.path().join("approved.txt"), lines).unwrap();
    Daemon::start_in(folder)
}

/// Sends a request, and returns the status and the answer as JSON.
fn ask(admin: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answer = exchange(admin, (head + body).as_bytes());
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[track_caller]
fn edit(daemon: &Daemon, body: &Value) -> Value {
    let (status, answer) = ask(daemon.admin, "POST", LIST, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Returns the letters of the torrents that may be announced; `?` for one that only some of many
/// connections, which are spread over the workers, may announce.
fn admitted(daemon: &Daemon) -> String {
    const TRIES: usize = 20;
    let judge = |letter| {
        let tries = (0..TRIES).filter(|_| Announce::of(letter).http(daemon.http).is_ok());
        match tries.count() {
            0 => None,
            TRIES => Some(letter),
            _ => Some('?'),
        }
    };
    "abcdef".chars().filter_map(judge).collect()
}

/// Runs a command on a daemon.
fn command(daemon: &Daemon, arguments: &[&str]) -> Output {
    let admin = daemon.admin.to_string();
    run(&[&["list"], arguments, &["--admin", &admin]].concat(), daemon.folder.path())
}

fn printed(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = command(daemon, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_edit_is_obeyed_by_all_workers_at_once_and_outlives_a_restart() {
    let daemon = with("ab");
    assert_eq!(admitted(&daemon), "ab");
    let version = edit(&daemon, &json!({}))["version"].as_u64().unwrap();
    let wish = json!({ "add": [hex('c').to_uppercase(), hex('a')], "remove": [hex('b')] });
    let did = edit(&daemon, &wish);
    let expected = json!({
        "version": version + 1, "added": 1, "removed": 1, "unchanged": 1, "entries": 2
    });
    assert_eq!(did, expected);
    assert_eq!(admitted(&daemon), "ac");
    let again = edit(&daemon, &wish);
    assert_eq!((&again["version"], &again["unchanged"]), (&json!(version + 1), &json!(3)));
    assert_eq!(daemon.metric("karuta_list_edits{policy=\"torrents\",data=\"approved\"}"), 2.0);
    assert_eq!(daemon.metric("karuta_data_entries{policy=\"torrents\",data=\"approved\"}"), 2.0);
    let status = run(&["status", "--admin", &daemon.admin.to_string()], daemon.folder.path());
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("2 edits not in the file"), "{status}");

    let daemon = daemon.restart();
    assert_eq!(admitted(&daemon), "ac");
    // The file says the same as one of them by now.
    fs::write(daemon.folder.path().join("approved.txt"), hex('a')).unwrap();
    let edits = || {
        let edits = unchunked(&daemon, &format!("{LIST}/edits"));
        serde_json::from_str::<Value>(&edits).unwrap().as_array().unwrap().clone()
    };
    eventually("an edit is absorbed", || edits().len() == 1);
    assert_eq!((&edits()[0]["entry"], &edits()[0]["change"]), (&json!(hex('c')), &json!("add")));
    assert_eq!(admitted(&daemon), "ac");
    let (status, answer) = ask(daemon.admin, "DELETE", &format!("{LIST}/edits"), "");
    assert_eq!((status, &answer["removed"]), (200, &json!(1)));
    assert_eq!(admitted(&daemon), "a");
}

#[test]
fn a_reload_keeps_edits_even_if_the_list_becomes_another() {
    let daemon = with("a");
    edit(&daemon, &json!({ "add": [hex('b'), hex('c')] }));
    let path = daemon.folder.path();
    fs::write(path.join("other.txt"), hex('c') + "\n" + &hex('d')).unwrap();
    let other = EDITED.replace("approved.txt", "other.txt");
    let reload = || ask(daemon.admin, "POST", "/api/reload", "").0;
    write_config(path, &format!("{LISTENERS}{other}  - {{ name: no, plugin: none.wasm }}\n"));
    assert_eq!((reload(), admitted(&daemon)), (409, "abc".to_owned()));
    edit(&daemon, &json!({ "remove": [hex('b')] }));
    assert_eq!(admitted(&daemon), "ac");
    write_config(path, &format!("{LISTENERS}{other}"));
    assert_eq!((reload(), admitted(&daemon)), (200, "cd".to_owned()));
    edit(&daemon, &json!({ "add": [hex('e')] }));
    assert_eq!(admitted(&daemon), "cde");
    eventually("only one edit is not in the file", || {
        daemon.metric("karuta_list_edits{policy=\"torrents\",data=\"approved\"}") == 1.0
    });
}

#[test]
fn a_refused_reload_with_another_format_leaves_the_edits_alone() {
    let daemon = with("a");
    let path = daemon.folder.path();
    let other =
        EDITED.replace("approved.txt, format: info-hashes", "approved.txt, format: strings");
    write_config(path, &format!("{LISTENERS}{other}"));
    assert_eq!(ask(daemon.admin, "POST", "/api/reload", "").0, 409);
    edit(&daemon, &json!({ "add": [hex('b')] }));
    write_config(path, &format!("{LISTENERS}{EDITED}"));
    let daemon = daemon.restart();
    assert_eq!(admitted(&daemon), "ab");
}

#[test]
fn edits_until_a_reload_end_with_the_next_version_of_the_file() {
    let until = EDITED.replace("edits: true", "edits: until-reload");
    let daemon = Daemon::start(&until);
    let file = daemon.folder.path().join("approved.txt");
    edit(&daemon, &json!({ "add": [hex('a')] }));
    fs::write(&file, hex('b')).unwrap();
    // It was the first one.
    eventually("the file is read", || admitted(&daemon) == "ab");
    fs::write(&file, hex('c')).unwrap();
    eventually("the file counts", || admitted(&daemon) == "c");
    edit(&daemon, &json!({ "add": [hex('a')] }));
    assert_eq!(admitted(&daemon), "ac");
    assert_eq!(ask(daemon.admin, "POST", "/api/reload", "").0, 200);
    eventually("a reload ends it", || admitted(&daemon) == "c");
}

#[test]
fn an_entry_says_who_lists_it() {
    let daemon = with("a");
    let contains = |letter| {
        let path = format!("{LIST}?contains={}", hex(letter));
        serde_json::from_str::<Value>(&daemon.admin_page(&path)).unwrap()
    };
    edit(&daemon, &json!({ "add": [hex('b')], "note": "ticket 41", "ttl": "30d" }));
    edit(&daemon, &json!({ "add": [hex('c')], "remove": [hex('a')], "ttl": "1ms" }));
    eventually("the term ends", || contains('c')["by"] == "expired");
    assert_eq!((&contains('c')["listed"], &contains('a')["listed"]), (&json!(false), &json!(true)));
    assert_eq!(contains('a')["by"], "file");
    assert_eq!(contains('d'), json!({ "listed": false, "by": null }));
    let b = contains('b');
    assert_eq!(
        (&b["listed"], &b["by"], &b["note"]),
        (&true.into(), &"edit".into(), &"ticket 41".into())
    );
    assert_eq!(b["who"], "address 127.0.0.1");
    let since = b["since"].as_u64().unwrap();
    assert_eq!(b["until"], since + 30 * 86_400_000);
    edit(&daemon, &json!({ "remove": [hex('a')] }));
    assert_eq!((&contains('a')["listed"], &contains('a')["by"]), (&false.into(), &"edit".into()));
}

#[test]
fn bad_input_changes_nothing() {
    let daemon = with("a");
    let hash = hex('b');
    let many = format!("[\"{hash}\"{}]", format!(",\"{hash}\"").repeat(100_000));
    let long = format!("{{\"note\": \"{}\"}}", " ".repeat(17 << 20));
    for (path, body, status, fields) in [
        (
            LIST,
            json!({ "add": [hash, "x"] }).to_string(),
            422,
            json!({ "error": "entry", "list": "add", "index": 1 }),
        ),
        (
            LIST,
            json!({ "remove": [""] }).to_string(),
            422,
            json!({ "error": "entry", "list": "remove", "index": 0 }),
        ),
        (
            LIST,
            json!({ "add": [hash], "remove": [hash] }).to_string(),
            422,
            json!({ "error": "both", "index": 0 }),
        ),
        (
            LIST,
            json!({ "add": [hash], "if_version": 0 }).to_string(),
            409,
            json!({ "error": "version", "version": 1 }),
        ),
        (LIST, format!("{{\"add\": {many}}}"), 413, json!({ "error": "too-large" })),
        (LIST, long, 413, json!({ "error": "too-large" })),
        (LIST, "{".to_owned(), 400, json!({ "error": "body" })),
        (
            LIST,
            json!({ "add": [hash], "ttl": "soon" }).to_string(),
            400,
            json!({ "error": "body" }),
        ),
        ("/api/lists/nobody/approved", "{}".to_owned(), 404, json!({ "error": "unknown" })),
        ("/api/lists/torrents/nothing", "{}".to_owned(), 404, json!({ "error": "unknown" })),
        ("/api/lists/torrents/approved/more", "{}".to_owned(), 404, json!({ "error": "unknown" })),
        ("/api/lists/torrents/fixed", "{}".to_owned(), 409, json!({ "error": "off" })),
    ] {
        let (found, answer) = ask(daemon.admin, "POST", path, &body);
        let start: String = body.chars().take(80).collect();
        assert_eq!(found, status, "{start}: {answer}");
        for (key, value) in fields.as_object().unwrap() {
            assert_eq!(&answer[key], value, "{start}: {answer}");
        }
        assert!(answer["detail"].is_string(), "{start}: {answer}");
    }
    let form = format!(
        "POST {LIST} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    assert_eq!(exchange(daemon.admin, form.as_bytes()).status, 415);
    assert_eq!(ask(daemon.admin, "PUT", LIST, "").0, 405);
    assert_eq!(get(daemon.admin, &format!("{LIST}?contains=x"), &[]).status, 422);
    assert_eq!(get(daemon.admin, &format!("{LIST}?all=1"), &[]).status, 400);
    assert_eq!(admitted(&daemon), "a");
    let (_, lists) = ask(daemon.admin, "GET", "/api/lists", "");
    let mut approved = lists[0].clone();
    assert!(approved["age_seconds"].take().is_u64());
    let expected = json!({
        "policy": "torrents", "data": "approved", "format": "info-hashes", "origin": "file",
        "version": 1, "entries": 1, "age_seconds": null, "edits": 0, "errors": 0, "error": null
    });
    assert_eq!(approved, expected);
    assert_eq!((&lists[1]["data"], &lists[1]["edits"]), (&json!("fixed"), &json!(null)));
}

#[test]
fn without_room_for_the_journal_nothing_changes() {
    let daemon = with("a");
    edit(&daemon, &json!({ "add": [hex('b')] }));
    let pid = format!("--pid={}", daemon.pid());
    let limit = |bytes: &str| {
        let set = Command::new("prlimit").args([&pid, &format!("--fsize={bytes}:")]).status();
        assert!(set.unwrap().success());
    };
    limit("100");
    for _ in 0..2 {
        let wish = json!({ "add": [hex('c')], "remove": [hex('a')] }).to_string();
        let (status, answer) = ask(daemon.admin, "POST", LIST, &wish);
        assert_eq!((status, &answer["error"]), (507, &json!("journal")), "{answer}");
    }
    assert_eq!(admitted(&daemon), "ab");
    assert_eq!(
        daemon.metric("karuta_list_journal_errors_total{policy=\"torrents\",data=\"approved\"}"),
        2.0
    );
    assert_eq!(get(daemon.admin, "/readyz", &[]).status, 200);
    limit("unlimited");
    edit(&daemon, &json!({ "add": [hex('d')] }));
    let daemon = daemon.restart();
    assert_eq!(admitted(&daemon), "abd");
}

#[test]
fn a_damaged_journal_costs_only_what_is_behind_the_damage() {
    let daemon = with("a");
    for letter in ['b', 'c', 'd'] {
        edit(&daemon, &json!({ "add": [hex(letter)] }));
    }
    let folder = daemon.stop();
    let journal = folder.path().join("state/lists/torrents.approved.log");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen(&hex('c'), &hex('f'), 1)).unwrap();
    let daemon = Daemon::start_in(folder);
    daemon.logs("journal of edits is damaged");
    assert_eq!(admitted(&daemon), "ab");
    assert_eq!(get(daemon.admin, "/readyz", &[]).status, 200);
    let files = fs::read_dir(daemon.folder.path().join("state/lists")).unwrap();
    assert!(files.flatten().any(|file| file.file_name().to_string_lossy().contains(".damaged-")));
}

#[test]
fn lists_need_a_right_of_their_own() {
    let tokens = "
admin:
  listen: '127.0.0.1:0'
  tokens:
    - { name: editor, token: { env: EDITOR }, may: [lists] }
    - { name: reader, token: { env: READER }, may: [read, peers, explain, reload] }
";
    let listeners = "http: [{ listen: '[::]:0' }]\nudp: [{ listen: '[::]:0' }]\n";
    let folder = folder(&format!("{listeners}{tokens}{EDITED}"));
    let mut command = karuta(&["run"], folder.path());
    command.env("EDITOR", "the token of an editor").env("READER", "the token of a reader");
    let daemon = Daemon::start_by(command, folder);
    let ask = |who: &str, method: &str, path: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the token of {who}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        exchange(daemon.admin, request.as_bytes()).status
    };
    let (edits, fold) = (format!("{LIST}/edits"), format!("{LIST}/fold"));
    for (method, path) in
        [("GET", LIST), ("POST", LIST), ("GET", &edits), ("DELETE", &edits), ("POST", &fold)]
    {
        assert_eq!(ask("an editor", method, path), 200, "{method} {path}");
        assert_eq!(ask("a reader", method, path), 403, "{method} {path}");
    }
    assert_eq!(
        (ask("a reader", "GET", "/api/lists"), ask("an editor", "GET", "/api/lists")),
        (200, 403)
    );
    assert_eq!(ask("nobody", "POST", LIST), 401);
}

#[test]
fn changes_are_audited_with_the_list_and_what_was_done() {
    let daemon = with("a");
    edit(&daemon, &json!({ "add": [hex('b')], "remove": [hex('a')] }));
    ask(daemon.admin, "POST", LIST, "{\"add\": [\"x\"]}");
    let audit: Value = serde_json::from_str(&daemon.admin_page("/api/audit")).unwrap();
    let result = |at: usize| audit[at]["result"].as_str().unwrap().to_owned();
    assert_eq!(result(0), "torrents/approved: added 1, removed 1, version 2");
    assert_eq!(audit[0]["address"], "127.0.0.1");
    assert!(result(1).starts_with("torrents/approved: refused: add[0]: `x`"), "{}", result(1));
}

#[test]
fn the_command_edits_shows_and_folds() {
    let daemon = with("ab");
    let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(hex);
    let list = ["torrents", "approved"];
    let with_list = |command: &'static str, more: &[&str]| {
        let arguments: Vec<String> =
            [&[command], &list[..], more].concat().iter().map(|s| s.to_string()).collect();
        arguments
    };
    let say = |command: &'static str, more: &[&str]| {
        let arguments = with_list(command, more);
        printed(&daemon, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(
        say("add", &[&c, "--note", "ticket 41"]),
        "1 added, 0 removed, 0 unchanged: version 2, 3 entries\n"
    );
    assert_eq!(say("remove", &[&b]), "0 added, 1 removed, 0 unchanged: version 3, 2 entries\n");
    say("add", &[&d, "--ttl", "1h"]);
    let sorted = |text: String| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(say("show", &[])), [&a, &c, &d].map(String::clone).into());
    let edits = say("edits", &[]);
    assert!(edits.contains(&format!("- {b}")) && edits.contains("ticket 41"), "{edits}");
    assert!(
        say("contains", &[&a, &c])
            .starts_with(&format!("{a}: listed by the file\n{c}: listed by an edit: "))
    );
    let missing = command(&daemon, &["contains", "torrents", "approved", &a, &b]);
    assert_eq!(missing.status.code(), Some(1));
    let nobody = ["list", "contains", "torrents", "approved", &a, "--admin", "127.0.0.1:1"];
    assert_eq!(run(&nobody, daemon.folder.path()).status.code(), Some(3));
    let stale = command(&daemon, &["add", "torrents", "approved", &b, "--if-version", "2"]);
    let said = String::from_utf8_lossy(&stale.stderr).into_owned();
    assert!(!stale.status.success() && said.contains("the list has version 4 by now"), "{said}");
    let overview = printed(&daemon, &["show"]);
    assert!(
        overview.contains("torrents approved") && overview.contains("torrents fixed"),
        "{overview}"
    );

    // What others say of the same entries.
    let lines = [&a, &c, &d].map(|hash| format!("{hash}\n")).concat();
    let mut sum =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(say("digest", &[]).split(' ').next(), sum.split(' ').next());

    let mut folded = String::new();
    eventually("the file is still", || {
        let output = command(&daemon, &["fold", "torrents", "approved"]);
        folded = String::from_utf8(output.stdout).unwrap();
        output.status.success()
    });
    assert_eq!(folded, "wrote 2 edits into the file\n1 edits have a term, and stay edits\n");
    let file = fs::read_to_string(daemon.folder.path().join("approved.txt")).unwrap();
    assert_eq!(file, format!("{a} # ours\n{c}\n"));
    eventually("the edits are absorbed", || say("edits", &[]).lines().count() == 1);
    assert_eq!(admitted(&daemon), "acd");

    let mut input = karuta(
        &["list", "add", "torrents", "approved", "-", "--admin", &daemon.admin.to_string()],
        daemon.folder.path(),
    );
    let mut input = input.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    input
        .stdin
        .take()
        .unwrap()
        .write_all(format!("# these\n{b} # too\r\n\n{a}\n").as_bytes())
        .unwrap();
    let said = String::from_utf8(input.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.starts_with("1 added, 0 removed, 1 unchanged"), "{said}");
    assert!(say("withdraw", &[]).starts_with("0 added, 2 removed"));
    assert_eq!(admitted(&daemon), "ac");
}

/// Whoever has an answer can rely on it: four writers take turns by `if_version` while the daemon is
/// killed again and again.
#[test]
fn every_answered_edit_is_there_after_a_kill_and_no_refused_one() {
    let mut daemon = with("");
    // What is listed for certain; and what was asked for when the daemon was killed.
    let answered = Mutex::new(BTreeSet::new());
    let (mut next, mut count) = (0, 0);
    for round in 0..5_u64 {
        let unanswered = Mutex::new(BTreeSet::new());
        let admin = daemon.admin;
        thread::scope(|scope| {
            for writer in 0..4_u64 {
                let (answered, unanswered) = (&answered, &unanswered);
                scope.spawn(move || {
                    let mut version = 0;
                    for number in 0.. {
                        let hash =
                            format!("{:040x}", (round << 48) | (writer << 40) | (next + number));
                        let body = json!({ "add": [hash], "if_version": version }).to_string();
                        match post(admin, &body) {
                            Some((200, did)) => {
                                assert_eq!(did["added"], 1, "{did}");
                                version = did["version"].as_u64().unwrap();
                                answered.lock().unwrap().insert(hash);
                            }
                            Some((409, refused)) => version = refused["version"].as_u64().unwrap(),
                            Some(other) => panic!("{other:?}"),
                            None => {
                                unanswered.lock().unwrap().insert(hash);
                                return;
                            }
                        }
                    }
                });
            }
            count += 10 + 7 * round as usize;
            eventually("enough edits", || answered.lock().unwrap().len() >= count);
            daemon.signal("KILL");
        });
        next += 1 << 20;
        daemon.wait();
        let elsewhere = tempfile::tempdir().unwrap();
        let folder = std::mem::replace(&mut daemon.folder, elsewhere);
        daemon = Daemon::start_in(folder);
        let listed: BTreeSet<String> = lines(&daemon, LIST);
        let mut answered = answered.lock().unwrap();
        assert!(answered.is_subset(&listed), "{:?}", answered.difference(&listed));
        let others: BTreeSet<_> = listed.difference(&answered).cloned().collect();
        assert!(others.is_subset(&unanswered.lock().unwrap()), "{others:?}");
        answered.extend(others);
        count = answered.len();
    }
}

/// As scripts for opentracker do it.
#[test]
fn lines_of_fifos_edit_a_list() {
    let fifos = "edits: true, fifo: { add: add.fifo, delete: delete.fifo }";
    let daemon = Daemon::start(&EDITED.replace("edits: true", fifos));
    let path = |name: &str| daemon.folder.path().join(name);
    let mode = fs::metadata(path("add.fifo")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let write = |name: &str, text: &str| {
        fs::OpenOptions::new()
            .write(true)
            .open(path(name))
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    };
    // opentracker crashes.
    write("delete.fifo", &format!("{}\n", hex('a')));
    // What comes through two pipes has no order.
    daemon.logs("fifo delete");
    write(
        "add.fifo",
        &format!("{} # ours\nnonsense\n{}:\n{}0\n", hex('a').to_uppercase(), hex('b'), hex('c')),
    );
    eventually("they are added", || admitted(&daemon) == "ab");
    write("delete.fifo", &format!("{}\r\n", hex('a')));
    eventually("it is removed", || admitted(&daemon) == "b");
    daemon.logs("lines without an info-hash change nothing");
    let audit = ask(daemon.admin, "GET", "/api/audit", "").1;
    let edits: Vec<_> = audit.as_array().unwrap().iter().map(|one| &one["fifo"]).collect();
    assert_eq!(edits, ["delete", "add", "delete"], "{audit}");
    assert_eq!(audit[1]["what"], LIST);
    assert!(audit[1]["result"].as_str().unwrap().starts_with("added 2, removed 0, version "));
    // Another pipe takes its place.
    let other = fifos.replace("add.fifo", "other.fifo");
    write_config(
        daemon.folder.path(),
        &format!("{LISTENERS}{}", EDITED.replace("edits: true", &other)),
    );
    assert_eq!(ask(daemon.admin, "POST", "/api/reload", "").0, 200);
    write("other.fifo", &format!("{}\n", hex('d')));
    eventually("it is added", || admitted(&daemon) == "bd");
}

/// Returns the entries of a list.
fn lines(daemon: &Daemon, path: &str) -> BTreeSet<String> {
    unchunked(daemon, path).lines().map(str::to_owned).collect()
}

/// Returns an answer that is written while it is read.
fn unchunked(daemon: &Daemon, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = exchange(daemon.admin, request.as_bytes());
    assert_eq!(answer.status, 200);
    answer.body_text()
}

/// Asks for an edit. Returns `None` if there is no answer.
fn post(admin: SocketAddr, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(admin).ok()?;
    let head = format!(
        "POST {LIST} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

#[test]
fn a_large_file_is_replaced_while_edits_arrive() {
    const MANY: u64 = 50_000;
    let daemon = with("a");
    let file = daemon.folder.path().join("approved.txt");
    let base = |round: u64| (0..MANY).map(move |number| format!("{:040x}", (round << 32) | number));
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for round in 1..4 {
        let text: String = base(round).map(|hash| hash + "\n").collect();
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
        let mut number = 0;
        eventually("the file is read", || {
            let hash = format!("{:040x}", (1 << 60) | (round << 32) | number);
            let gone = format!("{:040x}", (round << 32) | number);
            edit(&daemon, &json!({ "add": [hash], "remove": [gone] }));
            expected.insert(hash);
            number += 1;
            let listed = format!("{LIST}?contains={:040x}", (round << 32) | (MANY - 1));
            daemon.admin_page(&listed).contains("true")
        });
        // What was removed before the file was there is removed from it by now: it was not known
        // before, unless as an edit.
        let gone = format!("{:040x}", (round << 32) | (MANY - 1));
        edit(&daemon, &json!({ "remove": [gone] }));
        let listed = lines(&daemon, LIST);
        assert!(expected.is_subset(&listed));
        assert!(!listed.contains(&gone));
        let others: BTreeSet<_> = listed.difference(&expected).cloned().collect();
        let all: BTreeSet<_> = base(round).collect();
        assert!(others.is_subset(&all), "of this file");
        assert!(others.len() as u64 >= MANY - number - 1);
    }
}

#[test]
fn a_file_that_is_gone_is_seen_and_not_replaced() {
    let daemon = with("ab");
    let file = daemon.folder.path().join("approved.txt");
    let away = daemon.folder.path().join("away.txt");
    fs::rename(&file, &away).unwrap();
    let error = || {
        let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
        status["policies"][0]["data"][0]["error"].clone()
    };
    eventually("the missing file is seen", || error().is_string());
    edit(&daemon, &json!({ "add": [hex('c')] }));
    let (status, answer) = ask(daemon.admin, "POST", &format!("{LIST}/fold"), "");
    assert_eq!(status, 409, "{answer}");
    assert!(!file.exists() && admitted(&daemon) == "abc", "{answer}");
    fs::rename(&away, &file).unwrap();
    eventually("the file is back", || error().is_null());
}
