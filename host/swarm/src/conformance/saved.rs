//! What outlives a store: a walk over it, and its way into another.

use super::*;
use crate::{Codec, PIECE, Piece, Restored, SavedPeer};

/// Walks over a store, and returns what it finds after writing and reading it.
fn walk<S: Store>(store: &S, now: Seconds, codec: Codec) -> Vec<Piece> {
    let (mut walk, mut piece, mut pieces) = (S::Walk::default(), Piece::default(), Vec::new());
    while store.next_piece(&mut walk, now, &mut piece) {
        assert!(piece.peers.len() <= PIECE);
        pieces.push(reread(&piece, codec));
    }
    pieces
}

fn reread(piece: &Piece, codec: Codec) -> Piece {
    let (mut bytes, mut written, mut read) = (Vec::new(), piece.clone(), Piece::default());
    codec.write(&mut written, &mut bytes);
    assert!(bytes.len() <= Codec::ROOM);
    let mut rest = &bytes[..];
    match piece.peers.is_empty() {
        true => codec.read_deserted(&mut rest, &mut read),
        false => codec.read(&mut rest, &mut read),
    }
    .unwrap();
    assert_eq!(rest, b"");
    read
}

fn restore<S: Store>(store: &S, pieces: &[Piece], now: Seconds) -> Restored {
    let mut restored = Restored::default();
    pieces.iter().for_each(|piece| restored += store.restore(piece, now));
    restored
}

fn saved(update: &Update, age: Seconds) -> SavedPeer {
    SavedPeer {
        address: update.peer,
        role: update.role(),
        age,
        downloaded: false,
        is_hidden: false,
        peer_id: update.peer_id,
    }
}

fn piece(torrent: u8, downloads: u32, peers: Vec<SavedPeer>) -> Piece {
    Piece { info_hash: info_hash(torrent), downloads, peers, deserted: 0 }
}

/// Returns all that a store says about the torrents, and about the peers.
fn seen<S: Store>(
    store: &S,
    known: &[SocketAddr],
    now: Seconds,
) -> impl PartialEq + std::fmt::Debug + use<S> {
    let torrents = (0..4).map(|torrent| {
        let mut peers = Peers::default();
        for peer in known {
            match peer {
                SocketAddr::V4(peer) => {
                    peers.ipv4.extend(peer.ip().octets());
                    peers.ipv4.extend(peer.port().to_be_bytes());
                }
                SocketAddr::V6(peer) => {
                    peers.ipv6.extend(peer.ip().octets());
                    peers.ipv6.extend(peer.port().to_be_bytes());
                }
            }
        }
        let mut candidates = Vec::new();
        store.describe(info_hash(torrent), &peers, now, &mut candidates);
        (store.counts(info_hash(torrent)), candidates)
    });
    (torrents.collect::<Vec<_>>(), store.totals())
}

/// A store that was restored says the same, and goes on the same way.
pub fn a_restored_store_is_the_same<S: Store>(make: fn(Options) -> S) {
    let events = [Event::None, Event::Started, Event::Stopped, Event::Completed, Event::Paused];
    let bools = (any::<bool>(), prop::bool::weighted(0.2));
    let step = (0..4_u8, 0..2_usize, 1..90_u16, 0..events.len(), bools, 0..7_u16);
    let steps = prop::collection::vec(step, 0..400);
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    let check = |(steps, later, keep_peer_ids): (Vec<_>, Vec<_>, bool)| {
        let update = |(torrent, family, number, event, (seeder, is_hidden), id): (
            u8,
            usize,
            u16,
            usize,
            (bool, bool),
            u16,
        ),
                      now| {
            let peer = if family == 0 { v4(number) } else { v6(number) };
            let info_hash = info_hash(torrent);
            let event = events[event];
            let peer = Update { info_hash, is_hidden, now, ..leecher(peer) };
            Update { peer_id: client(id), event, seeder, ..peer }
        };
        let options = Options { keep_peer_ids, keep_downloads: LIFETIME, ..options() };
        let mut before = Subject::new(make(options));
        for (step, now) in steps.into_iter().zip(5..) {
            before.enter(&update(step, now));
        }
        let pieces = walk(&before.store, 500, Codec::new(LIFETIME, keep_peer_ids));
        let mut after = Subject::new(make(options));
        let restored = restore(&after.store, &pieces, 3);
        let totals = before.totals();
        let all = [totals.ipv4, totals.ipv6].map(|of| of.seeders + of.leechers);
        prop_assert_eq!(restored, Restored { entered: all.iter().sum(), ..Restored::default() });
        let known: Vec<_> = (1..90).flat_map(|number| [v4(number), v6(number)]).collect();
        prop_assert_eq!(seen(&before.store, &known, 500), seen(&after.store, &known, 3));
        for step in later {
            // All that may be given are wanted.
            let (before, after) =
                (before.announce(&update(step, 500)), after.announce(&update(step, 3)));
            prop_assert_eq!(before, after);
        }
        // Nobody lives longer, or shorter, and neither do the counts of downloads.
        for silent in [700, LIFETIME - 100, LIFETIME, 2 * LIFETIME] {
            before.expire(500 + silent);
            after.expire(3 + silent);
            let now = (500 + silent, 3 + silent);
            prop_assert_eq!(seen(&before.store, &known, now.0), seen(&after.store, &known, now.1));
        }
        Ok(())
    };
    let step = (0..4_u8, 0..2_usize, 1..90_u16, 0..events.len(), bools, 0..7_u16);
    let later = prop::collection::vec(step, 0..60);
    runner.run(&(steps, later, any::<bool>()), check).unwrap();
}

/// A peer that a walk found twice is entered once, as it was found last.
pub fn a_peer_is_not_restored_twice<S: Store>(make: fn(Options) -> S) {
    for many in [1, 3000] {
        let subject = Subject::new(make(options()));
        let mut first: Vec<_> = (0..many).map(|number| saved(&leecher(v4(number)), 9)).collect();
        first.push(saved(&leecher(v6(1)), 9));
        let again = vec![saved(&seeder(v4(0)), 5), saved(&seeder(v4(0)), 5)];
        for peers in first.chunks(PIECE) {
            subject.store.restore(&piece(0, 4, peers.to_vec()), 0);
        }
        assert_eq!(subject.store.restore(&piece(0, 3, again), 0), Restored::default());
        assert_eq!(subject.counts(0), Some(counts(1, many.into(), 4)));
        let Totals { swarms, ipv4, .. } = subject.totals();
        assert_eq!((swarms, ipv4.seeders, ipv4.leechers), (1, 1, u64::from(many) - 1));
    }
}

/// What a peer has announced since stays, whatever an older record says of it.
pub fn a_younger_peer_is_not_overwritten<S: Store>(make: fn(Options) -> S) {
    let mut subject = Subject::new(make(options()));
    let me = Update { is_hidden: true, now: 500, ..seeder(v4(1)) };
    subject.enter(&me);
    for (age, expected) in [(100, counts(1, 0, 0)), (0, counts(0, 1, 0))] {
        let peers = vec![saved(&leecher(v4(1)), age)];
        assert_eq!(subject.store.restore(&piece(0, 0, peers), 550), Restored::default());
        assert_eq!(subject.counts(0), Some(expected), "{age} s");
    }
}

/// Whoever has been silent for too long is not restored, and its torrent only if it has downloads.
pub fn silent_peers_are_not_restored<S: Store>(make: fn(Options) -> S) {
    let subject = Subject::new(make(Options { keep_downloads: 50, ..options() }));
    let peers = vec![saved(&leecher(v4(1)), LIFETIME), saved(&leecher(v4(2)), LIFETIME + 1)];
    let restored = subject.store.restore(&piece(0, 0, peers), 7);
    assert_eq!(restored, Restored { entered: 1, expired: 1, refused: 0 });
    assert_eq!(subject.counts(0), Some(counts(0, 1, 0)));
    for (torrent, silent, downloads) in [(1, 20, 5), (2, 60, 5), (3, 20, 0)] {
        let peers = vec![saved(&seeder(v4(3)), LIFETIME + silent)];
        let restored = subject.store.restore(&piece(torrent, downloads, peers), 7);
        assert_eq!(restored, Restored { expired: 1, ..Restored::default() });
    }
    assert_eq!(
        [1, 2, 3].map(|torrent| subject.counts(torrent)),
        [Some(counts(0, 0, 5)), None, None]
    );
    subject.expire(7 + 30);
    assert_eq!(subject.counts(1), Some(counts(0, 0, 5)));
    subject.expire(7 + 31);
    assert_eq!((subject.counts(0), subject.counts(1)), (None, None));
    assert_eq!(subject.totals(), Totals::default());
}

/// Limits that have become lower hold for what is restored too.
pub fn limits_hold_for_what_is_restored<S: Store>(make: fn(Options) -> S) {
    let limits = Options {
        max_torrents: 2,
        max_peers_per_torrent: 3,
        max_peers_per_address: 2,
        ..options()
    };
    let subject = Subject::new(make(limits));
    let peers = |count| (0..count).map(|number| saved(&leecher(v4(number)), 1)).collect();
    let refused = |restored: Restored| (restored.entered, restored.refused);
    assert_eq!(refused(subject.store.restore(&piece(0, 0, peers(4)), 0)), (3, 1));
    assert_eq!(refused(subject.store.restore(&piece(1, 0, peers(2)), 0)), (2, 0));
    assert_eq!(refused(subject.store.restore(&piece(2, 0, peers(2)), 0)), (0, 2));
    assert_eq!(refused(subject.store.restore(&piece(1, 0, peers(3)), 0)), (1, 0));
    let totals = subject.totals();
    assert_eq!((totals.swarms, totals.ipv4.leechers), (2, 6));
    let lonely = Subject::new(make(limits));
    lonely.store.restore(&piece(0, 0, peers(1)), 0);
    lonely.store.restore(&piece(1, 0, peers(1)), 0);
    lonely.store.restore(&piece(0, 0, peers(1)), 0);
    assert_eq!(lonely.totals().swarms, 2);
    // A swarm without a single place for its peers takes none itself.
    let full = Subject::new(make(Options { max_torrents: 0, ..limits }));
    for torrent in 0..3 {
        full.store.restore(&piece(torrent, 0, peers(1)), 0);
    }
    assert_eq!((full.totals().swarms, full.counts(2)), (2, None));
}

/// A walk finds everybody who stays where they are, while others come and go.
pub fn a_walk_finds_all_who_stay<S: Store>(make: fn(Options) -> S) {
    let mut subject = Subject::new(make(options()));
    let staying = |number| Update { info_hash: info_hash(0), ..seeder(v4(number)) };
    for number in 0..5000 {
        subject.enter(&staying(number));
    }
    for torrent in 1..40 {
        subject.enter(&Update { info_hash: info_hash(torrent), ..leecher(v4(1)) });
    }
    let (mut walk, mut piece, mut found) = (S::Walk::default(), Piece::default(), BTreeSet::new());
    let mut torrents = BTreeSet::new();
    let mut number = 0;
    while subject.store.next_piece(&mut walk, 0, &mut piece) {
        torrents.insert(piece.info_hash);
        for peer in &piece.peers {
            found.extend((piece.info_hash == info_hash(0)).then_some(peer.address));
        }
        // Newer seeders come behind the others; swarms of their own come and go.
        number += 1;
        subject.enter(&staying(6000 + number));
        let own = Update { info_hash: info_hash(100 + number as u8 % 50), ..leecher(v4(number)) };
        subject.enter(&own);
        subject.enter(&Update { event: Event::Stopped, ..own });
    }
    assert!((0..5000).all(|number| found.contains(&v4(number))));
    assert!((0..40).all(|torrent| torrents.contains(&info_hash(torrent))));
    // The next walk begins anew.
    assert!(subject.store.next_piece(&mut walk, 0, &mut piece));
}

/// The parts of a store have every torrent once, and a walk over one of them finds its peers alone.
pub fn torrents_are_listed_once<S: Store>(make: fn(Options) -> S) {
    let mut subject = Subject::new(make(Options { keep_downloads: 50, ..options() }));
    for torrent in 0..200 {
        subject.enter(&Update { info_hash: info_hash(torrent), ..leecher(v4(torrent.into())) });
    }
    for number in 0..3000 {
        subject.enter(&leecher(v4(number)));
    }
    let last = Update { info_hash: info_hash(7), ..leecher(v4(7)) };
    subject.enter(&Update { event: Event::Completed, ..last });
    subject.enter(&Update { event: Event::Stopped, ..last });
    subject.enter(&Update { info_hash: info_hash(8), event: Event::Stopped, ..leecher(v4(8)) });
    let mut listed = Vec::new();
    let parts = (0..).take_while(|part| subject.store.list(*part, &mut listed)).count();
    assert!(parts > 0 && !subject.store.list(parts, &mut listed));
    listed.sort_unstable();
    let with_peers_or_downloads = (0..200).filter(|torrent| *torrent != 8).map(info_hash);
    let mut expected: Vec<_> = with_peers_or_downloads.collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for (torrent, peers, downloads) in [(0, 3000, 0), (1, 1, 0), (7, 0, 1), (8, 0, 0)] {
        let (mut walk, mut piece) = (S::Walk::from(info_hash(torrent)), Piece::default());
        let (mut found, mut counted) = (BTreeSet::new(), 0);
        while subject.store.next_piece(&mut walk, 0, &mut piece) {
            assert_eq!(piece.info_hash, info_hash(torrent));
            found.extend(piece.peers.iter().map(|peer| peer.address));
            counted = piece.downloads;
        }
        assert_eq!((found.len(), counted), (peers, downloads));
    }
}
