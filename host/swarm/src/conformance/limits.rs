//! Limits, downloads, silent peers, and calls from many threads.

use super::*;

pub fn torrents_are_limited<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(Options { max_torrents: 2, ..options() }));
    let of = |torrent, peer| Update { info_hash: info_hash(torrent), ..leecher(peer) };
    subject.enter(&of(1, v4(1)));
    subject.enter(&of(2, v4(1)));
    assert_eq!(subject.announce(&of(3, v4(1))), Err(Refusal::Torrents));
    assert_eq!(subject.counts(3), None);
    assert_eq!(subject.totals().swarms, 2);
    subject.enter(&of(2, v6(1)));
    subject.enter(&Update { event: Event::Stopped, ..of(1, v4(1)) });
    subject.enter(&of(3, v4(1)));
    assert_eq!(subject.announce(&of(1, v4(1))), Err(Refusal::Torrents));
    subject.expire(LIFETIME + 1);
    subject.enter(&of(1, v4(1)));
}

pub fn the_use_of_limits_is_known<S: Store>(make: impl Fn(Options) -> S) {
    let limited = Options {
        max_torrents: 3,
        max_peers_per_torrent: 2,
        max_peers_per_address: 4,
        ..options()
    };
    let mut subject = Subject::new(make(limited));
    let of = |torrent, peer| Update { info_hash: info_hash(torrent), ..leecher(peer) };
    for update in [of(1, v4(1)), of(1, v6(1)), of(2, v4(1))] {
        subject.enter(&update);
    }
    let usage = |count, limit| Some(Usage { count, limit });
    let standing = |torrent, peer| subject.store.standing(info_hash(torrent), peer);
    let expected = Standing {
        refusal: Some(Refusal::Peers),
        torrents: usage(2, 3),
        peers_of_torrent: usage(2, 2),
        peers_of_address: usage(0, 4),
    };
    assert_eq!(standing(1, v4(2)), expected);
    let known = Standing { refusal: None, peers_of_address: usage(2, 4), ..expected };
    assert_eq!(standing(1, v4(1)), known);
    assert_eq!(standing(3, v4(1)), Standing { peers_of_torrent: usage(0, 2), ..known });
    let none =
        Standing { refusal: None, torrents: None, peers_of_torrent: None, peers_of_address: None };
    assert_eq!(make(options()).standing(info_hash(1), v4(1)), none);
}

pub fn peers_of_a_torrent_are_limited<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(Options { max_peers_per_torrent: 2, ..options() }));
    subject.enter(&leecher(v4(1)));
    subject.enter(&leecher(v6(1)));
    for new in [v4(2), v6(2)] {
        assert_eq!(subject.announce(&leecher(new)), Err(Refusal::Peers));
    }
    assert_eq!(subject.enter(&seeder(v4(1))), counts(1, 1, 0));
    assert_eq!(subject.enter(&stopped(v4(2))), counts(1, 1, 0));
    assert_eq!(subject.enter(&stopped(v4(1))), counts(0, 1, 0));
    assert_eq!(subject.enter(&leecher(v4(2))), counts(0, 2, 0));
}

pub fn peers_of_an_address_are_limited<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(Options { max_peers_per_address: 2, ..options() }));
    let of = |torrent, port| {
        let mut update = Update { info_hash: info_hash(torrent), ..leecher(v4(1)) };
        update.peer.set_port(port);
        update
    };
    subject.enter(&of(1, 1));
    subject.enter(&of(2, 1));
    assert_eq!(subject.announce(&of(2, 2)), Err(Refusal::Peers));
    assert_eq!(subject.announce(&of(3, 1)), Err(Refusal::Peers));
    assert_eq!(subject.totals().swarms, 2);
    subject.enter(&Update { info_hash: info_hash(3), ..leecher(v4(2)) });
    subject.enter(&Update { seeder: true, ..of(1, 1) });
    // A stop that changes nothing makes no room.
    subject.enter(&Update { event: Event::Stopped, ..of(2, 2) });
    assert_eq!(subject.announce(&of(3, 1)), Err(Refusal::Peers));
    subject.enter(&Update { event: Event::Stopped, ..of(2, 1) });
    subject.enter(&of(3, 1));
    assert_eq!(subject.announce(&of(2, 2)), Err(Refusal::Peers));
    subject.expire(LIFETIME + 1);
    subject.enter(&of(2, 2));
    subject.enter(&of(2, 3));
    assert_eq!(subject.announce(&of(2, 4)), Err(Refusal::Peers));
}

pub fn downloads_outlive_their_swarm<S: Store>(make: impl Fn(Options) -> S) {
    const KEPT: Seconds = 5000;
    let mut subject =
        Subject::new(make(Options { keep_downloads: KEPT, max_torrents: 1, ..options() }));
    let completed = |peer| Update { event: Event::Completed, ..leecher(peer) };
    let at = |now, update: Update| Update { now, ..update };
    let other = Update { info_hash: info_hash(1), ..leecher(v4(1)) };
    // Peers that stop or time out, of either family.
    for (start, peer) in [(0, v4(1)), (10_000, v6(1))] {
        subject.enter(&at(start, leecher(peer)));
        let downloads = subject.enter(&at(start, completed(peer))).completed;
        assert_eq!(subject.announce(&at(start, other)), Err(Refusal::Torrents));
        let last = subject.enter(&at(start, stopped(peer)));
        assert_eq!(last, counts(0, 0, downloads));
        assert_eq!(subject.counts(0), Some(last));
        assert_eq!(subject.enter(&at(start, stopped(peer))), last, "an unknown peer stops");
        assert_eq!(subject.totals(), Totals::default());
        // The swarm is gone, so there is room for another.
        subject.enter(&at(start, other));
        assert_eq!(subject.totals().swarms, 1);
        subject.enter(&at(start, Update { event: Event::Stopped, ..other }));
        assert_eq!(subject.counts(1), None, "it was never downloaded");
        // The torrent comes back, and disappears again.
        let later = start + 100;
        assert_eq!(subject.enter(&at(later, seeder(v4(2)))), counts(1, 0, downloads));
        subject.expire(later + LIFETIME + 1);
        assert_eq!(subject.counts(0), Some(last));
        subject.expire(later + LIFETIME + 1 + KEPT);
        assert_eq!(subject.counts(0), Some(last));
        assert_eq!(
            subject.enter(&at(later + LIFETIME + KEPT, leecher(peer))),
            counts(0, 1, downloads)
        );
        assert_eq!(
            subject.enter(&at(later + LIFETIME + KEPT, completed(peer))).completed,
            downloads + 1
        );
        subject.enter(&at(later + LIFETIME + KEPT, stopped(peer)));
        if start > 0 {
            subject.expire(later + LIFETIME + 2 * KEPT + 1);
            assert_eq!(subject.counts(0), None);
            assert_eq!(subject.enter(&at(30_000, seeder(v4(2)))), counts(1, 0, 0));
        }
    }
}

pub fn silent_peers_expire<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(options()));
    let at = |now, update: Update| Update { now, ..update };
    subject.enter(&at(100, leecher(v4(1))));
    subject.enter(&at(100, leecher(v6(1))));
    subject.enter(&at(100, leecher(v4(2))));
    subject.enter(&at(101, leecher(v4(3))));
    subject.enter(&at(102, Update { event: Event::Completed, ..seeder(v4(2)) }));
    subject.enter(&at(100, Update { info_hash: info_hash(1), ..leecher(v4(1)) }));
    subject.expire(100 + LIFETIME);
    assert_eq!(subject.counts(0), Some(counts(1, 3, 1)));
    subject.expire(101 + LIFETIME);
    assert_eq!(subject.counts(0), Some(counts(1, 1, 1)));
    assert_eq!(subject.counts(1), None);
    let ipv4 = Population { seeders: 1, leechers: 1 };
    assert_eq!(subject.totals(), Totals { swarms: 1, ipv4, ..Totals::default() });
    subject.expire(103 + LIFETIME);
    assert_eq!(subject.counts(0), None);
    assert_eq!(subject.totals(), Totals::default());
}

pub fn a_large_swarm_expires<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = Subject::new(make(options()));
    let stays = |number: u16| number.is_multiple_of(3);
    for number in 0..5000 {
        let update = Update {
            now: if stays(number) { 2 } else { 1 },
            seeder: number % 2 == 0,
            want: 0,
            ..leecher(v4(number))
        };
        subject.enter(&update);
        if number < 3000 {
            subject.enter(&Update { peer: v6(number), ..update });
        }
    }
    subject.expire(LIFETIME + 2);
    let mut left: Vec<_> = (0..5000).filter(|&number| stays(number)).map(v4).collect();
    left.extend((0..3000).filter(|&number| stays(number)).map(v6));
    let ipv4 = Population { seeders: 834, leechers: 833 };
    let ipv6 = Population { seeders: 500, leechers: 500 };
    assert_eq!(subject.totals(), Totals { swarms: 1, ipv4, ipv6 });
    let late = Update { now: LIFETIME + 2, ..leecher(v4(9999)) };
    assert_eq!(subject.given(&late), left);
    subject.expire(LIFETIME + 3);
    assert_eq!(subject.counts(0), Some(counts(0, 1, 0)));
}

pub fn threads_leave_the_totals_right<S: Store>(make: impl Fn(Options) -> S) {
    const THREADS: u16 = 4;
    let limits = Options { max_torrents: 5, max_peers_per_address: 3, ..options() };
    let store = make(Options { keep_downloads: 100, ..limits });
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let mut rng = SmallRng::seed_from_u64(thread.into());
                let mut peers = Peers::default();
                for round in 0..20_000 {
                    let number = rng.random_range(0..100) * THREADS + thread;
                    let peer =
                        if number.is_multiple_of(3) { v6(number / 8) } else { v4(number / 8) };
                    let peer = SocketAddr::new(peer.ip(), number);
                    let event = match rng.random_range(0..4) {
                        0 => Event::Stopped,
                        1 => Event::Completed,
                        _ => Event::None,
                    };
                    let update = Update {
                        info_hash: info_hash(rng.random_range(0..8)),
                        event,
                        seeder: rng.random(),
                        want: 10,
                        now: round / 4,
                        ..leecher(peer)
                    };
                    peers.clear();
                    let answer = store.announce(&update, &mut rng, &mut peers);
                    assert!(peers.len() <= 10 && !addresses(&peers).contains(&peer));
                    if let Ok(counts) = answer
                        && event != Event::Stopped
                    {
                        assert!(peers.len() < (counts.seeders + counts.leechers) as usize);
                    }
                    if round % 100 == 0 {
                        store.expire(round / 4);
                        assert!(store.totals().swarms <= 5);
                    }
                }
            });
        }
    });

    let mut subject = Subject::new(store);
    let known = (0..8).filter_map(|torrent| subject.counts(torrent));
    let left: Vec<_> = known.filter(|counts| counts.seeders + counts.leechers > 0).collect();
    let Totals { swarms, ipv4, ipv6 } = subject.totals();
    assert_eq!(swarms, left.len() as u64);
    let seeders: u64 = left.iter().map(|counts| u64::from(counts.seeders)).sum();
    assert_eq!(ipv4.seeders + ipv6.seeders, seeders);
    let leechers: u64 = left.iter().map(|counts| u64::from(counts.leechers)).sum();
    assert_eq!(ipv4.leechers + ipv6.leechers, leechers);

    subject.expire(5000 + LIFETIME + 1);
    assert_eq!(subject.totals(), Totals::default());
    // Nothing is left that would count against a limit.
    for torrent in 0..5 {
        subject.enter(&Update { info_hash: info_hash(torrent), ..leecher(v4(u16::from(torrent))) });
    }
    for port in 1..=2 {
        let mut update = leecher(v4(0));
        update.peer.set_port(port);
        subject.enter(&update);
    }
}
