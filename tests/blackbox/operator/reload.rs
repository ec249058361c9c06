//! Changing policies while the tracker serves.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Connection, Daemon, LISTENERS, eventually, plugins, run, write_config};
use serde_json::Value;

/// Returns a policy that sets the interval, so that an answer shows its version.
fn interval(seconds: u32) -> String {
    format!(
        "policies:
  - name: told
    plugin: PLUGINS/test-hostile.wasm
    config: {{ rules: [{{ on: announce, do: set-interval, number: {seconds} }}] }}
"
    )
}

fn rewrite(daemon: &Daemon, yaml: &str) {
    write_config(daemon.folder.path(), &format!("{LISTENERS}{yaml}"));
}

/// Runs `karuta reload`, and returns its exit code and what it prints.
fn reload(daemon: &Daemon) -> (i32, String) {
    let admin = daemon.admin.to_string();
    let output = run(&["reload", "--admin", &admin], daemon.folder.path());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap().trim_end().to_owned())
}

/// Returns the answer to `POST /api/reload`.
fn ask(daemon: &Daemon) -> (u16, Value) {
    let mut connection = Connection::open(daemon.admin);
    connection.send(
        b"POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
          Content-Length: 2\r\n\r\n{}",
    );
    let answer = connection.answer();
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn seconds(daemon: &Daemon) -> [u32; 2] {
    let announce = Announce::of('a');
    let http = announce.http(daemon.http).unwrap().interval;
    [http, announce.udp(&Client::connect(daemon.udp)).unwrap().interval]
}

#[test]
fn a_reload_takes_effect_on_every_transport() {
    let daemon = Daemon::start(&interval(100));
    assert_eq!(seconds(&daemon), [100, 100]);
    assert_eq!(reload(&daemon), (0, "generation 1: nothing has changed".into()));

    rewrite(&daemon, &interval(200));
    assert_eq!(reload(&daemon), (0, "generation 2: replaced told".into()));
    assert_eq!(seconds(&daemon), [200, 200]);

    rewrite(&daemon, "tracker: { announce_interval: 5m, min_announce_interval: 1m }\n");
    assert_eq!(reload(&daemon), (0, "generation 3: removed told; settings changed".into()));
    assert_eq!(seconds(&daemon), [300, 300]);

    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    assert_eq!((&status["generation"], &status["policies"]), (&3.into(), &Value::Array(vec![])));
    assert_eq!(daemon.metric("karuta_generation"), 3.0);
    assert_eq!(daemon.metric("karuta_reloads_total{outcome=\"applied\"}"), 2.0);
    assert_eq!(daemon.metric("karuta_reloads_total{outcome=\"unchanged\"}"), 1.0);
}

#[test]
fn sighup_reloads() {
    let daemon = Daemon::start(&interval(100));
    rewrite(&daemon, &interval(200));
    daemon.signal("HUP");
    eventually("the new interval", || seconds(&daemon) == [200, 200]);
}

/// The file has one component after another.
#[test]
fn a_watched_plugin_is_reloaded_when_its_file_changes() {
    let policy = |watch: bool| {
        format!(
            "policies:\n  - {{ name: told, plugin: told.wasm, on_error: next, watch: {watch} }}\n"
        )
    };
    let folder = karuta_tests::folder(&format!("{LISTENERS}{}", policy(true)));
    let place = folder.path().join("told.wasm");
    let component = |name: &str| fs::read(plugins().join(name)).unwrap();
    fs::write(&place, component("address-approval.wasm")).unwrap();
    let daemon = Daemon::start_in(folder);
    let digest = || {
        let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
        status["policies"][0]["digest"].as_str().unwrap().to_owned()
    };
    let reloads =
        |outcome: &str| daemon.metric(&format!("karuta_reloads_total{{outcome=\"{outcome}\"}}"));
    let first = digest();
    // A new file is renamed over the old one.
    fs::write(daemon.folder.path().join("new"), component("client-approval.wasm")).unwrap();
    fs::rename(daemon.folder.path().join("new"), &place).unwrap();
    eventually("the new one serves", || digest() != first);
    let second = digest();
    // The file is overwritten. A component that cannot be used is refused once.
    fs::write(&place, "junk").unwrap();
    eventually("it is refused", || reloads("refused") == 1.0);
    assert_eq!(digest(), second);
    fs::write(&place, component("address-approval.wasm")).unwrap();
    eventually("the good one serves", || digest() == first);
    // It is counted when it has been kept, too.
    eventually("it is counted", || reloads("applied") == 2.0);
    assert_eq!((reloads("refused"), reloads("unchanged")), (1.0, 0.0));

    rewrite(&daemon, &policy(false));
    assert_eq!(ask(&daemon).0, 200);
    fs::write(&place, "junk").unwrap();
    // Twice the time in which a change is seen. There is no event to wait for.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(reloads("refused"), 1.0, "it is not watched any more");
}

#[test]
fn peers_and_connections_and_connection_ids_stay() {
    let daemon = Daemon::start(&interval(100));
    let udp = Client::connect(daemon.udp);
    Announce::of('a').port(1000).seeder().udp(&udp).unwrap();
    let mut http = Connection::open(daemon.http);
    let request = format!(
        "GET /announce?{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Announce::of('a').port(1001).query()
    );
    http.send(request.as_bytes());
    assert_eq!(http.answer().status, 200);

    rewrite(&daemon, &interval(200));
    assert_eq!(reload(&daemon).0, 0);

    http.send(request.as_bytes());
    assert!(http.answer().body_text().contains("8:intervali200e"));
    let reply = Announce::of('a').port(1002).udp(&udp).unwrap();
    assert_eq!((reply.interval, reply.seeders, reply.leechers), (200, 1, 2));
}

#[test]
fn an_unchanged_plugin_keeps_its_instances() {
    let chain = |on_error: &str, deny: &str| {
        format!(
            "tracker: {{ workers: 2 }}
policies:
  - {{ name: told, plugin: PLUGINS/test-hostile.wasm, on_error: {on_error}, config: {{ rules: [] }} }}
  - {{ name: clients, plugin: PLUGINS/client-approval.wasm, config: {{ deny: [{deny}] }} }}
"
        )
    };
    let daemon = Daemon::start(&chain("reject", "-XL"));
    let inits = |policy: &str| {
        daemon.metric(&format!(
            "karuta_policy_calls_total{{policy=\"{policy}\",hook=\"init\",verdict=\"ok\",remembered=\"false\"}}"
        ))
    };
    // Each worker counts its calls when it takes over its chain.
    eventually("both workers serve", || (inits("told"), inits("clients")) == (2.0, 2.0));
    let before = (inits("told"), inits("clients"));
    rewrite(&daemon, &chain("next", "-SD"));
    let (status, report) = ask(&daemon);
    assert_eq!(status, 200);
    assert_eq!(report["changed"], serde_json::json!(["told"]));
    assert_eq!(report["replaced"], serde_json::json!(["clients"]));
    assert_eq!(inits("told"), before.0, "it goes on");
    assert_eq!(inits("clients"), before.1 * 2.0, "it is made anew on every worker");
    assert!(Announce::of('a').client("-XL0012-").http(daemon.http).is_ok());
    assert!(Announce::of('a').client("-SD0100-").http(daemon.http).is_err());
}

#[test]
fn settings_that_need_a_restart_are_reported_at_each_reload() {
    let daemon = Daemon::start("");
    rewrite(&daemon, "tracker: { workers: 3, peer_lifetime: 2h }\n");
    for _ in 0..2 {
        let expected = "generation 1: nothing has changed\n\
                        waiting for a restart: tracker.workers, tracker.peer_lifetime";
        assert_eq!(reload(&daemon), (0, expected.into()));
    }
}

#[test]
fn a_wrong_version_leaves_the_old_one_serving() {
    let daemon = Daemon::start(&interval(100));
    let component = plugins().join("test-hostile.wasm");
    let copy = |name: &str, bytes: &[u8]| {
        fs::write(daemon.folder.path().join(name), bytes).unwrap();
    };
    copy("junk.wasm", b"junk");
    let other_pin = "00".repeat(32);
    let policy = |plugin: &str, more: &str| {
        format!("policies:\n  - {{ name: told, plugin: {plugin}, {more} }}\n")
    };
    let whole = component.to_str().unwrap();
    let cases = [
        ("nonsense: 1\n".to_owned(), None, "configuration", "unknown key `nonsense`"),
        (policy("missing.wasm", ""), None, "configuration", "no such file"),
        (policy("junk.wasm", ""), Some("told"), "compile", "is text, not a WebAssembly component"),
        (
            policy(whole, &format!("sha256: {other_pin}")),
            Some("told"),
            "digest",
            "not the one pinned",
        ),
        (
            policy(whole, "config: { rules: [{ on: init, do: refuse, text: 'not today' }] }"),
            Some("told"),
            "init",
            "not today",
        ),
        (
            policy(whole, "config: { rules: [{ on: init, do: trap }] }"),
            Some("told"),
            "init",
            "trap",
        ),
    ];
    for (yaml, policy, stage, reason) in &cases {
        rewrite(&daemon, yaml);
        let (status, refusal) = ask(&daemon);
        assert_eq!(status, 409, "{yaml}");
        assert_eq!(refusal["policy"].as_str(), *policy, "{yaml}");
        assert_eq!(refusal["stage"], *stage, "{yaml}");
        let text = refusal["reason"].as_str().unwrap();
        assert!(text.contains(reason), "{text}");
        let (code, printed) = reload(&daemon);
        assert_eq!(code, 1, "{printed}");
        assert!(printed.contains(reason), "{printed}");
        assert_eq!(seconds(&daemon), [100, 100], "{yaml}");
    }
    let refused = daemon.metric("karuta_reloads_total{outcome=\"refused\"}");
    assert_eq!(refused, 2.0 * cases.len() as f64);
    assert_eq!(daemon.metric("karuta_generation"), 1.0);
}

#[test]
fn a_web_page_cannot_reload() {
    let daemon = Daemon::start("");
    let status = |head: &str| {
        let mut connection = Connection::open(daemon.admin);
        connection.send(format!("{head}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        connection.answer().status
    };
    let post = "POST /api/reload HTTP/1.1\r\nHost: localhost";
    let json = "Content-Type: application/json";
    assert_eq!(status(&format!("{post}\r\nContent-Type: text/plain")), 415);
    assert_eq!(status(&format!("{post}\r\n{json}\r\nOrigin: http://evil.example")), 403);
    assert_eq!(status(&format!("POST /api/reload HTTP/1.1\r\nHost: evil.example\r\n{json}")), 403);
    assert_eq!(status("GET /api/reload HTTP/1.1\r\nHost: localhost"), 405);
    assert_eq!(status(&format!("{post}\r\n{json}")), 200);
}

/// Clients notice a reload only by the answers. While it goes on, they are of the old version or
/// the new one, and afterwards only of the new one.
#[test]
fn reloads_under_load_lose_nothing() {
    let daemon = Daemon::start(&interval(100));
    reload_under_load(&daemon, 30, 2);
    assert_eq!(daemon.metric("karuta_generation"), 31.0);
}

/// The same for longer, between two files that differ, with memory, threads and descriptors.
#[test]
#[ignore = "takes minutes; `make soak` runs it"]
fn soak_of_1200_reloads_loses_and_leaks_nothing() {
    let daemon = Daemon::start(&interval(100));
    let component = fs::read(plugins().join("test-hostile.wasm")).unwrap();
    for name in VERSIONS {
        // A custom section makes the file differ.
        let section = [&[0, 2, 1][..], &name.as_bytes()[..1]].concat();
        let bytes = [&component[..], &section].concat();
        fs::write(daemon.folder.path().join(format!("{name}.wasm")), bytes).unwrap();
    }
    let answered = reload_under_load(&daemon, 200, 4);
    let failed = daemon.metric("karuta_policy_restarts_total{policy=\"told\"}");
    println!("200 reloads under load: {answered} announces answered, none lost, none wrong");
    assert_eq!(failed, 0.0);

    let mut resident = Vec::new();
    for round in 0..=1000_u32 {
        rewrite(&daemon, &version(u64::from(round) + 1));
        assert_eq!(ask(&daemon).0, 200);
        if round % 100 == 0 {
            resident.push(memory(&daemon));
        }
    }
    println!("resident KiB after 0, 100, … 1000 more reloads: {resident:?}");
    println!("threads: {}, descriptors: {}", count(&daemon, "task"), count(&daemon, "fd"));
    let (early, last) = (resident[1], resident[10]);
    assert!(last < early + early / 10, "it grows: {resident:?}");
}

/// The names of two files of the same component.
const VERSIONS: [&str; 2] = ["even", "odd"];

/// Returns a policy that sets the interval, with one file or the other.
fn version(interval: u64) -> String {
    let file = VERSIONS[(interval % 2) as usize];
    format!(
        "policies:
  - name: told
    plugin: {file}.wasm
    config: {{ rules: [{{ on: announce, do: set-interval, number: {interval} }}] }}
"
    )
}

/// Returns the resident memory, in KiB.
fn memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn count(daemon: &Daemon, what: &str) -> usize {
    fs::read_dir(format!("/proc/{}/{what}", daemon.pid())).unwrap().count()
}

/// Reloads a daemon with the interval 100 to 101, 102 and so on, while clients announce over kept
/// connections and over UDP, and check each answer. Returns the number of answers.
fn reload_under_load(daemon: &Daemon, rounds: u64, clients: u16) -> u64 {
    let over = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    // The oldest version that may answer from now on, and the newest. Versions are numbered.
    let (must, may) = (AtomicU64::new(100), AtomicU64::new(100));
    let check = |before: u64, interval: u32| {
        let after = may.load(SeqCst);
        let interval = u64::from(interval);
        assert!((before..=after).contains(&interval), "{interval}, {before}, {after}");
        answered.fetch_add(1, SeqCst);
    };
    let files = daemon.folder.path().join("even.wasm").exists();
    std::thread::scope(|scope| {
        for worker in 0..clients {
            let (over, must, check) = (&over, &must, &check);
            scope.spawn(move || {
                let client = Client::connect(daemon.udp);
                while !over.load(SeqCst) {
                    let before = must.load(SeqCst);
                    let reply = Announce::of('a').port(2000 + worker).udp(&client).unwrap();
                    check(before, reply.interval);
                }
            });
            scope.spawn(move || {
                let mut connection = Connection::open(daemon.http);
                let query = Announce::of('a').port(3000 + worker).query();
                let request = format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                while !over.load(SeqCst) {
                    let before = must.load(SeqCst);
                    connection.send(request.as_bytes());
                    let body = connection.answer().body_text();
                    let interval = body.split("8:intervali").nth(1).unwrap();
                    check(before, interval.split('e').next().unwrap().parse().unwrap());
                }
            });
        }
        for next in 101..101 + rounds {
            let seen = answered.load(SeqCst);
            eventually("answers", || answered.load(SeqCst) > seen + 20);
            may.store(next, SeqCst);
            rewrite(daemon, &if files { version(next) } else { interval(next as u32) });
            assert_eq!(ask(daemon).0, 200);
            must.store(next, SeqCst);
        }
        over.store(true, SeqCst);
    });
    answered.load(SeqCst)
}
