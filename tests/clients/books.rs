//! The books of a private tracker equal what real clients say that they have moved, to the byte.
//!
//! All clients but the seeder have it as their only peer, so each byte that one of them has got is one that
//! the seeder has sent. If a client had two sources, a block that it asks both for could be cut off at
//! either of them, and would be counted at one end alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use karuta_tests::{Daemon, bencode};
use serde_json::Value;

use crate::client::{self, Client, Made, Program};
use crate::torrent;
use crate::{FILE, INTERVALS, LOOPBACK, SIZE, own, patiently, seeders, url};

const ACCOUNTS: &str = "\
accounts: { credential: ['path:passkey'] }
policies:
- name: members
  plugin: PLUGINS/passkey.wasm
  credential: ['path:passkey']
  config: { accounts: true }
";

/// What clients ask for at a time, in bytes.
const BLOCK: usize = 1 << 14;

/// The size of the file.
const WHOLE: u64 = SIZE as u64;

/// Bytes that somebody has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Moved {
    uploaded: u64,
    downloaded: u64,
}

impl Moved {
    /// Reads both numbers of a JSON object.
    #[track_caller]
    fn of(object: &Value) -> Self {
        let number = |key: &str| object[key].as_u64().unwrap_or_else(|| panic!("{key}: {object}"));
        Self { uploaded: number("uploaded"), downloaded: number("downloaded") }
    }
}

const SENT: Moved = Moved { uploaded: WHOLE, downloaded: 0 };
const GOT: Moved = Moved { uploaded: 0, downloaded: WHOLE };

/// A tracker with accounts and one torrent.
struct Site {
    daemon: Daemon,
    content: Vec<u8>,
    torrent: Made,
}

impl Site {
    /// Opens it with a torrent of a version.
    fn open(version: &str) -> Self {
        let daemon = Daemon::start(&format!("{INTERVALS}{ACCOUNTS}"));
        let content = torrent::content(SIZE);
        let torrent = client::make_torrent(FILE, &content, version);
        let options = ["--info-hash", "--info-hash-v2"].iter().zip(&torrent.info_hashes);
        let hashes: String = options.map(|(option, hash)| format!(" {option} {hash}")).collect();
        daemon.accounts(&format!("torrent 1{hashes}"));
        Self { daemon, content, torrent }
    }

    /// Adds a member. Returns the torrent as the site hands it out to it, with trackers that are this
    /// one at several addresses.
    fn join(&self, member: u64, trackers: &[IpAddr]) -> Vec<u8> {
        let passkey = self.daemon.accounts(&format!("add {member}"));
        let personal =
            |at: &IpAddr| format!("{}/{}", url(&self.daemon, "http", *at), passkey.trim());
        let head = torrent::head(&trackers.iter().map(personal).collect::<Vec<_>>());
        // Its own keys come after those of the trackers.
        [head.as_bytes(), &self.torrent.metainfo[1..]].concat()
    }

    /// Starts a client with the file.
    fn seed(&self, program: Program, address: IpAddr, torrent: &[u8], more: &[&str]) -> Client {
        Client::start(program, address, torrent, Some((FILE, &self.content)), more)
    }

    fn member(&self, member: u64) -> Value {
        let shown = self.daemon.accounts(&format!("show {member} --json"));
        serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}"))
    }

    fn first_session(&self, member: u64) -> Value {
        self.member(member)["sessions"][0].clone()
    }

    /// Waits until a member's client has the file, and has said so.
    #[track_caller]
    fn finishes(&self, client: &Client, member: u64) {
        let arrived = || std::fs::read(client.file(FILE)).is_ok_and(|bytes| bytes == self.content);
        patiently("the file arrives", arrived);
        patiently("its end is announced", || self.first_session(member)["left"] == 0);
    }

    /// Returns what the books say of a member, which must be the same everywhere: it has had one
    /// client at one torrent.
    #[track_caller]
    fn booked(&self, member: u64) -> Moved {
        let shown = self.member(member);
        let credited = Moved::of(&shown);
        for list in ["sessions", "history"] {
            let list = shown[list].as_array().expect("a list");
            assert_eq!(list.len(), 1, "{shown}");
            assert_eq!(Moved::of(&list[0]), credited, "{shown}");
        }
        credited
    }
}

/// Returns what a client says that it has moved, after it was stopped.
#[track_caller]
fn said(program: Program, client: &Client) -> Moved {
    let output = client.output();
    match program {
        Program::Libtorrent => {
            let last = output.lines().last().unwrap_or_default();
            Moved::of(&serde_json::from_str(last).unwrap_or_else(|_| panic!("{last}")))
        }
        // It shows no exact sums but in what it announces. Its `completedLength` is less than those if a
        // block has come twice: they are all that has come.
        Program::Aria2 => {
            let last = output.lines().rfind(|line| line.starts_with("GET /announce"));
            let last = last.expect("an announce");
            let number = |key: &str| {
                let value =
                    last.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
                value
                    .and_then(|value| value.parse().ok())
                    .unwrap_or_else(|| panic!("{key}: {last}"))
            };
            Moved { uploaded: number("uploaded"), downloaded: number("downloaded") }
        }
        // It notes its sums for the next start.
        Program::Transmission => {
            let mut notes =
                std::fs::read_dir(client.folder().join("settings/resume")).expect("notes");
            let path = notes.next().expect("a note").expect("a file").path();
            let note = bencode::read(&std::fs::read(path).expect("a note"));
            let number = |key: &str| note.integer(key).cast_unsigned();
            Moved { uploaded: number("uploaded"), downloaded: number("downloaded") }
        }
    }
}

#[test]
fn dual_stack_clients_of_a_hybrid_torrent_are_counted_once() {
    let program = Program::Libtorrent;
    if !program.is_there() {
        return;
    }
    let site = Site::open("hybrid");
    let here: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let [first, second, third] = [1, 2, 3].map(|member| site.join(member, &here));
    let also = ["--also", "::1"];
    let mut seeder = site.seed(program, LOOPBACK.seeder, &first, &also);
    let peers = |family| {
        site.daemon.metric(&format!("karuta_peers{{family=\"{family}\",role=\"seeder\"}}"))
    };
    patiently("both families know it by both info-hashes", || {
        ["ipv4", "ipv6"].iter().all(|family| peers(family) == 2.0)
    });
    // Each leecher announces over both families, and downloads over one. Otherwise libtorrent connects over
    // both and closes one connection, with a block of the seeder under way.
    let leech = |host, torrent, refused| {
        let arguments = [&also[..], &["--refuse", refused]].concat();
        Client::start(program, Ipv4Addr::new(127, 0, 0, host).into(), torrent, None, &arguments)
    };
    let mut leechers = [leech(3, &second, "ipv6"), leech(4, &third, "ipv4")];
    for (member, leecher) in (2..).zip(&mut leechers) {
        site.finishes(leecher, member);
        leecher.stop();
        assert_eq!((said(program, leecher), site.booked(member)), (GOT, GOT));
    }
    seeder.stop();
    let sent = Moved { uploaded: 2 * WHOLE, downloaded: 0 };
    assert_eq!((said(program, &seeder), site.booked(1)), (sent, sent));
    // Each client has said it four times.
    let torrent: Value = serde_json::from_str(&site.daemon.accounts("torrent 1 --json")).unwrap();
    assert_eq!(torrent["completed"], 2);
}

/// Transfers the file. The seeder must have sent what the leecher has got, and `more` bytes by its own
/// account. The books must say the same as each of them.
fn transfer(seeder: Program, leecher: Program, [at, to]: [IpAddr; 2], tracker: IpAddr, more: u64) {
    if !seeder.is_there() || !leecher.is_there() || !Program::Libtorrent.is_there() {
        return;
    }
    // Neither aria2 1.36 nor Transmission 3.00 can read a hybrid torrent.
    let site = Site::open("v1");
    let [first, second] = [1, 2].map(|member| site.join(member, &[tracker]));
    let mut from = site.seed(seeder, at, &first, &[]);
    patiently("the seeder has announced itself", || seeders(&site.daemon) == 1.0);
    let mut into = Client::start(leecher, to, &second, None, &[]);
    site.finishes(&into, 2);
    into.stop();
    let got = said(leecher, &into);
    assert!(got.downloaded >= WHOLE, "{got:?}");
    let sent = Moved { uploaded: got.downloaded + more, downloaded: 0 };
    if let Program::Transmission = seeder {
        // It may end before its last announce has got out, but it announces all the time.
        let announced = || Moved::of(&site.first_session(1)).uploaded >= sent.uploaded;
        patiently("the seeder has announced all that it has sent", announced);
    }
    from.stop();
    assert_eq!((got.uploaded, site.booked(2)), (0, got));
    assert_eq!((said(seeder, &from), site.booked(1)), (sent, sent));
}

const ON_LOOPBACK: [IpAddr; 2] = [LOOPBACK.seeder, LOOPBACK.leecher];

#[test]
fn what_libtorrent_sends_to_transmission_is_what_transmission_gets() {
    if let Some(own) = own() {
        let addresses = [own.seeder, own.leecher];
        transfer(Program::Libtorrent, Program::Transmission, addresses, own.tracker, 0);
    }
}

#[test]
fn what_libtorrent_sends_to_aria2_is_what_aria2_gets() {
    transfer(Program::Libtorrent, Program::Aria2, ON_LOOPBACK, LOOPBACK.tracker, 0);
}

#[test]
fn what_aria2_sends_to_libtorrent_is_what_libtorrent_gets() {
    transfer(Program::Aria2, Program::Libtorrent, ON_LOOPBACK, LOOPBACK.tracker, 0);
}

#[test]
fn what_transmission_sends_to_libtorrent_is_what_libtorrent_gets_and_the_heads_of_its_blocks() {
    // It counts the 13 bytes before each block as data (of BEP 3: length, kind, piece, offset), when it
    // sends and not when it receives.
    let heads = 13 * SIZE.div_ceil(BLOCK) as u64;
    transfer(Program::Transmission, Program::Libtorrent, ON_LOOPBACK, LOOPBACK.tracker, heads);
}

/// A client that was refused says `started` again, and has moved something meanwhile with peers that it
/// knows from before.
#[test]
fn what_is_moved_before_clients_are_let_in_is_counted() {
    let program = Program::Libtorrent;
    if !program.is_there() {
        return;
    }
    let site = Site::open("hybrid");
    let torrents = [1, 2].map(|member| site.join(member, &[LOOPBACK.tracker]));
    for ban in ["ban 1", "ban 2"] {
        site.daemon.accounts(ban);
    }
    let mut seeder = site.seed(program, LOOPBACK.seeder, &torrents[0], &[]);
    let refused = || site.first_session(1)["announces"] == site.torrent.info_hashes.len();
    patiently("the seeder has announced itself", refused);
    let known = site.first_session(1)["address"].as_str().expect("its address").to_owned();
    let arguments = ["--peer", &known];
    let mut leecher = Client::start(program, LOOPBACK.leecher, &torrents[1], None, &arguments);
    let arrived = || std::fs::read(leecher.file(FILE)).is_ok_and(|bytes| bytes == site.content);
    patiently("the file arrives", arrived);
    assert_eq!(site.daemon.metric("karuta_swarms"), 0.0, "nobody was let in");
    for unban in ["unban 1", "unban 2"] {
        site.daemon.accounts(unban);
    }
    // It would wait for minutes otherwise. Each announces two info-hashes.
    patiently("both are let in", || {
        [&seeder, &leecher].into_iter().for_each(Client::announce);
        seeders(&site.daemon) == 4.0
    });
    for client in [&mut seeder, &mut leecher] {
        client.stop();
        let starts = client.output().matches("sending announce (started)").count();
        assert!(starts >= 4, "each info-hash again: {starts}");
    }
    assert_eq!((said(program, &leecher), site.booked(2)), (GOT, GOT));
    assert_eq!((said(program, &seeder), site.booked(1)), (SENT, SENT));
}
