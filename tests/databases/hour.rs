//! An hour in which the database is away, compressed in time: peers announce as fast as the books take it.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use karuta_accounts::{
    Accounts, Address, Bytes, Donors, Entry, Options, Schema, Site, Standing, Swarms, Terms,
};
use karuta_bittorrent::{Event, InfoHash, PeerId};
use karuta_tests::databases::Database;
use karuta_tests::{eventually, within};
use tempfile::TempDir;

use crate::site::{MEMBERS, TORRENTS, database, with_each};

/// How many peers there are, each of another member: more than there are in a batch, and as many with
/// `--ignored` as large trackers have.
const FEW: u64 = 12_000;
const MANY: u64 = 1_000_000;
/// Torrents, in which they are.
const SWARMS: u64 = 1000;
/// Announces of a peer in an hour, if the interval is 30 min.
const ROUNDS: u64 = 2;
/// No more announces wait than the queue has room for.
const WAITING: u64 = 20_000;
/// How much memory may grow once all peers are known, in bytes. A list of what waits, even of 40 bytes for
/// each announce, would be larger.
const FLAT: u64 = 64 << 20;
/// How long anything may take that is as long as there are peers.
const LONG: Duration = Duration::from_mins(30);

/// There are none here: the site's database is told of no peers.
struct NoSwarms;

impl Swarms for NoSwarms {
    fn count(&self, _: &[InfoHash]) -> (u32, u32) {
        (0, 0)
    }

    fn leave(&self, _: &[(Vec<InfoHash>, SocketAddr)]) {}
}

/// The books, and how many peers are in them.
struct Books {
    accounts: Accounts,
    peers: u64,
    _folder: TempDir,
}

fn options() -> Options {
    Options {
        every: Duration::from_millis(50),
        max_size: 8 << 30,
        keep: Duration::from_hours(21 * 24),
        max_sessions: 4_000_000,
        per_member_and_torrent: 3,
        rate: u64::MAX,
        lifetime: Duration::from_mins(45),
        keep_batches: Duration::from_hours(24),
        spends_tokens: false,
    }
}

/// Adds members and torrents to the few that there are.
fn fill(database: &Database, peers: u64) {
    let numbers = |most: u64| match database.kind.is_mysql() {
        true => format!("FROM (SELECT seq AS n FROM seq_1_to_{most}) AS numbers"),
        false => format!("FROM generate_series(1, {most}) AS n"),
    };
    let (text, hash) = match database.kind.is_mysql() {
        true => ("n", "UNHEX(LPAD(HEX(n), 40, '0'))"),
        false => ("n::text", "decode(lpad(to_hex(n), 40, '0'), 'hex')"),
    };
    database.sql(&format!(
        "INSERT INTO karuta_member (id, passkey) SELECT n + {MEMBERS}, lpad({text}, 31, '0') {}",
        numbers(peers)
    ));
    database.sql(&format!(
        "INSERT INTO karuta_torrent (id, info_hash) SELECT n + {TORRENTS}, {hash} {}",
        numbers(SWARMS)
    ));
}

/// Returns what a peer has moved after some rounds, in either direction.
fn moved(peer: u64, rounds: u64) -> Bytes {
    let uploaded = rounds * (peer % 1000 + 1);
    Bytes { uploaded, downloaded: 2 * uploaded }
}

/// Waits for something that is as long as there are peers.
#[track_caller]
fn at_last(what: &str, holds: impl FnMut() -> bool) {
    within(LONG, what, holds);
}

impl Books {
    fn open(database: &Database, peers: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Site {
            address: Address::parse(&database.url(database.port)).unwrap(),
            schema: Schema::Karuta,
            donors: Donors::default(),
            node: "one".to_owned(),
            load_every: Duration::from_hours(1),
            load_changes: Duration::from_secs(10),
            flush_every: Duration::from_secs(3),
            flush_rows: 5000,
            swarms: Arc::new(NoSwarms),
        };
        let path = folder.path().join("accounts.db");
        let accounts = Accounts::open(&path, options(), Some(site)).unwrap();
        let books = Self { accounts, peers, _folder: folder };
        at_last("members are read", || books.accounts.site().unwrap().loaded.is_some());
        books
    }

    /// Each peer announces once, and then those in `quarter` may look.
    fn round(&self, round: u64, mut quarter: impl FnMut(u64)) {
        for peer in 0..self.peers {
            let (member, torrent) = (peer + MEMBERS + 1, peer % SWARMS + TORRENTS + 1);
            let mut peer_id = [b'-'; 20];
            peer_id[..8].copy_from_slice(&peer.to_be_bytes());
            let port = u16::try_from(1024 + peer % 60_000).unwrap();
            let address = SocketAddr::from(([10, 0, (peer >> 8) as u8, peer as u8], port));
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            while self.accounts.figures().waiting >= WAITING {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.accounts.meet((member, torrent), address, false, at, |_| {});
            self.accounts.enter(Entry {
                member,
                torrent,
                peer_id: PeerId(peer_id),
                event: Event::None,
                said: Some(moved(peer, round)),
                left: Some(peer % 2),
                terms: Terms::default(),
                has_token: false,
                peer: Standing::Here,
                address: Some(address),
                agent: None,
                corrupt: 0,
                at,
            });
            if (peer + 1).is_multiple_of(self.peers / 2) {
                self.settle();
                quarter((peer + 1) / (self.peers / 2));
            }
        }
        self.settle();
    }

    /// Waits until `accounts.db` has everything.
    fn settle(&self) {
        at_last("all is written", || self.accounts.figures().waiting == 0);
    }
}

/// Returns the memory that this process has in use, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Returns the memory at each quarter of the hour, the first at its beginning.
fn the_database_is_away(mut database: Database, peers: u64) -> Vec<u64> {
    let began = Instant::now();
    let note = |what: &str| {
        let (memory, seconds) = (resident() >> 20, began.elapsed().as_secs());
        eprintln!("{:?}, {seconds} s: {what}, {memory} MiB", database.kind);
    };
    note("nothing yet");
    fill(&database, peers);
    let books = Books::open(&database, peers);
    note("all members are read");
    database.stop();
    let site = || books.accounts.site().unwrap();
    let note = |what: &str, memory: u64| {
        let (figures, seconds) = (books.accounts.figures(), began.elapsed().as_secs());
        eprintln!(
            "{seconds} s: {what}, {} MiB, {} MiB in the file, {} announces in {} s of the ledger",
            memory >> 20,
            figures.bytes >> 20,
            figures.written,
            figures.writing.as_secs(),
        );
    };
    books.round(0, |_| {});
    eventually("it notices", || site().trouble.is_some());
    let mut memory = vec![resident()];
    note("all peers are known", memory[0]);
    for round in 1..=ROUNDS {
        books.round(round, |_| {
            memory.push(resident());
            note(&format!("{} min", 15 * (memory.len() - 1)), memory[memory.len() - 1]);
        });
    }
    assert_eq!(books.accounts.figures().dropped, 0);
    assert!(site().trouble.is_some() && site().applied == 0, "it was away all the time");
    at_last("what waits is counted", || site().pending >= peers);
    database.launch();
    at_last("something is in", || site().applied > 0);
    database.crash();
    database.launch();
    at_last("everything is in", || site().trouble.is_none() && site().pending == 0);
    note("everything is in the database", resident());
    let figures = site();
    assert_eq!((figures.rejected, figures.lost, figures.replayed), (0, 0, 0));

    let [sum, wrong, rows] = [
        "SELECT sum(uploaded) + sum(downloaded) FROM karuta_member".to_owned(),
        format!(
            "SELECT count(*) FROM karuta_member WHERE id > {MEMBERS} AND \
             (uploaded <> {ROUNDS} * ((id - {first}) % 1000 + 1) OR downloaded <> 2 * uploaded)",
            first = MEMBERS + 1
        ),
        "SELECT count(*) FROM karuta_history".to_owned(),
    ]
    .map(|sql| database.number(&sql));
    let total = |peer| {
        let Bytes { uploaded, downloaded } = moved(peer, ROUNDS);
        uploaded + downloaded
    };
    assert_eq!((sum, wrong, rows), ((0..peers).map(total).sum(), 0, peers));
    assert!(books.accounts.end(LONG), "the ledger ends");
    memory
}

#[test]
fn what_peers_move_in_an_hour_without_the_database_is_in_it_afterwards() {
    with_each(|setting| drop(the_database_is_away(database(setting), FEW)));
}

#[test]
#[ignore = "takes minutes; it measures the memory of its process, so nothing else may run in it"]
fn an_hour_of_a_million_peers_without_the_database_takes_no_more_memory() {
    with_each(|setting| {
        let memory = the_database_is_away(database(setting), MANY);
        let most = memory.iter().max().unwrap();
        assert!(most - memory[0] <= FLAT, "not flat: {memory:?}");
    });
}
