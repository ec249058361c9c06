//! How peers are counted: one record per peer, one peer per client.

use super::*;

pub fn roles_follow_every_event<S: Store>(make: impl Fn(Options) -> S) {
    use Event::{Completed, None, Paused, Started, Stopped};
    // The announces of one peer: event, whether nothing is left, and the seeders, leechers and
    // downloads after it.
    let cases: &[&[(Event, bool, [u32; 3])]] = &[
        &[(Started, false, [0, 1, 0]), (None, false, [0, 1, 0]), (Stopped, false, [0, 0, 0])],
        &[(Started, false, [0, 1, 0]), (Completed, true, [1, 0, 1]), (None, true, [1, 0, 1])],
        // The file was there already, so this is not a download.
        &[(Started, true, [1, 0, 0]), (Completed, true, [1, 0, 0])],
        &[(Completed, true, [1, 0, 0]), (Started, true, [1, 0, 0])],
        &[(Started, false, [0, 1, 0]), (None, true, [1, 0, 0]), (Completed, true, [1, 0, 0])],
        &[(Started, false, [0, 1, 0]), (Stopped, true, [0, 0, 0])],
        // A peer that completes is a seeder, regardless of `left`.
        &[(Started, false, [0, 1, 0]), (Completed, false, [1, 0, 1])],
        &[(None, true, [1, 0, 0]), (None, false, [0, 1, 0]), (Completed, true, [1, 0, 1])],
        // Counted once while the peer is known, however often it completes.
        &[(Started, false, [0, 1, 0]), (Completed, true, [1, 0, 1]), (Started, false, [0, 1, 1])],
        &[
            (Started, false, [0, 1, 0]),
            (Completed, true, [1, 0, 1]),
            (Started, false, [0, 1, 1]),
            (Completed, true, [1, 0, 1]),
            (Paused, false, [0, 1, 1]),
            (Completed, true, [1, 0, 1]),
        ],
        // A partial seed is a leecher (BEP 21).
        &[(Started, false, [0, 1, 0]), (Paused, false, [0, 1, 0]), (None, false, [0, 1, 0])],
        &[(Started, true, [1, 0, 0]), (Paused, false, [0, 1, 0]), (None, true, [1, 0, 0])],
        &[(Paused, false, [0, 1, 0]), (Completed, true, [1, 0, 1]), (Stopped, true, [0, 0, 1])],
        &[(Paused, true, [0, 1, 0]), (Paused, false, [0, 1, 0]), (Stopped, false, [0, 0, 0])],
        &[(Started, false, [0, 1, 0]), (Started, false, [0, 1, 0]), (Started, true, [1, 0, 0])],
    ];
    for case in cases {
        for peer in [v4(1), v6(1)] {
            // Alone, and beside a leecher and a seeder of each family.
            for others in [0, 2] {
                let mut subject = Subject::new(make(options()));
                if others > 0 {
                    subject.enter(&leecher(v4(2)));
                    subject.enter(&seeder(v4(3)));
                    subject.enter(&leecher(v6(2)));
                    subject.enter(&seeder(v6(3)));
                }
                for &(event, seeder, [seeders, leechers, completed]) in *case {
                    let after = subject.enter(&Update { event, seeder, ..leecher(peer) });
                    let expected = Counts {
                        partial_seeds: u32::from(event == Paused),
                        ..counts(seeders + others, leechers + others, completed)
                    };
                    assert_eq!(after, expected, "{case:?}, {event:?}");
                    let kept = (seeders + leechers + others > 0).then_some(after);
                    assert_eq!(subject.counts(0), kept, "{case:?}, {event:?}");
                }
            }
        }
    }
}

pub fn a_stop_of_an_unknown_peer_changes_nothing<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(options()));
    assert_eq!(subject.announce(&stopped(v4(1))), Ok((counts(0, 0, 0), vec![])));
    assert_eq!(subject.counts(0), None);
    assert_eq!(subject.totals(), Totals::default());

    subject.enter(&leecher(v4(2)));
    for unknown in [v4(1), v6(2)] {
        assert_eq!(subject.announce(&stopped(unknown)), Ok((counts(0, 1, 0), vec![])));
    }
    let ipv4 = Population { seeders: 0, leechers: 1 };
    assert_eq!(subject.totals(), Totals { swarms: 1, ipv4, ..Totals::default() });
}

pub fn address_and_port_are_one_peer<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(options()));
    for peer in [v4(1), v6(1)] {
        let first = subject.enter(&leecher(peer)).leechers;
        let restarted = Update { peer_id: PeerId([7; 20]), ..leecher(peer) };
        assert_eq!(subject.enter(&restarted).leechers, first);
        let mut elsewhere = leecher(peer);
        elsewhere.peer.set_port(6882);
        assert_eq!(subject.enter(&elsewhere).leechers, first + 1);
    }
}

pub fn peer_ids_follow_their_peers<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(Options { keep_peer_ids: true, ..options() }));
    let id = |number: u16| PeerId([number as u8; 20]);
    for number in 1..=100 {
        for peer in [v4(number), v6(number)] {
            let first = Update { peer_id: id(0), ..leecher(peer) };
            subject.enter(&first);
            subject.enter(&Update { peer_id: id(number), seeder: number % 3 == 0, ..first });
        }
    }
    for number in (1..=100).step_by(7) {
        subject.enter(&stopped(v4(number)));
        subject.enter(&stopped(v6(number)));
    }
    let mut peers = Peers::default();
    let update = leecher(v4(0));
    subject.store.announce(&update, &mut subject.rng, &mut peers).unwrap();
    assert_eq!((peers.ipv4.len() / 6, peers.ipv4_ids.len()), (85, 85));
    for (address, peer_id) in peers.ipv4.chunks(6).zip(&peers.ipv4_ids) {
        assert_eq!(*peer_id, id(address[3].into()));
    }
    assert_eq!((peers.ipv6.len() / 18, peers.ipv6_ids.len()), (85, 85));
    for (address, peer_id) in peers.ipv6.chunks(18).zip(&peers.ipv6_ids) {
        assert_eq!(*peer_id, id(address[15].into()));
    }
}

pub fn a_client_of_both_families_is_one_peer<S: Store>(make: impl Fn(Options) -> S) {
    let paused = |update: Update| Update { event: Event::Paused, ..update };
    let completed = |update: Update| Update { event: Event::Completed, ..update };
    // How many other clients there are, all over IPv4.
    for others in [0, 3, 100] {
        let mut subject = Subject::new(make(Options { keep_peer_ids: true, ..options() }));
        for number in 100..100 + others {
            subject.enter(&Update { peer_id: client(number), want: 0, ..seeder(v4(number)) });
        }
        let others = u32::from(others);
        let of = |peer| Update { peer_id: client(1), ..leecher(peer) };
        let [a, b] = [of(v4(1)), of(v6(1))];
        assert_eq!(subject.enter(&a), counts(others, 1, 0));
        assert_eq!(subject.enter(&b), counts(others, 1, 0));
        let both = subject.totals();
        assert_eq!([both.ipv4.leechers, both.ipv6.leechers], [1, 1], "they are two addresses");
        let partial = |leechers| Counts { partial_seeds: 1, ..counts(others, leechers, 0) };
        assert_eq!(subject.enter(&paused(a)), partial(2), "until it has said so by both");
        assert_eq!(subject.enter(&paused(b)), partial(1));
        assert_eq!(
            subject.enter(&completed(a)),
            Counts { completed: 1, partial_seeds: 1, ..counts(others + 1, 1, 0) }
        );
        assert_eq!(subject.enter(&completed(b)), counts(others + 1, 0, 1), "one download");
        assert_eq!(subject.counts(0), Some(counts(others + 1, 0, 1)));
        // A third address, which then takes another id.
        let third = Update { seeder: true, ..of(v6(2)) };
        assert_eq!(subject.enter(&third), counts(others + 2, 0, 1), "of one family they are two");
        let elsewhere = Update { peer_id: client(2), ..third };
        assert_eq!(subject.enter(&elsewhere), counts(others + 2, 0, 1));
        assert_eq!(
            subject.enter(&Update { event: Event::Stopped, ..elsewhere }),
            counts(others + 1, 0, 1)
        );
        assert_eq!(subject.enter(&Update { event: Event::Stopped, ..a }), counts(others + 1, 0, 1));
        assert_eq!(subject.enter(&Update { seeder: true, now: 1, ..a }), counts(others + 1, 0, 1));
        subject.expire(LIFETIME + 1);
        assert_eq!(subject.counts(0), Some(counts(1, 0, 1)));
        assert_eq!(
            subject.enter(&Update { seeder: true, now: LIFETIME + 1, ..b }),
            counts(1, 0, 1)
        );
    }
    // If ids are not kept, or the id is unknown, they are two.
    for (keep_peer_ids, peer_id) in [(false, client(1)), (true, PeerId::UNKNOWN)] {
        let mut subject = Subject::new(make(Options { keep_peer_ids, ..options() }));
        let of = |peer| Update { peer_id, ..leecher(peer) };
        subject.enter(&of(v4(1)));
        assert_eq!(subject.announce(&of(v6(1))), Ok((counts(0, 2, 0), vec![v4(1)])));
    }
}

pub fn a_borrowed_peer_id_hides_nobody<S: Store>(make: impl Fn(Options) -> S) {
    let mut rng = SmallRng::seed_from_u64(3);
    for crowd in [4, 60, 200] {
        let mut subject = Subject::new(make(Options { keep_peer_ids: true, ..options() }));
        let update = |rng: &mut SmallRng, number: u16, peer| Update {
            peer_id: client(number % 40),
            seeder: rng.random(),
            event: if rng.random_ratio(1, 4) { Event::Paused } else { Event::None },
            want: 0,
            ..leecher(peer)
        };
        for number in 0..crowd {
            subject.enter(&update(&mut rng, number, v4(number)));
            subject.enter(&update(&mut rng, number * 3, v6(number)));
        }
        // Another peer never makes a count smaller, whatever id it claims.
        for number in 0..100 {
            let before = subject.counts(0).unwrap();
            let stranger = if number % 2 == 0 { v4(9999) } else { v6(9999) };
            let after = subject.enter(&update(&mut rng, number, stranger));
            let partial = after.partial_seeds >= before.partial_seeds;
            assert!(
                after.seeders >= before.seeders && after.leechers >= before.leechers && partial
            );
            let downloaders = |of: Counts| of.leechers - of.partial_seeds;
            assert!(downloaders(after) >= downloaders(before));
            assert_eq!(subject.enter(&stopped(stranger)), before);
        }
    }
}
