//! Policies that misbehave: the request that makes them do so is answered as `on_error` says, and
//! all others as if nothing had happened.

use std::net::TcpListener;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, bencode, eventually};

/// Starts a daemon with three policies that do `act` if a request has a parameter named like their
/// `on_error`. It has one worker, so that all requests meet the same instances.
fn daemon(act: &str) -> Daemon {
    let policy = |on_error: &str| {
        format!(
            "  - {{ name: on-{on_error}, plugin: PLUGINS/test-hostile.wasm, on_error: {on_error}, \
             limits: {{ memory: 3MiB }}, \
             config: {{ rules: [{{ on: announce, do: {act}, query: {on_error} }}] }} }}\n"
        )
    };
    let policies: String = ["reject", "next", "drop"].map(policy).concat();
    // The last policy says that it was asked.
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
    let unavailable = bencode::read(
        b"d14:failure reason23:temporarily unavailable\
          8:intervali60e12:min intervali60e8:retry ini1ee",
    );
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

    // A torrent is held back for 1 s, and then served like any other.
    eventually("the same torrent is served again", || is_served(&daemon, &Announce::of('a')));
    let udp = Client::connect(daemon.udp);
    let failed = Announce::of('g').with("reject").udp(&udp);
    assert_eq!(failed, Err("temporarily unavailable".to_owned()), "{act} over UDP");
    let dropped = Announce::of('h').with("drop").packet(udp.id, 1);
    assert_eq!(udp.answers(&[dropped]), [[0; 0]; 0], "{act} over UDP");
    Announce::of('i').udp(&udp).expect("the next announce over UDP");
    // From the first address, both torrents are held back for 1 s.
    let other = Client::connect_from([127, 0, 0, 2].into(), daemon.udp);
    let counts = other.scrape(&[torrent('g'), torrent('h')]);
    assert_eq!(counts, Ok(vec![[0; 3]; 2]), "{act}: no peer was entered");
}

#[test]
fn an_endless_loop_is_answered_as_on_error_says() {
    is_contained("loop", "deadline");
}

#[test]
fn a_trap_is_answered_as_on_error_says() {
    is_contained("trap", "trap");
}

#[test]
fn too_much_memory_is_answered_as_on_error_says() {
    is_contained("eat-memory", "memory");
}

#[test]
fn a_deep_recursion_is_answered_as_on_error_says() {
    is_contained("recurse", "stack");
}

#[test]
fn an_exit_is_answered_as_on_error_says() {
    is_contained("exit", "host");
}

#[test]
fn a_sleep_of_an_hour_is_answered_as_on_error_says() {
    is_contained("sleep", "deadline");
}

#[test]
fn a_huge_text_is_answered_as_on_error_says() {
    is_contained("huge-text, text: fail", "host");
}

#[test]
fn a_storm_of_calls_is_answered_as_on_error_says() {
    is_contained("call-storm", "deadline");
}

/// The next announce is served.
#[test]
fn a_huge_text_ends_the_call_whichever_function_gets_it() {
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
        // A client that is held back asks again.
        eventually(name, || {
            let answer = Announce::of('a').port(port).with(name).http(daemon.http);
            assert_eq!(answer, Err("temporarily unavailable".to_owned()), "{name}");
            errors(&daemon, "huge", "host") > before
        });
        eventually("others are served", || Announce::of('b').http(daemon.http).is_ok());
    }
}

/// What the host keeps for a policy is bounded. Anything beyond that is refused, and the call goes
/// on.
#[test]
fn floods_of_metrics_and_key_values_are_refused() {
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

/// If data has another format than the policy asks for, it looks empty.
#[test]
fn sets_of_another_format_hold_nothing() {
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

#[test]
fn a_failed_scrape_is_answered_as_on_error_says() {
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

/// A bad torrent that one client announces again and again costs one call per second.
#[test]
fn the_same_torrent_and_client_are_held_back_after_a_failure() {
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

#[test]
fn changes_of_a_failed_call_are_discarded() {
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

/// Returns the warning of a policy that must neither fail nor be restarted.
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
fn a_policy_sees_no_environment_and_no_standard_input() {
    assert_eq!(warned("environment"), "0 and 0");
    assert_eq!(warned("read-stdin"), "0 bytes");
}
