//! Trackers over TLS: what clients see, and what they cannot take.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use karuta_tests::announce::Announce;
use karuta_tests::tls::{Authority, Client};
use karuta_tests::{Connection, Daemon, SOON, eventually, folder, get};

/// Starts a daemon with more settings for its listener, and with policies.
fn daemon(authority: &Authority, http: &str, policies: &str) -> Daemon {
    let folder = folder(&format!(
        "http: [{{ listen: '127.0.0.1:0', {http} tls: {{ certificate: a.pem, key: a.key }} }}]\n\
         admin: {{ listen: '127.0.0.1:0' }}\ntracker: {{ workers: 1 }}\n{policies}"
    ));
    authority.issue(&["localhost"]).write(folder.path(), "a");
    Daemon::start_in(folder)
}

fn request(announce: &Announce) -> String {
    format!("GET /announce?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", announce.query())
}

fn handshakes(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("karuta_tls_handshakes_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn announces_over_tls_have_the_transport_https() {
    let authority = Authority::new();
    let policies = "policies:
  - name: over-https
    plugin: PLUGINS/test-hostile.wasm
    when: { transports: [https] }
    config: { rules: [{ on: announce, do: set-interval, number: 100 }] }
  - name: over-http
    plugin: PLUGINS/test-hostile.wasm
    when: { transports: [http, udp] }
    config: { rules: [{ on: announce, do: set-interval, number: 200 }] }
";
    let daemon = daemon(&authority, "", policies);
    let mut connection = Client::new(&authority).open(daemon.http, "localhost");
    for port in 1..=20 {
        connection.send(request(&Announce::of('a').port(port)).as_bytes());
        let answer = connection.answer().body_text();
        assert!(answer.contains(&format!("10:incompletei{port}e")), "{answer}");
        assert!(answer.contains("8:intervali100e"), "{answer}");
    }
    let counted = "karuta_requests_total{transport=\"https\",action=\"announce\",family=\"ipv4\",outcome=\"ok\"}";
    assert_eq!(daemon.metric(counted), 20.0);
    assert_eq!(handshakes(&daemon, "ok"), 1.0);
    let status: serde_json::Value =
        serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    assert_eq!(status["listeners"][0]["transport"], "https");
    for scheme in ["https", "http"] {
        let url = format!("{scheme}://tracker.example/announce?{}", Announce::of('a').query());
        let admin = daemon.admin.to_string();
        let output = karuta_tests::run(&["explain", "--admin", &admin, &url], daemon.folder.path());
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(" over https from ") && said.contains("interval: 100"), "{said}");
    }
}

#[test]
fn requests_may_come_in_any_pieces_and_several_at_once() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "", "");
    let client = Client::new(&authority);
    let mut connection = client.open(daemon.http, "localhost");
    for piece in request(&Announce::of('a')).as_bytes().chunks(7) {
        connection.send(piece);
    }
    assert_eq!(connection.answer().status, 200);
    let requests: String = (1..=300).map(|port| request(&Announce::of('b').port(port))).collect();
    connection.send(requests.as_bytes());
    for port in 1..=300 {
        let answer = connection.answer().body_text();
        assert!(answer.contains(&format!("10:incompletei{port}e")), "{answer}");
    }
}

/// A client that exits ends neither TLS nor its requests properly.
#[test]
fn a_stopped_counts_although_the_client_ends_the_connection_at_once() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "", "");
    let client = Client::new(&authority);
    let peers = "karuta_peers{family=\"ipv4\",role=\"leecher\"}";
    for ends_writing in [false, true] {
        let mut connection = client.open(daemon.http, "localhost");
        connection.send(request(&Announce::of('a').event("started")).as_bytes());
        assert_eq!(connection.answer().status, 200);
        assert_eq!(daemon.metric(peers), 1.0);
        let mut stream = client.connect(daemon.http, "localhost").unwrap();
        stream.write_all(request(&Announce::of('a').event("stopped")).as_bytes()).unwrap();
        stream.flush().unwrap();
        if ends_writing {
            stream.sock.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            // It is answered, although the client has not ended TLS.
            let _ = stream.read_to_string(&mut answer);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        drop(stream);
        eventually("it has stopped", || daemon.metric(peers) == 0.0);
    }
}

#[test]
fn a_session_is_resumed() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "", "");
    for version in rustls::ALL_VERSIONS {
        let before = handshakes(&daemon, "resumed");
        let client = Client::speaking(&[version], &authority);
        for _ in 0..3 {
            let mut connection = client.open(daemon.http, "localhost");
            connection.send(request(&Announce::of('a')).as_bytes());
            assert_eq!(connection.answer().status, 200);
        }
        assert_eq!(handshakes(&daemon, "resumed"), before + 2.0, "{version:?}");
    }
}

#[test]
fn only_http_1_1_is_offered() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "", "");
    let client = Client::new(&authority);
    let stream = client.clone().offering(&["h2", "http/1.1"]).connect(daemon.http, "localhost");
    assert_eq!(stream.unwrap().conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let stream = client.connect(daemon.http, "localhost").unwrap();
    assert_eq!(stream.conn.alpn_protocol(), None);
    let refused = client.offering(&["h2"]).connect(daemon.http, "localhost").unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    eventually("it is counted", || handshakes(&daemon, "alert") == 1.0);
}

#[test]
fn older_versions_than_the_minimum_are_refused() {
    let authority = Authority::new();
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key, min_version: 1.3 } }]\n\
         admin: { listen: '127.0.0.1:0' }\n",
    );
    authority.issue(&["localhost"]).write(folder.path(), "a");
    let daemon = Daemon::start_in(folder);
    let speaking = |version| Client::speaking(&[version], &authority);
    let refused = speaking(&rustls::version::TLS12).connect(daemon.http, "localhost").unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    speaking(&rustls::version::TLS13).connect(daemon.http, "localhost").unwrap();
}

#[test]
fn a_client_without_tls_is_told() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "", "");
    let answer = Announce::of('a').get(daemon.http, &[]);
    assert_eq!((answer.status, &*answer.body_text()), (400, "this port speaks https\n"));
    // The answer arrives although most of the request is not read.
    let long = get(daemon.http, &format!("/{}", "x".repeat(100_000)), &[]);
    assert_eq!(long.status, 400);
    eventually("both are counted", || handshakes(&daemon, "plain") == 2.0);
    let mut connection = Client::new(&authority).open(daemon.http, "localhost");
    connection.send(request(&Announce::of('a')).as_bytes());
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn a_slow_handshake_ends_the_connection() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "header_timeout: 300ms, keep_alive: 1h,", "");
    let mut silent = Connection::open(daemon.http);
    let mut slow = Connection::open(daemon.http);
    slow.send(&[0x16, 3, 1]);
    let mut idle = Client::new(&authority).open(daemon.http, "localhost");
    for connection in [&mut silent, &mut slow] {
        assert_eq!(connection.rest(), b"");
    }
    assert_eq!(idle.rest(), b"", "a head is waited for no longer");
    assert_eq!((handshakes(&daemon, "timeout"), handshakes(&daemon, "ok")), (2.0, 1.0));
    drop(Connection::open(daemon.http));
    eventually("one that ends is counted too", || handshakes(&daemon, "closed") == 1.0);
}

/// However many handshakes are under way, the oldest ones make room for others.
#[test]
fn half_open_handshakes_keep_nobody_out() {
    let authority = Authority::new();
    let daemon = daemon(&authority, "header_timeout: 1h, max_connections: 40,", "");
    let client = Client::new(&authority);
    let half_open = |_| {
        let mut stream = TcpStream::connect(daemon.http).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(&[0x16, 3, 1]).unwrap();
        stream
    };
    // Half of the connections may be handshakes.
    let mut streams: Vec<_> = (0..50).map(half_open).collect();
    let mut connection = client.open(daemon.http, "localhost");
    connection.send(request(&Announce::of('a')).as_bytes());
    assert_eq!(connection.answer().status, 200);
    eventually("the oldest have ended", || handshakes(&daemon, "evicted") == 31.0);
    for stream in &mut streams[..31] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn a_daemon_stops_in_the_middle_of_a_handshake() {
    let authority = Authority::new();
    let mut daemon = daemon(&authority, "header_timeout: 1h,", "");
    let mut half_open = Connection::open(daemon.http);
    half_open.send(&[0x16, 3, 1]);
    // It is accepted by now, because connections are accepted in their order.
    Client::new(&authority).connect(daemon.http, "localhost").unwrap();
    daemon.signal("TERM");
    assert_eq!(half_open.rest(), b"");
    assert!(daemon.wait().success());
    assert!(!daemon.log().contains("did not end in time"), "{}", daemon.log());
}

#[test]
fn acme_challenges_are_served_from_the_webroot() {
    let yaml = "http: [{ listen: '127.0.0.1:0', acme_webroot: webroot }]\n\
                admin: { listen: '127.0.0.1:0' }\n";
    let folder = folder(yaml);
    let challenges = folder.path().join("webroot/.well-known/acme-challenge");
    fs::create_dir(folder.path().join("webroot")).unwrap();
    let daemon = Daemon::start_in(folder);
    let path = "/.well-known/acme-challenge/a-token_1";
    assert_eq!(get(daemon.http, path, &[]).status, 404);
    fs::create_dir_all(&challenges).unwrap();
    fs::write(challenges.join("a-token_1"), "a-token_1.thumbprint").unwrap();
    std::os::unix::fs::symlink("a-token_1", challenges.join("link")).unwrap();
    let answer = get(daemon.http, path, &[]);
    assert_eq!((answer.status, &*answer.body_text()), (200, "a-token_1.thumbprint"));
    for other in ["link", "", "..", "a-token_1.", "%61-token_1", "../acme-challenge/a-token_1"] {
        let path = format!("/.well-known/acme-challenge/{other}");
        assert_eq!(get(daemon.http, &path, &[]).status, 404, "{other}");
    }
    assert!(!daemon.admin_page("/metrics").contains("karuta_requests_total"));
}
