//! `karuta explain`: what the policies of the running daemon would say to a request.

use karuta_tests::announce::Announce;
use karuta_tests::{Connection, Daemon, eventually, exchange, run};
use serde_json::{Value, json};

const POLICIES: &str = "
policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: { deny: [-XL] }
  - name: watched
    plugin: PLUGINS/test-hostile.wasm
    mode: shadow
    config: { rules: [{ on: announce, do: reject }] }
  - name: broken
    plugin: PLUGINS/test-hostile.wasm
    on_error: next
    config: { rules: [{ on: announce, do: trap, query: bomb }] }
  - name: seeds
    plugin: PLUGINS/test-hostile.wasm
    when: { transports: [udp] }
    config: { rules: [] }
  - name: told
    plugin: PLUGINS/test-hostile.wasm
    credential: ['query:key']
    config:
      rules:
        - { on: announce, do: warn-credential }
        - { on: announce, do: set-interval, number: 77 }
        - { on: announce, do: remember, number: 60 }
        - { on: announce, do: accept, query: vip }
        - { on: scrape, do: hide, info_hash: '6262626262626262626262626262626262626262' }
  - name: last
    plugin: PLUGINS/test-hostile.wasm
    config: { rules: [] }
";

/// Returns what `karuta explain --json` prints.
fn explain(daemon: &Daemon, arguments: &[&str]) -> Result<Value, String> {
    let admin = daemon.admin.to_string();
    let arguments = [&["explain", "--json", "--admin", &admin], arguments].concat();
    let output = run(&arguments, daemon.folder.path());
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        _ => Err(String::from_utf8(output.stderr).expect("text")),
    }
}

fn url(daemon: &Daemon, scheme: &str, more: &str) -> String {
    let query = Announce::of('a').client("-TR4050-").query();
    format!("{scheme}://tracker.example:{}/announce?{query}{more}", daemon.http.port())
}

/// Returns the policies of the first answer: the name, and the verdict, the error or why it was
/// skipped.
fn steps(explained: &Value) -> Vec<(&str, &str)> {
    let steps = explained["answers"][0]["policies"].as_array().expect("a list");
    fn step(step: &Value) -> (&str, &str) {
        let said = ["skipped", "error", "verdict"].into_iter().find_map(|key| step[key].as_str());
        (step["policy"].as_str().expect("a name"), said.expect("what became of it"))
    }
    steps.iter().map(step).collect()
}

#[test]
fn every_policy_is_shown_with_its_verdict_and_changes() {
    let daemon = Daemon::start(POLICIES);
    let explained = explain(&daemon, &[&url(&daemon, "http", "&key=abc")]).unwrap();
    assert_eq!(
        (&explained["transport"], &explained["action"], &explained["client"]),
        (&json!("http"), &json!("announce"), &json!("127.0.0.1"))
    );
    assert_eq!(
        steps(&explained),
        [
            ("clients", "next"),
            ("watched", "reject"),
            ("broken", "next"),
            ("seeds", "`when` does not match"),
            ("told", "next"),
            ("last", "next"),
        ]
    );
    let answer = &explained["answers"][0];
    assert_eq!((&answer["outcome"], &answer["decided_by"]), (&json!("ok"), &Value::Null));
    assert_eq!(answer["answer"]["interval"], 77);
    assert_eq!(answer["answer"]["warning_message"], "abc");
    let told = &answer["policies"][4];
    assert_eq!(told["changes"], json!({ "interval": 77, "warning_message": "abc" }));
    assert_eq!(told["remember"], json!({ "scope": ["info-hash", "event"], "seconds": 60 }));
    assert!(told["microseconds"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["policies"][1]["mode"], "shadow");

    let explained = explain(&daemon, &[&url(&daemon, "http", "&bomb=&vip=")]).unwrap();
    let said = steps(&explained);
    assert!(said[2].1.starts_with("trap: "), "{said:?}");
    assert_eq!(said[4..], [("told", "accept"), ("last", "an earlier policy accepted")]);
    assert_eq!(explained["answers"][0]["decided_by"], "told");
}

#[test]
fn the_address_the_transport_and_headers_can_be_chosen() {
    let daemon = Daemon::start(
        "policies:
  - { name: where, plugin: PLUGINS/address-approval.wasm, config: { deny: ['192.0.2.0/24'] } }
  - name: told
    plugin: PLUGINS/test-hostile.wasm
    credential: ['header:x-key']
    config: { rules: [{ on: announce, do: warn-credential }] }
",
    );
    let url = |scheme| url(&daemon, scheme, "");
    let answer = |arguments: &[&str]| explain(&daemon, arguments).unwrap()["answers"][0].clone();
    let refused = answer(&[&url("udp"), "--from", "192.0.2.7"]);
    assert_eq!(
        (&refused["outcome"], &refused["decided_by"]),
        (&json!("rejected"), &json!("where"))
    );
    assert_eq!(refused["answer"]["failure_reason"], "unapproved address");
    let told = answer(&[&url("http"), "--header", "X-Key: secret"]);
    assert_eq!(told["answer"]["warning_message"], "secret");
}

#[test]
fn a_scrape_is_explained_for_each_info_hash() {
    let daemon = Daemon::start(POLICIES);
    let hashes = ['a', 'b'].map(|letter| format!("info_hash={}", letter.to_string().repeat(20)));
    let url = format!("http://{}/scrape?{}", daemon.http, hashes.join("&"));
    let explained = explain(&daemon, &[&url]).unwrap();
    assert_eq!(explained["action"], "scrape");
    let answers = explained["answers"].as_array().unwrap();
    let hidden: Vec<_> = answers.iter().map(|answer| &answer["answer"]["hidden"]).collect();
    assert_eq!(hidden, [&json!(false), &json!(true)]);
}

#[test]
fn limits_say_what_they_would_and_are_not_used_up() {
    let daemon = Daemon::start(
        "tracker: { limits: { per_second: 1, burst: 3, ipv4_prefix: 24 } }
swarms: { limits: { torrents: 2, peers_per_torrent: 2, peers_per_address: 2 } }
",
    );
    let url = |letter: char, port: u16, more: &str| {
        let query = Announce::of(letter).port(port).query();
        format!("http://{}/announce?{query}{more}", daemon.http)
    };
    let far = ["--from", "192.0.2.7"];
    let asked = |url: String| explain(&daemon, &[&far[..], &[&url]].concat()).unwrap();
    let used = |count: u64| json!({ "count": count, "limit": 2 });
    for _ in 0..10 {
        let explained = asked(url('a', 1, ""));
        assert_eq!(
            explained["tracker_limits"],
            json!({ "refusal": null, "prefix": "192.0.2.0/24", "per_second": 1, "burst": 3 })
        );
        assert_eq!(
            explained["answers"][0]["swarms_limits"],
            json!({
                "refusal": null,
                "torrents": used(0),
                "peers_per_torrent": used(0),
                "peers_per_address": used(0)
            })
        );
    }
    for port in [1, 2] {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    let limits = |url: String| asked(url)["answers"][0]["swarms_limits"].clone();
    let full = limits(url('a', 3, ""));
    assert_eq!(
        (&full["refusal"], &full["torrents"], &full["peers_per_torrent"]),
        (&json!("peer limit reached"), &used(1), &used(2))
    );
    assert_eq!(limits(url('b', 3, ""))["refusal"], Value::Null);
    assert_eq!(limits(url('a', 3, "&event=stopped")), Value::Null, "it enters no peer");
    let own = |url: String| explain(&daemon, &[&url]).unwrap();
    let known = own(url('a', 2, ""));
    assert_eq!(known["answers"][0]["swarms_limits"]["refusal"], Value::Null);
    assert_eq!(known["answers"][0]["swarms_limits"]["peers_per_address"], used(2));
    let other = own(url('b', 1, ""));
    assert_eq!(other["answers"][0]["swarms_limits"]["refusal"], "peer limit reached");
    assert_eq!(other["answers"][0]["outcome"], "ok", "as the policies have it");

    let question = json!({ "url": url('a', 1, ""), "from": null }).to_string();
    let request = format!(
        "POST /api/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{question}",
        question.len()
    );
    eventually("the client has used up its requests", || {
        let _ = Announce::of('a').port(1).http(daemon.http);
        let answer = exchange(daemon.admin, request.as_bytes());
        let explained: Value = serde_json::from_slice(&answer.body).unwrap();
        explained["tracker_limits"]["refusal"] == "too many requests"
    });
    let admin = daemon.admin.to_string();
    let shown = run(&["explain", "--admin", &admin, &url('a', 3, "")], daemon.folder.path());
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("1 a second and 3 at once for 127.0.0.0/24"), "{shown}");
    assert!(shown.contains("1 of 2 torrents, 2 of 2 peers of this torrent, "), "{shown}");
    assert!(shown.contains("    failure_reason: peer limit reached"), "{shown}");
}

/// If the instance fails, it is not replaced for the rest of the question.
#[test]
fn a_question_uses_one_instance_of_each_policy() {
    let daemon = Daemon::start(
        "policies:
  - { name: tally, plugin: PLUGINS/test-tally.wasm }
  - { name: broken, plugin: PLUGINS/test-hostile.wasm, on_error: next, config: { rules: [{ on: scrape, do: trap }] } }
",
    );
    let hashes =
        ['a', 'b', 'c'].map(|letter| format!("info_hash={}", letter.to_string().repeat(20)));
    let url = format!("http://{}/scrape?{}", daemon.http, hashes.join("&"));
    let explained = explain(&daemon, &[&url]).unwrap();
    let answers = explained["answers"].as_array().unwrap();
    let errors: Vec<&str> =
        answers.iter().map(|answer| answer["policies"][1]["error"].as_str().unwrap()).collect();
    assert!(errors[0].starts_with("trap: "), "{errors:?}");
    let later = "unavailable: its instance failed at an earlier info-hash";
    assert_eq!(errors[1..], [later, later]);
}

/// Questions are answered one after the other, and only a few may wait.
#[test]
fn too_many_questions_are_turned_away() {
    let daemon = Daemon::start(
        "policies:
  - name: slow
    plugin: PLUGINS/test-hostile.wasm
    limits: { deadline: 100ms }
    config: { rules: [{ on: announce, do: loop, query: long }] }
",
    );
    let threads = || std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    let before = threads();
    let question = json!({ "url": url(&daemon, "http", "&long="), "from": null }).to_string();
    let length = question.len();
    let request = format!(
        "POST /api/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{question}"
    );
    let mut connections: Vec<Connection> = (0..60)
        .map(|_| {
            let mut connection = Connection::open(daemon.admin);
            connection.send(request.as_bytes());
            connection
        })
        .collect();
    assert!(threads() <= before, "no thread is started for a question");
    let answers: Vec<_> = connections.iter_mut().map(Connection::answer).collect();
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(200) + of(503), 60);
    assert!(of(200) >= 16, "{}", of(200));
    assert!(of(503) > 0);
    let turned_away = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(turned_away.body_text(), "too many questions are waiting\n");
    // Later questions are answered again.
    assert!(explain(&daemon, &[&url(&daemon, "http", "")]).is_ok());
}

/// It leaves no peer, no call, no key-value and no restart.
#[test]
fn a_question_changes_nothing() {
    let daemon = Daemon::start(
        "tracker: { workers: 1 }
policies:
  - { name: broken, plugin: PLUGINS/test-hostile.wasm, config: { rules: [{ on: announce, do: trap, query: bomb }] } }
  - { name: tally, plugin: PLUGINS/test-tally.wasm }
",
    );
    let before = Announce::of('a').dictionary(daemon.http).text("warning message");
    let page = || {
        let page = daemon.admin_page("/metrics");
        let ours = |line: &&str| line.starts_with("karuta_p") && !line.contains("_memory_");
        page.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
    };
    let metrics = page();
    for _ in 0..3 {
        explain(&daemon, &[&url(&daemon, "http", "&bomb=")]).unwrap();
        explain(&daemon, &[&url(&daemon, "http", "")]).unwrap();
    }
    assert_eq!(page(), metrics);
    let after = Announce::of('a').dictionary(daemon.http).text("warning message");
    assert_ne!(before, after, "it counts its announces");
    let scrape = karuta_tests::udp::Client::connect(daemon.udp);
    let counts = scrape.scrape(&[karuta_tests::announce::torrent('a')]).unwrap();
    assert_eq!(counts[0][2], 1, "one leecher: {counts:?}");
}

#[test]
fn wrong_questions_are_refused_with_a_reason() {
    let daemon = Daemon::start(POLICIES);
    let http = daemon.http;
    for (url, reason) in [
        ("nonsense", "not a URL: relative URL without a base"),
        ("ftp://a/announce", "expected a URL with http, https or udp, found ftp"),
        (&format!("http://{http}/elsewhere"), "no listener has a route for `/elsewhere`"),
        (&format!("http://{http}/announce"), "no info_hash parameter supplied"),
        (&format!("http://{http}/scrape"), "no info_hash parameter supplied"),
    ] {
        let error = explain(&daemon, &[url]).unwrap_err();
        assert!(error.contains(reason), "{url}: {error}");
    }
    let output = run(&["explain", "http://a/announce", "--header", "x"], daemon.folder.path());
    assert_eq!(output.status.code(), Some(2));
    // The API refuses everything that a web page could send.
    let post = |head: &str, body: &str| {
        let mut connection = Connection::open(daemon.admin);
        let length = body.len();
        let request = format!(
            "POST /api/explain HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\r\n{body}"
        );
        connection.send(request.as_bytes());
        connection.answer().status
    };
    let json = "Content-Type: application/json\r\n";
    assert_eq!(post("", "{}"), 415);
    assert_eq!(post(json, "{}"), 400);
    assert_eq!(post(json, "[\"http://a/announce\", null, {}]"), 400, "an array is no question");
    assert_eq!(post(json, "{\"url\": \"http://a/announce\", \"nonsense\": 1}"), 400);
    assert_eq!(post(&format!("{json}Origin: http://evil.example\r\n"), "{}"), 403);
}

#[test]
fn the_answer_is_printed_for_people() {
    let daemon = Daemon::start(POLICIES);
    let admin = daemon.admin.to_string();
    let query = Announce::of('a').client("-XL0012-").query();
    let url = format!("http://{}/announce?{query}", daemon.http);
    let output = run(&["explain", &url, "--admin", &admin], daemon.folder.path());
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], format!("announce of {} over http from 127.0.0.1", "61".repeat(20)));
    assert!(lines[1].starts_with("  clients                  reject  "), "{printed}");
    assert!(lines[1].ends_with(" µs"), "{printed}");
    assert_eq!(lines[2], "    failure_reason: unapproved client");
    assert_eq!(
        lines[3],
        "  watched                  not asked: an earlier policy refused (shadow)"
    );
    assert!(printed.contains("  = rejected by clients\n    failure_reason: unapproved client\n"));
}
