//! Starting and stopping.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Connection, Daemon, SOON, eventually, folder, run};

/// Starts a daemon that must end with exit code 1 because `address` is taken.
#[track_caller]
fn finds_taken(yaml: &str, address: SocketAddr) {
    let folder = folder(yaml);
    let output = run(&["run"], folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    let expected =
        format!("karuta: cannot listen on {address}: Address already in use (os error 98)");
    assert_eq!(said.lines().next_back(), Some(expected.as_str()), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_port_in_use_is_not_shared() {
    let admin = "admin: { listen: '127.0.0.1:0' }";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    finds_taken(&format!("http: [{{ listen: '{address}' }}]\n{admin}"), address);
    finds_taken(
        &format!("http: [{{ listen: '127.0.0.1:0' }}]\nadmin: {{ listen: '{address}' }}"),
        address,
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    finds_taken(&format!("udp: [{{ listen: '{address}' }}]\n{admin}"), address);

    // Another daemon of Karuta also sets SO_REUSEPORT, and the kernel would let it share the port.
    let daemon = Daemon::start("");
    let any = |address: SocketAddr| SocketAddr::from(([0_u16; 8], address.port()));
    for address in [any(daemon.http), daemon.http] {
        finds_taken(&format!("http: [{{ listen: '{address}' }}]\n{admin}"), address);
    }
    for address in [any(daemon.udp), daemon.udp] {
        finds_taken(&format!("udp: [{{ listen: '{address}' }}]\n{admin}"), address);
    }
    Announce::of('a').http(daemon.http).expect("the first is not disturbed");
}

#[test]
fn sigterm_and_sigint_end_the_daemon_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::start("");
        Announce::of('a').http(daemon.http).unwrap();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0), "SIG{signal}");
        eventually("it says so", || daemon.log().contains("\"stopped\""));
    }
}

/// One worker accepts in order: when the second connection is answered, the first has been read.
#[test]
fn a_stop_finishes_the_request_under_way() {
    let mut daemon = Daemon::start("tracker: { workers: 1 }");
    let query = Announce::of('a').query();
    let request = format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (half, rest) = request.split_at(100);
    let mut under_way = Connection::open(daemon.http);
    under_way.send(half.as_bytes());
    let mut idle = Connection::open(daemon.http);
    idle.send(request.as_bytes());
    assert_eq!(idle.answer().status, 200);
    daemon.signal("TERM");
    assert_eq!(idle.rest(), b"", "an idle connection ends");
    eventually("the listener is closed", || {
        std::net::TcpStream::connect_timeout(&daemon.http, SOON).is_err()
    });
    under_way.send(rest.as_bytes());
    let answer = under_way.answer();
    assert!(answer.body.starts_with(b"d8:complete"), "{answer:?}");
    assert_eq!(under_way.rest(), b"");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn the_next_start_on_the_same_ports_works_at_once() {
    let mut daemon = Daemon::start("");
    let (http, udp, admin) = (daemon.http.port(), daemon.udp.port(), daemon.admin.port());
    let yaml = format!(
        "http: [{{ listen: '[::]:{http}' }}]\nudp: [{{ listen: '[::]:{udp}' }}]\n\
         admin: {{ listen: '127.0.0.1:{admin}' }}\n"
    );
    for _ in 0..3 {
        // The daemon closes the connection first, so the kernel remembers the port for a while.
        let mut kept = Connection::open(daemon.http);
        let request =
            format!("GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", Announce::of('a').query());
        kept.send(request.as_bytes());
        kept.answer();
        daemon.signal("TERM");
        kept.rest();
        assert!(daemon.wait().success());
        daemon = Daemon::start_with(&yaml);
        assert_eq!((daemon.http.port(), daemon.udp.port()), (http, udp));
        Announce::of('a').http(daemon.http).unwrap();
        Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    }
}

#[test]
fn the_state_folder_is_private() {
    let daemon = Daemon::start("");
    let state = daemon.folder.path().join("state");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.clone()), 0o700);
    assert_eq!(mode(state.join("connection-id-secret")), 0o600);
}

#[test]
fn a_state_folder_that_others_can_write_to_is_refused() {
    let folder = folder("udp: [{ listen: '127.0.0.1:0' }]\nadmin: { listen: '127.0.0.1:0' }");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = run(&["run"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected =
        "karuta: state_dir: state: the folder is writable by other users, expected mode 0700";
    assert_eq!(said.lines().next_back(), Some(expected), "{said}");
}

#[test]
fn the_log_is_json_if_configured() {
    let mut daemon = Daemon::start("log: { format: json, level: info }");
    daemon.signal("TERM");
    daemon.wait();
    eventually("the log ends", || daemon.log().contains("\"stopped\""));
    for line in daemon.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
}
