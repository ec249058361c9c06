//! What is recorded is read, and nothing else.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_accounts::{Member, Torrent};
use karuta_bittorrent::{Counts, InfoHash, Transport};
use proptest::prelude::*;

use super::file::Recording;
use super::*;
use crate::exchange::{Account, Exchange, Ruling};
use crate::metrics::Outcome;

fn counts() -> impl Strategy<Value = Option<Counts>> {
    prop::option::of((any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(seeders, leechers, completed)| Counts { seeders, leechers, completed, partial_seeds: 0 },
    ))
}

fn account() -> impl Strategy<Value = Account> {
    let numbers = any::<(u64, u64, u32, u32, u32)>();
    let flags = any::<(bool, bool, bool, bool, Option<u32>)>();
    (numbers, flags, any::<(bool, bool)>()).prop_map(|(numbers, flags, (member, torrent))| {
        let (id, other, group, version, here) = numbers;
        let (enabled, immune, has_token, deleted, slots) = flags;
        let known = Member { enabled, immune, group, slots, version, ..Member::default() };
        let listed = Torrent { deleted, reason: group, version, ..Torrent::default() };
        Account {
            member: member.then_some((id, known)),
            torrent: torrent.then_some((other, listed)),
            has_token,
            here,
        }
    })
}

prop_compose! {
    fn owned()(
        (time, took, worker, listener, generation) in any::<(u64, u32, u16, u16, u32)>(),
        (transport, outcome) in (0..3_usize, 0..3_usize),
        (is_scrape, proxied, overridden) in any::<(bool, bool, bool)>(),
        client: IpAddr,
        (interval, min_interval) in any::<(u32, u32)>(),
        (counts, seen, account) in (counts(), counts(), account()),
        decided_by in "[a-z-]{0,40}",
        reason in "\\PC{0,40}",
        request: Vec<u8>,
    ) -> Owned {
        let record = Record {
            time, took, worker, listener, generation,
            transport: [Transport::Udp, Transport::Http, Transport::Https][transport],
            is_scrape,
            outcome: [Outcome::Ok, Outcome::Rejected, Outcome::Dropped][outcome],
            proxied, overridden, client, interval, min_interval, counts, seen, account,
            decided_by: "", reason: "", request: &[],
        };
        // The longest reasons are cut.
        let reason = reason.chars().take(30).collect();
        Owned { record, decided_by, reason, request }
    }
}

/// A record with its texts.
#[derive(Clone, Debug)]
struct Owned {
    record: Record<'static>,
    decided_by: String,
    reason: String,
    request: Vec<u8>,
}

impl Owned {
    fn record(&self) -> Record<'_> {
        let Self { record, decided_by, reason, request } = self;
        Record { decided_by, reason, request, ..*record }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.record().write(&mut bytes);
        bytes
    }
}

/// Returns a record of an announce over HTTP with nothing in it.
fn nothing() -> Record<'static> {
    Record {
        time: 0,
        took: 0,
        worker: 0,
        listener: 0,
        generation: 0,
        transport: Transport::Http,
        is_scrape: false,
        outcome: Outcome::Ok,
        proxied: false,
        overridden: false,
        client: [192, 0, 2, 1].into(),
        interval: 0,
        min_interval: 0,
        counts: None,
        seen: None,
        account: Account::default(),
        decided_by: "",
        reason: "",
        request: &[],
    }
}

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Returns a recording of these, each in a block of its own.
fn file(records: &[Owned]) -> Vec<u8> {
    let mut recording = Recording::create(Vec::new(), 1_000_000, WEEK, Hidden::default()).unwrap();
    recording.scene(&Scene { generation: 3, ..Scene::default() }).unwrap();
    for record in records {
        recording.record(&record.bytes()).unwrap();
        recording.missing(2).unwrap();
    }
    recording.end().unwrap()
}

fn read_all(file: &[u8]) -> Result<(Contents, Vec<Vec<u8>>), Unreadable> {
    let mut found = Vec::new();
    let contents = read(file, |_, bytes| found.push(bytes.to_vec()))?;
    Ok((contents, found))
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(owned in owned()) {
        let bytes = owned.bytes();
        prop_assert_eq!(Record::read(&bytes), Some(owned.record()));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        if let Some(record) = Record::read(&bytes) {
            let mut again = Vec::new();
            record.write(&mut again);
            let read = Record::read(&again).unwrap();
            prop_assert_eq!(read.request, record.request);
        }
        let _ = look(&bytes[..]);
    }

    #[test]
    fn a_recording_has_what_was_appended(records in prop::collection::vec(owned(), 0..6)) {
        let file = file(&records);
        let (contents, found) = read_all(&file).unwrap();
        prop_assert!(contents.found.is_whole());
        prop_assert_eq!((contents.records, contents.missing), (found.len() as u64, 2 * found.len() as u64));
        prop_assert_eq!(found, records.iter().map(Owned::bytes).collect::<Vec<_>>());
        prop_assert_eq!(contents.scenes[0].generation, 3);
        prop_assert_eq!(contents.keep_until(), 1_000_000 + WEEK.as_millis() as u64);
    }

    #[test]
    fn a_damaged_recording_has_no_record_that_was_not_there(
        records in prop::collection::vec(owned(), 1..4),
        damage in any::<(prop::sample::Index, u8)>(),
        end in any::<prop::sample::Index>(),
    ) {
        let whole = file(&records);
        let known: Vec<_> = records.iter().map(Owned::bytes).collect();
        let mut flipped = whole.clone();
        let at = damage.0.index(whole.len());
        flipped[at] ^= 1 << (damage.1 % 8);
        for damaged in [&flipped[..], &whole[..end.index(whole.len())]] {
            if let Ok((contents, found)) = read_all(damaged) {
                prop_assert!(found.iter().all(|record| known.contains(record)));
                prop_assert!(found.len() == known.len() || !contents.found.is_whole());
            }
        }
    }
}

#[test]
fn a_copy_hides_what_it_says_and_keeps_the_rest() {
    let record = |client: &str| Owned {
        record: Record { client: client.parse().unwrap(), ..nothing() },
        decided_by: "clients".to_owned(),
        reason: "no".to_owned(),
        request: b"/announce?left=0&jwt=secret".to_vec(),
    };
    let mut recording = Recording::create(Vec::new(), 5, WEEK, Hidden::default()).unwrap();
    let routes = vec!["/announce".to_owned()];
    recording.scene(&Scene { generation: 3, routes, ..Scene::default() }).unwrap();
    for client in ["192.0.2.1", "192.0.2.2", "198.51.100.1"] {
        recording.record(&record(client).bytes()).unwrap();
    }
    recording.missing(2).unwrap();
    let whole = recording.end().unwrap();
    let hide = |file: &[u8], hidden| {
        let mut to = Vec::new();
        rewrite(std::io::Cursor::new(file), &mut to, hidden).unwrap();
        to
    };
    let credentials = Hidden { credentials: true, addresses: false };
    let both = hide(&hide(&whole, credentials), Hidden { credentials: false, addresses: true });
    let mut clients = Vec::new();
    let contents = read(&both[..], |record, _| {
        assert_eq!((record.decided_by, record.reason), ("clients", "no"));
        let request = String::from_utf8_lossy(record.request);
        assert!(request.starts_with("/announce?left=0&jwt=h"), "{request}");
        clients.push(record.client);
    });
    let contents = contents.unwrap();
    assert!(contents.found.is_whole());
    assert_eq!(contents.hidden, Hidden { credentials: true, addresses: true });
    assert_eq!((contents.missing, contents.keep_until()), (2, 5 + WEEK.as_millis() as u64));
    let network = |client: &IpAddr| match client {
        IpAddr::V4(v4) => v4.to_bits() >> 8,
        IpAddr::V6(_) => panic!("it was IPv4"),
    };
    let networks: Vec<_> = clients.iter().map(network).collect();
    assert!(networks[0] == networks[1] && networks[0] != networks[2], "{clients:?}");
}

#[test]
fn a_copy_of_a_damaged_recording_is_not_whole() {
    let record = |at: u64| Owned {
        record: Record { time: at, ..nothing() },
        decided_by: String::new(),
        reason: String::new(),
        request: b"/announce?left=0".to_vec(),
    };
    let whole = file(&[record(1), record(2)]);
    // Blocks lie at multiples of 512: the header, what serves, and the records of the first one.
    let mut damaged = whole.clone();
    damaged[2 * 512 + 30] ^= 1;
    for (source, records, is_whole) in
        [(&whole[..], 2, true), (&damaged[..], 1, false), (&whole[..whole.len() - 512], 2, false)]
    {
        let mut to = Vec::new();
        let hidden = Hidden { credentials: true, addresses: true };
        let found = rewrite(std::io::Cursor::new(source), &mut to, hidden).unwrap().found;
        let copy = look(&to[..]).unwrap();
        assert_eq!((found.is_whole(), copy.found.is_whole()), (is_whole, is_whole));
        assert_eq!(copy.records, records);
    }
}

#[test]
fn another_format_says_what_it_needs() {
    let mut newer = file(&[]);
    newer[8] = 2;
    let said = look(&newer[..]).unwrap_err().to_string();
    assert!(said.contains("it has format 2, and this program reads format 1"), "{said}");
    let said = look(&b"something else"[..]).unwrap_err().to_string();
    assert!(said.starts_with("not a recording"), "{said}");
}

fn rings(workers: usize) -> Arc<Rings> {
    Arc::new(Rings::new(1 << 20, workers, WEEK, 1 << 30))
}

fn rejected(now: Instant) -> Exchange {
    let mut exchange = Exchange::default();
    exchange.now = now;
    exchange.answer.ruling = Ruling::Rejected;
    exchange.answer.interval = 60;
    exchange.answer.extras.make().failure = Some("no".repeat(100));
    exchange
}

#[test]
fn a_tape_says_what_became_of_a_request() {
    let rings = rings(2);
    let (_, mut tape) = (rings.tape(), rings.tape());
    tape.adopt(7);
    let now = Instant::now();
    let seen = Counts { seeders: 1, ..Counts::default() };
    let mut exchange = rejected(now);
    exchange.seen = Some(seen);
    let took = Duration::from_micros(9);
    tape.write(&exchange, Came::Udp(b"packet"), false, Some(seen), "tracker.limits", took);
    tape.publish();
    let mut found = 0;
    rings.read(|bytes| {
        let record = Record::read(bytes).unwrap();
        assert_eq!((record.worker, record.generation, record.took), (1, 7, 9));
        assert_eq!((record.decided_by, record.request), ("tracker.limits", &b"packet"[..]));
        assert_eq!((record.outcome, record.interval), (Outcome::Rejected, 60));
        assert_eq!((record.seen, record.counts), (Some(seen), Some(seen)));
        assert_eq!(record.reason.len(), 120);
        found += 1;
    });
    assert_eq!(found, 1);
}

fn wanted(filter: Filter) -> Wanted {
    Wanted { time: Duration::from_secs(3600), most: None, filter, hidden: Hidden::default() }
}

fn everything() -> Filter {
    let outcomes = vec![Outcome::Ok, Outcome::Rejected, Outcome::Dropped];
    Filter { sample: None, from: None, info_hash: None, outcomes, key: 1 }
}

#[test]
fn there_is_one_recording_at_a_time_and_it_ends_when_nobody_takes_it() {
    let rings = rings(1);
    let mut tape = rings.tape();
    let running = rings.record(wanted(everything())).unwrap().unwrap();
    assert!(rings.record(wanted(everything())).unwrap().is_none());
    drop(running);
    let now = Instant::now();
    while rings.figures().is_busy {
        tape.write(&rejected(now), Came::Udp(&[0; 9000]), false, None, "", Duration::ZERO);
        tape.publish();
    }
    assert!(rings.record(wanted(everything())).unwrap().is_some());
}

#[test]
fn a_recording_has_what_comes_after_its_begin_and_ends_at_its_size() {
    let rings = Arc::new(Rings::new(1 << 20, 1, WEEK, 1 << 20));
    let mut tape = rings.tape();
    let now = Instant::now();
    let mut write = |byte: u8| {
        tape.write(&rejected(now), Came::Udp(&[byte; 4000]), false, None, "", Duration::ZERO);
        tape.publish();
    };
    write(1);
    let mut running = rings.record(wanted(everything())).unwrap().unwrap();
    let mut file = Vec::new();
    while rings.figures().is_busy {
        write(2);
        while let Ok(piece) = running.pieces.try_recv() {
            file.extend(piece);
        }
    }
    while let Some(piece) = running.pieces.blocking_recv() {
        file.extend(piece);
    }
    let (contents, found) = read_all(&file).unwrap();
    assert!(contents.found.is_whole());
    assert!(file.len() > 1 << 20, "{}", file.len());
    assert!(found.iter().all(|record| record.ends_with(&[2])));
    assert!(contents.records > 200 && contents.records == found.len() as u64);
}

#[test]
fn a_filter_knows_clients_torrents_and_outcomes() {
    let owned = |client: &str, transport, request: &[u8]| Owned {
        record: Record { transport, client: client.parse().unwrap(), ..nothing() },
        decided_by: String::new(),
        reason: String::new(),
        request: request.to_vec(),
    };
    let http = owned(
        "192.0.2.1",
        Transport::Http,
        b"/announce?info_hash=%61aaaaaaaaaaaaaaaaaaa&x\nhost: a",
    );
    let mut scrape =
        owned("::1", Transport::Udp, &[[0; 16].as_slice(), &[b'b'; 20], &[b'a'; 20]].concat());
    scrape.record.is_scrape = true;
    let mut packet = [0; 98];
    packet[16..36].fill(b'a');
    packet[97] = 1;
    let udp = owned("192.0.2.9", Transport::Udp, &packet);
    let all = [&http, &scrape, &udp];
    let admitted = |filter: Filter| all.map(|one| filter.admits(&one.record()));
    assert_eq!(admitted(everything()), [true; 3]);
    let of = |byte: u8| Some(InfoHash([byte; 20]));
    assert_eq!(admitted(Filter { info_hash: of(b'a'), ..everything() }), [true; 3]);
    assert_eq!(admitted(Filter { info_hash: of(b'b'), ..everything() }), [false, true, false]);
    let from = "192.0.2.0/29".parse().ok();
    assert_eq!(admitted(Filter { from, ..everything() }), [true, false, false]);
    let outcomes = vec![Outcome::Rejected];
    assert_eq!(admitted(Filter { outcomes, ..everything() }), [false; 3]);
    let clients = |sample| {
        let filter = Filter { sample: NonZeroU32::new(sample), ..everything() };
        let client = |last: u8| owned(&format!("192.0.2.{last}"), Transport::Udp, b"");
        (0..=255).filter(|last| filter.admits(&client(*last).record())).count()
    };
    assert_eq!(clients(1), 256);
    assert!((10..50).contains(&clients(10)));
}
