//! The series: whether promtool accepts them, whether the documentation has them, and that no client
//! can make more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use karuta_tests::announce::{Announce, escape};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Connection, eventually, exchange, get, root};
use sha2::{Digest as _, Sha256};

use super::is_there;
use super::tracker::Tracker;

#[test]
fn promtool_accepts_every_series() {
    if !is_there("promtool") {
        return;
    }
    let page = Tracker::start().page();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(page.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// Returns the names in the tables of a page, each with its type.
fn documented() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the page");
    let mut found = BTreeMap::new();
    for row in page
        .lines()
        .filter(|line| line.starts_with("| `karuta_") || line.starts_with("| `process_"))
    {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (names, kind) = (cells.next().expect("names"), cells.next().expect("a type"));
        for name in names.split(", ") {
            found.insert(name.trim_matches('`').to_owned(), kind.to_owned());
        }
    }
    found
}

#[test]
fn every_series_is_documented_with_its_type() {
    let documented = documented();
    let page = Tracker::start().page();
    let mut missing: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let shown = match name.starts_with("karuta_plugin_") {
            true if kind == "counter" => "karuta_plugin_NAME_total",
            true => "karuta_plugin_NAME",
            false => name,
        };
        assert_eq!(documented.get(shown).map(String::as_str), Some(kind), "{name}");
        missing.remove(shown);
    }
    // The flight recorder still holds everything.
    missing.remove("karuta_record_span_seconds");
    assert!(missing.is_empty(), "documented, but not there: {missing:?}");
}

/// Returns all series without their values.
fn names(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

/// Returns whether a series is of calls that are counted already. Only one call in 64 is measured, and
/// how a call of a policy that fails ends depends on how long ago it failed before.
fn is_of_a_known_call(name: &str, known: &BTreeSet<String>) -> bool {
    let [duration, calls, errors] = ["duration_seconds", "calls_total", "errors_total"]
        .map(|what| name.strip_prefix(&format!("karuta_policy_{what}")));
    let labels = match (duration, calls, errors) {
        (Some(duration), ..) => duration.split_once('{').map(|(_, labels)| labels),
        (_, Some(calls), _) => calls.strip_prefix('{'),
        (.., errors) => errors.and_then(|errors| errors.strip_prefix('{')),
    };
    // Policy and hook come first; all others are of a fixed set.
    let labels =
        labels.and_then(|labels| labels.match_indices(',').nth(1).map(|(at, _)| &labels[..at]));
    labels.is_some_and(|labels| {
        let calls = format!("karuta_policy_calls_total{{{labels},");
        known.iter().any(|name| name.starts_with(&calls))
    })
}

/// One of each kind of request, which differs from all others in whatever a client chooses.
fn hostile(tracker: &Tracker, number: u32) {
    let (http, unique) = (tracker.daemon.http, number.to_string());
    let hash = |prefix: u8| {
        let mut hash = [prefix; 20];
        hash[16..].copy_from_slice(&number.to_be_bytes());
        hash
    };
    let port = 1024 + (number % 60_000) as u16;
    let headers = [format!("User-Agent: {unique}\"\\\n"), format!("X-{unique}: {unique}")];
    let headers = headers.each_ref().map(|header| header.trim_end());
    let announce =
        Announce::of_hash(hash(1)).port(port).client(&format!("-A{:04}-", number % 10_000));
    let _ = announce.with(&format!("{unique}=\"{unique}\"")).get(http, &headers);
    get(http, &format!("/{unique}/announce"), &[]);
    get(http, &format!("/announce?info_hash={unique}"), &[]);
    get(http, &format!("/scrape?info_hash={}", escape(&hash(2))), &headers);
    exchange(
        http,
        format!("M{unique} /announce HTTP/1.1\r\nHost: {unique}\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    );
    exchange(
        http,
        format!(
            "GET http://{unique}/announce HTTP/1.1\r\nHost: a{unique}\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    );
    let event = ["started", "stopped", "completed", "paused", "\"}"][number as usize % 5];
    get(
        http,
        &format!("/announce?{}&event={event}{unique}", Announce::of_hash(hash(3)).query()),
        &[],
    );
}

#[test]
fn clients_make_no_series() {
    let tracker = Tracker::start();
    let udp = Client::connect(tracker.daemon.udp);
    let round = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            hostile(&tracker, number);
            let packets = [0, 1, 2, 3, 4, number].map(|action| {
                let head = udp::header(udp.id ^ u64::from(number % 2), action, number);
                let mut packet = Announce::of('x').packet(udp.id, number);
                packet[8..12].copy_from_slice(&action.to_be_bytes());
                packet[80..84].copy_from_slice(&number.to_be_bytes());
                [head, packet]
            });
            udp.answers(packets.as_flattened());
        }
        tracker.page()
    };
    // Whatever has been counted once exists; after that, it is only counted.
    let before = names(&round(0..20));
    let after = names(&round(20..300));
    let new = after.difference(&before).filter(|name| !is_of_a_known_call(name, &before));
    let new: Vec<_> = new.collect();
    assert!(new.is_empty(), "{new:#?}");
}

#[test]
fn the_configuration_in_use_is_shown() {
    let tracker = Tracker::start();
    let path = tracker.daemon.folder.path().join("config.yaml");
    let shown = |series: &str| tracker.daemon.metric(&format!("karuta_config_{series} "));
    let hash = || {
        let digest = Sha256::digest(fs::read(&path).expect("the configuration"));
        digest[..6].iter().fold(0.0, |hash, byte| hash * 256.0 + f64::from(*byte))
    };
    let reload = || tracker.karuta(&["reload"]).status.success();
    let (first, start) = (hash(), shown("last_reload_success_timestamp_seconds"));
    assert_eq!((shown("hash"), shown("last_reload_successful")), (first, 1.0));
    let good = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, format!("{good}nonsense: 1\n")).expect("it is written");
    assert!(!reload());
    assert_eq!((shown("hash"), shown("last_reload_successful")), (first, 0.0));
    assert_eq!(shown("last_reload_success_timestamp_seconds"), start);
    fs::write(&path, format!("{good}# the same\n")).expect("it is written");
    assert!(reload());
    assert_eq!((shown("hash"), shown("last_reload_successful")), (hash(), 1.0));
    assert_ne!(hash(), first);
    assert!(shown("last_reload_success_timestamp_seconds") > start);
}

#[test]
fn connections_are_shown_by_what_they_do() {
    let tracker = Tracker::start();
    let http = tracker.daemon.http;
    let state = |state: &str, count: f64| {
        let series = format!("karuta_connections{{listener=\"{http}\",state=\"{state}\"}}");
        eventually(&series, || tracker.daemon.metric(&series) == count);
    };
    let mut connection = Connection::open(http);
    state("reading", 1.0);
    let request =
        format!("GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", Announce::of('a').query());
    let (begin, end) = request.split_at(20);
    connection.send(request.as_bytes());
    assert_eq!(connection.answer().status, 200);
    state("idle", 1.0);
    state("reading", 0.0);
    connection.send(begin.as_bytes());
    state("reading", 1.0);
    state("idle", 0.0);
    connection.send(end.as_bytes());
    assert_eq!(connection.answer().status, 200);
    state("idle", 1.0);
    drop(connection);
    state("idle", 0.0);
}

#[test]
fn packets_that_find_no_room_are_counted() {
    let tracker = Tracker::start();
    let daemon = &tracker.daemon;
    let dropped = || {
        let series = format!("karuta_udp_kernel_drops_total{{listener=\"{}\"}}", daemon.udp);
        daemon.metric(&series)
    };
    assert_eq!(dropped(), 0.0);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    daemon.signal("STOP");
    // Larger ones than any tracker reads, so that the buffer is full soon.
    for _ in 0..4000 {
        socket.send_to(&[0; 8000], daemon.udp).expect("it is sent");
    }
    daemon.signal("CONT");
    assert!(dropped() > 0.0);
}
