//! What one part promises: sizes, ages, limits, and what is restored.

use std::net::SocketAddr;
use std::thread;

use karuta_bittorrent::Peers;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::batch::{Batch, MOST};
use super::*;
use crate::{Population, Role, SavedPeer};

mod alone {
    use crate::Shared;

    crate::conformance_suite!(Shared::alone);
}

mod sharing {
    use crate::{Options, Shared, Sharing};

    fn sharing(options: Options) -> Shared {
        Shared::sharing(options, Sharing { node: 1, parts: 3, queue: 1 << 20 }).0
    }

    crate::conformance_suite!(sharing);
}

const LIFETIME: Seconds = 1000;

fn options() -> Options {
    Options { lifetime: LIFETIME, shards: 8, ..Options::default() }
}

fn node(options: Options, node: u64) -> (Shared, Part) {
    let (store, mut parts) = Shared::sharing(options, Sharing { node, parts: 1, queue: 1 << 22 });
    (store, parts.remove(0))
}

fn update(torrent: u8, peer: u32, event: Event) -> Update {
    Update {
        info_hash: InfoHash([torrent; 20]),
        peer: peer_of(peer),
        peer_id: PeerId([7; 20]),
        event,
        seeder: false,
        want: 0,
        only: None,
        locality: None,
        is_hidden: false,
        now: 0,
    }
}

fn peer_of(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    ([10, a, b, c], 1000).into()
}

fn announce(store: &Shared, update: Update) -> Counts {
    let mut rng = SmallRng::seed_from_u64(1);
    store.announce(&update, &mut rng, &mut Peers::default()).unwrap()
}

fn announce_all(store: &Shared, updates: impl IntoIterator<Item = Update>) {
    for update in updates {
        announce(store, update);
    }
}

fn at(age: Seconds, now: Seconds) -> Arrival {
    Arrival { age, now, is_first: true }
}

fn apply_all(store: &Shared, part: &mut Part, log: &[Vec<u8>]) {
    for batch in log {
        part.apply(store, batch, at(0, 0)).unwrap();
    }
}

/// Appends all that waits.
fn sent(store: &Shared, part: &mut Part, now: Seconds) -> Vec<Vec<u8>> {
    let mut log = Vec::new();
    while let Some(batch) = part.next(store, now) {
        part.appended(now);
        log.push(batch);
    }
    log
}

fn ages(store: &Shared, torrent: u8, now: Seconds) -> Vec<Seconds> {
    let (mut walk, mut piece) = (Walk::from(InfoHash([torrent; 20])), Piece::default());
    store.next_piece(&mut walk, now, &mut piece);
    let mut peers = piece.peers;
    peers.sort_by_key(|peer| peer.address);
    peers.iter().map(|peer| peer.age).collect()
}

#[test]
fn a_lone_store_tells_nobody() {
    let store = Shared::alone(options());
    announce(&store, update(1, 1, Event::None));
    assert!(!store.is_sharing() && store.stripes.is_none());
}

#[test]
fn a_peer_without_a_port_is_told_to_nobody() {
    let (store, mut part) = node(options(), 1);
    announce(&store, Update { peer: ([10, 0, 0, 1], 0).into(), ..update(1, 1, Event::None) });
    assert_eq!(part.next(&store, 0), None);
}

#[test]
fn batches_grow_with_the_load_up_to_64_kib() {
    let (store, mut part) = node(options(), 1);
    announce(&store, update(1, 0, Event::None));
    let first = part.next(&store, 0).unwrap();
    announce_all(&store, (0..5000).map(|peer| update(1, peer, Event::None)));
    assert_eq!(part.next(&store, 0), None, "one is under way");
    assert_eq!(part.waiting(), Waiting { bytes: 5001 * 27, records: 5001 });
    part.appended(0);
    let more = sent(&store, &mut part, 0);
    assert_eq!(more.len(), 3);
    assert!(more[..2].iter().all(|batch| (MOST - 100..=MOST).contains(&batch.len())));
    let (other, mut reader) = node(options(), 2);
    for batch in [first].iter().chain(&more) {
        reader.apply(&other, batch, at(0, 0)).unwrap();
        assert!(part.apply(&store, batch, at(0, 0)).unwrap().is_own);
    }
    assert_eq!(other.totals(), store.totals());
    assert_eq!(part.waiting(), Waiting::default());
    assert_eq!(part.sent(), Sent { first: 5001, again: 0, dropped: 0 });
}

#[test]
fn the_oldest_records_are_dropped_above_the_limit() {
    let sharing = Sharing { node: 1, parts: 2, queue: 2 * 16 * 1024 };
    let (store, mut parts) = Shared::sharing(options(), sharing);
    let part = &mut parts[1];
    // The engine is away.
    let lost = {
        announce(&store, update(1, 0, Event::None));
        part.next(&store, 0).unwrap()
    };
    part.failed(&store);
    for peer in 1..=4000 {
        announce(&store, update(1, peer, Event::None));
        assert_eq!(part.next(&store, 0), None);
        assert!(part.waiting().bytes <= 16 * 1024);
    }
    let (dropped, waiting) = (part.sent().dropped, part.waiting().records);
    assert_eq!(dropped + waiting, 4001);
    assert!(waiting > 400, "{waiting} are left");
    assert!(!part.goes_back(), "what was sent has been dropped");
    part.at_end(&store, 0);
    let log = sent(&store, part, 0);
    assert!(!log.contains(&lost));
    let (other, mut reader) = Shared::sharing(options(), Sharing { node: 2, ..sharing });
    for batch in &log {
        reader[1].apply(&other, batch, at(0, 0)).unwrap();
        reader[0].apply(&other, batch, at(0, 0)).unwrap_err();
    }
    let known = ages(&other, 1, 0).len() as u64;
    assert_eq!(known, waiting);
    let mut newest = Vec::new();
    other.describe(
        InfoHash([1; 20]),
        &{
            let mut peers = Peers::default();
            peers.insert(0, peer_of(4000));
            peers
        },
        5,
        &mut newest,
    );
    assert_eq!(newest[0].age, 5);
}

#[test]
fn what_does_not_come_back_in_time_is_sent_again() {
    let (store, mut part) = node(options(), 1);
    announce(&store, update(1, 1, Event::None));
    let batch = part.next(&store, 10).unwrap();
    part.appended(10);
    part.at_end(&store, 12);
    assert_eq!(part.next(&store, 20), None, "nobody has looked for it since");
    part.at_end(&store, 13);
    assert_eq!(part.next(&store, 13), None, "it is looked for once more");
    assert!(!part.goes_back());
    part.at_end(&store, 13);
    let again = part.next(&store, 13).unwrap();
    part.appended(13);
    let headers = [&batch, &again].map(|batch| Batch::read(batch, |_| true).unwrap().header);
    assert_eq!(headers.map(|header| (header.sequence, header.again)), [(0, false), (0, true)]);
    assert_eq!(headers.map(|header| header.waited), [0, 3]);
    part.apply(&store, &again, at(0, 13)).unwrap();
    part.at_end(&store, 30);
    assert_eq!(part.next(&store, 30), None);
    assert_eq!(part.sent(), Sent { first: 1, again: 1, dropped: 0 });
}

#[test]
fn peers_are_as_old_as_their_announce() {
    let (store, mut part) = node(options(), 1);
    announce(&store, update(1, 1, Event::None));
    announce(&store, update(1, 2, Event::Started));
    announce(&store, update(1, 2, Event::Completed));
    assert_eq!(part.next(&store, 100).map(|_| part.failed(&store)), Some(()));
    assert!(!part.goes_back());
    part.at_end(&store, 400);
    // It has waited for 300 s, and is read when it is 200 s old.
    let [batch] = &sent(&store, &mut part, 400)[..] else { panic!("one batch") };
    let (other, mut reader) = node(options(), 2);
    reader.apply(&other, batch, at(200, 600)).unwrap();
    assert_eq!(ages(&other, 1, 600), [500, 500]);
    // What is known to be younger stays so, in the role that the log says.
    let later = Update { now: 650, ..update(1, 1, Event::Completed) };
    announce(&other, later);
    reader.apply(&other, batch, at(350, 750)).unwrap();
    assert_eq!(ages(&other, 1, 750), [100, 650]);
    assert_eq!(other.counts(InfoHash([1; 20])).map(|of| (of.seeders, of.leechers)), Some((1, 1)));
    while !other.expire(1200) {}
    assert_eq!(ages(&other, 1, 1200), [550]);
}

#[test]
fn of_entries_older_than_the_lifetime_only_downloads_are_taken() {
    let (store, mut part) = node(options(), 1);
    let (other, mut reader) = node(options(), 2);
    let begin = [update(1, 1, Event::Started), update(1, 2, Event::Started)];
    announce_all(&store, begin);
    let log = sent(&store, &mut part, 0);
    reader.apply(&other, &log[0], at(0, 0)).unwrap();
    reader.at_end(&other, 0);
    announce(&store, update(1, 1, Event::Completed));
    announce(&store, update(1, 2, Event::Stopped));
    announce(&store, update(1, 3, Event::Started));
    let log = sent(&store, &mut part, 0);
    reader.apply(&other, &log[0], at(LIFETIME + 1, 0)).unwrap();
    let counts = Counts { seeders: 0, leechers: 2, partial_seeds: 0, completed: 1 };
    assert_eq!(other.counts(InfoHash([1; 20])), Some(counts));
    // A swarm that nobody is left of has its downloads all the same.
    let (new, mut reader) = node(options(), 3);
    reader.apply(&new, &log[0], at(LIFETIME + 1, 0)).unwrap();
    let counts = Counts { completed: 1, ..Counts::default() };
    assert_eq!(new.counts(InfoHash([1; 20])), Some(counts));
    assert_eq!(new.totals().swarms, 0);
}

#[test]
fn what_others_have_taken_is_taken_in_beyond_all_limits() {
    let limits = Options {
        max_torrents: 1,
        max_peers_per_torrent: 2,
        max_peers_per_address: 1,
        keep_downloads: 0,
        ..options()
    };
    let (store, mut part) = node(options(), 1);
    let at = |port: u16| Update { peer: ([10, 0, 0, 1], port).into(), ..update(1, 0, Event::None) };
    announce_all(&store, (1..=3).map(at));
    announce(&store, update(2, 2, Event::None));
    let log = sent(&store, &mut part, 0);
    let (other, mut reader) = node(limits, 2);
    apply_all(&other, &mut reader, &log);
    let leechers = |leechers| Population { seeders: 0, leechers };
    let none = Population::default();
    assert_eq!(other.totals(), Totals { swarms: 2, ipv4: leechers(4), ipv6: none });
    let refused = |update: Update| {
        let mut rng = SmallRng::seed_from_u64(1);
        other.announce(&update, &mut rng, &mut Peers::default()).err()
    };
    // Who is known may announce, nobody else.
    assert_eq!(refused(at(2)), None);
    assert_eq!(refused(at(4)), Some(Refusal::Peers));
    assert_eq!(refused(update(3, 9, Event::None)), Some(Refusal::Torrents));
    // When they leave, the numbers are as if they had never been there.
    announce_all(&store, (1..=3).map(|port| Update { event: Event::Stopped, ..at(port) }));
    announce(&store, update(2, 2, Event::Stopped));
    let log = sent(&store, &mut part, 0);
    apply_all(&other, &mut reader, &log);
    assert_eq!(other.totals(), Totals::default());
    assert_eq!(refused(at(4)), None);
    assert_eq!(refused(at(5)), Some(Refusal::Peers));
}

#[test]
fn the_log_goes_on_where_a_snapshot_ends() {
    let (store, mut part) = node(options(), 1);
    announce_all(&store, [update(1, 1, Event::Started), update(1, 2, Event::Started)]);
    let mut log = sent(&store, &mut part, 0);
    announce(&store, update(1, 1, Event::Completed));
    let snapshot = Piece {
        info_hash: InfoHash([1; 20]),
        downloads: 1,
        peers: vec![SavedPeer {
            address: peer_of(1),
            role: Role::Seeder,
            age: 100,
            downloaded: true,
            is_hidden: false,
            peer_id: PeerId::UNKNOWN,
        }],
        deserted: 0,
    };
    announce(&store, update(1, 2, Event::Completed));
    announce(&store, update(1, 1, Event::Stopped));
    log.extend(sent(&store, &mut part, 0));
    let (other, mut reader) = node(options(), 2);
    other.restore(&snapshot, 300);
    reader.apply(&other, &log[0], at(300, 300)).unwrap();
    assert_eq!(ages(&other, 1, 300), [100, 300], "never older than it is known to be");
    reader.apply(&other, &log[1], at(50, 300)).unwrap();
    reader.at_end(&other, 300);
    assert_eq!(other.counts(InfoHash([1; 20])), store.counts(InfoHash([1; 20])));
    assert_eq!(ages(&other, 1, 300), [50]);
}

#[test]
fn records_of_a_peer_are_in_order_whichever_worker_has_taken_its_announces() {
    const WORKERS: u64 = 4;
    let (store, mut parts) =
        Shared::sharing(options(), Sharing { node: 1, parts: 3, queue: 1 << 26 });
    let mut log = vec![Vec::new(); 3];
    thread::scope(|scope| {
        let store = &store;
        let workers: Vec<_> = (0..WORKERS)
            .map(|seed| {
                scope.spawn(move || {
                    let mut rng = SmallRng::seed_from_u64(seed);
                    for _ in 0..3000 {
                        let event = [Event::None, Event::Completed, Event::Paused, Event::Stopped];
                        let event = event[rng.random_range(0..4)];
                        let (torrent, peer) = (rng.random_range(0..4), rng.random_range(0..8));
                        let seeder = rng.random_bool(0.5);
                        let update = Update { seeder, ..update(torrent, peer, event) };
                        store.announce(&update, &mut rng, &mut Peers::default()).unwrap();
                    }
                })
            })
            .collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            for (part, log) in parts.iter_mut().zip(&mut log) {
                log.extend(sent(store, part, 0));
            }
        }
    });
    let sharing = Sharing { node: 2, parts: 3, queue: 0 };
    let (other, mut readers) = Shared::sharing(options(), sharing);
    for ((part, log), reader) in parts.iter_mut().zip(&mut log).zip(&mut readers) {
        log.extend(sent(&store, part, 0));
        apply_all(&other, reader, log);
    }
    let all = |store: &Shared| {
        let of = |torrent| {
            let (mut walk, mut piece) = (Walk::from(InfoHash([torrent; 20])), Piece::default());
            store.next_piece(&mut walk, 0, &mut piece);
            piece.peers.sort_by_key(|peer| peer.address);
            piece
        };
        [0, 1, 2, 3].map(of)
    };
    assert_eq!(all(&other), all(&store));
    assert_eq!(other.totals(), store.totals());
}

#[test]
fn what_was_lost_is_judged_before_older_records_are_read_again() {
    let (store, mut part) = node(options(), 1);
    announce_all(&store, [update(1, 1, Event::None), update(1, 1, Event::Stopped)]);
    let log = sent(&store, &mut part, 0);
    apply_all(&store, &mut part, &log);
    announce(&store, update(1, 1, Event::None));
    let lost = sent(&store, &mut part, 1);
    apply_all(&store, &mut part, &lost);

    part.failed(&store);
    assert!(part.goes_back());
    apply_all(&store, &mut part, &log);
    part.at_end(&store, 1);
    let again = sent(&store, &mut part, 1);
    apply_all(&store, &mut part, &again);
    let (other, mut reader) = node(options(), 2);
    apply_all(&other, &mut reader, &[log, again].concat());
    assert_eq!(ages(&store, 1, 1).len(), 1);
    assert_eq!(other.totals(), store.totals());
}

fn completed(store: &Shared) -> u32 {
    store.counts(InfoHash([1; 20])).map_or(0, |counts| counts.completed)
}

/// Makes nodes that have read a log to its end.
fn nodes() -> [(Shared, Part); 2] {
    [1, 2].map(|number| {
        let (store, mut part) = node(options(), number);
        part.at_end(&store, 0);
        (store, part)
    })
}

#[test]
fn a_number_that_is_too_low_for_whoever_starts_there_is_set_right() {
    let [(one, mut part_one), (two, mut part_two)] = nodes();
    announce(&one, update(1, 1, Event::Started));
    let mut log = sent(&one, &mut part_one, 0);
    announce(&one, update(1, 1, Event::Completed));
    log.extend(sent(&one, &mut part_one, 0));
    // This node has not heard of the download yet.
    announce(&two, update(1, 2, Event::Started));
    log.extend(sent(&two, &mut part_two, 0));
    apply_all(&one, &mut part_one, &log);
    apply_all(&two, &mut part_two, &log);
    assert_eq!((completed(&one), completed(&two)), (1, 1));
    let (late, mut part_late) = node(options(), 3);
    apply_all(&late, &mut part_late, &log[2..]);
    part_late.at_end(&late, 0);
    assert_eq!(completed(&late), 0);
    // Whoever is first: the other one hears it.
    for now in [0, 1] {
        part_one.at_end(&one, now);
        assert_eq!(part_one.next(&one, now), None, "after {now} s");
    }
    part_one.at_end(&one, 2);
    let told = sent(&one, &mut part_one, 2);
    for (store, part) in [(&one, &mut part_one), (&two, &mut part_two), (&late, &mut part_late)] {
        apply_all(store, part, &told);
        part.at_end(store, 9);
        assert_eq!((part.next(store, 9), completed(store)), (None, 1));
    }
}

#[test]
fn a_number_that_only_one_node_knows_is_told_when_the_torrent_is_mentioned() {
    let [(one, mut part_one), (two, mut part_two)] = nodes();
    // What it has counted before it was killed, and had not told.
    let piece = Piece { info_hash: InfoHash([1; 20]), downloads: 5, peers: vec![], deserted: 0 };
    one.restore(&piece, 0);
    announce(&two, update(1, 2, Event::Started));
    let log = sent(&two, &mut part_two, 0);
    apply_all(&one, &mut part_one, &log);
    part_one.at_end(&one, 2);
    let told = sent(&one, &mut part_one, 2);
    apply_all(&two, &mut part_two, &told);
    assert_eq!((completed(&one), completed(&two)), (5, 5));
}

#[test]
fn what_is_sent_again_adds_nothing_to_a_number_that_may_contain_it() {
    let [(one, mut part_one), (two, mut part_two)] = nodes();
    announce(&one, update(1, 1, Event::Started));
    announce(&one, update(1, 1, Event::Completed));
    let lost = sent(&one, &mut part_one, 100);
    apply_all(&two, &mut part_two, &lost);
    // The engine has lost it, and the other node announces what it has read.
    announce(&two, update(1, 2, Event::Started));
    let mut log = sent(&two, &mut part_two, 101);
    let read = |log: &[Vec<u8>], store: &Shared, part: &mut Part, age, now| {
        for entry in log {
            part.apply(store, entry, Arrival { age, now, is_first: true }).unwrap();
        }
        part.at_end(store, now);
    };
    part_one.failed(&one);
    assert!(!part_one.goes_back());
    read(&log, &one, &mut part_one, 0, 101);
    assert_eq!(completed(&one), 1);
    let again = sent(&one, &mut part_one, 101);
    assert!(Batch::read(&again[0], |_| true).unwrap().header.again);
    log.extend(again);
    // One node starts before it is sent again, and one reads all of it later.
    let [(early, mut part_early), (late, mut part_late)] = [3, 4].map(|id| node(options(), id));
    read(&log[..1], &early, &mut part_early, 0, 101);
    read(&log[1..], &early, &mut part_early, 0, 102);
    read(&log, &late, &mut part_late, 400, 502);
    // One has been there, and has not read it: it adds the download to what it knows.
    let (third, mut part_third) = node(options(), 5);
    part_third.at_end(&third, 0);
    read(&log[1..], &third, &mut part_third, 0, 102);
    read(&log[1..], &two, &mut part_two, 0, 102);
    let known = [&one, &two, &early, &late, &third].map(completed);
    assert_eq!(known, [1; 5]);
}
