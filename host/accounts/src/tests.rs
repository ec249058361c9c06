//! The books against a model, and against what can go wrong with a file.

use std::collections::HashMap;

use karuta_bittorrent::{Event, InfoHash, PeerId};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::database::Limits;

pub const SIZE: u64 = 1 << 30;
pub const LIMITS: Limits =
    Limits { rate: u64::MAX, lifetime: 2700, per_member_and_torrent: 3, spends_tokens: true };

pub fn options() -> Options {
    Options {
        every: Duration::from_millis(1),
        max_size: SIZE,
        keep: Duration::from_hours(21 * 24),
        max_sessions: 1000,
        per_member_and_torrent: 3,
        rate: u64::MAX,
        lifetime: Duration::from_mins(45),
        keep_batches: Duration::from_hours(24),
        spends_tokens: true,
    }
}

/// An announce of a leecher of member 1 at torrent 1.
pub fn entry(event: Event, uploaded: u64, downloaded: u64, at: u64) -> Entry {
    Entry {
        member: 1,
        torrent: 1,
        peer_id: PeerId([1; 20]),
        event,
        said: Some(Bytes { uploaded, downloaded }),
        left: Some(10),
        terms: Terms::default(),
        has_token: false,
        peer: if event == Event::Stopped { Standing::Gone } else { Standing::Here },
        address: None,
        agent: None,
        corrupt: 0,
        at,
    }
}

fn passkey(member: u64) -> String {
    format!("{member:032}")
}

/// Members 1 to 3 and torrents 1 to 3.
pub fn changes() -> Vec<Change> {
    let member = |id| {
        Change::Member(MemberChange { id, passkey: Some(passkey(id)), ..MemberChange::default() })
    };
    let torrent = |id| {
        let info_hash = Some([u8::try_from(id).unwrap(); 20]);
        Change::Torrent(TorrentChange { id, info_hash, ..TorrentChange::default() })
    };
    (1..=3).map(member).chain((1..=3).map(torrent)).collect()
}

pub fn books() -> (TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let mut database = Database::open(&folder.path().join("accounts.db"), SIZE).unwrap();
    database.change(&changes(), false).unwrap();
    (folder, database)
}

pub fn reader(folder: &TempDir) -> Reader {
    Reader::open(&folder.path().join("accounts.db")).unwrap()
}

/// Returns what member 1 has up- and downloaded, as credited.
pub fn credit(folder: &TempDir) -> (u64, u64) {
    let member = reader(folder).member(1).unwrap().unwrap();
    (member.uploaded, member.downloaded)
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn each_client_of_a_member_has_its_own_totals() {
    let (folder, mut books) = books();
    let mut write = |entry: Entry| books.write(&[entry], &LIMITS).unwrap();
    write(entry(Event::Started, 100, 50, 0));
    assert_eq!(credit(&folder), (0, 0), "what a client has moved elsewhere");
    write(entry(Event::Started, 150, 60, 10));
    assert_eq!(credit(&folder), (50, 10), "a `started` that was repeated");
    // Another address, or the other hash of a hybrid: the same peer id and totals.
    write(entry(Event::Started, 150, 60, 10));
    write(entry(Event::None, 200, 60, 20));
    write(entry(Event::None, 200, 60, 20));
    assert_eq!(credit(&folder), (100, 10), "a client with two addresses is counted once");
    write(Entry { peer_id: PeerId([2; 20]), ..entry(Event::None, 7000, 0, 20) });
    write(Entry { peer_id: PeerId([2; 20]), ..entry(Event::None, 7001, 0, 30) });
    assert_eq!(credit(&folder), (101, 10));
    write(entry(Event::Stopped, 210, 60, 40));
    write(entry(Event::None, 5, 0, 50));
    write(entry(Event::None, 15, 0, 60));
    assert_eq!(credit(&folder), (121, 10), "a client that has begun anew");
}

#[test]
fn a_refused_announce_is_counted_but_its_peer_is_not() {
    let (folder, mut books) = books();
    let refused = |uploaded| Entry { peer: Standing::Gone, ..entry(Event::None, uploaded, 0, 0) };
    let written = books.write(&[refused(5), refused(8)], &LIMITS).unwrap();
    assert_eq!(credit(&folder), (3, 0));
    assert_eq!(written.turned[&(1, 1)], pairs::Here::default());
    // One that was let in stays in its swarm as what it was.
    let mut here = |peer, left| {
        let left = Some(left);
        let written = books.write(&[Entry { peer, left, ..entry(Event::None, 8, 0, 0) }], &LIMITS);
        let here = written.unwrap().turned[&(1, 1)];
        (here.leeching, here.seeding)
    };
    assert_eq!(here(Standing::AsBefore, 9), (0, 0));
    assert_eq!(here(Standing::Here, 9), (1, 0));
    assert_eq!(here(Standing::AsBefore, 0), (1, 0));
    assert_eq!(here(Standing::Here, 0), (0, 1));
    assert_eq!(here(Standing::AsBefore, 9), (0, 1));
    assert_eq!(here(Standing::Gone, 9), (0, 0));
    let leecher = Entry { peer: Standing::Here, ..entry(Event::None, 8, 0, 0) };
    let refused = |at| Entry { peer: Standing::AsBefore, ..entry(Event::None, 8, 0, at) };
    let seeder = Entry { left: Some(0), ..leecher.clone() };
    books.write(&[leecher, seeder, refused(100), refused(200)], &LIMITS).unwrap();
    assert_eq!(reader(&folder).page(1).unwrap().history[0].seed_seconds, 0);
}

#[test]
fn a_download_is_finished_once() {
    let (folder, mut books) = books();
    let seeder = |event, at| Entry { left: Some(0), ..entry(event, 0, 0, at) };
    // Clients with two addresses say so twice.
    books.write(&[entry(Event::Started, 0, 0, 0)], &LIMITS).unwrap();
    books.write(&[seeder(Event::Completed, 9), seeder(Event::Completed, 9)], &LIMITS).unwrap();
    books.write(&[seeder(Event::None, 1809), seeder(Event::None, 9999)], &LIMITS).unwrap();
    let reader = reader(&folder);
    assert_eq!(reader.torrent(1).unwrap().unwrap().completed, 1);
    let history = &reader.page(1).unwrap().history[0];
    assert_eq!(history.completed_at, Some(9));
    assert_eq!(history.seed_seconds, 1800, "the second time, it was not there in between");
}

#[test]
fn a_member_has_so_many_peers_at_a_torrent_and_no_more() {
    let (folder, mut books) = books();
    let of = |peer: u8, event, uploaded| Entry {
        peer_id: PeerId([peer; 20]),
        ..entry(event, uploaded, 0, 0)
    };
    for peer in 0..4 {
        let written = books.write(&[of(peer, Event::None, 0)], &LIMITS).unwrap();
        assert_eq!((written.surplus, written.turned.is_empty()), (u64::from(peer == 3), peer == 3));
    }
    books.write(&[of(3, Event::None, 9), of(0, Event::Stopped, 0)], &LIMITS).unwrap();
    books.write(&[of(3, Event::None, 9), of(3, Event::None, 14)], &LIMITS).unwrap();
    assert_eq!(credit(&folder), (5, 0), "there was room after the first had left");
    books.write(&[of(2, Event::Stopped, 0)], &LIMITS).unwrap();
    let mut sessions = 4;
    for peer in 100..150 {
        let added = books.write(&[of(peer, Event::Stopped, 0)], &LIMITS).unwrap().sessions;
        sessions += added;
    }
    assert_eq!(sessions, 16, "a client that gets a new peer id each time");
    assert_eq!(books.count_sessions().unwrap(), 16);
}

#[test]
fn what_clients_last_reported_is_there_as_long_as_it_is_asked_for() {
    let (folder, mut books) = books();
    let batch = [
        entry(Event::Started, 1, 2, 10),
        entry(Event::None, 3, 4, 20),
        Entry { peer_id: PeerId([2; 20]), ..entry(Event::Stopped, 5, 6, 30) },
        Entry { member: 2, peer: Standing::Gone, ..entry(Event::None, 7, 8, 40) },
    ];
    books.write(&batch, &LIMITS).unwrap();
    let since = |at| {
        let mut seen = Vec::new();
        let note = |report: &LastReport| {
            let LastReport { member, torrent, peer_id, said, is_active, seen_at } = *report;
            seen.push((
                member,
                torrent,
                peer_id.0[0],
                said.uploaded,
                said.downloaded,
                is_active,
                seen_at,
            ));
        };
        reader(&folder).last_reports(at, note).unwrap();
        seen
    };
    let (first, second) = ((1, 1, 1, 3, 4, true, 20), (1, 1, 2, 5, 6, false, 30));
    assert_eq!(since(20), [first, second, (2, 1, 1, 7, 8, false, 40)]);
    assert_eq!(since(21).len(), 2);
    assert_eq!(since(41), []);
}

#[test]
fn what_exceeds_the_guard_is_not_credited_but_marked() {
    let (folder, mut books) = books();
    let limits = Limits { rate: 10, ..LIMITS };
    let batch = [entry(Event::None, 0, 0, 0), entry(Event::None, 1 << 63, 5, 100)];
    assert_eq!(books.write(&batch, &limits).unwrap().suspect, 1);
    assert_eq!(credit(&folder), (1010, 5), "those of its first second, too");
    assert_eq!(reader(&folder).page(1).unwrap().sessions[0].suspect, 1);
    // A clock that went back, and totals that hardly fit.
    let batch =
        [entry(Event::None, u64::MAX, u64::MAX, 7), entry(Event::None, u64::MAX, u64::MAX, 3)];
    books.write(&batch, &LIMITS).unwrap();
    let _ = reader(&folder).member(1).unwrap();
}

#[test]
fn sums_that_do_not_fit_stay_at_the_most() {
    let (folder, mut books) = books();
    let most = i64::MAX as u64;
    for at in 0..2 {
        let batch = [entry(Event::None, 0, 0, at), entry(Event::None, u64::MAX, u64::MAX, at)];
        books.write(&batch, &LIMITS).unwrap();
    }
    assert_eq!(credit(&folder), (most, most));
}

#[test]
fn what_a_session_adds_is_added_to_totals_that_were_set() {
    let (folder, mut books) = books();
    let write = |books: &mut Database, uploaded| {
        books.write(&[entry(Event::None, uploaded, 0, 5)], &LIMITS).unwrap();
    };
    [0, 100].into_iter().for_each(|uploaded| write(&mut books, uploaded));
    let totals = MemberChange { id: 1, uploaded: Some(7), ..MemberChange::default() };
    books.change(&[Change::Member(totals)], false).unwrap();
    assert_eq!(credit(&folder), (7, 0));
    write(&mut books, 103);
    assert_eq!(credit(&folder), (10, 0));
    let history = reader(&folder).page(1).unwrap().history.remove(0);
    assert_eq!((history.uploaded, history.announces), (103, 3));
}

#[test]
fn a_member_that_is_gone_comes_back_without_totals() {
    let (folder, mut books) = books();
    let batch = [0, 100].map(|uploaded| entry(Event::None, uploaded, 0, 5));
    books.write(&batch, &LIMITS).unwrap();
    let with = |id, of| {
        let passkey = Some(passkey(of));
        [Change::Member(MemberChange { id, passkey, ..MemberChange::default() })]
    };
    books.change(&with(9, 1), true).unwrap();
    assert!(reader(&folder).member(1).unwrap().is_none());
    books.change(&with(1, 4), true).unwrap();
    assert_eq!(credit(&folder), (0, 0));
}

#[test]
fn silent_sessions_are_no_longer_active_and_later_forgotten() {
    let (_folder, mut books) = books();
    let batch =
        [entry(Event::None, 0, 0, 1000), Entry { torrent: 2, ..entry(Event::None, 0, 0, 9000) }];
    books.write(&batch, &LIMITS).unwrap();
    let mut sweep = |now| books.sweep(Default::default(), 9, now, 2700, 100_000).unwrap();
    assert_eq!(sweep(3000).silent, []);
    assert_eq!(sweep(9000).silent, [((1, 1), false)]);
    assert_eq!(sweep(9000).silent, [], "only once");
    assert_eq!(sweep(101_001).forgotten, 1);
    assert_eq!(sweep(500_000).forgotten, 1);
    assert_eq!(books.count_sessions().unwrap(), 0);
}

#[test]
fn nothing_moves_while_the_file_is_full_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let mut books = Database::open(&path, SIZE).unwrap();
    books.change(&changes(), false).unwrap();
    books.write(&[entry(Event::None, 0, 0, 0)], &LIMITS).unwrap();
    drop(books);
    let mut books = Database::open(&path, 1).unwrap();
    let many: Vec<_> =
        (10..2000).map(|torrent| Entry { torrent, ..entry(Event::None, 0, 0, 0) }).collect();
    let batch: Vec<_> = [entry(Event::None, 400, 0, 10)].into_iter().chain(many).collect();
    let error = books.write(&batch, &LIMITS).unwrap_err();
    assert!(error.to_string().contains("database or disk is full"), "{error}");
    assert_eq!(credit(&folder), (0, 0));
    drop(books);
    let mut books = Database::open(&path, SIZE).unwrap();
    books.write(&[entry(Event::None, 500, 0, 20)], &LIMITS).unwrap();
    assert_eq!(credit(&folder), (500, 0));
}

#[test]
fn a_file_that_another_process_has_locked_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let accounts = Accounts::open(&path, options(), None).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = accounts.enter(entry(Event::Started, 1, 2, 3)).unwrap();
    // Told that it could not be written in time.
    receipt.blocking_recv().unwrap_err();
    assert!(accounts.figures().failing.unwrap().reason.contains("database is locked"));
    other.execute_batch("COMMIT").unwrap();
    assert!(accounts.end(Duration::from_secs(60)));
    assert_eq!((accounts.figures().written, accounts.figures().failing.is_none()), (1, true));
}

#[test]
fn workers_see_changes_and_what_members_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let accounts = Accounts::open(&path, options(), None).unwrap();
    wait(accounts.change(changes())).unwrap();
    let directory = accounts.directory();
    let (id, member) = directory.member(&passkey(1)).unwrap();
    assert_eq!((id, member.enabled, member.leeching), (1, true, 0));
    assert_eq!(directory.torrent(InfoHash([2; 20])).unwrap().0, 2);
    accounts
        .enter(entry(Event::Started, 0, 0, unix_seconds()))
        .unwrap()
        .blocking_recv()
        .unwrap_err();
    let (_, now) = directory.member(&passkey(1)).unwrap();
    assert_eq!((now.leeching, directory.at(1, 1)), (1, (false, 1)));
    assert_ne!(now.version, member.version, "verdicts about it are no longer remembered");
    let lines = [
        format!(r#"{{"member": 1, "passkey": "{}", "enabled": false}}"#, passkey(9)),
        format!(r#"{{"member": 2, "passkey": "{}"}}"#, passkey(1)),
        format!(
            r#"{{"torrent": 2, "info_hash": "{}", "info_hash_v2": "{}"}}"#,
            "aa".repeat(20),
            "bb".repeat(32)
        ),
        r#"{"token": true, "member": 1, "torrent": 2}"#.to_owned(),
    ];
    let lines = lines.iter().map(|line| Change::parse(line).unwrap()).collect();
    wait(accounts.change(lines)).unwrap();
    let seen = |accounts: &Accounts| {
        let directory = accounts.directory();
        let (id, member) = directory.member(&passkey(9)).unwrap();
        assert_eq!((id, member.enabled, member.leeching), (1, false, 1));
        assert_eq!(directory.member(&passkey(1)).unwrap().0, 2);
        assert_eq!(directory.member(&passkey(2)), None);
        assert_eq!(directory.torrent(InfoHash([2; 20])), None);
        let [first, second] =
            [[0xaa; 20], [0xbb; 20]].map(|hash| directory.torrent(InfoHash(hash)));
        assert_eq!(first.unwrap().0, 2);
        assert_eq!(first, second, "both hashes of a hybrid are one torrent");
        assert!(directory.has_token(1, 2) && !directory.has_token(2, 1));
    };
    seen(&accounts);
    assert!(accounts.end(Duration::from_secs(60)));
    drop(accounts);
    seen(&Accounts::open(&path, options(), None).unwrap());
}

#[test]
fn of_several_changes_all_are_made_or_none() {
    let (folder, mut books) = books();
    let table = [
        (r#"{"member": 9}"#.to_owned(), "a new member needs a passkey"),
        (
            format!(r#"{{"member": 9, "passkey": "{}"}}"#, passkey(1)),
            "the passkey is another member's",
        ),
        (r#"{"torrent": 9}"#.to_owned(), "a new torrent needs an info-hash"),
        (
            format!(r#"{{"torrent": 9, "info_hash": "{}"}}"#, "02".repeat(20)),
            "the info-hash is another torrent's",
        ),
        (
            format!(r#"{{"torrent": 1, "info_hash_v2": "{}"}}"#, "02".repeat(32)),
            "the info-hash is another torrent's",
        ),
        (r#"{"token": true, "member": 9, "torrent": 1}"#.to_owned(), "there is no such member"),
        (r#"{"token": true, "member": 1, "torrent": 9}"#.to_owned(), "there is no such torrent"),
    ];
    let good = Change::parse(r#"{"member": 1, "leech": false}"#).unwrap();
    for (line, expected) in table {
        let wrong = Change::parse(&line).unwrap();
        match books.change(&[good.clone(), wrong], false) {
            Err(NotChanged::Wrong { index: 1, reason }) => assert_eq!(reason, expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(reader(&folder).member(1).unwrap().unwrap().record.leech);
}

/// What a client does: which one it is, what it reports, and at which terms.
#[derive(Clone, Debug)]
struct Step {
    entry: Entry,
    /// Whether the process is killed after this batch.
    dies: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = prop::sample::select(vec![
        Event::None,
        Event::None,
        Event::Started,
        Event::Stopped,
        Event::Completed,
    ]);
    let terms = prop::sample::select(vec![(100, 100), (100, 0), (0, 0), (200, 50), (33, 7)]);
    let who = (1..=3_u64, 1..=3_u64, 0..3_u8);
    let amounts = (0..5000_u64, 0..5000_u64);
    let peer = prop::sample::select(vec![Standing::Here, Standing::Gone, Standing::AsBefore]);
    let flags = (any::<bool>(), peer, prop::bool::weighted(0.1));
    let step =
        (who, event, amounts, terms, flags).prop_map(|(who, event, amounts, terms, flags)| {
            let (member, torrent, client) = who;
            let (is_done, peer, dies) = flags;
            let entry = Entry {
                member,
                torrent,
                peer_id: PeerId([client; 20]),
                left: Some(u64::from(!is_done)),
                terms: Terms { upload: terms.0, download: terms.1 },
                peer,
                ..entry(event, amounts.0, amounts.1, 1)
            };
            Step { entry, dies }
        });
    prop::collection::vec(step, 1..60)
}

/// What a model of the books has: totals of each client, and credit and moved bytes of each member.
#[derive(Default)]
struct Model {
    said: HashMap<(u64, u64, [u8; 20]), Bytes>,
    credit: HashMap<u64, [u64; 4]>,
}

impl Model {
    fn enter(&mut self, entry: &Entry) {
        let key = (entry.member, entry.torrent, entry.peer_id.0);
        let said = entry.said.unwrap();
        let Some(known) = self.said.insert(key, said) else { return };
        if said.uploaded < known.uploaded || said.downloaded < known.downloaded {
            return;
        }
        let up = said.uploaded - known.uploaded;
        let down = said.downloaded - known.downloaded;
        let shares = [
            up * u64::from(entry.terms.upload) / 100,
            down * u64::from(entry.terms.download) / 100,
            up,
            down,
        ];
        let sums = self.credit.entry(entry.member).or_default();
        sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_books_are_what_a_model_says(steps in steps(), batch in 1..8_usize) {
        let (folder, mut books) = books();
        let path = folder.path().join("accounts.db");
        let mut model = Model::default();
        for batch in steps.chunks(batch) {
            let entries: Vec<_> = batch.iter().map(|step| step.entry.clone()).collect();
            books.write(&entries, &LIMITS).unwrap();
            entries.iter().for_each(|entry| model.enter(entry));
            if batch.iter().any(|step| step.dies) {
                drop(books);
                books = Database::open(&path, SIZE).unwrap();
            }
        }
        for sessions_are_gone in [false, true] {
            if sessions_are_gone {
                books.sweep(Default::default(), 100, 1000, 1, 1).unwrap();
                prop_assert_eq!(books.count_sessions().unwrap(), 0);
            }
            for member in 1..=3 {
                let reader = reader(&folder);
                let shown = reader.member(member).unwrap().unwrap();
                let sums =
                    [shown.uploaded, shown.downloaded, shown.raw_uploaded, shown.raw_downloaded];
                prop_assert_eq!(sums, model.credit.get(&member).copied().unwrap_or_default());
                let mut at_torrents = [0; 4];
                for at in reader.page(member).unwrap().history {
                    let sums = [at.credited_uploaded, at.credited_downloaded, at.uploaded, at.downloaded];
                    at_torrents.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
                }
                prop_assert_eq!(at_torrents, sums);
            }
        }
    }
}

#[test]
fn a_deleted_torrent_gives_up_its_info_hash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let accounts = Accounts::open(&path, options(), None).unwrap();
    wait(accounts.change(changes())).unwrap();
    let hash = |byte| InfoHash([byte; 20]);
    let known = |byte| accounts.directory().torrent(hash(byte)).map(|(id, _)| id);
    let torrent = |change| wait(accounts.change(vec![Change::Torrent(change)]));
    let anew = TorrentChange { id: 9, info_hash: Some([1; 20]), ..TorrentChange::default() };
    let error = torrent(anew.clone()).unwrap_err();
    assert_eq!(error.to_string(), "the info-hash is another torrent's");
    assert_eq!(known(1), Some(1));
    let second = Some([11; 20]);
    torrent(TorrentChange {
        id: 1,
        info_hash_v2: second,
        deleted: Some(true),
        ..Default::default()
    })
    .unwrap();
    torrent(anew).unwrap();
    assert_eq!((known(1), known(11)), (Some(9), None), "the other one of a hybrid goes, too");
    assert_eq!(accounts.directory().torrents(), 3);
    assert!(accounts.torrent(1).unwrap().is_none());
    assert!(accounts.end(Duration::from_secs(60)));
    let accounts = Accounts::open(&path, options(), None).unwrap();
    assert_eq!(accounts.directory().torrent(hash(1)).map(|(id, _)| id), Some(9));
    assert_eq!(accounts.directory().torrents(), 3);
}
