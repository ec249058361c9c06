//! Who changed what over the admin API.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use karuta_tests::{Daemon, eventually, exchange, exchange_at, folder, write_config};
use serde_json::{Value, json};

const TOKEN: &str = "the token that may deploy";

fn yaml(more: &str) -> String {
    format!(
        "http: [{{ listen: '127.0.0.1:0' }}]
admin:
  listen: ['unix:admin.sock', '127.0.0.1:0']
  tokens: [{{ name: deployer, token: {{ file: token }}, may: [reload, explain] }}]
{more}"
    )
}

fn request(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// Returns the entries, without the times.
fn entries(daemon: &Daemon) -> Vec<Value> {
    let file = daemon.folder.path().join("admin.sock");
    let answer = exchange_at(&file, &request("GET", "/api/audit"));
    assert_eq!(answer.status, 200);
    let mut entries: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    for entry in &mut entries {
        let time = entry.as_object_mut().unwrap().remove("unix_ms");
        assert!(time.and_then(|time| time.as_u64()) > Some(1_700_000_000_000));
    }
    entries
}

#[test]
fn every_change_is_noted_with_its_caller_and_result() {
    let folder = folder(&yaml(""));
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let daemon = Daemon::start_in(folder);
    let ask = |method, path| exchange(daemon.admin, request(method, path).as_bytes()).status;
    let at_file = |method, path| {
        exchange_at(&daemon.folder.path().join("admin.sock"), &request(method, path)).status
    };
    let uid = std::fs::metadata(daemon.folder.path().join("token")).unwrap().uid();
    assert!(entries(&daemon).is_empty());

    assert_eq!(ask("POST", "/api/reload"), 200);
    write_config(daemon.folder.path(), &yaml("trackers: {}\n"));
    assert_eq!(at_file("POST", "/api/reload"), 409);
    assert_eq!(at_file("POST", "/api/snapshot"), 200);
    // Neither questions nor what is refused changes anything.
    assert_eq!(ask("POST", "/api/explain"), 400);
    assert_eq!(ask("GET", "/api/audit"), 403);
    assert_eq!(ask("GET", "/api/reload"), 405);

    let mut entries = self::entries(&daemon);
    let results: Vec<Value> = entries.iter_mut().map(|entry| entry["result"].take()).collect();
    assert_eq!(
        entries,
        [
            json!({ "token": "deployer", "what": "/api/reload", "result": null }),
            json!({ "uid": uid, "what": "/api/reload", "result": null }),
            json!({ "uid": uid, "what": "/api/snapshot", "result": null }),
        ]
    );
    assert_eq!(results[0], "generation 1: nothing has changed");
    let refused = "refused: config.yaml:5:1: unknown key `trackers`";
    assert!(results[1].as_str().unwrap().starts_with(refused), "{}", results[1]);
    assert!(results[2].as_str().unwrap().starts_with("0 peers in "), "{}", results[2]);

    eventually("all is in the log", || {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["target"] == "audit");
        let who: Vec<_> = lines.map(|line| line["fields"]["who"].clone()).collect();
        who == ["token deployer".to_owned(), format!("uid {uid}"), format!("uid {uid}")]
    });
}

/// The change may be made all the same.
#[test]
fn a_client_that_leaves_is_noted() {
    let daemon = Daemon::start("");
    let mut stream = TcpStream::connect(daemon.admin).unwrap();
    stream.write_all(request("POST", "/api/reload").as_bytes()).unwrap();
    drop(stream);
    eventually("it is noted", || {
        let page = daemon.admin_page("/api/audit");
        page.contains("/api/reload") && page.contains("\"address\": \"127.0.0.1\"")
    });
}
