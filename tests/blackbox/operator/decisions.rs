//! Who is refused and why, and whom a policy in shadow mode would shut out.

use karuta_tests::announce::{Announce, hex, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Answer, Daemon, exchange, folder, get, ipv6, run};
use serde_json::Value;

const POLICIES: &str = "\
tracker: { workers: 1 }
swarms: { limits: { peers_per_address: 2 } }
policies:
  - { name: shadow, plugin: PLUGINS/client-approval.wasm, mode: shadow, config: { deny: [-SH] } }
  - { name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }
";

fn json(daemon: &Daemon, path: &str) -> Value {
    let answer = get(daemon.admin, path, &[]);
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{value}")).iter().collect()
}

/// Runs a command, and returns what it prints.
fn printed(daemon: &Daemon, arguments: &[&str]) -> String {
    let admin = daemon.admin.to_string();
    let output = run(&[arguments, &["--admin", &admin]].concat(), daemon.folder.path());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn refusals_over_both_transports_are_listed_with_their_reasons() {
    let daemon = Daemon::start(POLICIES);
    let client = Client::connect(daemon.udp);
    let denied = Announce::of('a').client("-XL0012-");
    denied.clone().event("started").udp(&client).unwrap_err();
    denied.http(ipv6(daemon.http)).unwrap_err();
    Announce::of('b').udp(&client).unwrap();
    for letter in ['c', 'd'] {
        let _ = Announce::of(letter).udp(&client);
    }
    let refused = json(&daemon, "/api/refused");
    assert_eq!((&refused["matching"], &refused["lost"]), (&3.into(), &0.into()));
    let [swarms, http, udp] = list(&refused, "refusals")[..] else { panic!("{refused}") };
    assert_eq!(
        (&udp["transport"], &udp["client"], &udp["agent"], &udp["event"]),
        (&"udp".into(), &"127.0.0.1".into(), &"-XL0012".into(), &"started".into())
    );
    assert_eq!(udp["listener"], format!("[::]:{}", daemon.udp.port()));
    assert_eq!((&udp["decided_by"], &udp["outcome"]), (&"clients".into(), &"rejected".into()));
    assert_eq!(
        (&udp["reason"], &udp["info_hash"]),
        (&"unapproved client".into(), &hex('a').into())
    );
    assert_eq!((&udp["generation"], &udp["action"]), (&1.into(), &"announce".into()));
    assert_eq!((&http["transport"], &http["client"]), (&"http".into(), &"::1".into()));
    assert_eq!(swarms["decided_by"], "swarms.limits");
    assert_eq!(swarms["reason"], "peer limit reached");
    let groups = list(&refused, "groups");
    assert_eq!(
        (&groups[0]["reason"], &groups[0]["count"]),
        (&"unapproved client".into(), &2.into())
    );
    let matching =
        |query: &str| json(&daemon, &format!("/api/refused?{query}"))["matching"].clone();
    for (query, count) in [
        ("policy=clients", 2),
        ("address=127.0.0.0/8", 2),
        ("text=UNAPPROVED", 2),
        ("policy=swarms.limits", 1),
        ("policy=tracker.limits", 0),
    ] {
        assert_eq!(matching(query), count, "{query}");
    }
    assert_eq!(matching(&format!("info_hash={}&policy=clients", hex('a'))), 2);
    assert_eq!(list(&json(&daemon, "/api/refused?n=1"), "refusals").len(), 1);
    for query in ["n=0", "address=x", "info_hash=x", "all=1"] {
        assert_eq!(get(daemon.admin, &format!("/api/refused?{query}"), &[]).status, 400, "{query}");
    }
    assert_eq!(get(daemon.admin, "/api/refused?policy=other", &[]).status, 404);
    let table = printed(&daemon, &["refused", "--policy", "clients", "-n", "1"]);
    assert!(table.contains("unapproved client") && table.contains("-XL0012"), "{table}");
    let whole = printed(&daemon, &["refused", "--from", "::1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap()["matching"], 1);
}

#[test]
fn scrapes_drops_failures_and_limits_are_refusals_too() {
    let rule = |letter, on, act| format!("{{ on: {on}, do: {act}, info_hash: '{}' }}", hex(letter));
    let rules = [
        rule('s', "scrape", "reject"),
        rule('d', "announce", "drop"),
        rule('t', "announce", "trap"),
    ];
    let daemon = Daemon::start(&format!(
        "tracker: {{ workers: 1, limits: {{ per_second: 1, burst: 4 }} }}\npolicies:\n  - {{ name: \
         told, plugin: PLUGINS/test-hostile.wasm, config: {{ rules: [{}] }} }}\n",
        rules.join(", ")
    ));
    let client = Client::connect(daemon.udp);
    client.scrape(&[torrent('s')]).unwrap_err();
    Announce::of('d').get(daemon.http, &[]);
    Announce::of('t').http(daemon.http).unwrap_err();
    while Announce::of('x').udp(&client).is_ok() {}
    let refused = json(&daemon, "/api/refused");
    let refusals = list(&refused, "refusals");
    let of = |key: &str| -> Vec<&str> {
        refusals.iter().rev().map(|one| one[key].as_str().unwrap_or("-")).take(4).collect()
    };
    assert_eq!(of("decided_by"), ["told", "told", "told", "tracker.limits"]);
    assert_eq!(of("outcome"), ["rejected", "dropped", "rejected", "rejected"]);
    assert_eq!(of("action"), ["scrape", "announce", "announce", "announce"]);
    assert_eq!(
        of("reason"),
        ["unapproved request", "-", "temporarily unavailable", "too many requests"]
    );
    assert_eq!(of("agent"), ["-", "-KA0100", "-KA0100", "-KA0100"]);
    assert_eq!(of("info_hash")[0], hex('s'));
}

#[test]
fn differences_of_a_shadow_policy_are_grouped() {
    let daemon = Daemon::start(POLICIES);
    let shut_out = Announce::of('a').client("-SH0001-");
    for port in 1..=2 {
        shut_out.clone().port(port).http(daemon.http).unwrap();
    }
    shut_out.http(ipv6(daemon.http)).unwrap();
    Announce::of('b').port(7).http(ipv6(daemon.http)).unwrap();
    // The shadow would let it pass, and another one does not.
    Announce::of('b').client("-XL0001-").http(daemon.http).unwrap_err();
    let shadow = json(&daemon, "/api/shadow/shadow");
    assert_eq!((&shadow["policy"], &shadow["differences"]), (&"shadow".into(), &3.into()));
    assert_eq!((&shadow["counts"]["reject"], &shadow["counts"]["pass"]), (&3.into(), &2.into()));
    let [reason] = list(&shadow, "by_reason")[..] else { panic!("{shadow}") };
    assert_eq!(
        (&reason["would"], &reason["reason"], &reason["count"]),
        (&"reject".into(), &"unapproved client".into(), &3.into())
    );
    let clients = list(&shadow, "by_client");
    assert_eq!((&clients[0]["prefix"], &clients[0]["count"]), (&"127.0.0.0/24".into(), &2.into()));
    assert_eq!(clients[1]["prefix"], "::/48");
    assert_eq!(list(&shadow, "by_torrent")[0]["info_hash"], hex('a'));
    let examples = list(&shadow, "examples");
    assert_eq!((examples.len(), &examples[0]["client"]), (3, &"::1".into()));
    assert_eq!((&examples[0]["outcome"], &examples[0]["agent"]), (&"ok".into(), &"-SH0001".into()));
    assert_eq!(examples[0]["shadow"][0]["would"], "reject");
    let metrics = get(daemon.admin, "/metrics", &[]).body_text();
    let counted = metrics.lines().filter(|line| line.starts_with("karuta_policy_shadow_total{"));
    assert_eq!(counted.count(), 2, "{metrics}");
    assert_eq!(get(daemon.admin, "/api/shadow/other", &[]).status, 404);
    let admin = daemon.admin.to_string();
    let status = run(&["status", "--admin", &admin], daemon.folder.path());
    let status = String::from_utf8(status.stdout).unwrap();
    let states = status.lines().filter_map(|line| {
        line.split_once("  ")
            .map(|(name, rest)| (name, rest.split_whitespace().next().unwrap_or_default()))
    });
    let states: Vec<_> = states.filter(|(name, _)| ["clients", "shadow"].contains(name)).collect();
    assert_eq!(states, [("shadow", "shadow"), ("clients", "ready")], "{status}");
    let wrong = get(daemon.admin, "/api/shadow/shadow?n=5", &[]);
    assert_eq!((wrong.status, &*wrong.body_text()), (400, "unknown parameter `n`\n"));
    let enforced = get(daemon.admin, "/api/shadow/clients", &[]);
    assert_eq!(enforced.status, 409);
    assert!(enforced.body_text().contains("not in shadow mode but enforced"));
    let table = printed(&daemon, &["shadow", "shadow"]);
    for part in ["60.0 %", "127.0.0.0/24", &hex('a'), "unapproved client"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}

const TOKENS: &str = "
http: [{ listen: '127.0.0.1:0' }]
admin:
  listen: '127.0.0.1:0'
  tokens:
    - { name: reader, token: { file: reader.token }, may: [read] }
    - { name: seer, token: { file: seer.token }, may: [read, peers] }
policies:
  - { name: keys, plugin: PLUGINS/passkey.wasm, credential: ['query:passkey'],
      config: { users_from: users }, data: { users: { file: users.jsonl, format: raw } } }
";

fn with_tokens(yaml: &str) -> Daemon {
    let folder = folder(yaml);
    let write = |name: &str| {
        let file = folder.path().join(name).with_extension("token");
        std::fs::write(file, format!("the token of {name}")).unwrap();
    };
    ["reader", "seer"].into_iter().for_each(write);
    std::fs::write(folder.path().join("users.jsonl"), "{\"passkey\": \"one\"}\n").unwrap();
    Daemon::start_in(folder)
}

fn ask(daemon: &Daemon, who: &str, path: &str) -> Answer {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer the token of {who}\r\n\
         Connection: close\r\n\r\n"
    );
    exchange(daemon.admin, request.as_bytes())
}

#[test]
fn who_may_not_see_peers_sees_networks_and_hashes() {
    let daemon = with_tokens(TOKENS);
    let secret = "f".repeat(32);
    Announce::of('a').with(&format!("passkey={secret}")).http(daemon.http).unwrap_err();
    let refusal = |who: &str| {
        let answer = ask(&daemon, who, "/api/refused");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        answer["refusals"][0].clone()
    };
    let whole = refusal("seer");
    assert_eq!((&whole["client"], &whole["credential"]), (&"127.0.0.1".into(), &secret.into()));
    let masked = refusal("reader");
    assert_eq!(masked["client"], "127.0.0.0/24");
    assert!(masked["credential"].as_str().unwrap().starts_with("h:"), "{masked}");
    for (who, range, status) in [
        ("reader", "127.0.0.0/24", 200),
        ("reader", "127.0.0.0/25", 403),
        ("reader", "127.0.0.1", 403),
        ("reader", "::/48", 200),
        ("reader", "::/49", 403),
        ("seer", "127.0.0.1", 200),
    ] {
        let answer = ask(&daemon, who, &format!("/api/refused?address={range}"));
        assert_eq!(answer.status, status, "{who} {range}");
    }
}

#[test]
fn hostile_agents_and_texts_are_only_text() {
    let text = format!("<img onerror=x>\u{202e}{}", "x".repeat(3000));
    let daemon = Daemon::start(&format!(
        "policies:\n  - {{ name: told, plugin: PLUGINS/test-hostile.wasm, config: {{ rules: \
         [{{ on: announce, do: fail, text: '{text}' }}, {{ on: announce, do: reject }}] }} }}\n"
    ));
    Announce::of('a').client("\u{1b}[31m<b>").http(daemon.http).unwrap_err();
    let refused = json(&daemon, "/api/refused");
    let refusal = &refused["refusals"][0];
    assert_eq!(refusal["agent"], r"\x1b[31m<b>");
    let reason = refusal["reason"].as_str().unwrap();
    assert!(reason.len() <= 1024 && text.starts_with(reason), "{reason}");
    let table = printed(&daemon, &["refused"]);
    assert!(
        table.contains("<img onerror=x>") && !table.contains(['\u{1b}', '\u{202e}']),
        "{table}"
    );
}
