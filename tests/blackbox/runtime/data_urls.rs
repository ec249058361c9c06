//! Data sources behind URLs, with servers that fail in many ways.

use std::io::Write;
use std::time::Duration;

use karuta_tests::announce::{Announce, hex};
use karuta_tests::server::{Server, reply};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, get, run, write_config};

/// Returns the list of the torrents of these letters.
fn list(letters: &str) -> String {
    letters.chars().map(|letter| hex(letter) + "\n").collect()
}

fn yaml(source: &str) -> String {
    format!(
        "
tracker: {{ workers: 2 }}
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: {{ allow_from: approved, scrapes: pass }}
    data: {{ approved: {{ format: info-hashes, every: 1s, timeout: 1s, {source} }} }}
"
    )
}

fn start(server: &Server, more: &str) -> Daemon {
    Daemon::start(&yaml(&format!("url: '{}'{more}", server.url("/list"))))
}

/// Returns why an announce of a torrent is refused, the same over both transports, or nothing.
fn told(daemon: &Daemon, letter: char) -> String {
    let announce = Announce::of(letter);
    let over_http = announce.http(daemon.http).err();
    let over_udp = announce.udp(&Client::connect(daemon.udp)).err();
    match over_http == over_udp {
        true => over_http.unwrap_or_default(),
        // The data may change between the two announces.
        false => format!("{over_http:?} over HTTP, {over_udp:?} over UDP"),
    }
}

/// Returns the letters of the torrents that are admitted.
fn approved(daemon: &Daemon) -> String {
    "abc".chars().filter(|letter| told(daemon, *letter).is_empty()).collect()
}

fn metric(daemon: &Daemon, series: &str) -> f64 {
    daemon.metric(&format!("karuta_data_{series}{{policy=\"torrents\",data=\"approved\"}}"))
}

fn ready(daemon: &Daemon) -> (u16, String) {
    let answer = get(daemon.admin, "/readyz", &[]);
    (answer.status, answer.body_text())
}

#[test]
fn a_list_is_fetched_and_followed() {
    let server = Server::with(&list("ab"));
    let daemon = start(&server, "");
    eventually("the list is there", || approved(&daemon) == "ab");
    server.answer(&list("c"));
    eventually("the new one takes its place", || approved(&daemon) == "c");
    assert_eq!((metric(&daemon, "entries"), metric(&daemon, "errors_total")), (1.0, 0.0));
    let request = &server.requests()[0];
    assert!(request.starts_with("get /list http/1.1\n"), "{request}");
    assert!(request.contains("\nuser-agent: karuta/"), "{request}");
    assert!(request.contains("\naccept-encoding: identity"), "{request}");
}

/// Makes the server behave badly from now on.
type Misbehave<'a> = Box<dyn Fn() + 'a>;

#[test]
fn the_last_good_version_stays_whatever_the_server_does_wrong() {
    let server = Server::with(&list("ab"));
    let daemon = start(&server, ", max_size: 1KiB");
    eventually("the list is there", || approved(&daemon) == "ab");
    let typed = |header: &'static str| -> Misbehave {
        Box::new(|| {
            server.behave(|_, stream| reply(stream, "200 OK", &[header], list("c").as_bytes()));
        })
    };
    let bad: [(&str, Misbehave); 10] = [
        ("answers with the type `text/html`", typed("content-type: text/html; charset=utf-8")),
        ("answers with the content encoding `br`", typed("content-encoding: br")),
        (
            "answers 500",
            Box::new(|| {
                server.behave(|_, stream| reply(stream, "500 Oops", &[], b""));
            }),
        ),
        (
            "no answer within 1s",
            Box::new(|| {
                server.behave(|_, _| std::thread::sleep(Duration::from_secs(3)));
            }),
        ),
        (
            // The same reason is not logged again.
            "",
            Box::new(|| {
                server.behave(|_, stream| {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 41\r\n\r\n");
                    while stream.write_all(b"a").is_ok() {
                        std::thread::sleep(Duration::from_millis(200));
                    }
                });
            }),
        ),
        (
            "more than 1024 bytes",
            Box::new(|| {
                server.behave(|_, stream| {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                    while stream.write_all(list("c").as_bytes()).is_ok() {}
                });
            }),
        ),
        (
            "disconnect",
            Box::new(|| {
                server.behave(|_, stream| {
                    let text = list("c");
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len() + 1);
                    let _ = stream.write_all((head + &text).as_bytes());
                });
            }),
        ),
        ("line 2: `nonsense`", Box::new(|| server.answer(&(list("c") + "nonsense\n")))),
        (
            "more than 3 redirects",
            Box::new(|| {
                server.behave(|_, stream| reply(stream, "302 Found", &["location: /list"], b""));
            }),
        ),
        (
            "protocol",
            Box::new(|| server.behave(|_, stream| drop(stream.write_all(b"SSH-2.0\r\n\r\n")))),
        ),
    ];
    for (reason, misbehave) in &bad {
        let before = metric(&daemon, "errors_total");
        let log = daemon.log().len();
        misbehave();
        eventually(reason, || daemon.log()[log..].contains(reason));
        eventually(reason, || metric(&daemon, "errors_total") > before);
        assert_eq!(approved(&daemon), "ab", "{reason}");
    }
    server.behave(|_, stream| {
        reply(stream, "307 Temporary Redirect", &["location: http://192.0.2.1/list"], b"");
    });
    eventually("a redirect to another place without TLS", || daemon.log().contains("without TLS"));
    server.answer(&list("bc"));
    eventually("a good one comes again", || approved(&daemon) == "bc");
}

/// Counts how often the log says that new data cannot be used.
fn refusals(daemon: &Daemon) -> usize {
    daemon.log().matches("cannot use new data").count()
}

#[test]
fn a_failing_server_is_logged_once_until_it_recovers() {
    let server = Server::with(&list("a"));
    let daemon = start(&server, "");
    eventually("the list is there", || approved(&daemon) == "a");
    for outage in 1..=2 {
        let errors = metric(&daemon, "errors_total");
        let line = std::sync::atomic::AtomicUsize::new(0);
        server.behave(move |_, stream| {
            // Each time, another line is wrong, with another text.
            let line = line.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let text = format!("{}page {line}\n", "\n".repeat(line));
            reply(stream, "200 OK", &[], text.as_bytes());
        });
        eventually("each try is counted", || metric(&daemon, "errors_total") >= errors + 4.0);
        assert_eq!(refusals(&daemon), outage, "{}", daemon.log());
        let letter = if outage == 1 { "b" } else { "c" };
        server.answer(&list(letter));
        eventually("a good one comes", || approved(&daemon) == letter);
    }
}

#[test]
fn a_web_page_instead_of_a_list_is_refused() {
    let server = Server::with("-XL\n");
    let url = server.url("/list");
    let daemon = Daemon::start(&format!(
        "
policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: {{ deny_from: denied }}
    data: {{ denied: {{ format: strings, every: 1s, url: '{url}' }} }}
"
    ));
    let is_denied = || Announce::of('a').client("-XL0012-").http(daemon.http).is_err();
    let errors = || daemon.metric("karuta_data_errors_total{policy=\"clients\",data=\"denied\"}");
    eventually("the list is there", is_denied);
    for page in [
        "<!doctype html>\n<title>Log in</title>\n",
        "[\n  \"-XL\"\n]\n",
        "\"-XL\"\n",
        "-XL,\n",
        "\u{feff}-SD\n\u{feff}-XL\n",
    ] {
        let before = errors();
        server.answer(page);
        eventually("it is refused", || errors() >= before + 2.0);
        assert!(is_denied(), "{page}");
    }
    server.answer("\u{feff}-XL\r-SD\r");
    eventually("a byte order mark is not part of the text", || {
        Announce::of('a').client("-SD0012-").http(daemon.http).is_err()
    });
    assert!(is_denied());
}

#[test]
fn redirects_are_followed_on_this_machine() {
    let elsewhere = Server::with(&list("c"));
    let there = format!("location: {}", elsewhere.url("/list"));
    let server = Server::with("");
    server.behave(move |_, stream| reply(stream, "302 Found", &[&there], b""));
    let daemon = start(&server, "");
    eventually("the list is there", || approved(&daemon) == "c");
}

#[test]
fn a_redirect_to_another_server_does_not_get_the_headers() {
    let elsewhere = Server::with(&list("c"));
    let there = elsewhere.url("/list?x=1");
    let server = Server::with("");
    server
        .behave(move |_, stream| reply(stream, "302 Found", &[&format!("location: {there}")], b""));
    let source = format!(
        "url: '{}', insecure: true, headers: {{ Authorization: {{ file: token }} }}",
        server.url("/list")
    );
    let folder = folder(&format!("{LISTENERS}{}", yaml(&source)));
    std::fs::write(folder.path().join("token"), "Bearer s3cret\n").unwrap();
    let daemon = Daemon::start_in(folder);
    eventually("the list is there", || approved(&daemon) == "c");
    assert!(server.requests()[0].contains("\nauthorization: bearer s3cret"));
    assert!(elsewhere.requests()[0].starts_with("get /list?x=1 "));
    assert!(!elsewhere.requests()[0].contains("s3cret"));
    assert!(!daemon.log().contains("s3cret"));
}

#[test]
fn an_unchanged_list_is_confirmed_by_its_etag() {
    let server = Server::with("");
    server.behave(|request, stream| {
        if request.contains("\nif-none-match: \"one\"") {
            reply(stream, "304 Not Modified", &[], b"");
        } else {
            reply(stream, "200 OK", &["etag: \"one\""], list("a").as_bytes());
        }
    });
    let daemon = start(&server, ", max_age: 3s");
    eventually("the list is there", || approved(&daemon) == "a");
    eventually("it is confirmed often enough", || {
        server.requests().iter().filter(|request| request.contains("if-none-match")).count() > 4
    });
    assert_eq!(approved(&daemon), "a", "confirmed is as good as new");
    let status = daemon.admin_page("/api/status");
    assert!(status.contains("\"version\": 1"), "{status}");
}

#[test]
fn the_same_text_again_is_no_new_version() {
    let server = Server::with(&list("a"));
    let daemon = start(&server, ", max_age: 3s");
    eventually("the list is there", || approved(&daemon) == "a");
    eventually("it is fetched often enough", || server.requests().len() > 4);
    assert_eq!(approved(&daemon), "a", "confirmed is as good as new");
    let status = daemon.admin_page("/api/status");
    assert!(status.contains("\"version\": 1"), "{status}");
    server.answer(&list("b"));
    eventually("another comes", || approved(&daemon) == "b");
    server.answer(&list("a"));
    eventually("the first comes back", || approved(&daemon) == "a");
}

#[test]
fn data_older_than_max_age_is_not_used() {
    let server = Server::with(&list("a"));
    let daemon = start(&server, ", max_age: 2s, required: true");
    eventually("the list is there", || approved(&daemon) == "a");
    assert_eq!(ready(&daemon), (200, "ok\n".into()));
    server.behave(|_, stream| reply(stream, "503 Away", &[], b""));
    eventually("it is too old", || told(&daemon, 'a') == "temporarily unavailable");
    assert_eq!(
        ready(&daemon),
        (503, "the policy `torrents` waits for its data `approved`\n".into())
    );
    server.answer(&list("a"));
    eventually("it is there again", || approved(&daemon) == "a");
}

#[test]
fn without_required_data_the_policy_is_unavailable_until_it_comes() {
    let server = Server::at(([127, 0, 0, 1], 0).into());
    let daemon = start(&server, ", required: true");
    assert_eq!(told(&daemon, 'a'), "temporarily unavailable");
    assert_eq!(
        ready(&daemon),
        (503, "the policy `torrents` waits for its data `approved`\n".into())
    );
    let errors =
        "karuta_policy_errors_total{policy=\"torrents\",hook=\"announce\",cause=\"unavailable\"}";
    assert!(daemon.metric(errors) >= 2.0);
    server.answer(&list("a"));
    eventually("the list is there", || approved(&daemon) == "a");
    assert_eq!(ready(&daemon), (200, "ok\n".into()));
}

#[test]
fn the_last_good_version_survives_a_restart_unless_it_is_damaged() {
    let server = Server::with(&list("a"));
    let daemon = start(&server, ", required: true");
    eventually("the list is there", || approved(&daemon) == "a");
    server.behave(|_, stream| reply(stream, "503 Away", &[], b""));
    let daemon = daemon.restart();
    assert_eq!(approved(&daemon), "a", "from the first announce on");
    server.answer(&list("b"));
    eventually("a new one comes", || approved(&daemon) == "b");

    let state = daemon.folder.path().join("state/data");
    let kept = std::fs::read_dir(state).unwrap().next().unwrap().unwrap().path();
    server.behave(|_, stream| reply(stream, "503 Away", &[], b""));
    let mut bytes = std::fs::read(&kept).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let daemon = daemon.restart();
    assert_eq!(told(&daemon, 'b'), "temporarily unavailable", "a damaged one is not used");
    daemon.logs("it is damaged");
}

#[test]
fn a_reload_waits_for_required_data() {
    let daemon = Daemon::start("");
    let server = Server::with("nonsense");
    let reload = || {
        let source = format!("url: '{}', required: true", server.url("/list"));
        write_config(daemon.folder.path(), &format!("{LISTENERS}{}", yaml(&source)));
        run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path())
    };
    let refused = reload();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("policy `torrents`: data: "), "{text}");
    assert!(text.contains("line 1: `nonsense`"), "{text}");
    assert_eq!(told(&daemon, 'b'), "", "the old generation serves on");
    server.answer(&list("a"));
    assert!(reload().status.success());
    assert_eq!(approved(&daemon), "a", "at once");
    assert_eq!(server.requests().len(), 2, "and fetched once");
}

#[test]
fn a_check_fetches_nothing() {
    let server = Server::with(&list("a"));
    let source = format!("url: '{}', required: true", server.url("/list"));
    let folder = folder(&format!("{LISTENERS}{}", yaml(&source)));
    let output = run(&["check"], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(server.requests().is_empty());
    assert!(!folder.path().join("state").exists());
}
