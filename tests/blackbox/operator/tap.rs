//! Decisions as they are made, for somebody who watches for a while.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, SOON, eventually, exchange, karuta};
use serde_json::Value;

const POLICIES: &str = "\
tracker: { workers: 1 }
policies:
  - { name: shadow, plugin: PLUGINS/client-approval.wasm, mode: shadow, config: { deny: [-SH] } }
  - { name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }
  - name: wall
    plugin: PLUGINS/test-hostile.wasm
    config: { rules: [{ on: announce, do: drop, query: wall }] }
";

fn question(body: &str) -> String {
    format!(
        "POST /api/tap HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Opens a tap, and returns its lines when it is open.
fn open(admin: SocketAddr, body: &str) -> impl Iterator<Item = String> {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(question(body).as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains(" 200 "));
    lines.by_ref().find(String::is_empty).expect("the end of the head");
    // A sign of life says that it is open.
    assert_eq!(lines.next().as_deref(), Some(""));
    lines.filter(|line| !line.is_empty())
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Makes requests of all kinds, the last one over HTTP of torrent `z`.
fn announce(daemon: &Daemon) {
    Announce::of('a').http(daemon.http).unwrap();
    Announce::of('b').client("-XL0001-").http(daemon.http).unwrap_err();
    Announce::of('c').client("-SH0001-").http(daemon.http).unwrap();
    assert_eq!(Announce::of('d').with("wall=").get(daemon.http, &[]).status, 0);
    Announce::of('z').http(daemon.http).unwrap();
}

#[test]
fn a_tap_shows_what_its_filter_admits_and_ends() {
    let daemon = Daemon::start(POLICIES);
    let hash = "63".repeat(20);
    for (filter, expected) in [
        (r#"{"n":5}"#.to_owned(), vec!["61", "62", "63", "64", "7a"]),
        (r#"{"n":2,"outcome":["dropped","rejected"]}"#.to_owned(), vec!["62", "64"]),
        (r#"{"n":1,"outcome":"rejected"}"#.to_owned(), vec!["62"]),
        (r#"{"n":1,"policy":"shadow","from":"127.0.0.0/8"}"#.to_owned(), vec!["63"]),
        (format!(r#"{{"n":1,"info_hash":"{hash}","outcome":"ok"}}"#), vec!["63"]),
    ] {
        let tap = open(daemon.admin, &filter);
        announce(&daemon);
        let shown: Vec<_> = tap.map(|line| json(&line)).collect();
        let torrents: Vec<_> =
            shown.iter().map(|one| one["info_hash"].as_str().unwrap()[..2].to_owned()).collect();
        assert_eq!(torrents, expected, "{filter}");
    }
    let mut tap = open(daemon.admin, r#"{"outcome":"rejected"}"#);
    announce(&daemon);
    let rejected = json(&tap.next().unwrap());
    assert_eq!(rejected["client"], "127.0.0.1");
    let [step] = &rejected["policies"].as_array().unwrap()[..] else { panic!("{rejected}") };
    assert_eq!((&step["policy"], &step["verdict"]), (&"clients".into(), &"reject".into()));
    assert_eq!(step["digest"].as_str().unwrap().len(), 12);
    assert_eq!(rejected["config"].as_str().unwrap().len(), 12);
}

#[test]
fn wrong_questions_and_too_many_taps_are_refused() {
    let daemon = Daemon::start("");
    let ask = |body: &str| exchange(daemon.admin, question(body).as_bytes());
    for (body, status) in [
        (r#"{"from":"here"}"#, 400),
        (r#"{"outcome":"invalid"}"#, 400),
        (r#"{"outcome":["rejected","invalid"]}"#, 400),
        (r#"{"outcome":[]}"#, 400),
        (r#"{"outcome":1}"#, 400),
        (r#"{"info_hash":"61"}"#, 400),
        (r#"{"n":0}"#, 400),
        (r#"{"n":100001}"#, 400),
        (r#"{"all":1}"#, 400),
        ("", 400),
        (r#"{"policy":"other"}"#, 404),
    ] {
        assert_eq!(ask(body).status, status, "{body}");
    }
    let taps = [(); 4].map(|()| open(daemon.admin, "{}"));
    assert_eq!(ask("{}").status, 429);
    drop(taps);
    eventually("the taps are given back", || {
        let mut stream = TcpStream::connect(daemon.admin).unwrap();
        stream.write_all(question("{}").as_bytes()).unwrap();
        let mut head = String::new();
        BufReader::new(stream).read_line(&mut head).unwrap();
        head.contains(" 200 ")
    });
}

#[test]
fn the_command_prints_a_line_for_each_decision() {
    let daemon = Daemon::start(POLICIES);
    let admin = daemon.admin.to_string();
    let arguments = ["tap", "--outcome", "rejected,dropped", "--n", "2", "--admin", &admin];
    let command = karuta(&arguments, daemon.folder.path()).stdout(Stdio::piped()).spawn();
    let mut command = command.unwrap();
    eventually("it has seen one", || {
        announce(&daemon);
        command.try_wait().unwrap().is_some()
    });
    let output = command.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let outcome = |line| json(line)["outcome"].as_str().unwrap().to_owned();
    let mut outcomes: Vec<_> = printed.lines().map(outcome).collect();
    // It may have begun between the two.
    outcomes.sort();
    assert_eq!(outcomes, ["dropped", "rejected"], "{printed}");
}
