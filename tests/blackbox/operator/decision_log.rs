//! The log of decisions: a line for each, masked, bounded, and never in the way of an answer.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use flate2::read::GzDecoder;
use karuta_tests::announce::Announce;
use karuta_tests::server::{Server, reply};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, folder, run};
use serde_json::Value;

/// Policies that refuse `-XL`, would refuse `-SH`, and look for a passkey.
const POLICIES: &str = "\
tracker: { workers: 1 }
policies:
  - { name: shadow, plugin: PLUGINS/client-approval.wasm, mode: shadow, config: { deny: [-SH] } }
  - { name: clients, plugin: PLUGINS/client-approval.wasm, credential: ['query:key'],
      config: { deny: [-XL] } }
";

fn start(log: &str) -> Daemon {
    // The harness looks for `log:` before it adds one of its own.
    Daemon::start(&format!("{POLICIES}log: {{ format: json }}\ndecision_log: {log}\n"))
}

fn file(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("decisions.ndjson")
}

fn lines(daemon: &Daemon) -> Vec<Value> {
    let text = fs::read_to_string(file(daemon)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
}

fn dropped(daemon: &Daemon, reason: &str) -> f64 {
    daemon.metric(&format!("karuta_decision_log_dropped_total{{reason=\"{reason}\"}}"))
}

#[test]
fn each_refusal_and_difference_is_a_masked_line() {
    let mut daemon = start("{ to: file, path: decisions.ndjson }");
    let key = "0123456789abcdef";
    let denied = Announce::of('a').client("-XL0001-").with(&format!("key={key}"));
    denied.http(daemon.http).unwrap_err();
    denied.http(daemon.http).unwrap_err();
    Announce::of('b').client("-SH0001-").http(daemon.http).unwrap();
    Announce::of('c').http(daemon.http).unwrap();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let lines = lines(&daemon);
    let [first, second, difference] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&first["client"], &first["outcome"]), (&"127.0.0.0/24".into(), &"rejected".into()));
    assert_eq!(
        (&first["decided_by"], &first["reason"]),
        (&"clients".into(), &"unapproved client".into())
    );
    assert!(first["credential"].as_str().unwrap().starts_with("h:"));
    assert_eq!(first["credential"], second["credential"]);
    assert_ne!(first["id"], second["id"]);
    assert!(first["microseconds"].as_f64() > Some(0.0));
    let step = &first["policies"][0];
    assert_eq!((&step["policy"], &step["verdict"]), (&"clients".into(), &"reject".into()));
    assert_eq!(
        (&difference["outcome"], &difference["shadow"][0]["would"]),
        (&"ok".into(), &"reject".into())
    );
    let text = fs::read_to_string(file(&daemon)).unwrap();
    assert!(!text.contains(key) && !text.contains("127.0.0.1\""), "{text}");
}

#[test]
fn a_remembered_verdict_is_marked() {
    let rules = "{ on: announce, do: remember, number: 60 }, { on: announce, do: reject }";
    let mut daemon = Daemon::start(&format!(
        "tracker: {{ workers: 1 }}\npolicies:\n  - {{ name: told, plugin: PLUGINS/test-hostile.wasm, \
         config: {{ rules: [{rules}] }} }}\nlog: {{ format: json }}\ndecision_log: {{ to: file, path: \
         decisions.ndjson }}\n"
    ));
    for _ in 0..2 {
        Announce::of('a').http(daemon.http).unwrap_err();
    }
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let remembered: Vec<_> =
        lines(&daemon).iter().map(|line| line["policies"][0]["remembered"].clone()).collect();
    assert_eq!(remembered, [false, true]);
}

#[test]
fn what_is_logged_and_shown_is_configured() {
    let mut daemon = start(
        "{ to: file, path: decisions.ndjson, only: [shadow], sample: { ok: 1/1 }, mask: { client: \
         whole, credential: omit } }",
    );
    Announce::of('a').client("-XL0001-").with("key=k").http(daemon.http).unwrap_err();
    Announce::of('b').with("key=k").http(daemon.http).unwrap();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let lines = lines(&daemon);
    let [one] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&one["client"], &one["outcome"]), (&"127.0.0.1".into(), &"ok".into()));
    assert_eq!(one["credential"], Value::Null);
    assert_eq!(one["policies"][0]["verdict"], "next");
}

#[test]
fn more_than_the_limit_is_dropped_and_counted() {
    let daemon = start("{ to: file, path: decisions.ndjson, limit: 2/s }");
    let client = Client::connect(daemon.udp);
    let denied = Announce::of('a').client("-XL0001-");
    let mut asked = 0.0;
    while dropped(&daemon, "limit") == 0.0 {
        denied.udp(&client).unwrap_err();
        asked += 1.0;
    }
    eventually("each is written or counted", || {
        lines(&daemon).len() as f64 + dropped(&daemon, "limit") == asked
    });
}

#[test]
fn the_file_rotates_and_no_line_is_torn() {
    let mut daemon = start(
        "{ to: file, path: decisions.ndjson, rotate: { max_size: 64KiB, keep: 500 }, limit: \
         1000000/s }",
    );
    let client = Client::connect(daemon.udp);
    let denied = Announce::of('a').client("-XL0001-");
    let many = 400;
    for _ in 0..many {
        denied.udp(&client).unwrap_err();
    }
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let (mut files, mut lines) = (0, 0);
    for entry in fs::read_dir(daemon.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().contains("decisions.ndjson") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 64 << 10, "{}", path.display());
        for line in text.lines() {
            let _: Value = serde_json::from_str(line).expect("a whole line");
        }
        (files, lines) = (files + 1, lines + text.lines().count());
    }
    assert_eq!(lines, many);
    assert!(files > 1, "{files}");
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_no_answer() {
    let daemon = Daemon::start(&format!(
        "{POLICIES}log: {{ format: json }}\nswarms: {{ snapshot: false }}\ndecision_log: {{ to: file, \
         path: decisions.ndjson }}\n"
    ));
    let arguments = [format!("--pid={}", daemon.pid()), "--fsize=2000:".to_owned()];
    assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
    let client = Client::connect(daemon.udp);
    let denied = Announce::of('a').client("-XL0001-");
    while dropped(&daemon, "write") == 0.0 {
        denied.udp(&client).unwrap_err();
    }
    Announce::of('b').udp(&client).unwrap();
    assert!(fs::read_to_string(file(&daemon)).unwrap().ends_with('\n'), "no line is torn");
}

#[test]
fn a_reader_that_does_not_read_costs_lines_that_are_counted_and_no_answer() {
    let daemon = Daemon::start_with_log_file(&format!(
        "{POLICIES}log: {{ format: json, file: {{ path: karuta.log }} }}\ndecision_log: {{ to: \
         stderr, limit: 1000000/s, sample: {{ ok: 1/1 }} }}\n"
    ));
    let client = Client::connect(daemon.udp);
    let reading = daemon.stop_reading();
    while dropped(&daemon, "queue") == 0.0 {
        for _ in 0..200 {
            Announce::of('a').udp(&client).unwrap();
        }
    }
    drop(reading);
    daemon.logs("\"outcome\":\"ok\"");
}

/// Returns the lines that a server has got, by their ids.
fn got(server: &Server) -> BTreeMap<String, Value> {
    let mut lines = BTreeMap::new();
    for body in server.bodies() {
        let mut text = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut text).expect("gzip");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a whole line");
            lines.insert(line["id"].as_str().unwrap().to_owned(), line);
        }
    }
    lines
}

#[test]
fn batches_are_sent_to_a_url_with_its_headers() {
    let server = Server::with("");
    let folder = folder(&format!(
        "{}{POLICIES}log: {{ format: json }}\ndecision_log: {{ to: url, url: '{}', headers: {{ \
         authorization: {{ file: secret }} }} }}\n",
        karuta_tests::LISTENERS,
        server.url("/decisions")
    ));
    fs::write(folder.path().join("secret"), "Bearer hidden").unwrap();
    let daemon = Daemon::start_in(folder);
    Announce::of('a').client("-XL0001-").http(daemon.http).unwrap_err();
    eventually("it is sent", || got(&server).len() == 1);
    let head = &server.requests()[0];
    for line in
        ["post /decisions http/1.1", "content-encoding: gzip", "authorization: bearer hidden"]
    {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(got(&server).values().next().unwrap()["client"], "127.0.0.0/24");
    server.behave(|_, stream| reply(stream, "422 No", &[], b""));
    Announce::of('b').client("-XL0001-").http(daemon.http).unwrap_err();
    eventually("what is refused is counted", || dropped(&daemon, "refused") == 1.0);
    daemon.logs("decisions were refused; they are lost");
}

#[test]
fn what_a_dead_url_does_not_take_waits_on_disk_even_over_a_restart() {
    let server = Server::with("");
    server.behave(|_, stream| reply(stream, "503 Later", &[], b""));
    let daemon = start(&format!("{{ to: url, url: '{}' }}", server.url("/")));
    for letter in ['a', 'b'] {
        Announce::of(letter).client("-XL0001-").http(daemon.http).unwrap_err();
    }
    daemon.logs("cannot send decisions; they wait on disk");
    Announce::of('c').client("-XL0001-").http(daemon.http).unwrap_err();
    let folder = daemon.stop();
    let before = server.bodies().len();
    server.answer("");
    let daemon = Daemon::start_in(folder);
    eventually("all that waited is sent", || got(&server).len() == 3);
    assert!(server.bodies().len() > before);
    Announce::of('d').client("-XL0001-").http(daemon.http).unwrap_err();
    eventually("so is the next", || got(&server).len() == 4);
}

#[test]
fn a_url_that_never_answers_is_in_nobodys_way() {
    let server = Server::with("");
    server.behave(|_, _| std::thread::park());
    let daemon = start(&format!("{{ to: url, url: '{}' }}", server.url("/")));
    let client = Client::connect(daemon.udp);
    let denied = Announce::of('a').client("-XL0001-");
    denied.udp(&client).unwrap_err();
    eventually("it is asked", || server.requests().len() == 1);
    for _ in 0..100 {
        denied.udp(&client).unwrap_err();
    }
    let folder = daemon.stop();
    server.answer("");
    let _daemon = Daemon::start_in(folder);
    eventually("nothing is lost", || got(&server).len() == 101);
}

#[test]
fn mistakes_are_shown_at_their_places() {
    for (log, place) in [
        ("{ to: file }", "config.yaml:2:15: decision_log: missing key `path`, for `to: file`"),
        ("{ to: url }", "config.yaml:2:15: decision_log: missing key `url`, for `to: url`"),
        (
            "{ to: file, path: missing/d.ndjson }",
            "config.yaml:2:33: decision_log.path: not a folder: `missing`",
        ),
    ] {
        let yaml = format!("udp: [{{ listen: '127.0.0.1:0' }}]\ndecision_log: {log}\n");
        let output = run(&["check"], folder(&yaml).path());
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), place);
    }
}
