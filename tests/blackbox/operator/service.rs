//! What systemd is told, and the sockets that it keeps over a restart.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use karuta_tests::announce::Announce;
use karuta_tests::service::{Manager, passing};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Connection, Daemon, LISTENERS, SOON, eventually, folder, karuta, write_config};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

const ADMIN: &str = "admin: { listen: '127.0.0.1:0' }\n";

/// Returns `karuta run` for a folder, with a service manager.
fn managed(folder: &TempDir, manager: &Manager) -> Command {
    let mut command = karuta(&["run"], folder.path());
    command.env("NOTIFY_SOCKET", manager.address());
    command
}

fn start(yaml: &str, manager: &Manager, sockets: Vec<(&str, OwnedFd)>) -> Daemon {
    start_in(folder(yaml), manager, sockets)
}

fn start_in(folder: TempDir, manager: &Manager, sockets: Vec<(&str, OwnedFd)>) -> Daemon {
    Daemon::start_by(passing(&managed(&folder, manager), sockets), folder)
}

/// Runs a daemon that must not start.
fn refused(yaml: &str, sockets: Vec<(&str, OwnedFd)>) -> Output {
    let folder = folder(yaml);
    passing(&karuta(&["run"], folder.path()), sockets).output().unwrap()
}

/// Returns a UDP socket that shares its address with others, as a worker's.
fn shared(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.into()
}

/// Returns the names of the sockets that are given to the manager, or taken from it.
fn names(messages: &[String], what: &str) -> Vec<String> {
    let given = messages.iter().filter(|message| message.starts_with(what));
    let name = |message: &String| message.rsplit_once("FDNAME=").unwrap().1.to_owned();
    let mut names: Vec<_> = given.map(name).collect();
    names.sort();
    names
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_stop() {
    let manager = Manager::new();
    let folder = folder(&format!("{LISTENERS}tracker: {{ workers: 2 }}"));
    let mut command = managed(&folder, &manager);
    command.env("FDSTORE", "4");
    let mut daemon = Daemon::start_by(command, folder);
    daemon.logs("raise FileDescriptorStoreMax=");
    let start = manager.messages_until("READY=1");
    let extends = |message: &String| message.starts_with("EXTEND_TIMEOUT_USEC=");
    assert!(start.iter().any(extends), "{start:?}");
    let kept = ["admin.0.0", "http.0.0", "http.0.1", "udp.0.0", "udp.0.1"];
    assert_eq!(names(&start, "FDSTORE=1\n"), kept, "{start:?}");
    assert_eq!(manager.message(), "STATUS=0 peers in 0 swarms, 0 requests/s; generation 1");

    let reloads =
        ["tracker: { workers: 2, num_want: { default: 7 } }", "tracker: { workers: wrong }"];
    for (yaml, outcome) in reloads.into_iter().zip(["applied", "refused"]) {
        write_config(daemon.folder.path(), &format!("{LISTENERS}{yaml}"));
        daemon.signal("HUP");
        let reload = manager.messages_until("READY=1");
        let begin = reload.iter().find(|message| message.starts_with("RELOADING=1\n")).unwrap();
        let time = begin.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().is_ok(), "{begin}");
        let series = format!("karuta_reloads_total{{outcome=\"{outcome}\"}}");
        eventually(outcome, || daemon.metric(&series) == 1.0);
    }
    Announce::of('a').http(daemon.http).unwrap();
    let status = manager.messages_until("STATUS=1 peers in 1 swarms");
    assert!(status.last().unwrap().contains("generation 2"), "{status:?}");
    daemon.signal("TERM");
    manager.messages_until("STOPPING=1");
    assert!(daemon.wait().success());
}

#[test]
fn a_worker_that_is_stuck_no_longer_feeds_the_watchdog() {
    let watchdog = Duration::from_secs(1);
    let manager = Manager::new();
    let folder = folder(&format!(
        "{LISTENERS}tracker: {{ workers: 2 }}
policies:
  - name: slow
    plugin: PLUGINS/test-hostile.wasm
    limits: {{ deadline: 60s }}
    config: {{ rules: [{{ on: announce, do: loop }}] }}
"
    ));
    let mut command = managed(&folder, &manager);
    command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    let daemon = Daemon::start_by(command, folder);
    for _ in 0..3 {
        manager.messages_until("WATCHDOG=1");
    }
    let mut stuck = TcpStream::connect(daemon.http).unwrap();
    let query = Announce::of('a').query();
    write!(stuck, "GET /announce?{query} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // systemd would act as soon as it has waited this long.
    let (start, mut fed) = (Instant::now(), Instant::now());
    while fed.elapsed() < watchdog {
        assert!(start.elapsed() < SOON, "it is still fed");
        let message = manager.message_within(Duration::from_millis(100));
        if message.is_some_and(|message| message == "WATCHDOG=1") {
            fed = Instant::now();
        }
    }
}

#[test]
fn what_arrives_between_two_processes_is_answered_by_the_next() {
    let manager = Manager::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let [at, http_at] = [udp.local_addr().unwrap(), tcp.local_addr().unwrap()];
    let sockets = || {
        let (udp, tcp) = (udp.try_clone().unwrap(), tcp.try_clone().unwrap());
        vec![("udp.0.0", udp.into()), ("http.0.0", tcp.into())]
    };
    let yaml = format!(
        "tracker: {{ workers: 1 }}\nhttp: [{{ listen: '{http_at}' }}]\nudp: [{{ listen: '{at}' }}]\n{ADMIN}"
    );
    let daemon = start(&yaml, &manager, sockets());
    assert_eq!(names(&manager.messages_until("READY=1"), "FDSTORE=1\n"), ["admin.0.0"]);
    let client = Client::connect(at);
    Announce::of('a').udp(&client).unwrap();
    let folder = daemon.stop();

    for transaction in 0..100 {
        client.send(&Announce::of('b').packet(client.id, transaction));
    }
    let mut connection = Connection::open(http_at);
    let query = Announce::of('b').port(7).query();
    connection.send(format!("GET /announce?{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let _daemon = start_in(folder, &manager, sockets());
    for transaction in 0..100 {
        udp::body(&client.receive(), udp::ANNOUNCE, transaction).unwrap();
    }
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn the_sockets_of_an_address_that_has_changed_are_read_empty_and_closed() {
    let manager = Manager::new();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for same_port in [false, true] {
        let old = shared(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let at = old.local_addr().unwrap();
        let new = if same_port { format!("0.0.0.0:{}", at.port()) } else { free.to_string() };
        let early = Client::new(at.ip(), at);
        early.send(&udp::header(0x0417_2710_1980, udp::CONNECT, 5));
        let yaml = format!("tracker: {{ workers: 1 }}\nudp: [{{ listen: '{new}' }}]\n{ADMIN}");
        let daemon = start(&yaml, &manager, vec![("udp.0.0", old.into())]);
        let start = manager.messages_until("READY=1");
        assert_eq!(names(&start, "FDSTOREREMOVE=1\n"), ["udp.0.0"]);
        assert_eq!(names(&start, "FDSTORE=1\n"), ["admin.0.0", "udp.0.0"]);
        let forgotten = start.iter().position(|message| message.starts_with("FDSTOREREMOVE"));
        let kept = start.iter().position(|message| message.ends_with("FDNAME=udp.0.0"));
        assert!(forgotten <= kept, "the new one of that name stays: {start:?}");
        assert_eq!(early.receive()[..8], [0, 0, 0, 0, 0, 0, 0, 5], "what waited is answered");
        if !same_port {
            eventually("the old address is free", || UdpSocket::bind(at).is_ok());
        }
        Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    }
}

#[test]
fn workers_get_along_with_fewer_and_with_more_sockets() {
    let manager = Manager::new();
    let config = |workers: u32, at: SocketAddr| {
        format!("tracker: {{ workers: {workers} }}\nudp: [{{ listen: '{at}' }}]\n{ADMIN}")
    };
    // The kernel spreads clients over the sockets by their ports.
    let all_are_served = |at| {
        for _ in 0..32 {
            Announce::of('a').udp(&Client::connect(at)).unwrap();
        }
    };

    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = one.local_addr().unwrap();
    let daemon = start(&config(3, at), &manager, vec![("udp", one.into())]);
    assert_eq!(names(&manager.messages_until("READY=1"), "FDSTORE=1\n"), ["admin.0.0"]);
    daemon.logs("workers share those of the service manager");
    all_are_served(at);

    let one = shared(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let at = one.local_addr().unwrap();
    let _daemon = start(&config(3, at), &manager, vec![("udp.0.1", one.into())]);
    let kept = names(&manager.messages_until("READY=1"), "FDSTORE=1\n");
    assert_eq!(kept, ["admin.0.0", "udp.0.0", "udp.0.2"], "no name twice");
    all_are_served(at);

    let one = shared(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let at = one.local_addr().unwrap();
    let two = shared(at);
    let sockets = vec![("udp.0.0", one.into()), ("udp.0.1", two.into())];
    let _daemon = start(&config(1, at), &manager, sockets);
    assert_eq!(names(&manager.messages_until("READY=1"), "FDSTORE=1\n"), ["admin.0.0"]);
    all_are_served(at);
}

#[test]
fn a_socket_of_a_socket_unit_must_have_a_listener() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = tcp.local_addr().unwrap();
    let yaml = |http: SocketAddr| format!("http: [{{ listen: '{http}' }}]\n{ADMIN}");
    let daemon = start(&yaml(at), &Manager::new(), vec![("http", tcp.try_clone().unwrap().into())]);
    Announce::of('a').http(at).unwrap();
    drop(daemon);

    let output = refused(&yaml(SocketAddr::from(([127, 0, 0, 2], 1))), vec![("http", tcp.into())]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "config.yaml:1:7: http: the service manager passes the TCP socket {at} (`http`), but no \
         listener wants it; expected 127.0.0.2:1 or 127.0.0.1:0"
    );
    assert_eq!(said.lines().next_back(), Some(&*expected));

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = refused(&yaml(at), vec![("karuta.socket", udp.into())]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("wants it; expected none"), "{said}");
}

#[test]
fn files_that_are_no_listening_sockets_are_closed() {
    let null = std::fs::File::open("/dev/null").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let sockets = vec![("odd", null.into()), ("stream", stream.into())];
    let daemon = start(LISTENERS, &Manager::new(), sockets);
    daemon.logs("`odd`: it is not a TCP or UDP socket");
    daemon.logs("`stream`: it does not listen");
    Announce::of('a').http(daemon.http).unwrap();
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let folder = folder(LISTENERS);
    let mut command = karuta(&["run"], folder.path());
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "http:udp")]);
    let daemon = Daemon::start_by(command, folder);
    Announce::of('a').http(daemon.http).unwrap();
    assert!(!daemon.log().contains("service manager"));
}

#[test]
fn a_service_manager_that_does_not_listen_is_no_hindrance() {
    let silent = Manager::new();
    for address in [silent.address(), "/nonexistent/notify".into()] {
        // More messages than a socket's queue holds.
        let folder = folder(&format!("{LISTENERS}tracker: {{ workers: 8 }}"));
        let mut command = karuta(&["run"], folder.path());
        command.env("NOTIFY_SOCKET", &address);
        let daemon = Daemon::start_by(command, folder);
        Announce::of('a').http(daemon.http).unwrap();
        // For the first message that it does not take, and for the end of the start.
        assert!(daemon.log().matches("cannot notify the service manager").count() <= 2);
    }
}

#[test]
fn a_hidden_configuration_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = ["run", "--config", "/home/no-such-user/config.yaml"];
    let said = |mut command: Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let mut service = karuta(&file, folder.path());
    service.env("INVOCATION_ID", "0123456789abcdef0123456789abcdef");
    let explained = said(service);
    assert!(explained.contains("no such file"), "{explained}");
    assert!(explained.contains("`ProtectHome=`"), "{explained}");
    assert!(!said(karuta(&file, folder.path())).contains("ProtectHome"));
}

#[test]
fn a_credential_is_a_secret() {
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("token"), "hunter2\n").unwrap();
    let yaml = "udp: [{ listen: '127.0.0.1:0' }]
admin: { listen: '127.0.0.1:0', token: { credential: token } }";
    let folder = folder(yaml);
    let mut command = karuta(&["run"], folder.path());
    command.env("CREDENTIALS_DIRECTORY", credentials.path());
    let daemon = Daemon::start_by(command, folder);
    let status = |headers: &[&str]| karuta_tests::get(daemon.admin, "/api/status", headers).status;
    assert_eq!(status(&["Authorization: Bearer hunter2"]), 200);
    assert_eq!(status(&[]), 401);
}
