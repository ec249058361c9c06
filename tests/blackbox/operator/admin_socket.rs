//! The admin API over a socket file: who may use it, and how commands find it.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use karuta_tests::{Connection, Daemon, SOON, eventually, exchange_at, folder, get, karuta, run};

const TRACKER: &str = "http: [{ listen: '127.0.0.1:0' }]\n";
const METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: tracker\r\n\r\n";

/// Starts a daemon that has a socket file beside an address with a token.
fn start(more: &str) -> Daemon {
    let folder = folder(&format!(
        "{TRACKER}admin: {{ listen: ['unix:admin.sock', '127.0.0.1:0'], token: {{ file: token }} }}\n{more}"
    ));
    std::fs::write(folder.path().join("token"), "a token of more than 16 bytes\n").unwrap();
    Daemon::start_in(folder)
}

/// Runs a command, and returns its exit code and all that it says.
fn says(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = run(arguments, folder);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_socket_file_needs_no_token() {
    let daemon = start("");
    let file = daemon.folder.path().join("admin.sock");
    assert_eq!(exchange_at(&file, METRICS).status, 200);
    assert_eq!(get(daemon.admin, "/metrics", &[]).status, 401, "an address does");
    let origin = METRICS.replace("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n");
    assert_eq!(exchange_at(&file, &origin).status, 403);

    // Only the service may be able to read the token.
    std::fs::remove_file(daemon.folder.path().join("token")).unwrap();
    let (code, said) = says(&["status"], daemon.folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("admin  unix:admin.sock\n"), "{said}");
    let admin = format!("unix:{}", file.display());
    let (code, said) = says(&["snapshot", "save", "--admin", &admin], Path::new("/"));
    assert_eq!(code, Some(0), "{said}");

    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o660);
    let folder = daemon.stop();
    assert!(!folder.path().join("admin.sock").exists(), "it is removed at the end");
}

#[test]
fn the_group_of_a_socket_file_can_be_chosen() {
    let groups = std::process::Command::new("id").arg("-G").output().unwrap();
    let groups = String::from_utf8(groups.stdout).unwrap();
    let group = groups.split_whitespace().last().unwrap();
    let daemon = Daemon::start_with(&format!(
        "{TRACKER}admin: {{ listen: 'unix:admin.sock', socket_group: '{group}' }}\n"
    ));
    let metadata = std::fs::metadata(daemon.folder.path().join("admin.sock")).unwrap();
    assert_eq!(metadata.gid().to_string(), group);

    let unknown = format!("{TRACKER}admin: {{ listen: 'unix:a', socket_group: no-such-group }}\n");
    for command in ["check", "run"] {
        let (code, said) = says(&[command], folder(&unknown).path());
        assert_eq!(code, Some(78), "{said}");
        let expected = "config.yaml:2:42: admin.socket_group: there is no group `no-such-group`";
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn only_a_socket_file_that_nobody_uses_is_replaced() {
    let mut daemon = start("");
    let refused = |reason: &str, prepare: &dyn Fn(&Path)| {
        let other = folder(&format!("{TRACKER}admin: {{ listen: 'unix:admin.sock' }}\n"));
        prepare(&other.path().join("admin.sock"));
        let (code, said) = says(&["run"], other.path());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("cannot listen on unix:admin.sock: {reason}")), "{said}");
    };
    refused("another process listens there", &|path| {
        // It lives as long as this test.
        std::mem::forget(UnixListener::bind(path).unwrap());
    });
    refused("there is a file that is not a socket", &|path| std::fs::write(path, "mine").unwrap());
    refused("there is a file that is not a socket", &|path| std::fs::create_dir(path).unwrap());

    daemon.signal("KILL");
    daemon.wait();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = std::mem::replace(&mut daemon.folder, elsewhere);
    assert!(folder.path().join("admin.sock").exists(), "it is left behind");
    let daemon = Daemon::start_in(folder);
    assert_eq!(exchange_at(&daemon.folder.path().join("admin.sock"), METRICS).status, 200);
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let folder = folder(&format!("{TRACKER}admin: {{ listen: 'unix:run/admin.sock' }}\n"));
    let (code, said) = says(&["check"], folder.path());
    assert_eq!(code, Some(0), "the service manager may make it: {said}");
    let (code, said) = says(&["run"], folder.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cannot listen on unix:run/admin.sock: there is no folder run"),
        "{said}"
    );
}

#[test]
fn commands_try_the_socket_file_and_then_the_address() {
    let daemon = start("");
    let client = folder(&format!(
        "{TRACKER}admin: {{ listen: ['unix:gone.sock', '{}'], token: {{ file: token }} }}\n",
        daemon.admin
    ));
    let token = client.path().join("token");
    std::fs::copy(daemon.folder.path().join("token"), &token).unwrap();
    let (code, said) = says(&["reload"], client.path());
    assert_eq!(code, Some(0), "{said}");
    let tried = "tried before: unix:gone.sock: No such file or directory";
    std::fs::write(&token, "another token of as many bytes").unwrap();
    let (code, said) = says(&["reload"], client.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("401 Unauthorized") && said.contains(tried), "{said}");
    std::fs::remove_file(&token).unwrap();
    let (code, said) = says(&["reload"], client.path());
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("no such file: `token`; ") && said.contains(tried), "{said}");

    let broken = folder("http: [\n");
    let (code, said) = says(&["status"], broken.path());
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("`--admin ADDRESS`"), "{said}");

    let only = folder(&format!("{TRACKER}admin: {{ listen: 'unix:gone.sock' }}\n"));
    let (code, said) = says(&["status"], only.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("unix:gone.sock: No such file or directory"), "{said}");
    let help =
        String::from_utf8(karuta(&["status", "--help"], only.path()).output().unwrap().stdout);
    assert!(help.unwrap().contains("The socket files in `admin.listen` are tried first"));
}

/// Answers have a thread of their own, and bounded connections.
#[test]
fn clients_that_never_read_delay_neither_reloads_nor_the_end() {
    let mut daemon = start("");
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a token of more \
               than 16 bytes\r\n\r\n"
        .repeat(20);
    let greedy: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.admin).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(ask.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut next = Connection::open(daemon.admin);
    next.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    daemon.logs("connection limit reached");
    let (code, said) = says(&["reload"], daemon.folder.path());
    assert_eq!(code, Some(0), "the socket file has connections of its own: {said}");
    daemon.signal("HUP");
    eventually("it reloads", || daemon.log().matches("reloaded: ").count() == 2);
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    drop(greedy);
}
