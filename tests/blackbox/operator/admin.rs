//! The admin API: metrics, health, status, and who may use it.

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Connection, Daemon, exchange, folder, get, ipv6, run};
use serde_json::{Value, json};

/// Returns the series of a metric with their values, without the help.
fn series(daemon: &Daemon, family: &str) -> Vec<String> {
    let page = daemon.admin_page("/metrics");
    let lines = page.lines().filter(|line| line.starts_with(&format!("{family}{{")));
    let mut lines: Vec<String> = lines.map(|line| line[family.len()..].to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn every_request_is_counted_once() {
    let daemon = Daemon::start(
        "policies: [{ name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }]",
    );
    for port in 1..=5 {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    for port in 1..=2 {
        Announce::of('b').port(port).seeder().http(ipv6(daemon.http)).unwrap();
    }
    for _ in 0..3 {
        Announce::of('a').client("-XL0012-").http(daemon.http).unwrap_err();
    }
    get(daemon.http, "/announce?port=x", &[]);
    get(daemon.http, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa", &[]);
    get(daemon.http, "/scrape", &[]);
    // Requests that are not for the tracker do not count.
    get(daemon.http, "/nothing", &[]);
    exchange(daemon.http, b"POST /announce HTTP/1.0\r\n\r\n");

    let client = Client::connect(daemon.udp);
    client.connection_id();
    Announce::of('c').udp(&client).unwrap();
    Announce::of('c').client("-XL0012-").udp(&client).unwrap_err();
    client.scrape(&[torrent('a'), torrent('b')]).unwrap();
    client.exchange(&udp::header(client.id, udp::SCRAPE, 1));
    client.exchange(&udp::header(client.id ^ 1, udp::SCRAPE, 1));
    client.exchange(&Announce::of('c').port(0).packet(client.id, 1));
    Client::connect(ipv6(daemon.udp));

    let line = |transport, action, family, outcome, count: u32| {
        format!(
            "{{transport=\"{transport}\",action=\"{action}\",family=\"{family}\",outcome=\"{outcome}\"}} {count}"
        )
    };
    let mut expected = vec![
        line("http", "announce", "ipv4", "ok", 5),
        line("http", "announce", "ipv6", "ok", 2),
        line("http", "announce", "ipv4", "rejected", 3),
        line("http", "announce", "ipv4", "invalid", 1),
        line("http", "scrape", "ipv4", "ok", 1),
        line("http", "scrape", "ipv4", "invalid", 1),
        line("udp", "connect", "ipv4", "ok", 2),
        line("udp", "connect", "ipv6", "ok", 1),
        line("udp", "announce", "ipv4", "ok", 1),
        line("udp", "announce", "ipv4", "rejected", 1),
        line("udp", "announce", "ipv4", "invalid", 1),
        line("udp", "scrape", "ipv4", "ok", 1),
        line("udp", "scrape", "ipv4", "invalid", 2),
    ];
    expected.sort();
    // The last datagrams are answered before they are counted.
    karuta_tests::eventually("all is counted", || {
        series(&daemon, "karuta_requests_total") == expected
    });
    assert_eq!(series(&daemon, "karuta_request_duration_seconds_count"), expected);

    assert_eq!(daemon.metric("karuta_swarms "), 3.0);
    assert_eq!(
        series(&daemon, "karuta_peers"),
        [
            "{family=\"ipv4\",role=\"leecher\"} 6",
            "{family=\"ipv4\",role=\"seeder\"} 0",
            "{family=\"ipv6\",role=\"leecher\"} 0",
            "{family=\"ipv6\",role=\"seeder\"} 2",
        ]
    );
    let calls = series(&daemon, "karuta_policy_calls_total");
    // An approved client is remembered, by each worker.
    let counted = |verdict: &str| {
        let of = format!("hook=\"announce\",verdict=\"{verdict}\"");
        let of_verdict = calls.iter().filter(|line| line.contains(&of));
        let count =
            |line: &String| line.rsplit(' ').next().and_then(|count| count.parse::<u32>().ok());
        of_verdict.filter_map(count).sum::<u32>()
    };
    assert_eq!(counted("next"), 8, "{calls:?}");
    assert_eq!(counted("reject"), 4, "{calls:?}");
    assert_eq!(series(&daemon, "karuta_policy_restarts_total"), ["{policy=\"clients\"} 0"]);
    assert_eq!(series(&daemon, "karuta_policy_errors_total"), [""; 0]);
    assert!(daemon.metric("karuta_policy_memory_bytes{policy=\"clients\"}") > 0.0);
    assert_eq!(daemon.metric("karuta_generation "), 1.0);
}

/// Tests what Prometheus requires, as far as that can be done without it.
#[test]
fn metrics_are_prometheus_text() {
    let daemon = Daemon::start("");
    Announce::of('a').http(daemon.http).unwrap();
    let answer = get(daemon.admin, "/metrics", &[]);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let mut family = String::new();
    for line in answer.body_text().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next(), Some(family.as_str()), "{line}");
        } else {
            assert!(line.starts_with(&family), "{line} under {family}");
            let (_, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn health_and_readiness_answer_ok() {
    let daemon = Daemon::start("");
    for path in ["/healthz", "/readyz"] {
        let answer = get(daemon.admin, path, &[]);
        assert_eq!((answer.status, answer.body_text().as_str()), (200, "ok\n"), "{path}");
    }
}

#[test]
fn the_status_says_what_runs() {
    let daemon = Daemon::start(
        "
tracker: { workers: 2 }
policies:
  - { name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }
  - { name: spread, plugin: PLUGINS/interval-variation.wasm, config: { probability: 1, max_increase: 1m } }
",
    );
    // Announces until every worker has made a call. The kernel chooses which one gets a connection.
    karuta_tests::eventually("memory is known", || {
        Announce::of('a').http(daemon.http).unwrap();
        let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
        status["policies"].as_array().unwrap().iter().all(|one| one["memory_bytes"] != 0)
    });
    let answer = get(daemon.admin, "/api/status", &[]);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let mut status: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(status["uptime_seconds"].take().is_u64());
    let port = |address: std::net::SocketAddr| format!("[::]:{}", address.port());
    assert_eq!(status["generation"], 1);
    let buffer = &mut status["listeners"][1]["receive_buffer"];
    assert_eq!(buffer["requested"], 4 << 20);
    let granted = buffer.take()["granted"].as_u64().unwrap();
    assert!((1..=4 << 20).contains(&granted), "{granted}");
    assert_eq!(
        status["listeners"],
        json!([
            { "transport": "http", "address": port(daemon.http), "connections": 0 },
            {
                "transport": "udp", "address": port(daemon.udp), "receive_buffer": null,
                "kernel_drops": 0, "recent_kernel_drops": 0,
            },
            { "transport": "admin", "address": daemon.admin.to_string() },
        ])
    );
    let policies = status["policies"].as_array_mut().unwrap();
    let names = [("clients", "client-approval"), ("spread", "interval-variation")];
    for (order, (policy, (name, plugin))) in (1..).zip(policies.iter_mut().zip(names)) {
        assert!(policy["since"].take().is_u64());
        let file = policy["plugin"].take();
        assert!(file.as_str().unwrap().ends_with(&format!("{plugin}.wasm")), "{file}");
        assert!(policy["memory_bytes"].take().as_u64() > Some(0));
        let digest = policy["digest"].take();
        assert_eq!(digest.as_str().map(str::len), Some(64));
        assert_eq!(
            *policy,
            json!({
                "name": name, "order": order, "plugin": null, "since": null, "digest": null, "mode": "enforce", "state": "ready",
                "instances": 2, "restarts": 0, "memory_bytes": null, "data": [],
            })
        );
    }
    assert_eq!(policies.len(), 2);
}

#[test]
fn a_token_protects_everything_except_health() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&token, "s3cret\n").unwrap();
    let daemon = Daemon::start_with(&format!(
        "http: [{{ listen: '127.0.0.1:0' }}]\nadmin: {{ listen: '127.0.0.1:0', token: {{ file: '{}' }} }}\n",
        token.path().display()
    ));
    let ask = |path: &str, headers: &[&str]| get(daemon.admin, path, headers).status;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(path, &[]), 200, "{path}");
    }
    for path in ["/metrics", "/api/status"] {
        for header in ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret  "] {
            let header = format!("Authorization: {header}");
            assert_eq!(ask(path, &[&header]), 200, "{path} {header}");
        }
        for headers in [
            &[][..],
            &["Authorization: Bearer s3cre"],
            &["Authorization: Bearer s3cret2"],
            &["Authorization: Bearer "],
            &["Authorization: Bearer s3cret s3cret"],
            &["Authorization: Bearers3cret"],
            &["Authorization: Basic s3cret"],
            &["Authorization: s3cret"],
        ] {
            let answer = get(daemon.admin, path, headers);
            assert_eq!(answer.status, 401, "{path} {headers:?}");
            assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
            assert!(!answer.body_text().contains("karuta_"), "{path}");
        }
    }
    assert_ne!(ask("/nothing", &[]), 200);
    // With a token, the host need not be a loopback name.
    let request = "GET /metrics HTTP/1.1\r\nHost: tracker.example\r\nAuthorization: Bearer s3cret\r\n\
                   Connection: close\r\n\r\n";
    assert_eq!(exchange(daemon.admin, request.as_bytes()).status, 200);
    assert!(!daemon.log().contains("s3cret"), "the token is in the log");
}

/// Otherwise the tracker would start, and refuse every request.
#[test]
fn a_token_that_no_header_can_carry_is_a_configuration_error() {
    let yaml = "http: [{ listen: '127.0.0.1:0' }]\nadmin: { listen: '127.0.0.1:0', token: { file: token } }\n";
    let folder = folder(yaml);
    for token in
        ["s3cret\n\n", " s3cret\n", "s3\ncret", "s3cr\u{e9}t", "s3\tcret", "\u{feff}\n", "\r\n"]
    {
        std::fs::write(folder.path().join("token"), token).unwrap();
        for arguments in [&["check"][..], &["status", "--token-file", "token"]] {
            let output = run(arguments, folder.path());
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{token:?} {arguments:?}");
            assert!(said.contains("token") && !said.contains("s3"), "{said}");
            if arguments == ["check"] {
                assert_eq!(output.status.code(), Some(78), "{said}");
                assert!(said.contains("config.yaml:2:40: admin.token: the file `"), "{said}");
            }
        }
    }
    std::fs::write(folder.path().join("token"), "\u{feff}s3cret\r\n").unwrap();
    assert!(run(&["check"], folder.path()).status.success());
}

#[test]
fn requests_of_web_pages_are_refused() {
    let daemon = Daemon::start("");
    let host = |host: &str, more: &str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
        exchange(daemon.admin, request.as_bytes()).status
    };
    let own = daemon.admin.to_string();
    assert_eq!(host(&own, ""), 200);
    assert_eq!(host(&own, &format!("Origin: http://{own}\r\n")), 200);
    for name in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"] {
        assert_eq!(host(name, ""), 200, "{name}");
    }
    for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"] {
        assert_eq!(host(&own, &format!("Origin: {origin}\r\n")), 403, "{origin}");
    }
    // Any name may resolve to this machine (DNS rebinding).
    for name in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""] {
        assert_eq!(host(name, ""), 403, "{name}");
    }
}

#[test]
fn unknown_paths_and_other_methods_are_refused() {
    let daemon = Daemon::start("");
    let ask = |method: &str, path: &str| {
        let mut connection = Connection::open(daemon.admin);
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes());
        String::from_utf8(connection.rest()).unwrap()
    };
    for method in ["POST", "PUT", "DELETE"] {
        for path in ["/metrics", "/healthz", "/api/status"] {
            let answer = ask(method, path);
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(answer.contains("\r\nallow: GET\r\n"), "{method} {path}: {answer}");
        }
    }
    for path in ["/announce", "/api", "/metrics/", "/assets"] {
        assert!(ask("GET", path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    let head = ask("HEAD", "/healthz");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let announce = Announce::of('a').get(daemon.admin, &[]);
    assert_eq!(announce.status, 404, "the tracker is elsewhere");
}

#[test]
fn a_slow_body_ends_the_connection() {
    let daemon = Daemon::start("");
    let mut body = Connection::open(daemon.admin);
    body.send(
        b"POST /api/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
          Content-Length: 100\r\n\r\n{",
    );
    let answer = String::from_utf8(body.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.ends_with("the body took too long\n"), "{answer}");
}
