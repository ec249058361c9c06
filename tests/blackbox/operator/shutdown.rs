//! Shutdown takes less than the promised 10 s, whatever policies, servers and clients do.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use karuta_tests::announce::Announce;
use karuta_tests::server::Server;
use karuta_tests::udp::Client;
use karuta_tests::{Connection, Daemon, LISTENERS, eventually, folder, write_config};

/// How long the daemon may take to stop.
const PROMISE: Duration = Duration::from_secs(10);
/// How long the kernel may take to remove the process afterwards, on a machine that runs other tests.
const REMOVAL: Duration = Duration::from_secs(10);

/// Returns a policy whose control instance does `config`, with more keys.
fn policy(name: &str, config: &str, more: &str) -> String {
    format!(
        "  - name: {name}
    plugin: PLUGINS/test-control.wasm
    tick: 100ms
    limits: {{ control: 60s }}
    config: {config}
{more}"
    )
}

fn start(policies: &[String]) -> Daemon {
    Daemon::start(&format!("tracker: {{ workers: 2 }}\npolicies:\n{}", policies.concat()))
}

#[track_caller]
fn ends(daemon: &mut Daemon) {
    let start = Instant::now();
    daemon.signal("TERM");
    eventually("it says so", || daemon.log().contains("\"stopped\""));
    assert!(start.elapsed() < PROMISE, "{:?}", start.elapsed());
    let status = daemon.wait();
    assert!(start.elapsed() < PROMISE + REMOVAL, "{:?}", start.elapsed());
    assert_eq!(status.code(), Some(0));
}

fn ticks(daemon: &Daemon, policy: &str) {
    eventually("a tick is under way", || {
        daemon.metric(&format!("karuta_plugin_ticks_total{{policy=\"{policy}\"}}")) >= 1.0
    });
}

#[test]
fn shutdown_ends_ticks_that_never_return() {
    let silent = Server::with("");
    silent.behave(|_, _| std::thread::sleep(Duration::from_secs(3600)));
    let silent_url = silent.url("/");
    let pipes = tempfile::tempdir().unwrap();
    let pipe = pipes.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut daemon = start(&[
        policy("loop-1", "{ tick: [loop] }", ""),
        policy("loop-2", "{ tick: [loop] }", ""),
        policy("loop-3", "{ tick: [loop] }", ""),
        policy("sleep", "{ tick: [sleep] }", ""),
        policy(
            "await",
            &format!("{{ tick: [{{ await: {{ url: '{silent_url}' }} }}] }}"),
            &format!("    allow: {{ http: ['{silent_url}'] }}\n"),
        ),
        policy(
            "pipe",
            "{ tick: [{ read: /in/pipe }] }",
            &format!(
                "    allow: {{ folders: [{{ path: {}, at: /in }}] }}\n",
                pipes.path().display()
            ),
        ),
    ]);
    for name in ["loop-1", "loop-2", "loop-3", "sleep", "await", "pipe"] {
        ticks(&daemon, name);
    }
    eventually("the server is asked", || !silent.requests().is_empty());
    ends(&mut daemon);
    let log = daemon.log();
    let abandoned = |name: &str| {
        log.lines().any(|line| line.contains("did not end in time") && line.contains(name))
    };
    assert!(abandoned("\"await\""), "the log names the policy that was left behind");
    for interrupted in ["\"loop-1\"", "\"sleep\"", "\"pipe\""] {
        assert!(!abandoned(interrupted), "{interrupted}");
    }
}

#[test]
fn observers_are_told_what_is_queued_after_a_call_was_interrupted() {
    let server = Server::with("");
    let url = server.url("/");
    let mut daemon = start(&[policy(
        "books",
        &format!("{{ tick: [loop], observe: {{ post: {{ url: '{url}', body: told }} }} }}"),
        &format!("    allow: {{ http: ['{url}'] }}\n"),
    )]);
    ticks(&daemon, "books");
    Announce::of('a').http(daemon.http).unwrap();
    assert!(server.requests().is_empty());
    ends(&mut daemon);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn shutdown_ends_observers_that_loop_with_full_queues() {
    let names = ["one", "two", "three"];
    let mut daemon = start(&names.map(|name| policy(name, "{ observe: loop }", "")));
    let client = Client::connect(daemon.udp);
    let dropped = |name: &str| {
        daemon.metric(&format!("karuta_policy_observer_dropped_total{{policy=\"{name}\"}}"))
    };
    while dropped("three") == 0.0 {
        for _ in 0..1000 {
            Announce::of('a').udp(&client).unwrap();
        }
    }
    // Commands do not wait behind outcomes, and a reload does not wait for the call under way.
    let yaml = names.map(|name| policy(name, "{ observe: loop }", "").replace("100ms", "1h"));
    write_config(
        daemon.folder.path(),
        &format!("{LISTENERS}tracker: {{ workers: 2 }}\npolicies:\n{}", yaml.concat()),
    );
    daemon.signal("HUP");
    eventually("it is reloaded", || daemon.log().contains("reloaded: changed one, two, three"));
    ends(&mut daemon);
}

#[test]
fn shutdown_ends_a_reload_and_a_fetch_under_way() {
    let silent = Server::with("");
    silent.behave(|_, _| std::thread::sleep(Duration::from_secs(3600)));
    let source = |required: bool| {
        format!(
            "policies:
  - name: approved
    plugin: PLUGINS/torrent-approval.wasm
    config: {{ allow_from: list }}
    data: {{ list: {{ url: '{}', format: info-hashes, timeout: 1h, required: {required} }} }}
",
            silent.url(&format!("/{required}"))
        )
    };
    let mut daemon = Daemon::start(&source(false));
    eventually("it fetches", || silent.requests().len() == 1);
    write_config(daemon.folder.path(), &format!("{LISTENERS}{}", source(true)));
    daemon.signal("HUP");
    eventually("the reload fetches", || silent.requests().len() == 2);
    ends(&mut daemon);
}

#[test]
fn shutdown_ends_an_explanation_under_way_and_slow_clients() {
    let mut daemon = Daemon::start_in(folder(
        "http: [{ listen: '[::]:0', header_timeout: 60s }]
admin: { listen: '127.0.0.1:0' }
tracker: { workers: 1 }
policies:
  - name: slow
    plugin: PLUGINS/test-hostile.wasm
    limits: { deadline: 60s }
    config:
      rules:
        - { on: announce, do: log, text: asked, query: explain }
        - { on: announce, do: sleep, query: explain }
",
    ));
    let mut half = Connection::open(daemon.http);
    half.send(b"GET /announce?");
    let url =
        format!("http://a:{}/announce?{}&explain", daemon.http.port(), Announce::of('a').query());
    let question = format!("{{\"url\": \"{url}\"}}");
    let mut asked = TcpStream::connect(daemon.admin).unwrap();
    write!(
        asked,
        "POST /api/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{question}",
        question.len()
    )
    .unwrap();
    eventually("the policy is asked", || daemon.log().contains("\"asked\""));
    ends(&mut daemon);
}

#[test]
fn shutdown_abandons_a_worker_in_an_endless_call() {
    let mut daemon = Daemon::start(
        "tracker: { workers: 1 }
policies:
  - name: slow
    plugin: PLUGINS/test-hostile.wasm
    limits: { deadline: 60s }
    config:
      rules:
        - { on: announce, do: log, text: asked }
        - { on: announce, do: loop }
",
    );
    let mut asking = TcpStream::connect(daemon.http).unwrap();
    write!(asking, "GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", Announce::of('a').query())
        .unwrap();
    eventually("the policy is asked", || daemon.log().contains("\"asked\""));
    ends(&mut daemon);
    daemon.logs("workers did not end in time");
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    for second in ["TERM", "INT"] {
        let mut daemon = start(&[policy("loop", "{ tick: [loop] }", "")]);
        ticks(&daemon, "loop");
        daemon.signal("TERM");
        eventually("it has heard the first", || daemon.log().contains("\"stopping\""));
        daemon.signal(second);
        assert_eq!(daemon.wait().code(), Some(1));
        assert!(!daemon.log().contains("\"stopped\""));
    }
}
