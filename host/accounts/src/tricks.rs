//! The books against clients that want more than they have moved, and a file that is taken away.

use karuta_bittorrent::{Event, PeerId};

use super::*;
use crate::database::Limits;
use crate::tests::{LIMITS, books, changes, credit, entry, options, reader, wait};

#[test]
fn a_second_is_credited_once_however_often_a_client_announces() {
    let (folder, mut books) = books();
    let limits = Limits { rate: 10, ..LIMITS };
    let mut total = 0;
    let mut write = |event, at| {
        total += 10;
        books.write(&[entry(event, total, 0, at)], &limits).unwrap().suspect
    };
    assert_eq!(write(Event::Started, 5), 0);
    assert_eq!(write(Event::None, 5), 0, "its first second");
    let suspect: u64 = (0..50).map(|_| write(Event::None, 5) + write(Event::Stopped, 5)).sum();
    assert_eq!((credit(&folder), suspect), ((10, 0), 100));
    assert_eq!((write(Event::None, 6), write(Event::None, 6)), (0, 1));
    assert_eq!((write(Event::None, 5), write(Event::None, 6)), (1, 1), "out of order");
    assert_eq!(credit(&folder), (20, 0));
}

#[test]
fn what_is_moved_in_one_second_may_come_in_parts() {
    let (folder, mut books) = books();
    let limits = Limits { rate: 10, ..LIMITS };
    let batch = [0, 3, 6, 9].map(|uploaded| entry(Event::None, uploaded, 0, 5));
    assert_eq!(books.write(&batch, &limits).unwrap().suspect, 0);
    assert_eq!(credit(&folder), (9, 0));
}

#[test]
fn a_surplus_client_is_not_counted_when_it_stops() {
    let (folder, mut books) = books();
    let limits = Limits { per_member_and_torrent: 1, ..LIMITS };
    let of = |peer: u8, event, uploaded, at| Entry {
        peer_id: PeerId([peer; 20]),
        ..entry(event, uploaded, 0, at)
    };
    let mut write = |entry| books.write(&[entry], &limits).unwrap().surplus;
    write(of(1, Event::Started, 0, 0));
    write(of(1, Event::Stopped, 0, 0));
    write(of(2, Event::Started, 0, 0));
    assert_eq!(write(of(1, Event::Started, 50, 9)), 1);
    assert_eq!(write(of(1, Event::Stopped, 50, 9)), 1);
    assert_eq!(credit(&folder), (0, 0));
    assert_eq!(write(of(2, Event::Stopped, 7, 9)), 0);
    assert_eq!(credit(&folder), (7, 0));
}

#[test]
fn a_client_that_was_never_a_leecher_has_not_finished_a_download() {
    let (folder, mut books) = books();
    let seeder = |event| Entry { left: Some(0), ..entry(event, 0, 0, 0) };
    books.write(&[seeder(Event::Completed), seeder(Event::Completed)], &LIMITS).unwrap();
    assert_eq!(reader(&folder).torrent(1).unwrap().unwrap().completed, 0);
}

#[test]
fn a_file_that_was_removed_is_noticed_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let accounts = Accounts::open(&path, options(), None).unwrap();
    wait(accounts.change(changes())).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    accounts.enter(entry(Event::Started, 0, 0, 0)).unwrap().blocking_recv().unwrap_err();
    let figures = accounts.figures();
    assert!(figures.failing.unwrap().reason.contains("accounts.db was removed"));
    assert_eq!(figures.written, 0);
    assert!(matches!(wait(accounts.change(changes())), Err(NotChanged::Gone)));
    std::fs::rename(&elsewhere, &path).unwrap();
    assert!(accounts.end(Duration::from_secs(60)));
    assert_eq!((accounts.figures().written, accounts.figures().failing.is_none()), (1, true));
}

#[test]
fn a_client_that_does_not_say_what_it_moved_has_not_begun_anew() {
    let (folder, mut books) = books();
    let silent = |at| Entry { said: None, ..entry(Event::None, 0, 0, at) };
    let batch =
        [silent(0), entry(Event::None, 100, 0, 0), silent(1), entry(Event::None, 300, 0, 2)];
    books.write(&batch, &LIMITS).unwrap();
    assert_eq!(credit(&folder), (200, 0));
}
