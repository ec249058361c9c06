//! What the books cost: a worker's part of an announce, the ledger's part, and memory.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use karuta_accounts::{
    Accounts, Bytes, Change, Entry, MemberChange, Options, Terms, TorrentChange,
};
use karuta_bittorrent::{Event, InfoHash, PeerId};

const MEMBERS: u64 = 1_000_000;
const TORRENTS: u64 = 100_000;
/// Sessions of as many members, each at one torrent.
const SESSIONS: u64 = 300_000;
/// The variable with the books whose memory is to be measured.
const BOOKS: &str = "KARUTA_BOOKS";
/// Announces that are entered at once, as a worker does in a quarter of a second under full load.
const AT_ONCE: u64 = 20_000;

fn options() -> Options {
    Options {
        every: Duration::from_millis(1),
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

fn passkey(member: u64) -> String {
    format!("{member:032x}")
}

fn info_hash(torrent: u64) -> InfoHash {
    let mut hash = [0; 20];
    // As evenly spread as a hash.
    hash[..8].copy_from_slice(&torrent.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    InfoHash(hash)
}

/// Spreads numbers over a range, in an order that no cache expects.
fn nth(number: u64, range: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % range + 1
}

fn entry(number: u64, uploaded: u64) -> Entry {
    let member = nth(number % SESSIONS, MEMBERS);
    let mut peer_id = [b'-'; 20];
    peer_id[..8].copy_from_slice(&member.to_be_bytes());
    Entry {
        member,
        torrent: member % TORRENTS + 1,
        peer_id: PeerId(peer_id),
        event: Event::None,
        said: Some(Bytes { uploaded, downloaded: uploaded }),
        left: Some(number % 2),
        terms: Terms::default(),
        has_token: false,
        is_admitted: true,
        address: Some(([192, 0, 2, 1], 6881).into()),
        agent: None,
        corrupt: 0,
        at: 1_800_000_000 + uploaded,
    }
}

fn fill(accounts: &Accounts) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let member = |id| {
        Change::Member(MemberChange { id, passkey: Some(passkey(id)), ..MemberChange::default() })
    };
    let torrent = |id| {
        let info_hash = Some(info_hash(id).0);
        Change::Torrent(TorrentChange { id, info_hash, ..TorrentChange::default() })
    };
    let changes: Vec<_> = (1..=MEMBERS).map(member).chain((1..=TORRENTS).map(torrent)).collect();
    for some in changes.chunks(50_000) {
        runtime.block_on(accounts.change(some.to_vec())).unwrap();
    }
}

/// Returns the memory that this process has in use, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Waits until everything is written.
fn settle(accounts: &Accounts) {
    while accounts.figures().waiting > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Enters announces, and waits outside of the time for them to be written.
fn enter(accounts: &Accounts, number: &mut u64, count: u64) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let some = left.min(AT_ONCE);
        let begin = Instant::now();
        for _ in 0..some {
            *number += 1;
            black_box(accounts.enter(entry(*number, *number)));
        }
        took += begin.elapsed();
        settle(accounts);
        left -= some;
    }
    took
}

fn worker(criterion: &mut Criterion, accounts: &Accounts, number: &mut u64) {
    let mut group = criterion.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    for (name, members, torrents) in [("all", MEMBERS, TORRENTS), ("a few", 1000, 1000)] {
        let passkeys: Vec<_> = (0..65_536).map(|n| passkey(nth(n, members))).collect();
        let mut at = 0;
        group.bench_function(format!("look up, of {name}"), |bencher| {
            bencher.iter(|| {
                at += 1;
                let directory = accounts.directory();
                let member = directory.member(&passkeys[at % passkeys.len()]).unwrap().0;
                let torrent = directory.torrent(info_hash(nth(at as u64, torrents))).unwrap().0;
                black_box((directory.has_token(member, torrent), directory.here(member, torrent)))
            });
        });
    }
    group.bench_function("enter", |bencher| {
        bencher.iter_custom(|count| enter(accounts, number, count));
    });
    group.finish();
}

/// Prints how long the ledger's thread takes for an announce whose session is known.
fn ledger(accounts: &Accounts) {
    // Each session announces once in a round, and says what `said` makes of its number.
    let round = |said: &dyn Fn(u64) -> u64| {
        let before = accounts.figures();
        for some in (0..SESSIONS).collect::<Vec<_>>().chunks(AT_ONCE as usize) {
            some.iter().for_each(|number| drop(accounts.enter(entry(*number, said(*number)))));
            settle(accounts);
        }
        let after = accounts.figures();
        let announces = after.written - before.written;
        (after.writing - before.writing).as_secs_f64() * 1e6 / announces as f64
    };
    round(&|number| number);
    let moving = round(&|number| number + SESSIONS);
    round(&|_| 2 * SESSIONS);
    let idle = round(&|_| 2 * SESSIONS);
    let figures = accounts.figures();
    println!(
        "ledger: {moving:.1} µs an announce that moves something, {idle:.1} µs one that does not \
         ({} sessions, {} MB)",
        figures.sessions,
        figures.bytes / 1_000_000
    );
}

fn open(path: &Path) -> Accounts {
    Accounts::open(path, options(), None).unwrap()
}

/// Prints how much memory members and torrents take, and a peer of each member.
fn memory(path: &Path) {
    let (before, begin) = (resident(), Instant::now());
    let accounts = open(path);
    let took = begin.elapsed().as_secs_f64();
    let read = resident();
    for member in 1..=MEMBERS {
        let peer = ([192, 0, 2, 1], 6881).into();
        accounts.meet((member, member % TORRENTS + 1), peer, false, 1_800_000_000, |_| {});
    }
    println!(
        "memory: {} MB for {MEMBERS} members and {TORRENTS} torrents, read in {took:.1} s; {} MB \
         more with a peer of each member",
        (read - before) / 1_000_000,
        (resident() - read) / 1_000_000
    );
}

fn main() {
    if let Ok(path) = std::env::var(BOOKS) {
        return memory(Path::new(&path));
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("accounts.db");
    let accounts = open(&path);
    fill(&accounts);
    accounts.end(Duration::from_mins(1));
    drop(accounts);
    // In a process of its own, which has no memory that it could use again.
    let this = std::env::current_exe().unwrap();
    assert!(Command::new(this).env(BOOKS, &path).status().unwrap().success());
    let accounts = open(&path);
    ledger(&accounts);
    let mut number = 3 * SESSIONS;
    let mut criterion = Criterion::default().configure_from_args();
    worker(&mut criterion, &accounts, &mut number);
    criterion.final_summary();
}
