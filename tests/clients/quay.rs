//! The registry Quay, with `deploy/examples/quay.yaml`: it signs announce URLs, and its tracker
//! admits clients that have one.

use std::net::{IpAddr, Ipv4Addr};

use karuta_tests::issuer::Issuer;
use karuta_tests::server::{Server, reply};
use karuta_tests::{Daemon, eventually, example, run};

use crate::client::{self, Client, Program};
use crate::torrent::{self, Torrent};
use crate::{FILE, INTERVALS, SIZE, announces, patiently, seeders};

const INVALID: &str = "unapproved request: invalid jwt";
const MISSING: &str = "unapproved request: missing jwt";

/// A registry with its keys, the tracker that fetches them, and a file to be shared.
struct Story {
    registry: Issuer,
    server: Server,
    tracker: Daemon,
    content: Vec<u8>,
    torrent: Torrent,
}

impl Story {
    fn begin() -> Self {
        let registry = Issuer::with("one", "RS256");
        registry.add("1", "EdDSA");
        let server = Server::with(&registry.keys());
        let yaml = example("quay.yaml")
            .replace("https://quay.example", &server.url(""))
            .replace("every: 5m", "every: 1s")
            .replace("scrapes: true", "leeway: 0s\n      scrapes: true");
        let tracker = Daemon::start_with(&format!("{INTERVALS}{yaml}"));
        let keys = || tracker.metric("karuta_plugin_jwt_keys{policy=\"jwt\"}");
        eventually("the tracker has the registry's keys", || keys() == 2.0);
        let content = torrent::content(SIZE);
        let torrent = Torrent::new(FILE, &content);
        Self { registry, server, tracker, content, torrent }
    }

    /// Returns the torrent as the registry hands it out, with a token in the announce URL.
    fn metainfo(&self, transport: &str, token: &str) -> Vec<u8> {
        let url = crate::url(&self.tracker, transport, Ipv4Addr::LOCALHOST.into());
        let url = match transport {
            _ if token.is_empty() => url,
            "udp" => url.replace("/announce", &format!("/{token}")),
            _ => format!("{url}?jwt={token}"),
        };
        self.torrent.metainfo(&url)
    }

    /// Signs a token for this torrent, with a key of the registry or of another issuer.
    fn sign(&self, by: &Issuer, kid: &str, transport: &str, more: &[&str]) -> String {
        let mut arguments = more.to_vec();
        if transport == "udp" {
            arguments.extend(["--audience", "udp"]);
        }
        by.sign(kid, &self.torrent.hex(), &arguments)
    }

    /// Starts a client at its own address: aria2 over HTTP, libtorrent over UDP. libtorrent sends
    /// 255 bytes of the path and the query (BEP 41).
    fn client(&self, transport: &str, at: u8, token: &str, seeds: bool) -> Client {
        let program = if transport == "udp" { Program::Libtorrent } else { Program::Aria2 };
        self.start(program, transport, at, token, seeds)
    }

    fn start(&self, program: Program, transport: &str, at: u8, token: &str, seeds: bool) -> Client {
        let address = IpAddr::from([127, 0, 1, at]);
        let file = seeds.then_some((FILE, &self.content[..]));
        Client::start(program, address, &self.metainfo(transport, token), file, &[])
    }

    /// Waits until a token has expired.
    fn expired(&self, token: &str) -> String {
        let set = self.registry.keys_file();
        let set = set.to_str().expect("a path of text");
        let verify = ["jwt", "verify", "--leeway", "0s", "--jwks", set, token];
        eventually("the token has expired", || {
            let output = run(&verify, self.tracker.folder.path());
            String::from_utf8_lossy(&output.stderr).contains("exp: ")
        });
        token.to_owned()
    }

    fn arrives(&self, client: &Client) {
        let arrived = || std::fs::read(client.file(FILE)).is_ok_and(|bytes| bytes == self.content);
        patiently("the file arrives", arrived);
    }

    fn all(&self, outcome: &str) -> f64 {
        ["http", "udp"].map(|transport| announces(&self.tracker, transport, outcome)).iter().sum()
    }
}

fn clients_are_there() -> bool {
    [Program::Aria2, Program::Transmission, Program::Libtorrent].iter().all(|one| one.is_there())
}

#[test]
fn approved_torrents_are_shared_while_the_keys_change() {
    if !clients_are_there() {
        return;
    }
    let story = Story::begin();
    let registry = &story.registry;
    let token = |kid, transport| story.sign(registry, kid, transport, &[]);
    let seeder = story.start(Program::Transmission, "http", 1, &token("one", "http"), true);
    patiently("the seeder has announced itself", || seeders(&story.tracker) == 1.0);
    let over_http = story.client("http", 2, &token("one", "http"), false);
    let over_udp = story.client("udp", 3, &token("1", "udp"), false);
    story.arrives(&over_http);
    story.arrives(&over_udp);
    assert!(announces(&story.tracker, "http", "ok") >= 2.0);
    assert!(announces(&story.tracker, "udp", "ok") >= 1.0);

    // The registry is down, and clients do not notice.
    let failures =
        || story.tracker.metric("karuta_data_errors_total{policy=\"jwt\",data=\"jwks\"}");
    story.server.behave(|_, stream| reply(stream, "503 Away", &[], b""));
    patiently("its keys cannot be fetched", || failures() >= 2.0);
    let served = story.all("ok");
    patiently("announces go on", || story.all("ok") >= served + 3.0);
    assert_eq!((story.all("rejected"), story.all("error")), (0.0, 0.0));

    // It is back with other keys, and signs with them.
    registry.add("two", "RS256");
    registry.add("2", "EdDSA");
    story.server.answer(&registry.keys());
    let keys = || story.tracker.metric("karuta_plugin_jwt_keys{policy=\"jwt\"}");
    patiently("the new keys are there", || keys() == 4.0);
    let newcomer = story.client("udp", 4, &token("2", "udp"), false);
    story.arrives(&newcomer);
    // Its first announce may have come to a worker that did not have them yet.
    let (served, refused) = (story.all("ok"), story.all("rejected"));
    patiently("announces go on", || story.all("ok") >= served + 3.0);
    assert_eq!(story.all("rejected"), refused, "the old ones hold, too");

    // The old keys are withdrawn, and the URLs that they have signed are refused.
    registry.withdraw("one");
    registry.withdraw("1");
    story.server.answer(&registry.keys());
    patiently("those with old URLs are told", || over_http.output().contains(INVALID));
    let last = story.client("http", 5, &token("two", "http"), false);
    story.arrives(&last);
    drop((seeder, over_udp));
}

/// libtorrent announces both info-hashes of a hybrid torrent with one URL (BEP 52).
#[test]
fn v2_and_hybrid_torrents_are_shared() {
    if !Program::Libtorrent.is_there() {
        return;
    }
    let story = Story::begin();
    let swarms = || story.tracker.metric("karuta_swarms");
    let mut clients = Vec::new();
    for (version, first, announced) in [("v2", 201, 1.0), ("hybrid", 211, 2.0)] {
        let before = swarms();
        let torrent = client::make_torrent(FILE, &story.content, version).metainfo;
        let file = story.tracker.folder.path().join("made.torrent");
        std::fs::write(&file, &torrent).unwrap();
        let token = story.registry.sign("one", file.to_str().expect("a path of text"), &[]);
        let url = crate::url(&story.tracker, "http", Ipv4Addr::LOCALHOST.into());
        let url = format!("{url}?jwt={token}");
        // `announce` sorts before all other keys.
        let head = format!("d8:announce{}:{url}", url.len());
        let metainfo = [head.as_bytes(), &torrent[1..]].concat();
        let start = |at, file| {
            let address = IpAddr::from([127, 0, 1, at]);
            Client::start(Program::Libtorrent, address, &metainfo, file, &[])
        };
        clients.push(start(first, Some((FILE, &story.content[..]))));
        patiently("every info-hash is announced", || swarms() == before + announced);
        let leecher = start(first + 1, None);
        story.arrives(&leecher);
        clients.push(leecher);
    }
    assert_eq!((story.all("rejected"), story.all("error")), (0.0, 0.0));
}

#[test]
fn clients_without_a_good_token_are_refused() {
    if !clients_are_there() {
        return;
    }
    let story = Story::begin();
    let stranger = Issuer::with("one", "RS256");
    stranger.add("1", "EdDSA");
    let mut clients = Vec::new();
    for (transport, kid, first) in [("http", "one", 1), ("udp", "1", 101)] {
        let sign = |more: &[&str]| story.sign(&story.registry, kid, transport, more);
        let good = sign(&[]);
        let (_, claims) = good.split_once('.').unwrap();
        let audience = ["--audience", "udp"];
        let audience = if transport == "udp" { &audience[..] } else { &[] };
        let swapped = match transport {
            // {"alg":"RS256","kid":"1"}
            "udp" => format!("eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.{claims}"),
            _ => sign(&["--algorithm", "PS256"]),
        };
        let refused = [
            (story.registry.sign(kid, &"61".repeat(20), audience), INVALID),
            (story.expired(&sign(&["--expires", "1s"])), INVALID),
            (story.sign(&stranger, kid, transport, &[]), INVALID),
            (swapped, INVALID),
            // {"alg":"none"}
            (format!("eyJhbGciOiJub25lIn0.{claims}"), INVALID),
            (String::new(), MISSING),
        ];
        for (at, (token, reason)) in (first..).zip(refused) {
            clients.push((story.client(transport, at, &token, true), transport, token, reason));
        }
    }
    for (client, transport, token, reason) in &clients {
        // libtorrent does not show the reason of a refusal over UDP.
        let shown = if *transport == "udp" { "tracker sent a failure message" } else { *reason };
        let shows = || client.output().contains(shown);
        patiently(&format!("{reason} over {transport}: {token}"), shows);
    }
    assert_eq!(story.all("ok"), 0.0);
    assert_eq!(story.tracker.metric("karuta_swarms"), 0.0);
    let count =
        |cause| story.tracker.metric(&format!("karuta_plugin_jwt_{cause}_total{{policy=\"jwt\"}}"));
    for cause in ["infohash", "expired", "signature", "algorithm", "missing"] {
        assert!(count(cause) >= 2.0, "{cause}");
    }
}
