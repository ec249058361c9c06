//! What the books cost: a worker's part of an announce, the ledger's part, and memory.

use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_accounts::{
    Accounts, Address, Bytes, Change, Donors, Entry, MemberChange, Options, Schema, Search, Site,
    Standing, Swarms, Terms, TorrentChange,
};
use karuta_bittorrent::{Event, InfoHash, PeerId};

const MEMBERS: u64 = 1_000_000;
const TORRENTS: u64 = 100_000;
/// As many torrents as there are where a worker is measured.
const ALL_TORRENTS: u64 = 1_000_000;
/// Sessions of as many members, each at one torrent.
const SESSIONS: u64 = 300_000;
/// The variable with the books whose memory is to be measured.
const BOOKS: &str = "KARUTA_BOOKS";
/// Announces that are entered at once, as a worker does in a quarter of a second under full load.
const AT_ONCE: u64 = 20_000;
/// Announces that come together at a worker: at one that has much to do, and at others.
const TOGETHER: [usize; 3] = [32, 4, 1];
/// Announces in a transaction of 50 ms if a million peers announce every 30 min, and how many such
/// transactions are measured.
const FEW: u64 = 28;
const TRANSACTIONS: u64 = 500;
/// How often a worker is measured.
const ROUNDS: usize = 11;
/// A site's database that is away.
const AWAY: &str = "postgres://karuta@127.0.0.1:1/site";

/// There are none here.
struct NoSwarms;

impl Swarms for NoSwarms {
    fn count(&self, _: &[InfoHash]) -> (u32, u32) {
        (0, 0)
    }

    fn leave(&self, _: &[(Vec<InfoHash>, SocketAddr)]) {}
}

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
        peer: Standing::Here,
        address: Some(([192, 0, 2, 1], 6881).into()),
        agent: None,
        corrupt: 0,
        at: 1_800_000_000 + uploaded,
    }
}

fn make(accounts: &Accounts, changes: impl Iterator<Item = Change>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let changes: Vec<_> = changes.collect();
    for some in changes.chunks(50_000) {
        runtime.block_on(accounts.change(some.to_vec())).unwrap();
    }
}

fn new_member(id: u64) -> Change {
    Change::Member(MemberChange { id, passkey: Some(passkey(id)), ..MemberChange::default() })
}

fn new_torrent(id: u64) -> Change {
    let info_hash = Some(info_hash(id).0);
    Change::Torrent(TorrentChange { id, info_hash, ..TorrentChange::default() })
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

/// An announce as it comes to a worker.
struct Asked {
    passkey: String,
    info_hash: InfoHash,
    peer: SocketAddr,
    entry: Entry,
}

/// Returns an announce of a member at its torrent.
fn asked(number: u64, members: u64, torrents: u64) -> Asked {
    let member = nth(number, members);
    // Another order than that of the members.
    let torrent = (member * 7919) % torrents + 1;
    let entry = Entry { member, torrent, ..entry(number, number) };
    let peer = ([192, 0, 2, 1], 6881).into();
    Asked { passkey: passkey(member), info_hash: info_hash(torrent), peer, entry }
}

/// Looks up what the books know of announces that came together.
fn look_up(accounts: &Accounts, together: &[Asked], search: &mut Search) {
    let directory = accounts.directory();
    for asked in together {
        directory.ask(search, Some(&asked.passkey), asked.info_hash);
    }
    for known in directory.find(search) {
        black_box(known);
    }
}

fn meet(accounts: &Accounts, asked: &Asked) {
    let Entry { member, torrent, at, .. } = asked.entry;
    accounts.meet((member, torrent), asked.peer, false, at, |_| {});
}

/// Prints how long a worker takes for what it does more for an announce: each step by itself, and all of
/// them.
fn worker(accounts: &Accounts, name: &str, members: u64, torrents: u64) {
    (0..members).for_each(|number| meet(accounts, &asked(number, members, torrents)));
    for together in TOGETHER {
        let (mut search, mut number, mut rounds) = (Search::default(), 0, Vec::new());
        for _ in 0..ROUNDS {
            let mut some = || {
                number += AT_ONCE;
                (number - AT_ONCE..number)
                    .map(|at| asked(at, members, torrents))
                    .collect::<Vec<_>>()
            };
            let steps = [some(), some(), some(), some()];
            let mut took = [0; 4];
            for (at, (took, some)) in took.iter_mut().zip(steps).enumerate() {
                let mut entries: Vec<_> = some.iter().map(|one| Some(one.entry.clone())).collect();
                let does = |step| at == step || at == 3;
                let begin = Instant::now();
                for (some, entries) in some.chunks(together).zip(entries.chunks_mut(together)) {
                    if does(0) {
                        look_up(accounts, some, &mut search);
                    }
                    if does(1) {
                        some.iter().for_each(|one| meet(accounts, one));
                    }
                    if does(2) {
                        let entries = entries.iter_mut().filter_map(Option::take);
                        entries.for_each(|entry| drop(accounts.enter(entry)));
                    }
                }
                *took = begin.elapsed().as_nanos() as u64 / AT_ONCE;
                settle(accounts);
            }
            rounds.push(took);
        }
        let [look_up, meet, enter, all] = std::array::from_fn(|step| {
            let mut all: Vec<_> = rounds.iter().map(|round| round[step]).collect();
            all.sort_unstable();
            format!("{} ns ({} to {})", all[ROUNDS / 2], all[1], all[ROUNDS - 2])
        });
        println!(
            "worker, {name}, {together} together: {look_up} to look up, {meet} to meet, {enter} to \
             enter, {all} all of it"
        );
    }
}

/// Returns the time that the ledger's thread was on a processor.
fn on_processor() -> Duration {
    let named = |task: &PathBuf| fs::read_to_string(task.join("comm")).unwrap_or_default();
    loop {
        let mut tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        if let Some(task) = tasks.find(|task| named(task).trim() == "ledger") {
            let times = fs::read_to_string(task.join("schedstat")).unwrap();
            return Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap());
        }
        // It has not begun yet, and gives itself its name.
        std::thread::yield_now();
    }
}

/// Prints how long the ledger's thread takes for an announce whose session is known.
fn ledger(accounts: &Accounts, name: &str) {
    // Each of the first sessions announces once in a round, and says what `said` makes of its number.
    let round = |sessions: u64, at_once: u64, said: &dyn Fn(u64) -> u64| {
        let (before, on_before) = (accounts.figures(), on_processor());
        for some in (0..sessions).collect::<Vec<_>>().chunks(at_once as usize) {
            some.iter().for_each(|number| drop(accounts.enter(entry(*number, said(*number)))));
            settle(accounts);
        }
        let after = accounts.figures();
        let announces = (after.written - before.written) as f64;
        let each = |took: Duration| took.as_secs_f64() * 1e6 / announces;
        let (wall, on) = (after.writing - before.writing, on_processor() - on_before);
        format!("{:.1} µs ({:.1} on a processor)", each(wall), each(on))
    };
    let new = round(SESSIONS, AT_ONCE, &|number| number);
    let moving = round(SESSIONS, AT_ONCE, &|number| number + SESSIONS);
    round(SESSIONS, AT_ONCE, &|_| 2 * SESSIONS);
    let idle = round(SESSIONS, AT_ONCE, &|_| 2 * SESSIONS);
    let few = round(TRANSACTIONS * FEW, FEW, &|number| number + 3 * SESSIONS);
    let figures = accounts.figures();
    println!(
        "ledger, {name}: {new} a new session, {moving} an announce that moves something, {idle} one that \
         does not, {few} one that moves something of {FEW} in a transaction ({} sessions, {} MB)",
        figures.sessions,
        figures.bytes / 1_000_000
    );
}

fn open(path: &Path) -> Accounts {
    Accounts::open(path, options(), None).unwrap()
}

/// Opens the books of a site whose database is away.
fn open_away(path: &Path) -> Accounts {
    let site = Site {
        address: Address::parse(AWAY).unwrap(),
        schema: Schema::Karuta,
        node: "one".to_owned(),
        load_every: Duration::from_hours(1),
        load_changes: Duration::from_secs(10),
        flush_every: Duration::from_secs(3),
        flush_rows: 5000,
        donors: Donors::default(),
        swarms: Arc::new(NoSwarms),
    };
    Accounts::open(path, options(), Some(site)).unwrap()
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

fn close(accounts: Accounts) {
    assert!(accounts.end(Duration::from_mins(1)));
}

fn main() {
    if let Ok(path) = std::env::var(BOOKS) {
        return memory(Path::new(&path));
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("accounts.db");
    let accounts = open(&path);
    make(&accounts, (1..=MEMBERS).map(new_member).chain((1..=TORRENTS).map(new_torrent)));
    close(accounts);
    let away = folder.path().join("away.db");
    fs::copy(&path, &away).unwrap();
    // In a process of its own, which has no memory that it could use again.
    let this = std::env::current_exe().unwrap();
    assert!(Command::new(this).env(BOOKS, &path).status().unwrap().success());
    let accounts = open(&path);
    ledger(&accounts, "no other database");
    close(accounts);
    let accounts = open_away(&away);
    ledger(&accounts, "the site's database away");
    close(accounts);
    fs::remove_file(&away).unwrap();
    let accounts = open(&path);
    worker(&accounts, "1000 members", 1000, 1000);
    make(&accounts, (TORRENTS + 1..=ALL_TORRENTS).map(new_torrent));
    worker(&accounts, "all members", MEMBERS, ALL_TORRENTS);
    close(accounts);
}
