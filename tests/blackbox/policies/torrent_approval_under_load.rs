//! torrent-approval with a long list that is replaced under load: a torrent on both versions is
//! never refused, and a torrent on neither is never admitted.

use std::fs;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use karuta_tests::announce::{Announce, reply};
use karuta_tests::udp::Client;
use karuta_tests::{Connection, Daemon, bencode, folder};
use serde_json::Value;

/// The number of info-hashes on each version, and how many of them are on both.
const ENTRIES: u64 = 1_000_000;
const COMMON: u64 = 900_000;
/// How often one version replaces the other.
const CHANGES: u64 = 4;

const YAML: &str = "
tracker: { workers: 2 }
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: { allow_from: approved }
    data: { approved: { file: approved.txt, format: info-hashes, required: true } }
";

/// Returns an info-hash; they are spread over all values, as real ones are.
fn info_hash(number: u64) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, part) in bytes.chunks_mut(8).enumerate() {
        let mixed = (number + 1 + ((at as u64) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        part.copy_from_slice(&(mixed ^ mixed >> 29).to_be_bytes()[..part.len()]);
    }
    bytes
}

/// Returns the numbers that only this version has.
fn own(version: u64) -> Range<u64> {
    let first = COMMON + (version % 2) * (ENTRIES - COMMON);
    first..first + ENTRIES - COMMON
}

fn write_version(file: &Path, version: u64) {
    let mut lines = BufWriter::new(fs::File::create(file).unwrap());
    for number in (0..COMMON).chain(own(version)) {
        for byte in info_hash(number) {
            write!(lines, "{byte:02x}").unwrap();
        }
        lines.write_all(b"\n").unwrap();
    }
    lines.flush().unwrap();
}

/// A client with one HTTP connection and one UDP socket.
struct Asker {
    http: Connection,
    udp: Client,
}

impl Asker {
    fn new(daemon: &Daemon) -> Self {
        Self { http: Connection::open(daemon.http), udp: Client::connect(daemon.udp) }
    }

    /// Returns whether a torrent is admitted, over HTTP and over UDP.
    fn ask(&mut self, number: u64) -> [bool; 2] {
        let announce = Announce::of_hash(info_hash(number));
        let head = format!("GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", announce.query());
        self.http.send(head.as_bytes());
        let over_http = reply(&bencode::read(&self.http.answer().body));
        [over_http, announce.udp(&self.udp)].map(|answer| match answer {
            Ok(_) => true,
            Err(reason) => {
                assert_eq!(reason, "unapproved torrent");
                false
            }
        })
    }
}

/// Announces until it is told to stop, and counts how often.
fn load(daemon: &Daemon, seed: u64, stop: &AtomicBool, asked: &AtomicU64) {
    let mut asker = Asker::new(daemon);
    let mut number = seed;
    while !stop.load(Relaxed) {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let drawn = number >> 33;
        assert_eq!(asker.ask(drawn % COMMON), [true; 2], "it is on both versions");
        assert_eq!(asker.ask(2 * ENTRIES + drawn), [false; 2], "it is on neither");
        asked.fetch_add(1, Relaxed);
    }
}

/// Ends the load when it is dropped, because a test that fails waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Returns the version of the data in use, and its number of entries.
fn served(daemon: &Daemon) -> (u64, u64) {
    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    let data = &status["policies"][0]["data"][0];
    (data["version"].as_u64().unwrap(), data["entries"].as_u64().unwrap())
}

#[test]
fn a_million_entries_are_replaced_under_load() {
    let folder = folder(&format!("{}{YAML}", karuta_tests::LISTENERS));
    let versions = [0, 1].map(|version| folder.path().join(format!("version-{version}")));
    for (version, file) in (0..).zip(&versions) {
        write_version(file, version);
    }
    let file = folder.path().join("approved.txt");
    // Links the file of a version under a new name, and renames it over the list.
    let put = |version: u64| {
        let fresh = file.with_extension("new");
        fs::hard_link(&versions[version as usize % 2], &fresh).unwrap();
        fs::rename(fresh, &file).unwrap();
    };
    put(0);
    let daemon = &Daemon::start_in(folder);
    let (stop, asked) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        let load: Vec<_> =
            (0..2).map(|seed| scope.spawn(move || load(daemon, seed, stop, asked))).collect();
        let end = Stop(stop);
        let mut asker = Asker::new(daemon);
        for version in 0..=CHANGES {
            if version > 0 {
                put(version);
            }
            let before = asked.load(Relaxed);
            // An unoptimised program takes long to read a million lines.
            let deadline = Instant::now() + Duration::from_secs(120);
            while served(daemon) != (version + 1, ENTRIES) {
                assert!(Instant::now() < deadline, "{version}: {:?}", served(daemon));
                assert!(!load.iter().any(std::thread::ScopedJoinHandle::is_finished));
                std::thread::sleep(Duration::from_millis(5));
            }
            for number in own(version).step_by(997) {
                assert_eq!(asker.ask(number), [true; 2], "{version}: it has come");
            }
            for number in own(version + 1).step_by(997) {
                assert_eq!(asker.ask(number), [false; 2], "{version}: it has gone");
            }
            while asked.load(Relaxed) == before {
                assert!(!load.iter().any(std::thread::ScopedJoinHandle::is_finished));
                std::thread::yield_now();
            }
        }
        drop(end);
        for load in load {
            load.join().expect("every answer was right");
        }
    });
    assert!(asked.load(Relaxed) >= CHANGES);
    let errors = "karuta_data_errors_total{policy=\"torrents\",data=\"approved\"}";
    assert_eq!(daemon.metric(errors), 0.0);
}
