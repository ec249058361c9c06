//! HTTP connections: how many requests they take, and when they end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use karuta_tests::announce::Announce;
use karuta_tests::{Connection, Daemon, eventually, exchange, get};

/// Starts a daemon with more settings for its HTTP listener.
fn daemon(http: &str) -> Daemon {
    Daemon::start_with(&format!(
        "http: [{{ listen: '127.0.0.1:0', {http} }}]\nadmin: {{ listen: '127.0.0.1:0' }}\n"
    ))
}

fn request(announce: &Announce) -> String {
    format!("GET /announce?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", announce.query())
}

#[test]
fn a_connection_takes_many_requests() {
    let daemon = daemon("");
    let mut connection = Connection::open(daemon.http);
    for port in 1..=50 {
        connection.send(request(&Announce::of('a').port(port)).as_bytes());
        let answer = connection.answer().body_text();
        assert!(answer.contains(&format!("10:incompletei{port}e")), "{answer}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let daemon = daemon("");
    let mut connection = Connection::open(daemon.http);
    let requests: String = (1..=50).map(|port| request(&Announce::of('a').port(port))).collect();
    connection.send(requests.as_bytes());
    for port in 1..=50 {
        let answer = connection.answer().body_text();
        assert!(answer.contains(&format!("10:incompletei{port}e")), "{answer}");
    }
}

#[test]
fn requests_may_come_in_any_pieces() {
    let daemon = daemon("");
    let mut connection = Connection::open(daemon.http);
    for piece in request(&Announce::of('a')).as_bytes().chunks(7) {
        connection.send(piece);
    }
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn http_1_0_is_served() {
    let daemon = daemon("");
    let query = Announce::of('a').query();
    let answer =
        exchange(daemon.http, format!("GET /announce?{query} HTTP/1.0\r\n\r\n").as_bytes());
    assert!(answer.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", answer.head);
    assert!(answer.body.starts_with(b"d8:complete"), "{answer:?}");
    let mut connection = Connection::open(daemon.http);
    for _ in 0..2 {
        let request = format!("GET /announce?{query} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        connection.send(request.as_bytes());
        assert_eq!(connection.answer().status, 200);
    }
}

/// Some clients close their side as soon as they have sent the request.
#[test]
fn a_half_closed_connection_is_answered() {
    let daemon = daemon("");
    let mut stream = TcpStream::connect(daemon.http).unwrap();
    stream.set_read_timeout(Some(karuta_tests::SOON)).unwrap();
    stream.write_all(request(&Announce::of('a')).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// A client that exits sends `stopped` for all its torrents, and does not wait for the answers.
#[test]
fn requests_that_have_arrived_count_even_if_the_answers_are_not_read() {
    let daemon = daemon("");
    let leechers = || {
        let scrape = get(daemon.http, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa", &[]).body_text();
        let found = scrape.split("10:incompletei").nth(1).and_then(|rest| rest.split('e').next());
        found.expect("a count").parse::<usize>().unwrap()
    };
    let requests = |event, peers| -> Vec<u8> {
        let peer = |port| request(&Announce::of('a').port(port).event(event));
        (1..=peers).map(peer).collect::<String>().into_bytes()
    };
    // Closing a connection with an unread answer resets it.
    let leave_unread = |stream: &mut TcpStream| {
        stream.write_all(b"GET /scrape HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.peek(&mut [0]).unwrap();
    };
    type Step = fn(&mut TcpStream);
    let nothing: Step = |_| {};
    let ways: [(&str, Step, Step); 4] = [
        ("closed", nothing, nothing),
        ("reset", leave_unread, nothing),
        ("half closed first", nothing, |stream| stream.shutdown(Shutdown::Write).unwrap()),
        ("deaf first", nothing, |stream| stream.shutdown(Shutdown::Read).unwrap()),
    ];
    // 300 requests do not fit into one buffer.
    for peers in [20, 300] {
        for (way, before, after) in ways {
            let mut connection = Connection::open(daemon.http);
            connection.send(&requests("started", peers));
            for _ in 0..peers {
                connection.answer();
            }
            assert_eq!(leechers(), usize::from(peers));
            let mut stream = TcpStream::connect(daemon.http).unwrap();
            before(&mut stream);
            stream.write_all(&requests("stopped", peers)).unwrap();
            after(&mut stream);
            drop(stream);
            eventually(&format!("{peers} stop, {way}"), || leechers() == 0);
        }
    }
}

const FULL: &str = "connection limit reached";

#[test]
fn further_connections_wait_until_one_closes() {
    let daemon = daemon("max_connections: 2, header_timeout: 1h");
    let mut open: Vec<_> = (0..2).map(|_| Connection::open(daemon.http)).collect();
    for connection in &mut open {
        connection.send(request(&Announce::of('a')).as_bytes());
        assert_eq!(connection.answer().status, 200);
    }
    let mut further = Connection::open(daemon.http);
    further.send(request(&Announce::of('a').port(2).event("started")).as_bytes());
    eventually("it says that there is no room", || daemon.log().contains(FULL));
    assert_eq!(daemon.admin_page("/readyz"), "ok\n");
    open[0].send(request(&Announce::of('a')).as_bytes());
    assert!(
        open[0].answer().body_text().contains("10:incompletei1e"),
        "the third is not served yet"
    );
    open.pop();
    assert_eq!(further.answer().status, 200);
}

/// Whatever clients do, operators can inspect and reload the tracker.
#[test]
fn connections_leave_descriptors_for_the_admin_api() {
    let daemon = Daemon::start_with_files(
        200,
        "http: [{ listen: '127.0.0.1:0', header_timeout: 1h }]\ntracker: { workers: 2 }\n\
         admin: { listen: '127.0.0.1:0' }\n",
    );
    let open: Vec<_> = (0..250).map(|_| Connection::open(daemon.http)).collect();
    eventually("it says that there is no room", || daemon.log().contains(FULL));
    assert_eq!(daemon.admin_page("/readyz"), "ok\n");
    daemon.signal("HUP");
    let reloads = "karuta_reloads_total{outcome=\"unchanged\"}";
    eventually("it reloads", || daemon.metric(reloads) == 1.0);
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!((30..150).contains(&files), "{files} files are open");
    drop(open);
    Announce::of('a').http(daemon.http).expect("there is room again");
    assert!(!daemon.log().contains("cannot accept connections"), "{}", daemon.log());
}

#[test]
fn accept_errors_are_logged_once_and_survived() {
    let daemon = Daemon::start("tracker: { workers: 1 }");
    let fails = "cannot accept connections";
    let said = |transport: &str| {
        let transport = format!("\"transport\":\"{transport}\"");
        let log = daemon.log();
        log.lines().filter(|line| line.contains(fails) && line.contains(&transport)).count()
    };
    // Open files stay open, and no more can be opened.
    daemon.limit_files("3");
    let mut waiting: Vec<_> = (0..5).map(|_| Connection::open(daemon.http)).collect();
    for connection in &mut waiting {
        connection.send(request(&Announce::of('a')).as_bytes());
    }
    let admin = Connection::open(daemon.admin);
    eventually("both sides say so", || said("http") > 0 && said("admin") > 0);
    daemon.limit_files("1000");
    for connection in &mut waiting {
        assert_eq!(connection.answer().status, 200);
    }
    drop(admin);
    assert_eq!(daemon.admin_page("/readyz"), "ok\n");
    assert_eq!((said("http"), said("admin")), (1, 1));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let daemon = daemon("max_request: 8KiB");
    let query = Announce::of('a').query();
    let head = |filler: usize| {
        format!("GET /announce?{query} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(filler))
    };
    let mut connection = Connection::open(daemon.http);
    connection.send(head(7000).as_bytes());
    assert_eq!(connection.answer().status, 200);
    for too_large in [head(20_000), format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000))] {
        let mut connection = Connection::open(daemon.http);
        connection.send(too_large.as_bytes());
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        let refused =
            ["HTTP/1.1 431 ", "HTTP/1.1 414 "].iter().any(|line| answer.starts_with(line));
        assert!(answer.is_empty() || refused, "{answer}");
    }
}

#[test]
fn a_slow_head_ends_the_connection() {
    let daemon = daemon("header_timeout: 300ms, keep_alive: 1h");
    let mut silent = Connection::open(daemon.http);
    let mut slow = Connection::open(daemon.http);
    slow.send(b"GET /announce HTTP/1.1\r\nHost:");
    let mut second = Connection::open(daemon.http);
    second.send(request(&Announce::of('a')).as_bytes());
    assert_eq!(second.answer().status, 200);
    second.send(b"GET /ann");
    for connection in [&mut silent, &mut slow, &mut second] {
        assert_eq!(connection.rest(), b"");
    }
}

/// `header_timeout` applies to each head, however long the pauses between requests may be.
#[test]
fn a_slow_second_head_ends_the_connection() {
    let daemon = daemon("header_timeout: 300ms, keep_alive: 1h");
    let mut connection = Connection::open(daemon.http);
    let mut reference = Connection::open(daemon.http);
    connection.send(request(&Announce::of('a')).as_bytes());
    assert_eq!(connection.answer().status, 200);
    // By now the time for the first head is over.
    assert_eq!(reference.rest(), b"");
    connection.send(request(&Announce::of('a')).as_bytes());
    assert_eq!(connection.answer().status, 200);
    connection.send(b"GET /ann");
    assert_eq!(connection.rest(), b"");
}

#[test]
fn an_idle_connection_ends() {
    let daemon = daemon("header_timeout: 1h, keep_alive: 300ms");
    let mut connection = Connection::open(daemon.http);
    connection.send(request(&Announce::of('a')).as_bytes());
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.rest(), b"");
}

#[test]
fn an_announce_is_answered_without_waiting_for_its_body() {
    let daemon = daemon("");
    let query = Announce::of('a').query();
    let mut connection = Connection::open(daemon.http);
    let head = format!("GET /announce?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    connection.send(head.as_bytes());
    assert_eq!(connection.answer().status, 200);
}
