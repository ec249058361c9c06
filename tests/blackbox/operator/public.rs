//! What anyone may read, if the configuration says so: full scrapes and statistics.

use std::fmt::Write as _;
use std::net::TcpStream;

use karuta_tests::announce::Announce;
use karuta_tests::{
    Answer, Connection, Daemon, bencode, eventually, exchange, folder, get, run, write_config,
};
use serde_json::Value;

/// Listeners behind a proxy, so that requests come from wherever a test likes.
const YAML: &str = "
http: [{ listen: '[::]:0', keep_alive: 1s, real_ip: { header: x-from, trusted: [127.0.0.1] } }]
udp: [{ listen: '[::]:0' }]
admin: { listen: '127.0.0.1:0' }
";

fn scrape(daemon: &Daemon, path: &str, from: &str) -> Answer {
    get(daemon.http, path, &[&format!("X-From: {from}")])
}

/// Returns the answer when the first document is there.
fn first(daemon: &Daemon, from: &str) -> Answer {
    let mut answer = None;
    eventually("the full scrape is made", || {
        let got = scrape(daemon, "/scrape", from);
        assert!(got.status != 503 || got.head.contains("retry-after: 5"), "{}", got.head);
        answer = Some(got).filter(|answer| answer.status == 200);
        answer.is_some()
    });
    answer.unwrap()
}

fn start(yaml: &str) -> Daemon {
    Daemon::start_with(&format!("{YAML}{yaml}"))
}

fn handed(daemon: &Daemon, document: &str, outcome: &str) -> f64 {
    let labels = format!("{{document=\"{document}\",outcome=\"{outcome}\"}}");
    daemon.metric(&format!("karuta_public_requests_total{labels}"))
}

#[test]
fn a_scrape_of_nothing_is_refused_unless_it_is_allowed() {
    let daemon = start("");
    let answer = scrape(&daemon, "/scrape?format=txt", "192.0.2.1");
    let refused = bencode::read(&answer.body);
    assert!(refused.get("failure reason").is_some(), "{}", answer.body_text());
    assert_eq!(scrape(&daemon, "/stats.json", "192.0.2.1").status, 404);
}

#[test]
fn a_full_scrape_has_all_torrents_in_the_formats_that_are_allowed() {
    let daemon = start("swarms: { full_scrape: { formats: [ben, txtp], min_interval: 1h } }\n");
    for (letter, port) in [('a', 1), ('a', 2), ('b', 3)] {
        let query = Announce::of(letter).port(port).query();
        assert_eq!(scrape(&daemon, &format!("/announce?{query}"), "192.0.2.1").status, 200);
    }
    // Documents are made at the start.
    let daemon = daemon.restart();
    let answer = first(&daemon, "192.0.2.1");
    assert!(answer.head.contains("content-type: application/x-bittorrent"), "{}", answer.head);
    let answer = bencode::read(&answer.body);
    let files = answer.get("files").unwrap();
    assert_eq!(files.get(&"a".repeat(20)).unwrap().integer("incomplete"), 2);
    assert_eq!(files.get(&"b".repeat(20)).unwrap().integer("incomplete"), 1);

    let size = "karuta_full_scrape_size_bytes{format=\"txtp\"}";
    eventually("the other format is made", || daemon.metric(size) > 0.0);
    // One for each network, over a connection that is kept.
    let mut connection = Connection::open(daemon.http);
    let mut ask = |path: &str, from: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-From: {from}\r\n\r\n");
        connection.send(head.as_bytes());
        connection.answer()
    };
    let txtp = ask("/scrape/key?format=txtp", "192.0.3.7");
    let mut lines: Vec<_> = txtp.body_text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["61".repeat(20) + ":0:2:0", "62".repeat(20) + ":0:1:0"]);
    assert!(txtp.head.contains("content-type: text/plain"), "{}", txtp.head);
    for from in ["192.0.3.7", "192.0.3.200", "192.0.2.9"] {
        let refused = ask("/scrape", from);
        let wait = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        let wait: u32 = wait.unwrap().parse().unwrap();
        assert_eq!((refused.status, (3000..=3600).contains(&wait)), (429, true), "{from} {wait}");
    }
    for path in ["/scrape?format=txt", "/scrape?format=xml"] {
        let refused = ask(path, "198.51.100.1");
        let said = "format: expected one of ben, txtp\n";
        assert_eq!((refused.status, &*refused.body_text()), (400, said), "{path}");
    }
    assert_eq!(ask("/scrape", "2001:db8:1::1").status, 200);
    assert_eq!(ask("/scrape", "2001:db8:1:ff::2").status, 429, "the same /48");
    // What asks for torrents is answered as ever.
    let one = ask(&format!("/scrape?info_hash={}", "a".repeat(20)), "192.0.2.1");
    let files = bencode::read(&one.body).get("files").unwrap().clone();
    assert!(files.get(&"a".repeat(20)).is_some() && files.get(&"b".repeat(20)).is_none());
    assert_eq!(handed(&daemon, "full_scrape", "ok"), 3.0);
    assert_eq!(handed(&daemon, "full_scrape", "limited"), 4.0);
    assert_eq!(handed(&daemon, "full_scrape", "invalid"), 2.0);
}

#[test]
fn a_reader_that_stalls_is_cut_off_and_others_get_all_of_a_long_document() {
    const TORRENTS: usize = 100_000;
    let daemon = start("swarms: { full_scrape: { formats: [ndjson], per_prefix: false } }\n");
    let mut lines = String::new();
    for number in 0..TORRENTS {
        writeln!(lines, "{number:040x}:0:0:1").unwrap();
    }
    std::fs::write(daemon.folder.path().join("torrents"), lines).unwrap();
    let admin = daemon.admin.to_string();
    let import = ["import", "--format", "txtp", "torrents", "--admin", &admin];
    let imported = run(&import, daemon.folder.path());
    assert!(imported.status.success(), "{imported:?}");
    let daemon = daemon.restart();
    let whole = first(&daemon, "192.0.2.1");
    let length = format!("content-length: {}", whole.body.len());
    assert!(whole.head.contains(&length), "{}", whole.head);
    assert_eq!(whole.body_text().lines().count(), TORRENTS);

    let open = || {
        let page = daemon.admin_page("/metrics");
        let series = page.lines().filter(|line| line.starts_with("karuta_connections{"));
        let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        series.map(count).sum::<f64>()
    };
    eventually("the first connection is closed", || open() == 0.0);
    let stalled = TcpStream::connect(daemon.http).unwrap();
    stalled.set_read_timeout(Some(karuta_tests::SOON)).unwrap();
    let mut stalled = Connection::over(stalled);
    stalled.send(b"GET /scrape HTTP/1.1\r\nHost: localhost\r\nX-From: 192.0.2.2\r\n\r\n");
    eventually("it is being answered", || handed(&daemon, "full_scrape", "ok") == 2.0);
    // Meanwhile others are served.
    assert_eq!(scrape(&daemon, "/scrape", "192.0.2.3").body.len(), whole.body.len());
    eventually("it is cut off", || open() == 0.0);
    let part = stalled.rest().len();
    assert!(part < whole.body.len(), "{part} of {}", whole.body.len());
}

#[test]
fn statistics_are_totals_and_no_place_to_announce_to() {
    let daemon = start("stats: { public: /stats.json }\n");
    let query = Announce::of('a').port(1).query();
    assert_eq!(scrape(&daemon, &format!("/announce?{query}"), "192.0.2.1").status, 200);
    let mut last = Value::Null;
    eventually("the announce is counted", || {
        let answer = get(daemon.http, "/stats.json", &[]);
        if answer.status != 200 {
            assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
            return false;
        }
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        last = serde_json::from_slice(&answer.body).unwrap();
        last["requests"]["http"]["announce"]["total"] == 1 && last["swarms"] == 1
    });
    assert_eq!(last["peers"]["ipv4"]["leechers"], 1);
    assert!(last["requests"]["http"]["announce"]["per_second"]["10s"].is_number());
    let fields: Vec<_> = last.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["peers", "requests", "swarms", "uptime_seconds"]);
    assert_eq!(last["requests"]["http"]["announce"].as_object().unwrap().len(), 2);
    let announced = get(daemon.http, &format!("/stats.json?{query}"), &[]);
    assert_eq!(announced.status, 400);
    assert!(announced.body_text().contains("not one to announce to"), "{}", announced.body_text());
    let post = b"POST /stats.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(daemon.http, post).status, 405);
    assert_eq!(handed(&daemon, "stats", "invalid"), 1.0);
    assert!(handed(&daemon, "stats", "ok") >= 1.0);
}

#[test]
fn check_warns_of_policies_that_are_not_asked_about_full_scrapes() {
    let yaml = |formats: &str| {
        format!(
            "http: [{{}}]
swarms: {{ {formats} }}
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: {{ allow: [\"{}\"] }}
",
            "a".repeat(40)
        )
    };
    let folder = folder(&yaml("full_scrape: { formats: [ben] }"));
    let said = || {
        let output = run(&["check"], folder.path());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let warning = "config.yaml:2:24: swarms.full_scrape: warning: policies that decide on scrapes are \
                   not asked about full ones: `torrents`";
    assert!(said().contains(warning), "{}", said());
    write_config(folder.path(), &yaml(""));
    assert!(!said().contains("warning"), "{}", said());
}
