//! The batches for a site's database.

use karuta_bittorrent::{Event, PeerId};

use crate::database::{Baseline, Database, Delta, Entry, Key, Limits, Rejection, Sealed};
use crate::rules::Bytes;
use crate::tests::{LIMITS, SIZE, books, entry, reader};

fn write(books: &mut Database, entries: &[Entry]) {
    books.write(entries, &LIMITS).unwrap();
}

/// Seals all of the open batch, which is small.
fn seal(books: &mut Database, now: u64) -> Option<Sealed> {
    let (sealed, last) = books.seal(Key::default(), now).unwrap()?;
    assert_eq!(books.seal(last, now).unwrap(), None);
    Some(sealed)
}

fn of(member: u64, event: Event, uploaded: u64) -> Entry {
    Entry { member, ..entry(event, uploaded, 0, 5) }
}

#[test]
fn a_batch_has_what_was_added_since_the_last_one_and_what_clients_reported() {
    let (folder, mut books) = books();
    write(&mut books, &[of(1, Event::Started, 0)]);
    books.collect().unwrap();
    write(
        &mut books,
        &[of(1, Event::None, 100), of(1, Event::None, 150), of(2, Event::Started, 7)],
    );
    let first = seal(&mut books, 9).unwrap();
    assert_eq!(seal(&mut books, 9), None, "nothing has come since");
    write(&mut books, &[of(1, Event::Stopped, 160)]);
    let second = seal(&mut books, 9).unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_ne!(first.nonce, second.nonce);
    let reader = reader(&folder);
    let rows = |batch| reader.deltas(batch, Key::default(), 10).unwrap();
    let seen = |row: &Delta| (row.member, row.moved[0], row.announces, row.total[0], row.active);
    let of = |batch| rows(batch).iter().map(seen).collect::<Vec<_>>();
    assert_eq!(of(1), [(1, 150, 2, 150, true), (2, 0, 1, 7, true)]);
    assert_eq!(of(2), [(1, 10, 1, 160, false)]);
    assert_eq!(reader.deltas(1, rows(1)[0].key(), 10).unwrap(), rows(1)[1..]);
    let batches = reader.batches().unwrap();
    assert_eq!((batches.last, batches.applied, batches.first), (2, 0, 1));
    assert_eq!((reader.pending(0).unwrap(), reader.pending(1).unwrap()), (3, 1));
    books.applied(1, 9).unwrap();
    assert_eq!(reader.batches().unwrap().applied, 1);
}

#[test]
fn many_rows_are_sealed_a_part_at_a_time_and_each_of_them_once() {
    const ALL: i64 = 12_000;
    let (folder, mut books) = books();
    books.collect().unwrap();
    let entries: Vec<_> = (1..=ALL as u64).map(|member| of(member, Event::Started, 0)).collect();
    write(&mut books, &entries);
    let (first, last) = books.seal(Key::default(), 9).unwrap().unwrap();
    assert_eq!((first.number, last.0), (1, 5000));
    // Two announce once more: one whose row is sealed, and one whose row is not.
    write(&mut books, &[of(1, Event::None, 5), of(12_000, Event::None, 7)]);
    let (second, last) = books.seal(last, 9).unwrap().unwrap();
    assert_eq!((second.number, last.0), (2, 10_000));
    let (third, last) = books.seal(last, 9).unwrap().unwrap();
    assert_eq!((third.number, last.0), (3, ALL));
    assert_eq!(books.seal(last, 9).unwrap(), None, "those before wait for the next time");
    let fourth = seal(&mut books, 9).unwrap();
    let reader = reader(&folder);
    let rows = |batch: Sealed| reader.deltas(batch.number, Key::default(), 10_000).unwrap();
    assert_eq!([rows(first).len(), rows(second).len(), rows(third).len()], [5000, 5000, 2000]);
    let seen = |row: &Delta| (row.member, row.moved[0], row.announces);
    assert_eq!(rows(third).last().map(seen), Some((ALL, 7, 2)));
    assert_eq!(rows(fourth).iter().map(seen).collect::<Vec<_>>(), [(1, 5, 1)]);
    books.applied(4, 9).unwrap();
    let left = |books: &mut Database| {
        books.prune(100).unwrap();
        [first, second, third, fourth].map(|batch| rows(batch).len())
    };
    assert_eq!(left(&mut books), [0, 4001, 2000, 1]);
    assert_eq!(left(&mut books), [0, 0, 2, 1], "what is left of a batch, and more");
    assert_eq!(left(&mut books), [0, 0, 0, 0]);
}

#[test]
fn a_batch_goes_on_after_a_restart() {
    let (folder, mut books) = books();
    let path = folder.path().join("accounts.db");
    books.collect().unwrap();
    write(&mut books, &[of(1, Event::Started, 0), of(1, Event::None, 5)]);
    let before = reader(&folder).batches().unwrap();
    drop(books);
    let mut books = Database::open(&path, SIZE).unwrap();
    books.collect().unwrap();
    assert_eq!(reader(&folder).batches().unwrap(), before, "the epoch is that of the file");
    write(&mut books, &[of(1, Event::None, 8)]);
    let sealed = seal(&mut books, 9).unwrap();
    assert_eq!(reader(&folder).deltas(sealed.number, Key::default(), 9).unwrap()[0].moved[0], 8);
}

#[test]
fn rows_that_were_refused_are_moved_into_the_open_batch_once() {
    let (folder, mut books) = books();
    books.collect().unwrap();
    write(&mut books, &[of(1, Event::Started, 0), of(1, Event::None, 5), of(2, Event::Started, 1)]);
    let key = (1, 1, [1; 20]);
    let refused = [Rejection { key, reason: "too large".to_owned() }];
    seal(&mut books, 9);
    books.reject(1, &refused, 9).unwrap();
    books.reject(1, &refused, 9).unwrap();
    assert_eq!(books.again().unwrap(), 0, "its batch is played once more in any case");
    books.applied(1, 9).unwrap();
    let reader = reader(&folder);
    assert_eq!(reader.count_rejected().unwrap(), 1);
    let shown = &reader.rejected(9).unwrap()[0];
    assert_eq!((shown.member, shown.uploaded, &*shown.reason), (1, 5, "too large"));
    write(&mut books, &[of(1, Event::None, 25)]);
    assert_eq!(books.again().unwrap(), 1);
    assert_eq!(books.again().unwrap(), 0);
    seal(&mut books, 9).unwrap();
    let row = &reader.deltas(2, Key::default(), 9).unwrap()[0];
    assert_eq!((row.moved[0], row.announces, row.total[0]), (25, 3, 25));
    let members = |batch| reader.deltas(batch, Key::default(), 9).unwrap();
    assert_eq!(members(1).iter().map(|row| row.member).collect::<Vec<_>>(), [2]);
}

#[test]
fn batches_that_were_applied_long_ago_are_pruned_but_for_what_was_refused() {
    let (folder, mut books) = books();
    books.collect().unwrap();
    for round in 1..=3 {
        write(&mut books, &[of(1, Event::None, round), of(2, Event::None, round)]);
        seal(&mut books, round);
        books.applied(i64::try_from(round).unwrap(), round).unwrap();
    }
    books.reject(1, &[Rejection { key: (1, 1, [1; 20]), reason: String::new() }], 9).unwrap();
    let reader = reader(&folder);
    let view = reader.view().unwrap();
    assert!(reader.playable(1).unwrap().is_some());
    (0..9).for_each(|_| books.prune(100).unwrap());
    assert_eq!(reader.deltas(1, Key::default(), 9).unwrap().len(), 2, "it is seen as it was");
    drop(view);
    let left = |batch| reader.deltas(batch, Key::default(), 9).unwrap().len();
    assert_eq!([left(1), left(2), left(3)], [1, 0, 0]);
    assert_eq!(reader.playable(3).unwrap(), None);
    assert!(reader.sealed(3).unwrap().is_some(), "the database is compared with its nonce");
    assert!(reader.sealed(2).unwrap().is_none());
    let batches = reader.batches().unwrap();
    assert_eq!((batches.first, batches.applied, batches.last), (4, 3, 3));
    assert_eq!(books.again().unwrap(), 1);
}

#[test]
fn silent_and_forgotten_clients_are_told() {
    let (folder, mut books) = books();
    books.collect().unwrap();
    write(&mut books, &[entry(Event::Started, 5, 0, 1000)]);
    seal(&mut books, 9);
    books.sweep(Default::default(), 9, 9000, 2700, 100_000).unwrap();
    seal(&mut books, 9);
    books.sweep(Default::default(), 9, 900_000, 2700, 100_000).unwrap();
    seal(&mut books, 9);
    let reader = reader(&folder);
    let state = |batch| {
        let row = &reader.deltas(batch, Key::default(), 9).unwrap()[0];
        (row.announces, row.active, row.gone)
    };
    assert_eq!(
        [state(1), state(2), state(3)],
        [(1, true, false), (0, false, false), (0, false, true)]
    );
}

#[test]
fn new_books_begin_with_what_the_site_knows_of_clients() {
    let (folder, mut books) = books();
    books.collect().unwrap();
    let baseline = Baseline {
        key: (1, 1, [1; 20]),
        total: [100, 50],
        remaining: Some(10),
        active: true,
        seen_at: 5,
        address: None,
        corrupt: 30,
    };
    assert_eq!(books.begin_from(&[baseline.clone(), baseline], 1000).unwrap(), 1);
    write(&mut books, &[of(1, Event::None, 130)]);
    assert_eq!(reader(&folder).member(1).unwrap().unwrap().uploaded, 0, "downloaded went back");
    let said = Some(Bytes { uploaded: 150, downloaded: 60 });
    write(&mut books, &[Entry { said, ..of(1, Event::None, 0) }]);
    let second = Entry { peer_id: PeerId([2; 20]), ..of(1, Event::Started, 9) };
    write(&mut books, &[second]);
    assert_eq!(reader(&folder).member(1).unwrap().unwrap().uploaded, 20);
    write(&mut books, &[Entry { said, corrupt: 32, ..of(1, Event::None, 0) }]);
    let sealed = seal(&mut books, 9).unwrap();
    let first = &reader(&folder).deltas(sealed.number, Key::default(), 9).unwrap()[0];
    assert_eq!(first.corrupt, [2, 32]);
}

#[test]
fn what_failed_a_hash_check_is_noted_once_and_no_credit() {
    let (folder, mut books) = books();
    books.collect().unwrap();
    let mut announce = |corrupt, downloaded, at| {
        let limits = Limits { rate: 10, ..LIMITS };
        let entry = Entry { corrupt, ..entry(Event::None, 0, downloaded, at) };
        books.write(&[entry], &limits).unwrap();
        let sealed = seal(&mut books, at).unwrap();
        reader(&folder).deltas(sealed.number, Key::default(), 9).unwrap()[0].corrupt
    };
    assert_eq!(announce(7, 100, 0), [0, 7], "what a client has from elsewhere");
    assert_eq!(announce(9, 100, 10), [2, 9]);
    assert_eq!(announce(9, 100, 10), [0, 9], "over the other family");
    assert_eq!(announce(0, 100, 20), [0, 0], "it is not said");
    assert_eq!(announce(10, 100, 20), [1, 10]);
    assert_eq!(announce(u64::MAX, 100, 30), [100, i64::MAX], "beyond the guard");
    assert_eq!(announce(4, 50, 40), [0, 4], "a client that has begun anew");
    assert_eq!(announce(3, 60, 50), [0, 3], "less than before");
    let seen = reader(&folder).page(1).unwrap().history[0].downloaded;
    assert_eq!(seen, 10, "it was downloaded all the same");
    // With a refused row, it comes in another batch.
    let refused = [Rejection { key: (1, 1, [1; 20]), reason: String::new() }];
    books.reject(2, &refused, 60).unwrap();
    books.applied(2, 60).unwrap();
    books.again().unwrap();
    let next = |corrupt, at| Entry { corrupt, ..entry(Event::None, 0, 60, at) };
    write(&mut books, &[next(5, 60), next(6, 70)]);
    let sealed = seal(&mut books, 70).unwrap();
    let row = &reader(&folder).deltas(sealed.number, Key::default(), 9).unwrap()[0];
    assert_eq!(row.corrupt, [2 + 2 + 1, 6]);
}

#[test]
fn what_makes_room_may_go_beyond_the_size() {
    let (folder, mut books) = books();
    books.collect().unwrap();
    write(&mut books, &[of(1, Event::Started, 0)]);
    let path = folder.path().join("accounts.db");
    drop(books);
    let mut books = Database::open(&path, 1).unwrap();
    books.collect().unwrap();
    let many: Vec<_> =
        (10..2000).map(|torrent| Entry { torrent, ..of(1, Event::None, 0) }).collect();
    books.write(&many, &LIMITS).unwrap_err();
    books.with_reserve(|books| {
        books.write(&many, &LIMITS).unwrap();
        seal(books, 9).unwrap();
    });
    books.write(&many[..1], &LIMITS).unwrap();
    let more: Vec<_> =
        (3000..5000).map(|torrent| Entry { torrent, ..of(1, Event::None, 0) }).collect();
    books.write(&more, &LIMITS).unwrap_err();
}
