//! Control instances: ticks, observers, publications and grants.

use std::fs;
use std::io::Write as _;
use std::time::Instant;

use karuta_tests::announce::Announce;
use karuta_tests::server::{Server, reply};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, run, write_config};
use serde_json::{Value, json};

fn yaml(config: &str, more: &str) -> String {
    format!(
        "
tracker: {{ workers: 2 }}
policies:
  - name: books
    plugin: PLUGINS/test-control.wasm
    credential: ['query:user']
    tick: 100ms
    config: {config}
{more}
"
    )
}

fn start(config: &str) -> Daemon {
    Daemon::start(&yaml(config, ""))
}

/// Returns what the policy knows by this name.
fn show(daemon: &Daemon, key: &str) -> String {
    let announce = Announce::of('z').with(&format!("show={key}"));
    let answer = announce.dictionary(daemon.http);
    answer.get("warning message").and_then(|_| answer.text("warning message")).unwrap_or_default()
}

fn number(daemon: &Daemon, key: &str) -> u64 {
    show(daemon, key).parse().unwrap_or(0)
}

/// Returns what the observer was told about the last announce from a port.
fn told(daemon: &Daemon, port: u16) -> Value {
    serde_json::from_str(&show(daemon, &format!("port-{port}"))).unwrap_or_default()
}

fn calls(daemon: &Daemon, hook: &str, verdict: &str) -> f64 {
    daemon.metric(&format!(
        "karuta_policy_calls_total{{policy=\"books\",hook=\"{hook}\",verdict=\"{verdict}\",remembered=\"false\"}}"
    ))
}

fn errors(daemon: &Daemon, hook: &str, cause: &str) -> f64 {
    daemon.metric(&format!(
        "karuta_policy_errors_total{{policy=\"books\",hook=\"{hook}\",cause=\"{cause}\"}}"
    ))
}

fn dropped(daemon: &Daemon) -> f64 {
    daemon.metric("karuta_policy_observer_dropped_total{policy=\"books\"}")
}

#[test]
fn an_observer_is_told_how_announces_ended() {
    let daemon = start("{}");
    let one = |port: u16, more: &str| {
        let peer_id = [port.to_be_bytes(); 10].concat().try_into().unwrap();
        let _ = Announce::of('a').port(port).peer_id(peer_id).with(more).http(daemon.http);
    };
    let told = |port: u16, expected: Value| {
        let mut last = Value::Null;
        let end = std::time::Instant::now() + karuta_tests::SOON;
        while last != expected {
            assert!(std::time::Instant::now() < end, "{last}, not {expected}");
            last = told(&daemon, port);
        }
    };
    let plain = |port: u16, up: u64, down: u64, known: bool| {
        json!({ "port": port, "verdict": "Next", "decided_by": null, "credential": null,
                "attributes": [], "up": up, "down": down, "known": known })
    };
    one(1001, "uploaded=10&downloaded=20");
    told(1001, plain(1001, 0, 0, false));
    one(1001, "uploaded=15&downloaded=27");
    told(1001, plain(1001, 5, 7, true));
    one(1002, "uploaded=5&user=me&leave=x&verdict=reject");
    let mut expected = plain(1002, 0, 0, false);
    expected["verdict"] = "Reject".into();
    expected["decided_by"] = "books".into();
    expected["credential"] = "me".into();
    // Attributes from a call that rejects count as well.
    expected["attributes"] = json!([["left", "x"]]);
    told(1002, expected);
    one(1003, "verdict=accept");
    let mut expected = plain(1003, 0, 0, false);
    expected["verdict"] = "Accept".into();
    expected["decided_by"] = "books".into();
    told(1003, expected);
    let _ = Announce::of('a').port(1004).udp(&Client::connect(daemon.udp)).unwrap();
    told(1004, plain(1004, 0, 0, false));
    assert!(calls(&daemon, "observe", "ok") >= 1.0);
    assert_eq!(dropped(&daemon), 0.0);
}

#[test]
fn a_batch_that_fails_is_offered_three_times() {
    for failure in ["fail", "trap"] {
        let daemon = start(&format!("{{ observe: {failure} }}"));
        Announce::of('a').http(daemon.http).unwrap();
        // `show` announces too, so the batch may have grown.
        eventually("it is dropped", || dropped(&daemon) >= 1.0);
        let offers = number(&daemon, "offers");
        assert!(offers >= 3, "{offers}");
        assert!(calls(&daemon, "observe", "error") >= 3.0);
        if failure == "trap" {
            assert!(errors(&daemon, "observe", "trap") >= 3.0);
            daemon.logs("it traps");
        } else {
            daemon.logs("it fails");
        }
        Announce::of('a').http(daemon.http).unwrap();
    }
}

#[test]
fn ticks_go_on_even_if_one_does_not_end() {
    let daemon = start("{}");
    eventually("it ticks", || calls(&daemon, "tick", "ok") >= 3.0);
    let ticks = daemon.metric("karuta_plugin_ticks_total{policy=\"books\"}");
    assert!(ticks >= 3.0);

    let daemon = Daemon::start(&yaml("{ tick: [loop] }", "    limits: { control: 50ms }"));
    eventually("an endless tick is ended", || errors(&daemon, "tick", "deadline") >= 2.0);
    let client = Client::connect(daemon.udp);
    for _ in 0..100 {
        Announce::of('a').udp(&client).unwrap();
    }
}

#[test]
fn what_is_published_reaches_every_worker() {
    let daemon = start("{ tick: [{ publish: { name: list, text: hello } }] }");
    eventually("all workers have it", || {
        // Both workers answer some of these.
        (0..20).all(|_| {
            let told = show(&daemon, "published");
            told.starts_with("list ") && told.ends_with(" hello")
        })
    });
    let daemon = start("{ tick: [{ publish: { name: list, text: bad } }] }");
    eventually("what a trial refuses is told", || daemon.log().contains("list: it is bad"));
    assert!(calls(&daemon, "data", "error") >= 1.0);
    assert_eq!(show(&daemon, "published"), "");
}

#[test]
fn a_storm_of_publications_costs_one_change_of_version_a_second() {
    let begun = Instant::now();
    let daemon = start("{ tick: [{ storm: 10000 }] }");
    let client = Client::connect(daemon.udp);
    eventually("some arrive", || show(&daemon, "published").starts_with("storm "));
    eventually("and others after them", || calls(&daemon, "data", "ok") >= 2.0);
    // Every tick publishes, and one version a second takes effect.
    assert!(calls(&daemon, "data", "ok") <= begun.elapsed().as_secs_f64() + 1.0);
    for _ in 0..100 {
        Announce::of('a').udp(&client).unwrap();
    }
}

#[test]
fn workers_cannot_fetch_publish_or_read_the_environment() {
    let daemon = start("{}");
    assert!(show(&daemon, "fetch").contains("only control instances"));
    assert!(show(&daemon, "publish").contains("only control instances"));
    assert_eq!(show(&daemon, "env"), "[]");
}

/// Returns what the ticks of the policy have found out.
fn found(daemon: &Daemon) -> String {
    let mut found = String::new();
    eventually("a tick is through", || {
        found = show(daemon, "found");
        !found.is_empty()
    });
    found
}

#[test]
fn http_requests_are_limited_to_the_listed_urls() {
    let server = Server::with("hello");
    let other = Server::with("secret");
    let fetch = |url: String| format!("{{ fetch: {{ url: '{url}' }} }}");
    let there = other.url("/");
    let daemon = Daemon::start(&yaml(
        &format!(
            "{{ tick: [{}, {}, {}, {}, {{ post: {{ url: '{}', body: report }} }}] }}",
            fetch(server.url("/api/x?y=1")),
            fetch(server.url("/apix")),
            fetch(server.url("/api/../x")),
            fetch(there.clone()),
            server.url("/api"),
        ),
        &format!("    allow: {{ http: ['{}'] }}", server.url("/api")),
    ));
    let found = found(&daemon);
    let found: Vec<_> = found.split('|').collect();
    assert_eq!(found[0], "200 hello");
    for refused in &found[1..4] {
        assert!(refused.ends_with("is not in `allow.http`"), "{refused}");
    }
    assert_eq!(found[4], "200");
    assert!(other.requests().is_empty());
    server.behave(move |_, stream| {
        reply(stream, "302 Found", &[&format!("location: {there}")], b"");
    });
    eventually("a redirect out of the list is refused", || {
        show(&daemon, "found").starts_with(&format!("error: http://{}/ is not", other.address))
    });
    assert!(other.requests().is_empty());
    server.behave(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'a'; 65536]).is_ok() {}
    });
    eventually("an endless answer is cut", || {
        show(&daemon, "found").contains("more than 8388608 bytes")
    });
    server.behave(|_, _| std::thread::sleep(std::time::Duration::from_secs(3)));
    eventually("a slow one is not waited for", || {
        show(&daemon, "found").contains("no answer within 1s")
    });
}

#[test]
fn private_addresses_must_be_listed_as_such() {
    let server = Server::with("hello");
    // The names are those of this machine, whose address is not listed.
    let url = format!("http://localhost.localdomain:{}/", server.address.port());
    let local = format!("http://localhost:{}/", server.address.port());
    let daemon = Daemon::start(&yaml(
        &format!(
            "{{ tick: [{{ fetch: {{ url: '{url}' }} }}, {{ fetch: {{ url: '{local}' }} }}] }}"
        ),
        // An entry for the address does not open it for other entries.
        &format!("    allow: {{ http: ['{url}', 'http://127.0.0.1:1/x'] }}"),
    ));
    let found = found(&daemon);
    assert!(!found.contains("hello"), "{found}");
    assert!(server.requests().is_empty());
}

#[test]
fn environment_and_folders_are_granted_to_control_instances() {
    let folder = karuta_tests::folder(&format!(
        "{LISTENERS}{}",
        yaml(
            "{ tick: [{ env: HOME }, { env: PATH }, { read: /in/a }, { write: { path: /in/b, text: x } }, \
             { write: { path: /out/b, text: y } }, { read: /in/../config.yaml }, { read: /etc/passwd }] }",
            "    allow: { env: [PATH, NOT_SET], folders: [{ path: in, at: /in }, { path: out, at: /out, write: true }] }",
        )
    ));
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(folder.path().join("in/a"), "hello").unwrap();
    let daemon = Daemon::start_in(folder);
    let found = found(&daemon);
    let found: Vec<_> = found.split('|').collect();
    assert_eq!(found[0], "None");
    assert!(found[1].starts_with("Some("), "{found:?}");
    assert_eq!(found[2], "hello");
    assert!(found[3].starts_with("error: "), "{found:?}");
    assert_eq!(found[4], "written");
    assert!(found[5].starts_with("error: "), "{found:?}");
    assert!(found[6].starts_with("error: "), "{found:?}");
    assert_eq!(fs::read_to_string(daemon.folder.path().join("out/b")).unwrap(), "y");
    assert!(!daemon.folder.path().join("in/b").exists());
}

#[test]
fn slow_files_do_not_fail_a_tick() {
    let folder = karuta_tests::folder(&format!(
        "{LISTENERS}{}",
        yaml(
            "{ tick: [{ rewrite: { path: /out/file, bytes: 1048576, times: 10 } }] }",
            "    allow: { folders: [{ path: out, at: /out, write: true }] }",
        )
    ));
    fs::create_dir(folder.path().join("out")).unwrap();
    let daemon = Daemon::start_in(folder);
    eventually("it goes on", || calls(&daemon, "tick", "ok") >= 2.0);
    assert_eq!(show(&daemon, "found"), "10 times");
    assert_eq!(calls(&daemon, "tick", "error"), 0.0);
}

/// Nothing is ever written to the pipe.
#[test]
fn reading_a_pipe_ends_at_the_deadline() {
    let folder = karuta_tests::folder(&format!(
        "{LISTENERS}{}",
        yaml(
            "{ tick: [{ read: /in/pipe }] }",
            "    allow: { folders: [{ path: in, at: /in }] }\n    limits: { control: 50ms }",
        )
    ));
    fs::create_dir(folder.path().join("in")).unwrap();
    let pipe = folder.path().join("in/pipe");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let daemon = Daemon::start_in(folder);
    eventually("the tick is ended", || errors(&daemon, "tick", "deadline") >= 2.0);
}

#[test]
fn publications_and_posts_have_the_limits_of_the_contract() {
    let server = Server::with("");
    let url = server.url("/");
    let post = |bytes: usize| format!("{{ post_long: {{ url: '{url}', bytes: {bytes} }} }}");
    let daemon = Daemon::start(&yaml(
        &format!(
            "{{ tick: [{{ publish_long: 1048576 }}, {{ publish_long: 67108865 }}, {}, {}] }}",
            post(1024 * 1024),
            post(1024 * 1024 + 1),
        ),
        &format!("    allow: {{ http: ['{url}'] }}\n    limits: {{ memory: 256MiB }}"),
    ));
    let found = found(&daemon);
    let said =
        "published|error: more than 67108864 bytes|200|error: the body has more than 1048576 bytes";
    assert_eq!(found, said);
    assert_eq!(server.bodies()[0].len(), 1024 * 1024);
    eventually("workers have it", || show(&daemon, "published").starts_with("long "));
}

#[test]
fn observers_are_not_shown_credentials_above_4_kib() {
    let daemon = start("{}");
    for (port, bytes, credential) in [(7001, 4096, "\"xxx"), (7002, 4097, "null")] {
        let user = format!("user={}", "x".repeat(bytes));
        Announce::of('a').port(port).with(&user).http(daemon.http).unwrap();
        // The text may be too long to be shown in full.
        let expected = format!("\"credential\":{credential}");
        let key = format!("port-{port}");
        eventually(&expected, || show(&daemon, &key).contains(&expected));
    }
}

#[test]
fn without_randomness_the_numbers_are_fixed() {
    let random = |more: &str| {
        // A second tick would get the next bytes.
        let yaml = yaml("{ tick: [random] }", more).replace("tick: 100ms", "tick: 1h");
        found(&Daemon::start(&yaml))
    };
    assert_eq!(random("    allow: { random: false }"), random("    allow: { random: false }"));
    assert_ne!(random(""), random(""));
}

#[test]
fn a_reload_keeps_or_replaces_the_instance_and_a_stop_delivers_the_queue() {
    let mut daemon = start("{}");
    let server = Server::with("");
    eventually("it ticks", || calls(&daemon, "tick", "ok") >= 1.0);
    assert_eq!(number(&daemon, "instances"), 1);
    let reload = |daemon: &Daemon, yaml: &str| {
        write_config(daemon.folder.path(), &format!("{LISTENERS}{yaml}"));
        let output = run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let before = yaml("{}", "");
    let report = reload(&daemon, &before.replace("tick: 100ms", "tick: 1h"));
    assert_eq!(report, "generation 2: changed books\n");
    let ticks = calls(&daemon, "tick", "ok");
    assert_eq!(number(&daemon, "instances"), 1, "the same instance ticks seldom");
    assert!(calls(&daemon, "tick", "ok") <= ticks + 1.0);
    let posts = format!("{{ observe: {{ post: {{ url: '{}', body: told }} }} }}", server.url("/"));
    let report =
        reload(&daemon, &yaml(&posts, &format!("    allow: {{ http: ['{}'] }}", server.url("/"))));
    assert_eq!(report, "generation 3: replaced books\n");
    eventually("another one ticks", || number(&daemon, "instances") == 2);
    eventually("what was told so far is posted", || !server.requests().is_empty());
    let before = server.requests().len();
    Announce::of('a').port(7).http(daemon.http).unwrap();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(server.requests().len() > before, "the last outcome is told before the end");
}
