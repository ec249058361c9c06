//! What an operator reads of swarms: numbers, the top torrents, one swarm, and all of them.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Output;

use flate2::read::GzDecoder;
use karuta_tests::announce::{Announce, hex};
use karuta_tests::bencode;
use karuta_tests::udp::Client;
use karuta_tests::{Answer, Daemon, eventually, exchange, get, ipv6, run};
use serde_json::Value;

/// Fills three torrents: 5 peers of `a`, 3 of `b` in two families, and downloads of `c` alone.
fn filled() -> Daemon {
    let daemon = Daemon::start("");
    for port in 1..=5 {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    for port in 1..=2 {
        Announce::of('b').port(port).seeder().udp(&Client::connect(daemon.udp)).unwrap();
    }
    Announce::of('b').port(7).http(ipv6(daemon.http)).unwrap();
    let peer = Announce::of('c').port(9);
    peer.http(daemon.http).unwrap();
    peer.clone().seeder().event("completed").http(daemon.http).unwrap();
    peer.event("stopped").http(daemon.http).unwrap();
    daemon
}

/// Runs a command on a daemon.
fn command(daemon: &Daemon, arguments: &[&str]) -> Output {
    let admin = daemon.admin.to_string();
    run(&[arguments, &["--admin", &admin]].concat(), daemon.folder.path())
}

fn json(daemon: &Daemon, path: &str) -> Value {
    let answer = get(daemon.admin, path, &[]);
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Asks for an export without chunks.
fn export(admin: SocketAddr, query: &str, header: &str) -> Answer {
    let head = format!("GET /api/export?{query} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n");
    exchange(admin, head.as_bytes())
}

/// Returns the lines of an export, sorted.
fn lines(daemon: &Daemon, query: &str) -> Vec<String> {
    let answer = export(daemon.admin, query, "");
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    let mut lines: Vec<_> = answer.body_text().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn stats_count_peers_and_requests() {
    let daemon = filled();
    let stats = json(&daemon, "/api/stats");
    assert_eq!(stats["swarms"], 2);
    assert_eq!(stats["peers"]["ipv4"]["seeders"], 2);
    assert_eq!(stats["peers"]["ipv4"]["leechers"], 5);
    assert_eq!(stats["peers"]["ipv6"]["leechers"], 1);
    let of = |transport: &str, action: &str| stats["requests"][transport][action].clone();
    assert_eq!(of("http", "announce")["total"], 9);
    assert_eq!(of("http", "announce")["by_outcome"]["ok"], 9);
    assert_eq!(of("udp", "announce")["by_outcome"]["ok"], 2);
    assert_eq!(of("udp", "connect")["total"], 2);
    assert_eq!(of("https", "announce")["total"], 0);
    assert_eq!(of("http", "connect"), Value::Null);
    assert!(stats["memory_bytes"].as_u64().unwrap() > 1_000_000);
    assert!(stats["uptime_seconds"].is_u64());
    Announce::of('a').port(1).http(daemon.http).unwrap();
    eventually("the requests of the last minute have a rate", || {
        let stats = json(&daemon, "/api/stats");
        let rates = &stats["requests"]["http"]["announce"]["per_second"];
        let latency = stats["latency_seconds"]["p99"].as_f64().unwrap_or_default();
        rates["10s"].as_f64() > Some(0.0) && rates["60s"].as_f64() > Some(0.0) && latency > 0.0
    });
}

#[test]
fn the_top_torrents_are_listed_by_each_measure() {
    let daemon = filled();
    let top = |query: &str| {
        let top = json(&daemon, &format!("/api/top?{query}"));
        let torrents = top["torrents"].as_array().unwrap().iter();
        torrents
            .map(|torrent| torrent["info_hash"].as_str().unwrap()[..2].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(top(""), ["61", "62"]);
    assert_eq!(top("by=seeders&n=1"), ["62"]);
    assert_eq!(top("by=leechers"), ["61", "62"]);
    assert_eq!(top("by=downloads"), ["63"]);
    let one = &json(&daemon, "/api/top?by=downloads")["torrents"][0];
    assert_eq!((&one["downloaded"], &one["complete"]), (&1.into(), &0.into()));
    assert_eq!(one["growth"], Value::Null, "nobody knows of an hour ago");
    assert_eq!(json(&daemon, "/api/top")["growth_since"], Value::Null);
    for query in ["by=size", "n=0", "n=2000", "all=1"] {
        assert_eq!(get(daemon.admin, &format!("/api/top?{query}"), &[]).status, 400, "{query}");
    }
    let printed = command(&daemon, &["top", "--by", "seeders", "-n", "1"]);
    assert!(String::from_utf8_lossy(&printed.stdout).contains(&hex('b')), "{printed:?}");
}

#[test]
fn the_top_networks_are_listed_by_their_peers() {
    let daemon = filled();
    let top = json(&daemon, "/api/top?by=network");
    assert_eq!((&top["peers"], &top["error"]), (&8.into(), &0.into()));
    let networks = top["networks"].as_array().unwrap().iter();
    let networks: Vec<_> = networks
        .map(|one| (one["network"].as_str().unwrap(), one["peers"].as_u64().unwrap()))
        .collect();
    assert_eq!(networks, [("127.0.0.0/24", 7), ("::/48", 1)]);
    assert_eq!(json(&daemon, "/api/top?by=network&n=1")["networks"].as_array().unwrap().len(), 1);
    let printed = command(&daemon, &["top", "--by", "network"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("127.0.0.0/24") && printed.ends_with("of 8 peers\n"), "{printed}");
}

#[test]
fn one_swarm_is_shown_with_some_of_its_peers() {
    let daemon = filled();
    let swarm = json(&daemon, &format!("/api/swarms/{}", hex('b')));
    assert_eq!((&swarm["complete"], &swarm["incomplete"]), (&2.into(), &1.into()));
    assert_eq!((&swarm["ipv4"]["seeders"], &swarm["ipv6"]["leechers"]), (&2.into(), &1.into()));
    assert_eq!((&swarm["labelled"], &swarm["peers"]), (&0.into(), &Value::Null));
    assert!(swarm["age_seconds"]["oldest"].is_u64());
    // As it stands in the log of a client.
    let escaped = format!("/api/swarms/{}?peers=1000", "%62".repeat(20));
    let peers = json(&daemon, &escaped)["peers"].as_array().unwrap().clone();
    let mut addresses: Vec<_> =
        peers.iter().map(|peer| peer["address"].as_str().unwrap().to_owned()).collect();
    addresses.sort();
    assert_eq!(addresses, ["127.0.0.1:1", "127.0.0.1:2", "[::1]:7"]);
    let some = json(&daemon, &format!("/api/swarms/{}?peers=2", hex('a').to_uppercase()));
    assert_eq!((some["peers"].as_array().unwrap().len(), &some["incomplete"]), (2, &5.into()));
    assert_eq!(json(&daemon, &format!("/api/swarms/{}", hex('c')))["downloaded"], 1);
    for (path, status) in [
        (hex('d'), 404),
        ("xyz".to_owned(), 400),
        (String::new(), 400),
        (hex('a') + "/more", 400),
        (hex('a') + "?peers=1001", 400),
        (hex('a') + "?peers=-1", 400),
        (hex('a') + "?ports=1", 400),
    ] {
        assert_eq!(get(daemon.admin, &format!("/api/swarms/{path}"), &[]).status, status, "{path}");
    }
    let printed = command(&daemon, &["swarm", &hex('b'), "--peers", "9"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("2 seeders") && printed.contains("[::1]:7"), "{printed}");
}

#[test]
fn all_torrents_are_exported_in_every_format() {
    let daemon = filled();
    let [a, b, c] = ['a', 'b', 'c'].map(hex);
    let [upper_a, upper_b, upper_c] = [&a, &b, &c].map(|hash| hash.to_uppercase());
    assert_eq!(
        lines(&daemon, "format=txtp"),
        [format!("{upper_a}:0:5:0"), format!("{upper_b}:2:1:0"), format!("{upper_c}:0:0:1")]
    );
    assert_eq!(
        lines(&daemon, "format=txt&min_peers=1"),
        [format!("{upper_a}:0:5"), format!("{upper_b}:2:1")]
    );
    assert_eq!(lines(&daemon, "format=txt&prefix=62"), [format!("{upper_b}:2:1")]);
    assert_eq!(lines(&daemon, "format=url&prefix=61"), ["a".repeat(20) + ":0:5"]);
    assert_eq!(
        lines(&daemon, "format=aquatic"),
        [format!("4 {a} 0 5"), format!("4 {b} 2 0"), format!("6 {b} 0 1")]
    );
    let ndjson = lines(&daemon, "format=ndjson&peers=1&prefix=62");
    let torrent: Value = serde_json::from_str(&ndjson[0]).unwrap();
    assert_eq!((&torrent["info_hash"], torrent["peers"].as_array().unwrap().len()), (&b.into(), 3));
    let answer = export(daemon.admin, "format=ben", "");
    let scrape = bencode::read(&answer.body);
    let files = scrape.get("files").unwrap();
    assert_eq!(files.get(&"b".repeat(20)).unwrap().integer("complete"), 2);
    assert_eq!(files.get(&"c".repeat(20)).unwrap().integer("downloaded"), 1);
    assert_eq!(export(daemon.admin, "format=bin", "").body.len(), 3 * 28);
    for query in ["", "format=xml", "format=txt&peers=1", "format=txt&prefix=xy", "format=txt&x=1"]
    {
        assert_eq!(export(daemon.admin, query, "").status, 400, "{query}");
    }
}

#[test]
fn an_export_is_compressed_for_those_who_take_it() {
    let daemon = filled();
    let plain = export(daemon.admin, "format=txt", "").body_text();
    let answer = export(daemon.admin, "format=txt", "Accept-Encoding: br, gzip\r\n");
    assert!(answer.head.to_lowercase().contains("content-encoding: gzip"), "{}", answer.head);
    let mut text = String::new();
    GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&text), sorted(&plain));
}

#[test]
fn the_command_writes_an_export_to_a_file_or_to_the_terminal() {
    let daemon = filled();
    let printed = command(&daemon, &["export", "--format", "txt", "--min-peers", "4"]);
    let upper = hex('a').to_uppercase();
    assert_eq!(String::from_utf8_lossy(&printed.stdout), format!("{upper}:0:5\n"));
    let to_file = ["export", "--format", "ben", "--out", "all.ben"];
    let written = command(&daemon, &to_file);
    assert!(written.status.success(), "{written:?}");
    let bytes = std::fs::read(daemon.folder.path().join("all.ben")).unwrap();
    assert_eq!(bytes, export(daemon.admin, "format=ben", "").body);
    let refused = command(&daemon, &["export", "--format", "txt", "--peers"]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
}

#[test]
fn torrents_move_to_another_tracker_and_back() {
    let (old, new) = (filled(), Daemon::start(""));
    let moved = |format: &str, extra: &[&str]| {
        let file = new.folder.path().join(format);
        let out = file.to_str().unwrap();
        let written =
            command(&old, &[&["export", "--format", format, "--out", out], extra].concat());
        assert!(written.status.success(), "{written:?}");
        let read = command(&new, &["import", "--format", format, out]);
        assert!(read.status.success(), "{read:?}");
        String::from_utf8(read.stdout).unwrap()
    };
    assert_eq!(moved("statedump", &[]), "imported 3 torrents and 0 peers\n");
    let upper = hex('c').to_uppercase();
    assert_eq!(lines(&new, "format=txtp"), [format!("{upper}:0:0:1")]);
    let printed = moved("ndjson", &["--peers"]);
    assert_eq!(printed, "imported 3 torrents and 8 peers\n");
    for query in ["format=txtp", "format=aquatic", "format=statedump"] {
        assert_eq!(lines(&new, query), lines(&old, query), "{query}");
    }
    // Nothing is added up.
    moved("txtp", &[]);
    moved("ndjson", &["--peers"]);
    assert_eq!(lines(&new, "format=txtp"), lines(&old, "format=txtp"));
}

#[test]
fn a_file_with_a_wrong_line_is_not_imported() {
    let daemon = Daemon::start("");
    let [a, b] = ['a', 'b'].map(hex);
    let file = daemon.folder.path().join("torrents");
    std::fs::write(&file, format!("{a}:1:2:3\n\n{b}:1:2\n")).unwrap();
    let import = |more: &[&str]| {
        let all = [&["import", "--format", "txtp", file.to_str().unwrap()], more].concat();
        command(&daemon, &all)
    };
    let refused = import(&[]);
    let reason = "line 3: expected HASH:SEEDERS:LEECHERS:DOWNLOADS; nothing was imported";
    assert!(String::from_utf8_lossy(&refused.stderr).contains(reason), "{refused:?}");
    assert_eq!(lines(&daemon, "format=txtp"), Vec::<String>::new());
    let post = |query: &str, kind: &str, body: &str| {
        let head = format!(
            "POST /api/import?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(daemon.admin, head.as_bytes());
        (answer.status, answer.body_text())
    };
    let lines_kind = "application/octet-stream";
    let wrong = format!("{a}:1:2:3\n\n{b}:1:2\n");
    assert_eq!(post("format=txtp", lines_kind, &wrong), (422, format!("{reason}\n")));
    assert_eq!(post("format=txtp", "application/json", "").0, 415);
    assert_eq!(post("format=ben", lines_kind, "").0, 400);
    let skipped = import(&["--skip-bad"]);
    assert_eq!(
        String::from_utf8_lossy(&skipped.stdout),
        "imported 1 torrents and 0 peers\n1 lines could not be read\n"
    );
    assert_eq!(lines(&daemon, "format=txtp"), [format!("{}:0:0:3", a.to_uppercase())]);
}
