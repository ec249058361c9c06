//! Recorded requests against a configuration: what would be different, and nothing else.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::issuer::{AUDIENCE, ISSUER, Issuer};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, karuta, run, write_config};
use serde_json::Value;

const FILE: &str = "all.karuta";
/// The exit code if nothing is different in a recording that is cut off.
pub const SAME: i32 = 1;

/// Records all requests that `load` makes, and returns how many there were. The command is killed, so
/// the file is cut off after them.
pub fn record(daemon: &Daemon, load: impl FnOnce() -> usize) -> usize {
    let admin = daemon.admin.to_string();
    let arguments = ["record", "--for", "1h", "--out", FILE, "--admin", &admin];
    let mut command = karuta(&arguments, daemon.folder.path());
    let mut recording = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("it records", || daemon.admin_page("/api/status").contains("\"recording\": true"));
    let count = load();
    eventually("all are on the disk", || {
        let output = run(&["recording", FILE, "--json"], daemon.folder.path());
        let shown: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        shown.is_some_and(|shown| shown["requests"] == count)
    });
    recording.kill().unwrap();
    recording.wait().unwrap();
    count
}

fn replay(folder: &Path, arguments: &[&str]) -> Output {
    run(&[&["replay", FILE], arguments].concat(), folder)
}

/// Returns what a replay found, and its exit code.
pub fn replayed(folder: &Path, arguments: &[&str]) -> (Value, i32) {
    let output = replay(folder, &[arguments, &["--json"]].concat());
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code().unwrap())
}

/// Writes another configuration beside the one of the daemon, and returns its name.
pub fn other(folder: &Path, name: &str, yaml: &str) -> String {
    let own = folder.join(name);
    fs::create_dir_all(&own).unwrap();
    write_config(&own, yaml);
    format!("{name}/config.yaml")
}

/// Returns what each kind of difference is, and how often.
pub fn changes(report: &Value) -> Vec<(String, u64)> {
    let side = |side: &Value| match side["decided_by"].as_str() {
        Some(policy) => format!("{} by {policy}", side["outcome"].as_str().unwrap()),
        None => side["outcome"].as_str().unwrap().to_owned(),
    };
    let list = report["changes"].as_array().unwrap();
    let mut all: Vec<_> = list
        .iter()
        .map(|one| {
            let what = one["what"].as_str().unwrap();
            let text = format!("{what}: {} → {}", side(&one["before"]), side(&one["after"]));
            (text, one["count"].as_u64().unwrap())
        })
        .collect();
    all.sort();
    all
}

fn three(deny: &str, requests: u32) -> String {
    format!(
        "{LISTENERS}tracker: {{ workers: 2 }}
policies:
  - {{ name: clients, plugin: PLUGINS/client-approval.wasm, config: {{ deny: [{deny}] }} }}
  - name: limits
    plugin: PLUGINS/rate-limit.wasm
    config: {{ by: address, requests: {requests}, every: 1h }}
  - name: spread
    plugin: PLUGINS/interval-variation.wasm
    config: {{ probability: 0.5, max_increase: 60s }}
"
    )
}

/// What a client may be told: the policy that refuses it, if any.
type Told = Option<&'static str>;

/// Says what the three policies say to announces of these addresses and clients, in their order.
fn model(announces: &[(IpAddr, &'static str)], deny: &[&str], requests: u32) -> Vec<Told> {
    let mut counts: HashMap<IpAddr, u32> = HashMap::new();
    let told = |(address, client): &(IpAddr, &'static str)| {
        if deny.contains(client) {
            return Some("clients");
        }
        let count = counts.entry(*address).or_default();
        *count += 1;
        (*count > requests).then_some("limits")
    };
    announces.iter().map(told).collect()
}

/// Announces from several addresses with several clients, over both transports. Returns each announce.
fn announce(daemon: &Daemon) -> Vec<(IpAddr, &'static str)> {
    const CLIENTS: [&str; 4] = ["-XL", "-KA", "-TR", "-qB"];
    let clients = (1..=8).map(|last| {
        let address = IpAddr::from([127, 0, 0, last]);
        (address, Client::connect_from(address, daemon.udp))
    });
    let clients: Vec<_> = clients.collect();
    let mut all = Vec::new();
    for round in 0..60 {
        for (at, (address, client)) in clients.iter().enumerate() {
            let name = CLIENTS[(round * 7 + at * 3) % 5 % 4];
            let port = 1000 + (round * 8 + at) as u16;
            let letter = ['a', 'b', 'c'][round % 3];
            let asked = Announce::of(letter).client(name).port(port);
            let _ = asked.udp(client);
            all.push((*address, name));
        }
    }
    all
}

#[test]
fn the_same_configuration_says_the_same_and_another_what_a_model_says() {
    let daemon = Daemon::start_with(&three("-XL", 30));
    let mut announces = Vec::new();
    let count = record(&daemon, || {
        announces = announce(&daemon);
        announces.len()
    });
    let folder = daemon.folder.path();
    let (same, code) = replayed(folder, &[]);
    assert_eq!(changes(&same), [], "{same:#}");
    assert_eq!((&same["requests"], &same["same"], code), (&count.into(), &count.into(), SAME));
    assert_eq!(same["unrepeatable"], Value::Array(Vec::new()));
    let before = model(&announces, &["-XL"], 30);
    let refused = before.iter().flatten().count();
    let of = |report: &Value, before: &str, after: &str| -> u64 {
        let list = report["outcomes"].as_array().unwrap();
        let is = |one: &&Value| one["before"] == before && one["after"] == after;
        list.iter().find(is).map_or(0, |one| one["count"].as_u64().unwrap())
    };
    assert_eq!(of(&same, "rejected", "rejected"), refused as u64);
    assert!(refused > 50 && refused < count - 50, "{refused}");

    for (name, deny, list, requests) in [
        ("clients", "-XL, -KA", &["-XL", "-KA"][..], 30),
        ("limits", "-XL", &["-XL"], 20),
        ("more", "-qB", &["-qB"], 60),
    ] {
        let config = other(folder, name, &three(deny, requests));
        let after = model(&announces, list, requests);
        let mut expected: HashMap<String, u64> = HashMap::new();
        for (before, after) in before.iter().zip(&after).filter(|(before, after)| before != after) {
            let side = |told: &Told| match told {
                Some(policy) => format!("rejected by {policy}"),
                None => "ok".to_owned(),
            };
            let what = if before.is_some() == after.is_some() { "decided_by" } else { "outcome" };
            let text = format!("{what}: {} → {}", side(before), side(after));
            *expected.entry(text).or_default() += 1;
        }
        let mut expected: Vec<_> = expected.into_iter().collect();
        expected.sort();
        let (report, code) = replayed(folder, &["--config", &config]);
        assert_eq!((changes(&report), code), (expected.clone(), 3), "{name}");
        // The same, if the old configuration is asked instead of the recording.
        let against = ["--config", &config, "--against", "config.yaml"];
        let (report, code) = replayed(folder, &against);
        assert_eq!((changes(&report), code), (expected, 3), "{name}");
    }
}

#[test]
fn a_difference_shows_whom_it_concerns_and_may_be_allowed() {
    let daemon = Daemon::start_with(&three("-XL", 1000));
    record(&daemon, || {
        let client = Client::connect(daemon.udp);
        for port in 1..=20 {
            Announce::of('a').port(port).udp(&client).unwrap();
        }
        Announce::of('b').client("-DE1230-").udp(&client).unwrap();
        21
    });
    let folder = daemon.folder.path();
    let config = other(folder, "new", &three("-DE", 1000));
    let arguments = ["--config", &config, "--diff"];
    let output = replay(folder, &arguments);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let hash = "62".repeat(20);
    for part in [
        "21 requests, 20 become the same",
        "outcome of 1 request: ok before, rejected by clients after",
        "         1  127.0.0.1\n",
        "         1  127.0.0.0/24\n",
        "         1  -DE1230-\n",
        &format!("an example: announce of {hash} over udp from 127.0.0.1 -DE1230-"),
        "  after   unapproved client\n",
        "  clients says reject\n",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    for (allowed, code) in [
        ("ok→rejected:10%", SAME),
        ("ok->rejected:5%", SAME),
        ("ok→rejected:1%", 3),
        ("ok→dropped:100%", 3),
        ("interval:100%", 3),
    ] {
        let arguments = ["--config", &config, "--allow", allowed];
        let replayed = replay(folder, &arguments);
        let last = if code == SAME { "that is allowed" } else { "that is more than is allowed" };
        let text = String::from_utf8(replayed.stdout).unwrap();
        assert_eq!((replayed.status.code(), text.lines().last()), (Some(code), Some(last)));
    }
    assert_eq!(replay(folder, &["--allow", "everything"]).status.code(), Some(2));
    // Intervals are compared too.
    let slower = three("-XL", 1000).replace("workers: 2", "workers: 2, announce_interval: 31m");
    let config = other(folder, "slower", &slower);
    let (report, code) = replayed(folder, &["--config", &config]);
    assert_eq!((changes(&report), code), (vec![("interval: ok → ok".to_owned(), 21)], 3));
    assert_eq!(
        replay(folder, &["--config", &config, "--allow", "interval:100%"]).status.code(),
        Some(SAME)
    );
}

#[test]
fn the_clock_is_that_of_the_recording() {
    let issuer = Issuer::with("a", "RS256");
    let yaml = format!(
        "{LISTENERS}tracker: {{ workers: 1, limits: {{ per_second: 1, burst: 5 }} }}
policies:
  - name: jwt
    plugin: PLUGINS/jwt.wasm
    credential: ['query:jwt']
    config: {{ issuer: {ISSUER}, audience: '{AUDIENCE}', leeway: 0s }}
    data: {{ jwks: {{ format: raw, file: '{}' }} }}
",
        issuer.keys_file().display()
    );
    let daemon = Daemon::start_with(&yaml);
    let hash: String = torrent('a').iter().map(|byte| format!("{byte:02x}")).collect();
    let mut outcomes = [0, 0];
    record(&daemon, || {
        let token = issuer.sign("a", &hash, &["--expires", "3s"]);
        let announce = Announce::of('a').with(&format!("jwt={token}"));
        let client = Client::connect(daemon.udp);
        let mut count = 0;
        eventually("the token ends", || {
            let told = announce.udp(&client);
            count += 1;
            outcomes[usize::from(told.is_err())] += 1;
            told == Err("unapproved request: invalid jwt".to_owned())
        });
        while announce.http(daemon.http) != Err("too many requests".to_owned()) {
            count += 1;
        }
        let _ = client.scrape(&[torrent('a')]);
        count + 2
    });
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
    let (report, code) = replayed(daemon.folder.path(), &[]);
    assert_eq!((changes(&report), code), (vec![], SAME), "{report:#}");
}

#[test]
fn what_the_new_configuration_cannot_read_is_a_difference() {
    let yaml = |route: &str, udp: &str| {
        format!(
            "http: [{{ listen: '[::]:0', announce: ['{route}'] }}]\n{udp}admin: {{ listen: \
             '127.0.0.1:0' }}\ntracker: {{ workers: 1 }}\n"
        )
    };
    let listener = "udp: [{ listen: '[::]:0' }]\n";
    let daemon = Daemon::start_with(&yaml("/announce", listener));
    record(&daemon, || {
        Announce::of('a').http(daemon.http).unwrap();
        Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
        2
    });
    let folder = daemon.folder.path();
    assert_eq!(replayed(folder, &[]).1, SAME);
    let config = other(folder, "elsewhere", &yaml("/elsewhere", ""));
    let (report, code) = replayed(folder, &["--config", &config]);
    assert_eq!((&report["unreadable"], code), (&2.into(), 3));
    assert_eq!(changes(&report), [("outcome: ok → invalid".to_owned(), 2)]);
    let reasons: Vec<_> = report["changes"][0]["example"]["reasons"].as_array().unwrap().clone();
    assert!(reasons.contains(&"no route for this path".into()), "{reasons:?}");
}

#[test]
fn wrong_files_and_configurations_are_refused() {
    let folder = karuta_tests::folder("http: [{ listen: '127.0.0.1:0' }]\n");
    let said = |output: Output| (output.status.code(), String::from_utf8(output.stderr).unwrap());
    let (code, text) = said(replay(folder.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(text.contains("all.karuta: No such file"), "{text}");
    fs::write(folder.path().join(FILE), "something else").unwrap();
    let (code, text) = said(replay(folder.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(text.contains("not a recording"), "{text}");
    let daemon = Daemon::start("tracker: { workers: 1 }");
    record(&daemon, || {
        Announce::of('a').http(daemon.http).unwrap();
        1
    });
    let wrong = other(daemon.folder.path(), "wrong", "http: [{}]\npolicies: [{ name: A }]\n");
    let (code, text) = said(replay(daemon.folder.path(), &["--config", &wrong]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("wrong/config.yaml:2:"), "{text}");
}
