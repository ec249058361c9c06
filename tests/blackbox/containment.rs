//! Policies that do what none should: the request that makes them is answered as `on_error` says,
//! the others as if nothing had happened.

use std::net::TcpListener;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, bencode, eventually};

/// A daemon of one worker, so that all requests meet the same instances, with three policies that
/// do `act` where a request has a parameter of their `on_error`'s name.
fn daemon(act: &str) -> Daemon {
    let policy = |on_error: &str| {
        format!(
            "  - {{ name: on-{on_error}, plugin: PLUGINS/test-hostile.wasm, on_error: {on_error}, \
             limits: {{ memory: 3MiB }}, \
             config: {{ rules: [{{ on: announce, do: {act}, query: {on_error} }}] }} }}\n"
        )
    };
    let policies: String = ["reject", "next", "drop"].map(policy).concat();
    // The last in the chain says that it was asked.
    let last = "  - { name: last, plugin: PLUGINS/test-hostile.wasm, \
                config: { rules: [{ on: announce, do: warn, text: asked }] } }\n";
    Daemon::start(&format!("tracker: {{ workers: 1 }}\npolicies:\n{policies}{last}"))
}

fn is_served(daemon: &Daemon, announce: &Announce) -> bool {
    let answer = announce.dictionary(daemon.http);
    answer.text("warning message").as_deref() == Some("asked")
}

fn errors(daemon: &Daemon, policy: &str, cause: &str) -> f64 {
    let labels = format!("policy=\"{policy}\",hook=\"announce\",cause=\"{cause}\"");
    daemon.metric(&format!("karuta_policy_errors_total{{{labels}}}"))
}

fn restarts(daemon: &Daemon, policy: &str) -> f64 {
    daemon.metric(&format!("karuta_policy_restarts_total{{policy=\"{policy}\"}}"))
}

#[track_caller]
fn is_contained(act: &str, cause: &str) {
    let daemon = daemon(act);
    let with = |torrent: char, parameter: &str| Announce::of(torrent).with(parameter);

    let answer = with('a', "reject").dictionary(daemon.http);
    let unavailable = bencode::read(b"d14:failure reason23:temporarily unavailable8:retry ini1ee");
    assert_eq!(answer, unavailable, "{act}");
    assert!(is_served(&daemon, &with('b', "bystander")), "{act}: the next announce");

    assert!(is_served(&daemon, &with('c', "next")), "{act}: the next policy decides");
    assert!(is_served(&daemon, &with('d', "bystander")), "{act}: the next announce");

    let mut connection = karuta_tests::Connection::open(daemon.http);
    let query = with('e', "drop").query();
    connection.send(format!("GET /announce?{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    assert_eq!(connection.rest(), b"", "{act}");
    assert!(is_served(&daemon, &with('f', "bystander")), "{act}: the next announce");

    for policy in ["on-reject", "on-next", "on-drop"] {
        assert_eq!(errors(&daemon, policy, cause), 1.0, "{act}: {}", daemon.admin_page("/metrics"));
        assert_eq!(restarts(&daemon, policy), 1.0, "{act}");
        eventually("the log names policy and cause", || {
            daemon.log().lines().any(|line| {
                line.contains("policy failed") && line.contains(policy) && line.contains(cause)
            })
        });
    }
    assert_eq!(restarts(&daemon, "last"), 0.0);

    // A torrent is held back for a second, and then served as any other.
    eventually("the same torrent is served again", || is_served(&daemon, &Announce::of('a')));
    let udp = Client::connect(daemon.udp);
    let failed = Announce::of('g').with("reject").udp(&udp);
    assert_eq!(failed, Err("temporarily unavailable".to_owned()), "{act} over UDP");
    let dropped = Announce::of('h').with("drop").packet(udp.id, 1);
    assert_eq!(udp.answers(&[dropped]), [[0; 0]; 0], "{act} over UDP");
    Announce::of('i').udp(&udp).expect("the next announce over UDP");
    // From this address both torrents are held back for a second.
    let other = Client::connect_from([127, 0, 0, 2].into(), daemon.udp);
    let counts = other.scrape(&[torrent('g'), torrent('h')]);
    assert_eq!(counts, Ok(vec![[0; 3]; 2]), "{act}: nobody was entered");
}

#[test]
fn an_endless_loop() {
    is_contained("loop", "deadline");
}

#[test]
fn a_trap() {
    is_contained("trap", "trap");
}

#[test]
fn a_hunger_for_memory() {
    is_contained("eat-memory", "memory");
}

#[test]
fn a_deep_recursion() {
    is_contained("recurse", "stack");
}

#[test]
fn an_exit() {
    is_contained("exit", "host");
}

#[test]
fn a_sleep_of_an_hour() {
    is_contained("sleep", "deadline");
}

#[test]
fn a_huge_text_for_the_host() {
    is_contained("huge-text, text: fail", "host");
}

#[test]
fn a_storm_of_calls() {
    is_contained("call-storm", "deadline");
}

/// Whatever function it is passed to, the call ends there, and the next announce is served.
#[test]
fn huge_texts_for_every_function() {
    let functions = [
        "fail",
        "warn",
        "set-attribute",
        "set-attribute-value",
        "query-param",
        "path-param",
        "header",
        "attribute",
        "open",
        "has-string",
        "refresh",
        "load-key",
        "verify",
        "get",
        "put",
        "delete",
        "increment",
        "write",
        "counter",
        "gauge",
    ];
    let rule = |name: &&str| {
        format!("        - {{ on: announce, do: huge-text, text: {name}, query: {name} }}\n")
    };
    let rules: String = functions.iter().map(rule).collect();
    let daemon = Daemon::start(&format!(
        "tracker: {{ workers: 1 }}
policies:
  - name: huge
    plugin: PLUGINS/test-hostile.wasm
    config:
      rules:
{rules}"
    ));
    for (port, name) in (1000..).zip(functions) {
        let before = errors(&daemon, "huge", "host");
        // A client that was held back asks again as another.
        eventually(name, || {
            let answer = Announce::of('a').port(port).with(name).http(daemon.http);
            assert_eq!(answer, Err("temporarily unavailable".to_owned()), "{name}");
            errors(&daemon, "huge", "host") > before
        });
        eventually("others are served", || Announce::of('b').http(daemon.http).is_ok());
    }
}

/// What is kept for a policy is bounded, and what is beyond it is refused and not paid for with the
/// call.
#[test]
fn floods_are_refused() {
    let flood = |act: &str| {
        let daemon = Daemon::start(&format!(
            "policies: [{{ name: flood, plugin: PLUGINS/test-hostile.wasm, \
             limits: {{ storage: 1MiB, deadline: 5s }}, config: {{ rules: [{{ on: announce, do: {act} }}] }} }}]"
        ));
        let answer = Announce::of('a').dictionary(daemon.http);
        let refused = answer.text("warning message").expect("it returns").parse::<u32>();
        (daemon, refused.expect("a number"))
    };
    let (daemon, refused) = flood("metric-flood");
    assert_eq!(refused, 10_000 - 64);
    let page = daemon.admin_page("/metrics");
    let series = page.lines().filter(|line| line.starts_with("karuta_plugin_flood_")).count();
    assert!(series <= 64, "{series}");
    let (daemon, refused) = flood("store-flood");
    assert!((9_000..9_500).contains(&refused), "{refused}");
    Announce::of('b').http(daemon.http).expect("it goes on");
}

/// Data of another format than a policy takes it for is as if nothing were in it.
#[test]
fn wrong_sets_hold_nothing() {
    let folder = karuta_tests::folder(&format!(
        "{LISTENERS}policies:
  - name: curious
    plugin: PLUGINS/test-hostile.wasm
    data: {{ texts: {{ file: list, format: strings }}, raw: {{ file: list, format: raw }} }}
    config:
      rules:
        - {{ on: announce, do: wrong-set, text: texts, query: texts }}
        - {{ on: announce, do: wrong-set, text: raw, query: raw }}
"
    ));
    std::fs::write(folder.path().join("list"), "a\nb\n").unwrap();
    let daemon = Daemon::start_in(folder);
    let told = |source: &str| {
        let answer = Announce::of('a').with(source).dictionary(daemon.http);
        answer.text("warning message").unwrap_or_default()
    };
    let nowhere = "false false None 0; Some(\"no data source `nowhere`\")";
    assert_eq!(told("texts"), format!("false false None 2; {nowhere}"));
    assert_eq!(told("raw"), format!("`raw` is raw data, not a set; {nowhere}"));
}

/// Scrapes have the same `on_error`.
#[test]
fn a_scrape_that_fails() {
    let policy = |on_error: &str, letter: char| {
        format!(
            "  - {{ name: on-{on_error}, plugin: PLUGINS/test-hostile.wasm, on_error: {on_error}, config: \
             {{ rules: [{{ on: scrape, do: trap, info_hash: '{}' }}] }} }}\n",
            format!("{:02x}", letter as u8).repeat(20)
        )
    };
    let policies = [policy("reject", 'a'), policy("next", 'b'), policy("drop", 'c')].concat();
    let daemon = Daemon::start(&format!("tracker: {{ workers: 1 }}\npolicies:\n{policies}"));
    let udp = Client::connect(daemon.udp);
    let unavailable = Err("temporarily unavailable".to_owned());
    assert_eq!(udp.scrape(&[torrent('d'), torrent('a')]), unavailable);
    assert_eq!(udp.scrape(&[torrent('b')]), Ok(vec![[0; 3]]));
    let mut packet = karuta_tests::udp::header(udp.id, karuta_tests::udp::SCRAPE, 1);
    packet.extend(torrent('c'));
    assert_eq!(udp.answers(&[packet]), [[0; 0]; 0]);
    assert_eq!(udp.scrape(&[torrent('d')]), Ok(vec![[0; 3]]));
    let page = daemon.admin_page("/metrics");
    for policy in ["on-reject", "on-next", "on-drop"] {
        let labels = format!("policy=\"{policy}\",hook=\"scrape\",cause=\"trap\"");
        assert!(page.contains(&format!("karuta_policy_errors_total{{{labels}}} 1\n")), "{page}");
    }
}

/// One bad torrent, again and again from the same client, costs one call a second.
#[test]
fn a_culprit_is_held_back() {
    let daemon = daemon("trap");
    let bad = Announce::of('a').with("reject");
    for _ in 0..50 {
        assert_eq!(bad.http(daemon.http), Err("temporarily unavailable".to_owned()));
        assert!(is_served(&daemon, &Announce::of('b')));
    }
    let (traps, held) =
        (errors(&daemon, "on-reject", "trap"), errors(&daemon, "on-reject", "unavailable"));
    assert_eq!(traps + held, 50.0);
    assert!(held > 0.0, "it was called {traps} times");
    assert_eq!(restarts(&daemon, "on-reject"), traps);
}

/// Changes that a hook asked for before it failed are forgotten.
#[test]
fn half_a_change_is_none() {
    let daemon = Daemon::start(
        "
tracker: { workers: 1 }
policies:
  - name: half
    plugin: PLUGINS/test-hostile.wasm
    on_error: next
    config:
      rules:
        - { on: announce, do: set-interval, number: 77 }
        - { on: announce, do: warn, text: changed }
        - { on: announce, do: trap, query: bomb }
",
    );
    let whole = Announce::of('a').dictionary(daemon.http);
    assert_eq!(
        (whole.integer("interval"), whole.text("warning message")),
        (77, Some("changed".into()))
    );
    let half = Announce::of('b').with("bomb").dictionary(daemon.http);
    assert_eq!((half.integer("interval"), half.text("warning message")), (1800, None));
}

/// The answer of a policy that does something harmless, and of the tracker after it.
#[track_caller]
fn warned(rule: &str) -> String {
    let daemon = Daemon::start(&format!(
        "policies: [{{ name: curious, plugin: PLUGINS/test-hostile.wasm, \
         config: {{ rules: [{{ on: announce, do: {rule} }}] }} }}]"
    ));
    for _ in 0..20 {
        Announce::of('a').http(daemon.http).expect("it is served");
    }
    assert_eq!(restarts(&daemon, "curious"), 0.0, "{}", daemon.log());
    Announce::of('a').dictionary(daemon.http).text("warning message").unwrap_or_default()
}

#[test]
fn files_and_sockets_are_refused() {
    assert_eq!(warned("open-file"), "refused");
    assert_eq!(warned("bind-udp"), "refused");
    assert_eq!(warned("resolve"), "refused");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(warned(&format!("connect-tcp, text: '{address}'")), "refused");
    assert!(listener.accept().is_err(), "it has connected");
}

#[test]
fn nothing_of_the_daemon_is_shown() {
    assert_eq!(warned("environment"), "0 and 0");
    assert_eq!(warned("read-stdin"), "0 bytes");
}

#[test]
fn what_a_policy_prints_goes_into_the_log() {
    let daemon = Daemon::start(
        "policies: [{ name: talker, plugin: PLUGINS/test-hostile.wasm, \
         config: { rules: [{ on: announce, do: println, text: 'hello from the worker' }] } }]",
    );
    Announce::of('a').http(daemon.http).expect("it is served");
    Announce::of('a').udp(&Client::connect(daemon.udp)).expect("it is served");
    eventually("both lines are in the log", || {
        let log = daemon.log();
        let lines = log.lines().filter(|line| line.contains("hello from the worker"));
        lines.filter(|line| line.contains("talker")).count() == 2
    });
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    let daemon = Daemon::start(
        "policies: [{ name: talker, plugin: PLUGINS/test-hostile.wasm, limits: { deadline: 1s }, \
         config: { rules: [{ on: announce, do: log-flood }] } }]",
    );
    Announce::of('a').http(daemon.http).expect("it is served");
    let lines = || daemon.log().lines().filter(|line| line.contains("\"line ")).count();
    eventually("some are there", || lines() > 0);
    assert!(lines() < 1000, "{} of 10000 lines", lines());
}
