//! A recording under load, asked again: nothing is different, and with another rule just what a model says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::thread;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::issuer::{AUDIENCE, ISSUER, Issuer};
use karuta_tests::udp::{ANNOUNCE, Client, body};
use karuta_tests::{Connection, Daemon, LISTENERS};
use serde_json::Value;

use super::replay::{SAME, changes, other, record, replayed};
use crate::author::samples::{clock, is_built};

/// The announces, if `KARUTA_REQUESTS` does not say otherwise.
const REQUESTS: usize = 24_000;
/// The clients over UDP, each at an address of its own. One more is at 127.0.0.1, over HTTP.
const CLIENTS: usize = 9;
/// How many announces a client sends at a time.
const TOGETHER: usize = 24;
const AGENTS: [&str; 5] = ["-XL0001-", "-KA0100-", "-TR4060-", "-qB5010-", "-DE2110-"];

/// What is told to an announce: the policy that refuses it, or `None`.
type Told = Option<&'static str>;

/// An announce that was answered.
struct Asked {
    address: IpAddr,
    agent: &'static str,
    /// It starts a torrent whose hours are quiet.
    is_quiet: bool,
    told: Told,
}

/// What each address is refused after, and which clients.
#[derive(Clone, Copy)]
struct Rules<'a> {
    deny: &'a [&'a str],
    limit: usize,
    /// Whether there is the policy in Python.
    python: bool,
}

impl Rules<'_> {
    fn yaml(&self, issuer: &Issuer, hours: &[String; 2]) -> String {
        let Self { deny, limit, python } = self;
        let (deny, keys) = (deny.join(", "), issuer.keys_file());
        let (keys, [from, to]) = (keys.display(), hours);
        let quiet: String = torrent('q').iter().map(|byte| format!("{byte:02x}")).collect();
        let python = match python {
            false => String::new(),
            true => format!(
                "  - name: quiet
    plugin: PLUGINS/quiet-hours-python.wasm
    limits: {{ memory: 64MiB }}
    config: {{ from: '{from}', to: '{to}', torrents: ['{quiet}'] }}
"
            ),
        };
        format!(
            "{LISTENERS}tracker: {{ workers: 2 }}
record: {{ ring: 512MiB }}
policies:
  - {{ name: clients, plugin: PLUGINS/client-approval.wasm, config: {{ deny: [{deny}] }} }}
  - name: jwt
    plugin: PLUGINS/jwt.wasm
    credential: ['query:jwt']
    config: {{ issuer: {ISSUER}, audience: '{AUDIENCE}', leeway: 0s, algorithms: [ES256] }}
    data: {{ jwks: {{ format: raw, file: '{keys}' }} }}
  - name: limits
    plugin: PLUGINS/rate-limit.wasm
    config: {{ by: address, requests: {limit}, every: 7d }}
{python}  - name: near
    plugin: PLUGINS/subnet.wasm
    config: {{ ipv4: [30, 24] }}
"
        )
    }

    /// Says what becomes of announces. What `jwt` said, it says.
    fn model(&self, asked: &[Asked]) -> Vec<Told> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        let told = |one: &Asked| {
            if self.deny.contains(&&one.agent[..3]) {
                return Some("clients");
            }
            if one.told == Some("jwt") {
                return Some("jwt");
            }
            let count = counts.entry(one.address).or_default();
            *count += 1;
            if *count > self.limit {
                return Some("limits");
            }
            (one.is_quiet && self.python).then_some("quiet")
        };
        asked.iter().map(told).collect()
    }
}

/// Returns who refuses by a text.
fn refuser(reason: &str) -> Told {
    match reason {
        "unapproved client" => Some("clients"),
        "unapproved request: missing jwt" | "unapproved request: invalid jwt" => Some("jwt"),
        "too many announces" => Some("limits"),
        other => {
            assert!(other.starts_with("quiet hours until "), "{other}");
            Some("quiet")
        }
    }
}

/// Returns the announce of a client with a number, and whether it is one for quiet hours.
fn announce(
    client: usize,
    number: usize,
    tokens: &[(char, String)],
) -> (Announce, &'static str, bool) {
    // Whatever is chosen, all of it comes together with all else.
    let mixed = (number * CLIENTS + client).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
    let agent = AGENTS[mixed % AGENTS.len()];
    let (letter, token) = &tokens[mixed / 8 % tokens.len()];
    let is_start = mixed.is_multiple_of(3);
    let announce = Announce::of(*letter).client(agent).port(1024 + (number % 30_000) as u16);
    let announce = if is_start { announce.event("started") } else { announce };
    let announce = if token.is_empty() { announce } else { announce.with(&format!("jwt={token}")) };
    (announce, agent, is_start && *letter == 'q')
}

fn over_udp(daemon: &Daemon, client: usize, many: usize, tokens: &[(char, String)]) -> Vec<Asked> {
    let address = IpAddr::from([127, 0, 0, 2 + client as u8]);
    let socket = Client::connect_from(address, daemon.udp);
    let mut asked = Vec::new();
    while asked.len() < many {
        let numbers = asked.len()..(asked.len() + TOGETHER).min(many);
        let sent: Vec<_> = numbers.clone().map(|at| announce(client, at, tokens)).collect();
        let packets = numbers.zip(&sent).map(|(at, (one, ..))| one.packet(socket.id, at as u32));
        let answers = socket.answers(&packets.collect::<Vec<_>>());
        assert_eq!(answers.len(), sent.len(), "each is answered");
        for ((_, agent, is_quiet), answer) in sent.into_iter().zip(answers) {
            let told = body(&answer, ANNOUNCE, asked.len() as u32).err();
            let told = told.and_then(|reason| refuser(&reason));
            asked.push(Asked { address, agent, is_quiet, told });
        }
    }
    asked
}

fn over_http(daemon: &Daemon, many: usize, tokens: &[(char, String)]) -> Vec<Asked> {
    let mut connection = Connection::open(daemon.http);
    let ask = |number: usize| {
        let (one, agent, is_quiet) = announce(CLIENTS - 1, number, tokens);
        let query = one.query();
        connection.send(format!("GET /announce?{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        let answer = karuta_tests::bencode::read(&answer.body);
        let told = answer.text("failure reason").and_then(|reason| refuser(&reason));
        let address = IpAddr::from([127, 0, 0, 1]);
        Asked { address, agent, is_quiet, told }
    };
    (0..many).map(ask).collect()
}

/// Has all clients announce at the same time.
fn load(daemon: &Daemon, requests: usize, tokens: &[(char, String)]) -> Vec<Asked> {
    let each = requests / CLIENTS;
    thread::scope(|scope| {
        let clients = 0..CLIENTS - 1;
        let udp: Vec<_> = clients
            .map(|client| scope.spawn(move || over_udp(daemon, client, each, tokens)))
            .collect();
        let mut asked = over_http(daemon, requests - each * (CLIENTS - 1), tokens);
        asked.extend(udp.into_iter().flat_map(|client| client.join().unwrap()));
        asked
    })
}

/// Returns what is different between two results, and how often.
fn differences(before: &[Told], after: &[Told]) -> Vec<(String, u64)> {
    let side = |told: &Told| match told {
        Some(policy) => format!("rejected by {policy}"),
        None => "ok".to_owned(),
    };
    let mut found: HashMap<String, u64> = HashMap::new();
    for (before, after) in before.iter().zip(after).filter(|(before, after)| before != after) {
        let what = if before.is_some() == after.is_some() { "decided_by" } else { "outcome" };
        *found.entry(format!("{what}: {} → {}", side(before), side(after))).or_default() += 1;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort();
    found
}

#[test]
fn what_was_recorded_under_load_is_said_again_and_with_another_rule_what_a_model_says() {
    let requests = std::env::var("KARUTA_REQUESTS").ok();
    let requests = requests.map_or(REQUESTS, |many| many.parse().expect("a number of requests"));
    let issuer = Issuer::with("a", "ES256");
    let hours = [clock(23 * 60), clock(60)];
    let python = is_built("quiet-hours-python");
    let limit = requests / CLIENTS / 6;
    let rules = Rules { deny: &["-XL"], limit, python };
    let daemon = Daemon::start_with(&rules.yaml(&issuer, &hours));
    let folder = daemon.folder.path();
    let mut asked = Vec::new();
    record(&daemon, || {
        let sign = |letter: char, more: &[&str]| {
            let hash: String = torrent(letter).iter().map(|byte| format!("{byte:02x}")).collect();
            (letter, issuer.sign("a", &hash, more))
        };
        let mut tokens = vec![
            sign('a', &[]),
            sign('b', &[]),
            sign('q', &[]),
            sign('a', &["--audience", "elsewhere"]),
            ('c', String::new()),
            // They end while all of this goes on.
            sign('b', &["--expires", "2s"]),
            sign('q', &["--expires", "3s"]),
            sign('a', &["--expires", "4s"]),
        ];
        // Of another torrent.
        tokens.push(('d', tokens[0].1.clone()));
        asked = load(&daemon, requests, &tokens);
        requests
    });
    let before = rules.model(&asked);
    for (at, (one, model)) in asked.iter().zip(&before).enumerate() {
        assert_eq!(one.told, *model, "announce {at} of {} from {}", one.agent, one.address);
    }
    for policy in ["clients", "jwt", "limits", "quiet"] {
        let refused = before.iter().flatten().filter(|told| **told == policy).count();
        assert!(refused > requests / 100 || (policy == "quiet" && !python), "{policy} {refused}");
    }
    let (same, code) = replayed(folder, &[]);
    assert_eq!(changes(&same), [], "{:#}", same["changes"]);
    assert_eq!(
        (&same["requests"], &same["same"], code),
        (&requests.into(), &requests.into(), SAME)
    );
    assert_eq!(same["unrepeatable"], Value::Array(Vec::new()));

    for (name, other_rules) in [
        ("deny", Rules { deny: &["-XL", "-KA"], ..rules }),
        ("limit", Rules { limit: limit * 2 / 3, ..rules }),
    ] {
        let config = other(folder, name, &other_rules.yaml(&issuer, &hours));
        let expected = differences(&before, &other_rules.model(&asked));
        assert!(expected.len() > 1, "{expected:?}");
        let (report, code) = replayed(folder, &["--config", &config]);
        assert_eq!((changes(&report), code), (expected, 3), "{name}");
    }
}
