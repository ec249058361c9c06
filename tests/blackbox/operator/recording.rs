//! The flight recorder: requests as they came, with what became of them, in a file.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Connection, Daemon, LISTENERS, eventually, exchange, folder, get, karuta, run};
use serde_json::{Value, json};

const POLICIES: &str = "\
tracker: { workers: 1 }
policies:
  - { name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }
  - name: wall
    plugin: PLUGINS/test-hostile.wasm
    config: { rules: [{ on: announce, do: drop, query: wall }] }
";

fn is_recording(daemon: &Daemon) -> bool {
    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    status["record"]["recording"] == true
}

fn question(body: &str) -> String {
    format!(
        "POST /api/record HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Starts a recording into a file, and waits until it has begun.
fn begin(daemon: &Daemon, arguments: &[&str]) -> Child {
    let admin = daemon.admin.to_string();
    let all = [&["record", "--admin", &admin], arguments].concat();
    let mut command = karuta(&all, daemon.folder.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it records", || is_recording(daemon));
    child
}

/// Waits for the end of a recording, and returns what the command printed.
fn end(recording: Child) -> String {
    let output = recording.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what `karuta recording` says of a file.
fn shown(folder: &Path, file: &str) -> Value {
    let output = run(&["recording", file, "--json"], folder);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = if shown["whole"] == true { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    shown
}

#[test]
fn a_recording_has_what_came_and_what_became_of_it() {
    let daemon = Daemon::start(POLICIES);
    let client = Client::connect(daemon.udp);
    Announce::of('a').http(daemon.http).unwrap();
    let recording = begin(&daemon, &["--for", "1h", "-n", "4", "--out", "all.karuta"]);
    Announce::of('a').udp(&client).unwrap();
    Announce::of('b').client("-XL0001-").http(daemon.http).unwrap_err();
    Announce::of('c').with("wall=").get(daemon.http, &[]);
    client.scrape(&[torrent('a'), torrent('b')]).unwrap();
    assert_eq!(end(recording), "4 requests, 0 are missing\n");
    let folder = daemon.folder.path();
    let mode = fs::metadata(folder.join("all.karuta")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let all = shown(folder, "all.karuta");
    assert_eq!(all["requests"], 4);
    assert_eq!(all["actions"], json!({ "announce": 3, "scrape": 1 }));
    assert_eq!(all["transports"], json!({ "udp": 2, "http": 2 }));
    assert_eq!(all["outcomes"], json!({ "ok": 2, "rejected": 1, "dropped": 1 }));
    assert_eq!(all["decided_by"], json!({ "clients": 1, "wall": 1 }));
    assert_eq!((&all["whole"], &all["missing"]), (&true.into(), &0.into()));
    let scene = &all["scenes"][0];
    assert_eq!(scene["generation"], 1);
    assert_eq!(scene["policies"][1]["name"], "wall");
    assert_eq!(scene["policies"][0]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(scene["listeners"][0][0], "http");
    let text = run(&["recording", "all.karuta"], folder);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["requests    4 from ", "3 announce, 1 scrape", "1 clients, 1 wall", "keep until"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let again = run(
        &["record", "--for", "1s", "--out", "all.karuta", "--admin", &daemon.admin.to_string()],
        folder,
    );
    assert_eq!(again.status.code(), Some(1), "a file is not replaced");
}

#[test]
fn a_filter_records_only_what_it_admits_and_there_is_one_recording_at_a_time() {
    let daemon = Daemon::start(POLICIES);
    let hash = "62".repeat(20);
    let mut arguments = vec!["--for", "1h", "-n", "2", "--out", "some"];
    arguments.extend(["--outcome", "rejected,dropped", "--info-hash", &hash]);
    let recording = begin(&daemon, &arguments);
    let body = r#"{"seconds":1}"#;
    let ask = |body: &str| exchange(daemon.admin, question(body).as_bytes()).status;
    assert_eq!(ask(body), 429);
    for letter in ['a', 'b'] {
        Announce::of(letter).http(daemon.http).unwrap();
        Announce::of(letter).client("-XL0001-").http(daemon.http).unwrap_err();
        let client = Client::connect(daemon.udp);
        Announce::of(letter).client("-XL0001-").udp(&client).unwrap_err();
    }
    assert_eq!(end(recording), "2 requests, 0 are missing\n");
    for body in [
        r#"{"seconds":0}"#,
        r#"{"seconds":86401}"#,
        r#"{}"#,
        r#"{"seconds":1,"from":"here"}"#,
        r#"{"seconds":1,"sample":0}"#,
        r#"{"seconds":1,"n":0}"#,
        r#"{"seconds":1,"redact":"all"}"#,
        r#"{"seconds":1,"outcome":"invalid"}"#,
        r#"{"seconds":1,"all":1}"#,
    ] {
        assert_eq!(ask(body), 400, "{body}");
    }
    let audit = daemon.admin_page("/api/audit");
    assert!(audit.contains("recording for 3600 s"), "{audit}");
}

#[test]
fn a_recording_follows_a_reload_and_ends_with_the_daemon() {
    let yaml = format!("{LISTENERS}{POLICIES}");
    let mut daemon = Daemon::start_with(&yaml);
    let recording = begin(&daemon, &["--for", "1h", "--out", "cut"]);
    Announce::of('a').http(daemon.http).unwrap();
    karuta_tests::write_config(daemon.folder.path(), &yaml.replace("-XL", "-KA"));
    let admin = daemon.admin.to_string();
    assert!(run(&["reload", "--admin", &admin], daemon.folder.path()).status.success());
    Announce::of('a').http(daemon.http).unwrap_err();
    eventually("both are on the disk", || {
        let output = run(&["recording", "cut", "--json"], daemon.folder.path());
        let shown: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        shown.is_some_and(|shown| shown["requests"] == 2)
    });
    daemon.signal("TERM");
    daemon.wait();
    assert!(!recording.wait_with_output().unwrap().status.success());
    let cut = shown(daemon.folder.path(), "cut");
    assert_eq!(cut["whole"], false);
    let arguments = ["recording", "cut", "--redact", "addresses", "--out", "copy"];
    let copied = run(&arguments, daemon.folder.path());
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    let copy = shown(daemon.folder.path(), "copy");
    assert_eq!((&copy["whole"], &copy["requests"]), (&false.into(), &2.into()));
    let generations: Vec<_> =
        cut["scenes"].as_array().unwrap().iter().map(|scene| scene["generation"].clone()).collect();
    assert_eq!(generations, [1, 2]);
}

#[test]
fn what_is_overwritten_before_it_is_read_is_counted() {
    const MANY: u64 = 3000;
    let daemon = Daemon::start("tracker: { workers: 1 }\nrecord: { ring: 1MiB }\n");
    // Somebody who does not read what is recorded.
    let mut stream = TcpStream::connect(daemon.admin).unwrap();
    let body = r#"{"seconds":86400}"#;
    stream.write_all(question(body).as_bytes()).unwrap();
    eventually("it records", || is_recording(&daemon));
    // 30 MB, more than the rings, the pieces that wait and the sockets hold.
    let announce = Announce::of('a').with(&format!("pad={}", "x".repeat(10_000)));
    let mut connection = Connection::open(daemon.http);
    for _ in 0..MANY {
        let request = format!("GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", announce.query());
        connection.send(request.as_bytes());
        assert_eq!(connection.answer().status, 200);
    }
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        answer.read_line(&mut line).unwrap();
    }
    let path = daemon.folder.path().join("all");
    let mut file = fs::File::create(&path).unwrap();
    thread::spawn(move || io::copy(&mut answer, &mut file));
    let mut found = (0, 0);
    eventually("all are recorded, or counted", || {
        let output = run(&["recording", "all", "--json"], daemon.folder.path());
        let Ok(all) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
        found = (all["requests"].as_u64().unwrap(), all["missing"].as_u64().unwrap());
        found.0 + found.1 == MANY
    });
    let (requests, missing) = found;
    assert!(requests > 100 && missing > 100, "{requests} {missing}");
    let behind = daemon.metric("karuta_record_dropped_total{reason=\"behind\"}");
    assert_eq!(behind, missing as f64);
    assert_eq!(daemon.metric("karuta_record_ring_bytes"), f64::from(1 << 20));
    assert!(daemon.metric("karuta_record_span_seconds") > 0.0);
}

#[test]
fn without_a_recorder_there_is_no_recording() {
    let daemon = Daemon::start("record: false");
    let admin = daemon.admin.to_string();
    let arguments = ["record", "--for", "1s", "--out", "none", "--admin", &admin];
    let output = run(&arguments, daemon.folder.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("requests are not recorded: `record`"), "{said}");
    assert!(!daemon.folder.path().join("none").exists());
    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    assert!(status["record"].is_null(), "{status}");
    assert!(!daemon.admin_page("/metrics").contains("karuta_record_"));
}

#[test]
fn a_token_needs_the_right_to_see_peers() {
    let tokens = "\
http: [{ listen: '[::]:0' }]
admin:
  listen: '127.0.0.1:0'
  tokens:
    - { name: reader, token: { file: reader }, may: [read, explain, lists, accounts, reload] }
    - { name: recorder, token: { file: recorder }, may: [peers] }
";
    let folder = folder(tokens);
    for name in ["reader", "recorder"] {
        fs::write(folder.path().join(name), name.repeat(4)).unwrap();
    }
    let daemon = Daemon::start_in(folder);
    let admin = daemon.admin.to_string();
    let record = |token: &str| {
        let arguments =
            ["record", "--for", "1s", "--out", token, "--admin", &admin, "--token-file"];
        // A file of that name is there.
        let out = format!("{token}.karuta");
        let arguments: Vec<_> = arguments.map(|one| if one == token { &out } else { one }).into();
        run(&[&arguments[..], &[token]].concat(), daemon.folder.path())
    };
    let refused = record("reader");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("403"));
    assert!(record("recorder").status.success());
}

#[test]
fn credentials_and_addresses_are_hidden_in_the_tracker_and_in_a_copy() {
    let yaml = format!(
        "{LISTENERS}tracker: {{ workers: 1 }}
policies:
  - name: members
    plugin: PLUGINS/passkey.wasm
    credential: ['path:passkey']
    config: {{ keys_from: keys }}
    data: {{ keys: {{ file: keys.txt, format: strings }} }}
"
    );
    let folder = folder(&yaml);
    fs::write(folder.path().join("keys.txt"), "s3cr3tpasskey0001\n").unwrap();
    let daemon = Daemon::start_in(folder);
    let load = || {
        let path = |key: &str| format!("/{key}/announce?{}&token=t0k3n", Announce::of('a').query());
        for key in ["s3cr3tpasskey0001", "s3cr3tpasskey0002"] {
            let answer = get(daemon.http, &path(key), &["X-Forwarded-For: 203.0.113.77"]);
            assert_eq!(answer.status, 200);
        }
    };
    let recording = begin(&daemon, &["--for", "1h", "-n", "2", "--out", "whole"]);
    load();
    end(recording);
    let mut arguments = vec!["--for", "1h", "-n", "2", "--out", "hidden"];
    arguments.extend(["--redact", "credentials,addresses"]);
    let recording = begin(&daemon, &arguments);
    load();
    end(recording);
    let folder = daemon.folder.path();
    let both = "credentials,addresses";
    let copied = run(&["recording", "whole", "--redact", both, "--out", "copy"], folder);
    assert!(copied.status.success(), "{copied:?}");
    let contains = |file: &str, text: &[u8]| {
        let bytes = fs::read(folder.join(file)).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    };
    for secret in ["s3cr3t", "t0k3n", "203.0.113.77"] {
        assert!(contains("whole", secret.as_bytes()), "{secret}");
        for file in ["hidden", "copy"] {
            assert!(!contains(file, secret.as_bytes()), "{secret} in {file}");
        }
    }
    for file in ["hidden", "copy"] {
        assert!(!contains(file, &[127, 0, 0, 1]), "the client's address in {file}");
        let shown = shown(folder, file);
        assert_eq!(shown["redacted"], json!(["credentials", "addresses"]));
        assert_eq!((&shown["requests"], &shown["whole"]), (&2.into(), &true.into()));
        assert_eq!(fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, 0o600);
        let replayed = run(&["replay", file, "--json"], folder);
        assert_eq!(replayed.status.code(), Some(3), "{replayed:?}");
        let report: Value = serde_json::from_slice(&replayed.stdout).unwrap();
        assert_eq!(report["unrepeatable"][0]["policy"], "members");
        assert_eq!(report["unreadable"], 0);
    }
    assert_eq!(run(&["replay", "whole"], folder).status.code(), Some(0));
}

#[test]
fn what_is_expired_is_removed_and_what_is_no_recording_is_refused() {
    let daemon = Daemon::start("record: { retain: 1h }");
    let recording = begin(&daemon, &["--for", "1h", "-n", "1", "--out", "fresh"]);
    Announce::of('a').http(daemon.http).unwrap();
    end(recording);
    let folder = daemon.folder.path();
    let output = run(&["recording", "--remove-expired", "fresh"], folder);
    assert!(output.status.success() && folder.join("fresh").exists(), "{output:?}");
    for (name, bytes) in [("text", &b"no recording"[..]), ("empty", b"")] {
        fs::write(folder.join(name), bytes).unwrap();
        let output = run(&["recording", name], folder);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("not a recording"), "{said}");
        let output = run(&["recording", name, "--redact", "addresses", "--out", "none"], folder);
        assert_eq!(output.status.code(), Some(1));
        assert!(!folder.join("none").exists());
    }
    let mut bytes = fs::read(folder.join("fresh")).unwrap();
    bytes[8] = 9;
    fs::write(folder.join("newer"), bytes).unwrap();
    let said = String::from_utf8(run(&["recording", "newer"], folder).stderr).unwrap();
    assert!(said.contains("it has format 9, and this program reads format 1"), "{said}");
    // One that was made before the clock of this machine began.
    let old = fs::read(folder.join("fresh")).unwrap();
    let old = aged(old);
    fs::write(folder.join("old"), old).unwrap();
    let output = run(&["recording", "--remove-expired", "text", "old", "none", "fresh"], folder);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        said.contains("text: not a recording") && said.contains("none: No such file"),
        "{said}"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "old: removed\n");
    assert!(!folder.join("old").exists() && folder.join("fresh").exists());
}

/// Returns a recording as if it had been created at 0 s of 1970. The header ends with its CRC32C.
fn aged(mut file: Vec<u8>) -> Vec<u8> {
    file[16..24].fill(0);
    let sum = crc32c(&file[..60]);
    file[60..64].copy_from_slice(&sum.to_le_bytes());
    file
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut sum: u32, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ ((sum & 1) * 0x82f6_3b78);
        }
        sum
    })
}
