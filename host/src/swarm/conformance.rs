//! What every [`Store`] must do, as tests that take a way to make one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::{Builder, Runtime};

use super::{
    Locality, Options, Order, Plan, PlanId, Population, Refusal, Role, Seconds, Store, Totals,
    Update,
};
use crate::bittorrent::{Counts, Event, Family, InfoHash, PeerId, Peers};

/// Makes one test of each part of the suite for the stores that `$make` makes from [`Options`].
macro_rules! suite {
    ($make:expr) => {
        $crate::swarm::conformance::suite! { $make =>
            roles_follow_every_event
            a_stop_of_an_unknown_peer_changes_nothing
            address_and_port_are_one_peer
            peer_ids_follow_their_peers
            a_client_of_both_families_is_one_peer
            a_borrowed_peer_id_hides_nobody
            own_addresses_are_not_given
            leechers_are_given_anybody_but_themselves
            seeders_are_given_leechers
            partial_seeds_are_given_downloaders
            families_are_given_as_wanted
            answers_are_appended
            every_choice_is_equally_likely
            near_peers_come_first
            labels_of_another_plan_are_far
            equally_near_peers_are_equally_likely
            a_lone_peer_is_echoed_if_so_set
            torrents_are_limited
            peers_of_a_torrent_are_limited
            peers_of_an_address_are_limited
            downloads_outlive_their_swarm
            silent_peers_expire
            a_large_swarm_expires
            a_store_does_what_the_model_does
            threads_leave_the_totals_right
        }
    };
    ($make:expr => $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::swarm::conformance::$name($make);
            }
        )*
    };
}
pub(crate) use suite;

const LIFETIME: Seconds = 1000;

fn options() -> Options {
    Options { lifetime: LIFETIME, keep_downloads: 0, shards: 8, ..Options::default() }
}

/// A store, and what an announce of it needs.
struct Subject<S> {
    store: S,
    rng: SmallRng,
    runtime: Runtime,
}

/// An answer: the counts, and the peers in order.
type Answer = Result<(Counts, Vec<SocketAddr>), Refusal>;

impl<S: Store> Subject<S> {
    fn new(store: S) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { store, rng: SmallRng::seed_from_u64(1), runtime }
    }

    fn announce(&mut self, update: &Update) -> Answer {
        let mut peers = Peers::default();
        // Being told what is about to come changes nothing.
        self.store.expect(&[update.info_hash, info_hash(254)].repeat(40));
        let announced = self.store.announce(update, &mut self.rng, &mut peers);
        let counts = self.runtime.block_on(announced);
        let given = addresses(&peers);
        match counts {
            Ok(counts) => Ok((counts, given)),
            Err(refusal) => {
                assert_eq!(given, []);
                Err(refusal)
            }
        }
    }

    fn enter(&mut self, update: &Update) -> Counts {
        self.announce(update).unwrap().0
    }

    fn given(&mut self, update: &Update) -> Vec<SocketAddr> {
        self.announce(update).unwrap().1
    }

    /// Two rounds: the first may have begun before the last change.
    fn expire(&self, now: Seconds) {
        for _ in 0..2 {
            while !self.runtime.block_on(self.store.expire(now)) {}
        }
    }

    fn counts(&self, torrent: u8) -> Option<Counts> {
        let counts = self.runtime.block_on(self.store.counts(info_hash(torrent)));
        if let Some(at_once) = self.store.peek(info_hash(torrent)) {
            assert_eq!(Some(at_once), counts);
        }
        counts
    }

    fn totals(&self) -> Totals {
        self.runtime.block_on(self.store.totals())
    }
}

fn info_hash(torrent: u8) -> InfoHash {
    InfoHash([torrent; 20])
}

/// A leecher that wants everybody.
fn leecher(peer: SocketAddr) -> Update {
    Update {
        info_hash: info_hash(0),
        peer,
        peer_id: PeerId([0; 20]),
        event: Event::None,
        seeder: false,
        want: 10_000,
        only: None,
        locality: None,
        now: 0,
    }
}

fn seeder(peer: SocketAddr) -> Update {
    Update { seeder: true, ..leecher(peer) }
}

fn stopped(peer: SocketAddr) -> Update {
    Update { event: Event::Stopped, ..leecher(peer) }
}

fn v4(number: u16) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + u32::from(number)), 6881).into()
}

fn v6(number: u16) -> SocketAddr {
    (Ipv6Addr::from((0x2001_0db8 << 96) + u128::from(number)), 6881).into()
}

fn addresses(peers: &Peers) -> Vec<SocketAddr> {
    let port = |bytes: &[u8]| u16::from_be_bytes(bytes.try_into().unwrap());
    let v4 = peers.ipv4.chunks(6).map(|bytes| {
        let ip: [u8; 4] = bytes[..4].try_into().unwrap();
        SocketAddr::from((ip, port(&bytes[4..])))
    });
    let v6 = peers.ipv6.chunks(18).map(|bytes| {
        let ip: [u8; 16] = bytes[..16].try_into().unwrap();
        SocketAddr::from((ip, port(&bytes[16..])))
    });
    let mut all: Vec<_> = v4.chain(v6).collect();
    all.sort_unstable();
    all
}

fn counts(seeders: u32, leechers: u32, completed: u32) -> Counts {
    Counts { seeders, leechers, completed, partial_seeds: 0 }
}

pub fn roles_follow_every_event<S: Store>(make: impl Fn(Options) -> S) {
    use Event::{Completed, None, Paused, Started, Stopped};
    // One peer's announces: event, whether nothing is left, and seeders, leechers and downloads after it.
    let cases: &[&[(Event, bool, [u32; 3])]] = &[
        &[(Started, false, [0, 1, 0]), (None, false, [0, 1, 0]), (Stopped, false, [0, 0, 0])],
        &[(Started, false, [0, 1, 0]), (Completed, true, [1, 0, 1]), (None, true, [1, 0, 1])],
        // The file was there already: no download.
        &[(Started, true, [1, 0, 0]), (Completed, true, [1, 0, 0])],
        &[(Completed, true, [1, 0, 0]), (Started, true, [1, 0, 0])],
        &[(Started, false, [0, 1, 0]), (None, true, [1, 0, 0]), (Completed, true, [1, 0, 0])],
        &[(Started, false, [0, 1, 0]), (Stopped, true, [0, 0, 0])],
        // Whatever is left, whoever completes is a seeder.
        &[(Started, false, [0, 1, 0]), (Completed, false, [1, 0, 1])],
        &[(None, true, [1, 0, 0]), (None, false, [0, 1, 0]), (Completed, true, [1, 0, 1])],
        // Once while it is known, however often it says so.
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
    let announced = subject.store.announce(&update, &mut subject.rng, &mut peers);
    subject.runtime.block_on(announced).unwrap();
    assert_eq!((peers.ipv4.len() / 6, peers.ipv4_ids.len()), (85, 85));
    for (address, peer_id) in peers.ipv4.chunks(6).zip(&peers.ipv4_ids) {
        assert_eq!(*peer_id, id(address[3].into()));
    }
    assert_eq!((peers.ipv6.len() / 18, peers.ipv6_ids.len()), (85, 85));
    for (address, peer_id) in peers.ipv6.chunks(18).zip(&peers.ipv6_ids) {
        assert_eq!(*peer_id, id(address[15].into()));
    }
}

fn client(number: u16) -> PeerId {
    let mut id = PeerId([b'-'; 20]);
    id.0[..2].copy_from_slice(&number.to_be_bytes());
    id
}

pub fn a_client_of_both_families_is_one_peer<S: Store>(make: impl Fn(Options) -> S) {
    let paused = |update: Update| Update { event: Event::Paused, ..update };
    let completed = |update: Update| Update { event: Event::Completed, ..update };
    // How many clients there are besides, all over IPv4.
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
        // A third address, and one that takes another id.
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
    // Where ids are not kept, and for an id that is none, they are two.
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
        // One more peer, whoever it says it is, makes no count less.
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

pub fn own_addresses_are_not_given<S: Store>(make: impl Fn(Options) -> S) {
    let plan = Plan::new(&[16, 8], Order::NearFirst, 30).unwrap();
    let id = PlanId::unused();
    // Clients with an address of either family, every third a seeder.
    for clients in [1, 5, 30, 90, 400] {
        for plan in [None, Some(plan)] {
            let mut subject = Subject::new(make(Options { keep_peer_ids: true, ..options() }));
            let update = |number: u16, peer| Update {
                peer_id: client(number),
                seeder: number.is_multiple_of(3),
                locality: plan.map(|plan| Locality { label: label(number), plan, id }),
                ..leecher(peer)
            };
            for peer in [v4, v6] {
                for number in 0..clients {
                    subject.enter(&Update { want: 0, ..update(number, peer(number)) });
                }
            }
            for number in [0, 1, 2, clients / 2, clients - 1] {
                let number = number.min(clients - 1);
                let mut others = both((0..clients).filter(|&other| {
                    other != number && !(number.is_multiple_of(3) && other.is_multiple_of(3))
                }));
                others.sort_unstable();
                for me in [v4(number), v6(number)] {
                    assert_eq!(subject.given(&update(number, me)), others);
                    for want in [0, 1, 2, others.len().saturating_sub(1), others.len() / 2] {
                        let given = subject.given(&Update { want, ..update(number, me) });
                        assert_eq!(given.len(), want.min(others.len()));
                        let different: BTreeSet<_> = given.iter().collect();
                        assert!(different.len() == given.len());
                        assert!(given.iter().all(|peer| others.contains(peer)));
                    }
                    let other = if me.is_ipv4() { Family::Ipv6 } else { Family::Ipv4 };
                    let only = Update { only: Some(other), ..update(number, me) };
                    assert_eq!(subject.given(&only).len(), others.len() / 2);
                }
            }
        }
    }
    // Everybody else is equally likely.
    let mut subject = Subject::new(make(Options { keep_peer_ids: true, ..options() }));
    for number in 0..60 {
        for peer in [v4(number), v6(number)] {
            subject.enter(&Update { peer_id: client(number), want: 0, ..leecher(peer) });
        }
    }
    let (want, times) = (20, 8000);
    let mut given = BTreeMap::<_, u32>::new();
    for _ in 0..times {
        let me = Update { peer_id: client(7), want, ..leecher(v4(7)) };
        for peer in subject.given(&me) {
            *given.entry(peer).or_default() += 1;
        }
    }
    assert_eq!(given.len(), 118);
    let deviations = deviations(given.values(), want, times);
    assert!(deviations.abs() < 4.5, "{deviations} deviations");
}

/// Peers 1 to 3 are seeders, 4 to 8 leechers, in both families.
fn mixed<S: Store>(store: S) -> Subject<S> {
    let mut subject = Subject::new(store);
    for number in 1..=8 {
        for peer in [v4(number), v6(number)] {
            subject.enter(&Update { seeder: number <= 3, ..leecher(peer) });
        }
    }
    subject
}

fn both(numbers: impl Iterator<Item = u16> + Clone) -> Vec<SocketAddr> {
    numbers.clone().map(v4).chain(numbers.map(v6)).collect()
}

pub fn leechers_are_given_anybody_but_themselves<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = mixed(make(options()));
    for me in both(4..=8) {
        let mut others = both(1..=8);
        others.retain(|&other| other != me);
        assert_eq!(subject.given(&leecher(me)), others);
        for want in 0..=17 {
            let given = subject.given(&Update { want, ..leecher(me) });
            assert_eq!(given.len(), want.min(15));
            let different: BTreeSet<_> = given.iter().collect();
            assert_eq!(different.len(), given.len());
            assert!(given.iter().all(|peer| others.contains(peer)));
        }
    }
}

pub fn partial_seeds_are_given_downloaders<S: Store>(make: impl Fn(Options) -> S) {
    // Ten of each role and family, whatever order they come in: small, and beyond any index.
    for (unit, step) in [(3, 7), (200, 77)] {
        let mut subject = Subject::new(make(options()));
        let event = |number: u16| if number / unit == 1 { Event::Paused } else { Event::None };
        let update = |number: u16, peer| Update {
            event: event(number),
            seeder: number / unit == 2,
            ..leecher(peer)
        };
        let all = 3 * unit;
        for number in 0..all {
            for peer in [v4(number * step % all), v6(number * step % all)] {
                subject.enter(&Update { want: 0, ..update(number * step % all, peer) });
            }
        }
        let roles = Counts {
            partial_seeds: 2 * u32::from(unit),
            ..counts(2 * u32::from(unit), 4 * u32::from(unit), 0)
        };
        assert_eq!(subject.counts(0), Some(roles));
        for number in [0, 1, unit, all - unit - 1, all - unit, all - 1] {
            for me in [v4(number), v6(number)] {
                let gives = number >= unit;
                let mut others = both(0..if gives { unit } else { all });
                others.retain(|&other| other != me);
                others.sort_unstable();
                assert_eq!(subject.given(&update(number, me)), others);
            }
        }
        // Until it announces otherwise, and in all counts but one a leecher.
        assert_eq!(subject.enter(&leecher(v4(unit))).partial_seeds, roles.partial_seeds - 1);
        assert_eq!(subject.enter(&stopped(v4(unit + 1))).partial_seeds, roles.partial_seeds - 2);
        let leechers = subject.totals().ipv4.leechers;
        assert_eq!(leechers, u64::from(2 * unit) - 1);
        subject.expire(LIFETIME + 1);
        assert_eq!(subject.counts(0), None);
    }
}

pub fn seeders_are_given_leechers<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = mixed(make(options()));
    for me in both(1..=3) {
        assert_eq!(subject.given(&seeder(me)), both(4..=8));
        assert_eq!(subject.given(&Update { want: 4, ..seeder(me) }).len(), 4);
    }
    // Who has just completed is a seeder already.
    let completed = Update { event: Event::Completed, ..seeder(v4(8)) };
    assert_eq!(subject.given(&completed).len(), 9);
    assert_eq!(subject.given(&stopped(v4(8))), []);
}

pub fn families_are_given_as_wanted<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = mixed(make(options()));
    let [only_v4, only_v6] = [Some(Family::Ipv4), Some(Family::Ipv6)];
    let v4s: Vec<_> = (1..=8).map(v4).collect();
    let v6s: Vec<_> = (1..=8).map(v6).collect();
    assert_eq!(subject.given(&Update { only: only_v4, ..leecher(v4(8)) }), v4s[..7]);
    assert_eq!(subject.given(&Update { only: only_v6, ..leecher(v6(8)) }), v6s[..7]);
    assert_eq!(subject.given(&Update { only: only_v6, ..leecher(v4(8)) }), v6s);
    assert_eq!(subject.given(&Update { only: only_v4, ..seeder(v6(1)) }), v4s[3..]);
    let few = Update { only: only_v6, want: 3, ..leecher(v4(8)) };
    assert!(subject.given(&few).iter().all(SocketAddr::is_ipv6));
}

pub fn answers_are_appended<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = mixed(make(options()));
    let mut peers = Peers { ipv4: vec![1; 6], ipv6: vec![1; 18], ..Peers::default() };
    let update = Update { want: 5, ..leecher(v4(8)) };
    let announced = subject.store.announce(&update, &mut subject.rng, &mut peers);
    subject.runtime.block_on(announced).unwrap();
    assert_eq!(peers.len(), 7);
    assert_eq!((&peers.ipv4[..6], &peers.ipv6[..18]), ([1; 6].as_slice(), [1; 18].as_slice()));
}

pub fn every_choice_is_equally_likely<S: Store>(make: impl Fn(Options) -> S) {
    // IPv4 peers, IPv6 peers, how many are wanted, and how often.
    for (of_v4, of_v6, want, times) in
        [(21, 0, 5, 8000), (31, 10, 8, 8000), (0, 90, 40, 4000), (3000, 1001, 100, 4000)]
    {
        let mut subject = Subject::new(make(options()));
        let everybody: Vec<_> = (0..of_v4).map(v4).chain((0..of_v6).map(v6)).collect();
        for (number, &peer) in everybody.iter().enumerate() {
            subject.enter(&Update { want: 0, seeder: number % 3 == 0, ..leecher(peer) });
        }
        let me = everybody[1];
        let mut given = BTreeMap::<_, u32>::new();
        for _ in 0..times {
            for peer in subject.given(&Update { want, ..leecher(me) }) {
                *given.entry(peer).or_default() += 1;
            }
        }
        assert_eq!(given.len(), everybody.len() - 1);
        assert!(!given.contains_key(&me));
        let deviations = deviations(given.values(), want, times);
        assert!(deviations.abs() < 4.5, "{of_v4} and {of_v6}: {deviations} deviations");
    }
}

/// How many standard deviations chi-square is from where it should be, if `want` of the peers were
/// drawn so many `times`.
fn deviations<'a>(given: impl ExactSizeIterator<Item = &'a u32>, want: usize, times: u32) -> f64 {
    // Drawing without putting back makes the sum smaller than chi-square by this factor.
    let (others, want, times) = (given.len() as f64, want as f64, f64::from(times));
    let expected = times * want / others;
    let squares: f64 = given.map(|&n| (f64::from(n) - expected).powi(2)).sum();
    let chi_square = squares / expected * (others - 1.0) / (others - want);
    (chi_square - (others - 1.0)) / (2.0 * (others - 1.0)).sqrt()
}

/// A leecher at a place of a plan.
fn at(label: u64, plan: Plan, id: PlanId, peer: SocketAddr) -> Update {
    Update { locality: Some(Locality { label, plan, id }), ..leecher(peer) }
}

pub fn near_peers_come_first<S: Store>(make: impl Fn(Options) -> S) {
    let id = PlanId::unused();
    // Seeders and leechers in my rack, in my site and elsewhere: two units of each. In larger
    // swarms labels are in order.
    for unit in [2, 60] {
        // The units of seeders and leechers, in each place, in an answer of six units.
        for (order, far_percent, seeds, expected) in [
            (Order::NearFirst, 0, false, [[2, 2], [2, 0], [0, 0]]),
            (Order::RoleFirst, 0, false, [[2, 0], [2, 0], [2, 0]]),
            (Order::NearFirst, 50, false, [[2, 1], [0, 0], [2, 1]]),
            (Order::RoleFirst, 50, false, [[2, 0], [1, 0], [2, 1]]),
            (Order::NearFirst, 100, false, [[2, 0], [0, 0], [2, 2]]),
            (Order::NearFirst, 0, true, [[0, 2], [0, 2], [0, 2]]),
        ] {
            let mut subject = Subject::new(make(options()));
            let plan = Plan::new(&[16, 8], order, far_percent).unwrap();
            let labels = [0x0101, 0x0102, 0x0201].map(|label: u64| label << 48);
            let mut classes = BTreeMap::new();
            for number in 0..6 * unit {
                let (place, role) =
                    (usize::from(number / unit / 2), usize::from(number / unit % 2));
                for peer in [v4(number), v6(number)] {
                    let update = at(labels[place], plan, id, peer);
                    subject.enter(&Update { seeder: role == 0, want: 0, ..update });
                    classes.insert(peer, (place, role));
                }
            }
            let me = at(labels[0], plan, id, v4(9999));
            let want = 6 * usize::from(unit);
            let mut given = [[0; 2]; 3];
            for peer in subject.given(&Update { seeder: seeds, want, ..me }) {
                let (place, role) = classes[&peer];
                given[place][role] += 1;
            }
            let expected = expected.map(|roles| roles.map(|units| units * unit));
            assert_eq!(given, expected, "{order:?}, {far_percent} percent, a seeder: {seeds}");
        }
    }
}

pub fn labels_of_another_plan_are_far<S: Store>(make: impl Fn(Options) -> S) {
    let plan = Plan::new(&[64], Order::NearFirst, 0).unwrap();
    let [before, after] = [PlanId::unused(), PlanId::unused()];
    for crowd in [4, 400] {
        let mut subject = Subject::new(make(options()));
        let all = |subject: &mut Subject<S>, numbers: std::ops::Range<u16>, id| {
            for number in numbers {
                for peer in [v4(number), v6(number)] {
                    subject.enter(&Update { want: 0, ..at(7, plan, id, peer) });
                }
            }
        };
        all(&mut subject, 0..crowd, before);
        // Whoever is given with certainty is near.
        let near = |subject: &mut Subject<S>, want: usize| {
            let ask = Update { want, ..at(7, plan, after, v4(9999)) };
            let mut always: BTreeSet<_> = subject.given(&ask).into_iter().collect();
            for _ in 0..30 {
                let given: BTreeSet<_> = subject.given(&ask).into_iter().collect();
                always.retain(|peer| given.contains(peer));
            }
            always.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(near(&mut subject, 2), []);
        all(&mut subject, 1..2, after);
        assert_eq!(near(&mut subject, 3), [v4(1), v6(1)]);
        // Who no longer says where it is, is nowhere.
        subject.enter(&leecher(v4(1)));
        assert_eq!(near(&mut subject, 2), [v6(1)]);
        subject.enter(&stopped(v6(1)));
        assert_eq!(near(&mut subject, 2), []);
    }
}

pub fn equally_near_peers_are_equally_likely<S: Store>(make: impl Fn(Options) -> S) {
    let id = PlanId::unused();
    let plan = Plan::new(&[16, 8], Order::NearFirst, 25).unwrap();
    // IPv4 and IPv6 peers near by, as many of them far, and how many have no label at all.
    for (of_v4, of_v6, unlabelled) in [(30, 20, 7), (200, 100, 0), (900, 300, 50)] {
        let mut subject = Subject::new(make(options()));
        let near: Vec<_> = (0..of_v4).map(v4).chain((0..of_v6).map(v6)).collect();
        let far: Vec<_> =
            (2000..2000 + of_v4).map(v4).chain((2000..2000 + of_v6).map(v6)).collect();
        let nowhere: Vec<_> = (4000..4000 + unlabelled).map(v4).collect();
        for (number, peer) in near.iter().enumerate() {
            let label = 0x0102 << 48 | number as u64;
            subject.enter(&Update { want: 0, ..at(label, plan, id, *peer) });
        }
        for (number, peer) in far.iter().enumerate() {
            let label = [0x0001 << 48, 0x0201 << 48][number % 2];
            subject.enter(&Update { want: 0, ..at(label, plan, id, *peer) });
        }
        for peer in &nowhere {
            subject.enter(&Update { want: 0, ..leecher(*peer) });
        }
        let me = at(0x0101 << 48, plan, id, v4(9999));
        let times = 4000;
        let mut given = BTreeMap::<_, u32>::new();
        for _ in 0..times {
            for peer in subject.given(&Update { want: 20, ..me }) {
                *given.entry(peer).or_default() += 1;
            }
        }
        for (group, want) in [(near, 15), (far.into_iter().chain(nowhere).collect(), 5)] {
            let group: Vec<u32> =
                group.iter().map(|peer| given.remove(peer).unwrap_or_default()).collect();
            let deviations = deviations(group.iter(), want, times);
            assert!(deviations.abs() < 4.5, "{of_v4}, {of_v6}, {want}: {deviations} deviations");
        }
        assert_eq!(given, BTreeMap::new());
    }
}

pub fn a_lone_peer_is_echoed_if_so_set<S: Store>(make: impl Fn(Options) -> S) {
    for peer in [v4(1), v6(1)] {
        let mut subject = Subject::new(make(options()));
        assert_eq!(subject.announce(&leecher(peer)), Ok((counts(0, 1, 0), vec![])));

        let mut subject = Subject::new(make(Options { echo_lone_peer: true, ..options() }));
        let alone = Ok((counts(0, 1, 0), vec![peer]));
        assert_eq!(subject.announce(&leecher(peer)), alone);
        assert_eq!(subject.announce(&leecher(peer)), alone);
        assert_eq!(subject.given(&Update { want: 0, ..leecher(peer) }), []);
        let other = if peer.is_ipv4() { Family::Ipv6 } else { Family::Ipv4 };
        assert_eq!(subject.given(&Update { only: Some(other), ..leecher(peer) }), []);
        assert_eq!(subject.announce(&seeder(v4(2))), Ok((counts(1, 1, 0), vec![peer])));
        assert_eq!(subject.given(&leecher(peer)), [v4(2)]);
        assert_eq!(subject.given(&stopped(v4(2))), []);
    }
}

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
    // Whoever goes, by a stop or in silence, and whatever its family.
    for (start, peer) in [(0, v4(1)), (10_000, v6(1))] {
        subject.enter(&at(start, leecher(peer)));
        let downloads = subject.enter(&at(start, completed(peer))).completed;
        assert_eq!(subject.announce(&at(start, other)), Err(Refusal::Torrents));
        let last = subject.enter(&at(start, stopped(peer)));
        assert_eq!(last, counts(0, 0, downloads));
        assert_eq!(subject.counts(0), Some(last));
        assert_eq!(subject.enter(&at(start, stopped(peer))), last, "a stop of nobody");
        assert_eq!(subject.totals(), Totals::default());
        // Neither a swarm nor in its place.
        subject.enter(&at(start, other));
        assert_eq!(subject.totals().swarms, 1);
        subject.enter(&at(start, Update { event: Event::Stopped, ..other }));
        assert_eq!(subject.counts(1), None, "it was never downloaded");
        // The torrent comes back, and goes again.
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

/// One step of a model test. Peers are numbers; see [`Model::peer`].
#[derive(Clone, Debug)]
enum Step {
    Announce {
        torrent: u8,
        peer: u16,
        event: Event,
        seeder: bool,
        want: usize,
        only: Option<Family>,
        locality: Option<Locality>,
        /// Whose peer id it has; see [`Model::peer_id`].
        client: Option<u8>,
    },
    /// Peers that come, or stop, one after the other.
    Crowd {
        torrent: u8,
        first: u16,
        count: u16,
        event: Event,
        seeder: bool,
        /// Its label is that of the first.
        locality: Option<Locality>,
        /// Whether sixteen in a row, over both families, are one client.
        alike: bool,
    },
    Pass {
        seconds: Seconds,
    },
    Expire,
}

/// One of four sites, of five racks each, of seven machines each, by one of three plans.
fn label(number: u16) -> u64 {
    let number = u64::from(number);
    (number % 4) << 62 | (number % 5) << 50 | (number % 7) << 20
}

fn localities() -> impl Strategy<Value = Option<Locality>> {
    static IDS: std::sync::LazyLock<[PlanId; 3]> =
        std::sync::LazyLock::new(|| std::array::from_fn(|_| PlanId::unused()));
    let prefixes = prop::sample::subsequence(vec![64, 60, 30, 16, 8, 2, 1, 0], 0..=8);
    let order = prop_oneof![Just(Order::NearFirst), Just(Order::RoleFirst)];
    let far_percent = prop_oneof![Just(0), 0..=100_u8];
    let id = prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2_usize)];
    let locality = (0..140_u16, prefixes, order, far_percent, id);
    prop::option::weighted(
        0.7,
        locality.prop_map(|(number, prefixes, order, far_percent, id)| Locality {
            label: label(number),
            plan: Plan::new(&prefixes, order, far_percent).unwrap(),
            id: IDS[id],
        }),
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let torrent = 0..3_u8;
    let event = prop_oneof![
        4 => Just(Event::None),
        2 => Just(Event::Started),
        3 => Just(Event::Stopped),
        3 => Just(Event::Completed),
        1 => Just(Event::Paused),
    ];
    let only = prop_oneof![Just(None), Just(Some(Family::Ipv4)), Just(Some(Family::Ipv6))];
    let peer = prop_oneof![0..6_u16, 0..300_u16];
    let want = prop_oneof![0..5_usize, 0..80_usize, 500..700_usize];
    let client = prop::option::of(0..4_u8);
    let announce = (torrent.clone(), peer, event, any::<bool>(), want, only, localities(), client)
        .prop_map(|(torrent, peer, event, seeder, want, only, locality, client)| Step::Announce {
            torrent,
            peer,
            event,
            seeder,
            want,
            only,
            locality,
            client,
        });
    let event = prop_oneof![
        3 => Just(Event::None),
        2 => Just(Event::Stopped),
        1 => Just(Event::Paused),
    ];
    let bools = (any::<bool>(), any::<bool>());
    let crowd = (torrent, 0..300_u16, 0..400_u16, event, bools, localities()).prop_map(
        |(torrent, first, count, event, (seeder, alike), locality)| Step::Crowd {
            torrent,
            first,
            count,
            event,
            seeder,
            locality,
            alike,
        },
    );
    let step = prop_oneof![
        12 => announce,
        2 => crowd,
        3 => (0..LIFETIME).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 1..60)
}

fn model_options() -> impl Strategy<Value = Options> {
    let limit = |limits: [u32; 3]| prop::sample::select(limits.to_vec());
    let kept = prop::sample::select(vec![0, LIFETIME / 2, 2 * LIFETIME]);
    let limits = (limit([0, 0, 2]), limit([0, 0, 90]), limit([0, 0, 5]));
    (any::<bool>(), any::<bool>(), kept, limits).prop_map(
        |(keep_peer_ids, echo_lone_peer, keep_downloads, (torrents, peers, address))| Options {
            keep_downloads,
            keep_peer_ids,
            echo_lone_peer,
            max_torrents: torrents.into(),
            max_peers_per_torrent: peers,
            max_peers_per_address: address,
            ..options()
        },
    )
}

/// A store that is as plain as can be.
struct Model {
    options: Options,
    swarms: BTreeMap<u8, ModelSwarm>,
    /// What swarms that are gone have left, and when.
    downloads: BTreeMap<u8, (u32, Seconds)>,
}

#[derive(Default)]
struct ModelSwarm {
    completed: u32,
    peers: BTreeMap<SocketAddr, ModelPeer>,
}

struct ModelPeer {
    role: Role,
    /// A download of it was counted.
    downloaded: bool,
    peer_id: PeerId,
    announced: Seconds,
    locality: Option<Locality>,
}

impl Model {
    /// Three peers of four are IPv4, and four have one address.
    fn peer(number: u16) -> SocketAddr {
        let (host, port) = (number / 4, 1000 + number % 4);
        let mut peer = if host % 4 == 3 { v6(host) } else { v4(host) };
        peer.set_port(port);
        peer
    }

    /// Of one of a few clients, of which one says nothing, or of nobody else.
    fn peer_id(client: Option<u8>, announces: u32) -> PeerId {
        let mut id = [0; 20];
        match client {
            Some(client) => id[19] = client,
            None => id[..4].copy_from_slice(&announces.to_be_bytes()),
        }
        PeerId(id)
    }

    /// Whether two peers are known to be one client.
    fn same_client(&self, a: (&SocketAddr, &ModelPeer), b: (&SocketAddr, &ModelPeer)) -> bool {
        self.options.keep_peer_ids
            && a.0.is_ipv4() != b.0.is_ipv4()
            && a.1.peer_id == b.1.peer_id
            && a.1.peer_id != PeerId::UNKNOWN
    }

    fn admits(&self, torrent: u8, peer: SocketAddr) -> Result<(), Refusal> {
        let full = |limit: u64, count: usize| limit != 0 && limit <= count as u64;
        let swarm = self.swarms.get(&torrent);
        if swarm.is_some_and(|swarm| swarm.peers.contains_key(&peer)) {
            return Ok(());
        }
        if swarm.is_none() && full(self.options.max_torrents, self.swarms.len()) {
            return Err(Refusal::Torrents);
        }
        let everybody = self.swarms.values().flat_map(|swarm| swarm.peers.keys());
        let of_address = everybody.filter(|other| other.ip() == peer.ip()).count();
        if full(self.options.max_peers_per_torrent.into(), swarm.map_or(0, |s| s.peers.len()))
            || full(self.options.max_peers_per_address.into(), of_address)
        {
            return Err(Refusal::Peers);
        }
        Ok(())
    }

    fn announce(&mut self, torrent: u8, update: &Update) -> Result<Counts, Refusal> {
        if update.event == Event::Stopped {
            if let Some(swarm) = self.swarms.get_mut(&torrent) {
                swarm.peers.remove(&update.peer);
            }
            let counts = self.counts(torrent).unwrap_or_default();
            self.drop_empty(update.now);
            return Ok(counts);
        }
        self.admits(torrent, update.peer)?;
        let left = self.downloads.remove(&torrent).map_or(0, |(completed, _)| completed);
        let swarm = self.swarms.entry(torrent).or_default();
        swarm.completed += left;
        let before = swarm.peers.get(&update.peer);
        let was_counted = before.is_some_and(|before| before.downloaded);
        let was_leecher = before.is_some_and(|before| before.role != Role::Seeder);
        let downloaded = update.event == Event::Completed && was_leecher && !was_counted;
        let peer = ModelPeer {
            role: match (update.event, update.seeder) {
                (Event::Completed, _) => Role::Seeder,
                (Event::Paused, _) => Role::PartialSeed,
                (_, true) => Role::Seeder,
                (_, false) => Role::Downloader,
            },
            downloaded: was_counted || downloaded,
            peer_id: update.peer_id,
            announced: update.now,
            locality: update.locality,
        };
        swarm.peers.insert(update.peer, peer);
        let swarm = &self.swarms[&torrent];
        let me = (&update.peer, &swarm.peers[&update.peer]);
        let is_known_seeder =
            |other: (_, &ModelPeer)| self.same_client(me, other) && other.1.role == Role::Seeder;
        let new = downloaded && !swarm.peers.iter().any(is_known_seeder);
        if let Some(swarm) = self.swarms.get_mut(&torrent) {
            swarm.completed += u32::from(new);
        }
        Ok(self.counts(torrent).unwrap())
    }

    fn counts(&self, torrent: u8) -> Option<Counts> {
        let Some(swarm) = self.swarms.get(&torrent) else {
            let (completed, _) = self.downloads.get(&torrent)?;
            return Some(counts(0, 0, *completed));
        };
        let of = |role| {
            // Of each client, the family of which it has more; whoever says nothing is one each.
            let mut clients = BTreeMap::<[u8; 20], [u32; 2]>::new();
            for (address, peer) in swarm.peers.iter().filter(|(_, peer)| peer.role == role) {
                let family = usize::from(self.options.keep_peer_ids && address.is_ipv6());
                clients.entry(peer.peer_id.0).or_default()[family] += 1;
            }
            let count = |(id, [v4, v6]): (&[u8; 20], &[u32; 2])| match *id == [0; 20] {
                true => v4 + v6,
                false => *v4.max(v6),
            };
            clients.iter().map(count).sum()
        };
        let [downloaders, partial_seeds, seeders] =
            [Role::Downloader, Role::PartialSeed, Role::Seeder].map(of);
        let counts = counts(seeders, downloaders + partial_seeds, swarm.completed);
        Some(Counts { partial_seeds, ..counts })
    }

    fn expire(&mut self, now: Seconds) {
        for swarm in self.swarms.values_mut() {
            swarm.peers.retain(|_, peer| now - peer.announced <= self.options.lifetime);
        }
        self.drop_empty(now);
        self.downloads.retain(|_, (_, since)| now - *since <= self.options.keep_downloads);
    }

    fn drop_empty(&mut self, now: Seconds) {
        let kept = self.options.keep_downloads > 0;
        for (torrent, swarm) in self.swarms.extract_if(.., |_, swarm| swarm.peers.is_empty()) {
            if kept && swarm.completed > 0 {
                self.downloads.insert(torrent, (swarm.completed, now));
            }
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals { swarms: self.swarms.len() as u64, ..Totals::default() };
        for (address, peer) in self.swarms.values().flat_map(|swarm| &swarm.peers) {
            let family = if address.is_ipv4() { &mut totals.ipv4 } else { &mut totals.ipv6 };
            let seeder = peer.role == Role::Seeder;
            *(if seeder { &mut family.seeders } else { &mut family.leechers }) += 1;
        }
        totals
    }

    /// Whether the peers are an answer to `update`, which has been entered.
    fn check_answer(&self, torrent: u8, update: &Update, peers: &Peers) {
        let given = addresses(peers);
        let different: BTreeSet<_> = given.iter().copied().collect();
        assert_eq!(different.len(), given.len(), "somebody twice");
        if update.event == Event::Stopped {
            assert_eq!(given, []);
            return;
        }
        let swarm = &self.swarms[&torrent].peers;
        let i_give = swarm[&update.peer].role != Role::Downloader;
        let wanted = |family| update.only.is_none_or(|only| only == family);
        let may_be_given: BTreeSet<_> = swarm
            .iter()
            .filter(|(address, peer)| {
                **address != update.peer
                    && wanted(Family::of(address.ip()))
                    && !self.same_client((&update.peer, &swarm[&update.peer]), (*address, *peer))
                    && !(i_give && peer.role != Role::Downloader)
            })
            .map(|(address, _)| *address)
            .collect();
        if may_be_given.is_empty() && self.options.echo_lone_peer {
            let echo = update.want > 0 && wanted(Family::of(update.peer.ip()));
            assert_eq!(given, if echo { vec![update.peer] } else { vec![] });
        } else {
            assert_eq!(given.len(), update.want.min(may_be_given.len()));
            assert!(different.is_subset(&may_be_given));
            if let Some(locality) = &update.locality {
                let classes = |peers: &BTreeSet<SocketAddr>| -> Vec<_> {
                    peers.iter().map(|peer| Self::class(locality, &swarm[peer])).collect()
                };
                let mut given = classes(&different);
                given.sort_unstable();
                assert_eq!(given, Self::classes(locality, update.want, classes(&may_be_given)));
            }
        }

        let ids = peers.ipv4_ids.iter().chain(&peers.ipv6_ids);
        if self.options.keep_peer_ids {
            assert_eq!((peers.ipv4_ids.len(), peers.ipv6_ids.len()), {
                (peers.ipv4.len() / 6, peers.ipv6.len() / 18)
            });
            let mut expected: Vec<_> = given.iter().map(|peer| swarm[peer].peer_id.0).collect();
            let mut ids: Vec<_> = ids.map(|id| id.0).collect();
            expected.sort_unstable();
            ids.sort_unstable();
            assert_eq!(ids, expected);
        } else {
            assert_eq!(ids.count(), 0);
        }
    }
}

impl Model {
    /// How many of the plan's prefixes a peer does not share, and whether it is a downloader.
    fn class(mine: &Locality, peer: &ModelPeer) -> (usize, bool) {
        let shares = |level: &usize| {
            let bits = mine.plan.prefix(*level);
            peer.locality.is_some_and(|other| {
                let prefix = |label: u64| u128::from(label) >> (64 - bits);
                other.id == mine.id && prefix(other.label) == prefix(mine.label)
            })
        };
        let levels = mine.plan.levels();
        ((0..levels).find(shares).unwrap_or(levels), peer.role == Role::Downloader)
    }

    /// The classes that an answer takes out of those that there are, one by one.
    fn classes(mine: &Locality, want: usize, mut all: Vec<(usize, bool)>) -> Vec<(usize, bool)> {
        let is_far = |level: usize| level == mine.plan.levels();
        let far = all.iter().filter(|(level, _)| is_far(*level)).count();
        let mut near = want - mine.plan.far_share(want).min(far);
        match mine.plan.order() {
            Order::NearFirst => all.sort_unstable(),
            Order::RoleFirst => all.sort_unstable_by_key(|&(level, takes)| (takes, level)),
        }
        all.retain(|&(level, _)| {
            let taken = is_far(level) || near > 0;
            near -= usize::from(!is_far(level) && taken);
            taken
        });
        all.truncate(want);
        all.sort_unstable();
        all
    }
}

pub fn a_store_does_what_the_model_does<S: Store>(make: impl Fn(Options) -> S) {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let run = |(options, steps): (Options, Vec<Step>)| {
        let mut subject = Subject::new(make(options));
        let mut model = Model { options, swarms: BTreeMap::new(), downloads: BTreeMap::new() };
        let (mut now, mut announces) = (0, 0_u32);
        let mut announce =
            |subject: &mut Subject<S>, model: &mut Model, torrent, client, mut update: Update| {
                announces += 1;
                update.info_hash = info_hash(torrent);
                update.peer_id = Model::peer_id(client, announces);
                let mut peers = Peers::default();
                let answer = subject.store.announce(&update, &mut subject.rng, &mut peers);
                let answer = subject.runtime.block_on(answer);
                assert_eq!(answer, model.announce(torrent, &update), "{update:?}");
                if answer.is_ok() {
                    model.check_answer(torrent, &update, &peers);
                } else {
                    assert!(peers.is_empty());
                }
            };
        for step in steps {
            match step {
                Step::Announce { torrent, peer, event, seeder, want, only, locality, client } => {
                    let peer = leecher(Model::peer(peer));
                    let update = Update { event, seeder, want, only, locality, now, ..peer };
                    announce(&mut subject, &mut model, torrent, client, update);
                }
                Step::Crowd { torrent, first, count, event, seeder, locality, alike } => {
                    for number in first..first + count {
                        let peer = leecher(Model::peer(number));
                        let locality = locality.map(|at| Locality { label: label(number), ..at });
                        let update = Update { event, seeder, want: 3, locality, now, ..peer };
                        let client = alike.then_some((100 + number / 16) as u8);
                        announce(&mut subject, &mut model, torrent, client, update);
                    }
                }
                Step::Pass { seconds } => now += seconds,
                Step::Expire => {
                    subject.expire(now);
                    model.expire(now);
                }
            }
            for torrent in 0..3 {
                assert_eq!(subject.counts(torrent), model.counts(torrent));
            }
            assert_eq!(subject.totals(), model.totals());
        }
        Ok(())
    };
    TestRunner::new(config).run(&(model_options(), steps()), run).unwrap();
}

pub fn threads_leave_the_totals_right<S: Store>(make: impl Fn(Options) -> S) {
    const THREADS: u16 = 4;
    let limits = Options { max_torrents: 5, max_peers_per_address: 3, ..options() };
    let store = make(Options { keep_downloads: 100, ..limits });
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
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
                    let answer = runtime.block_on(store.announce(&update, &mut rng, &mut peers));
                    assert!(peers.len() <= 10 && !addresses(&peers).contains(&peer));
                    if let Ok(counts) = answer
                        && event != Event::Stopped
                    {
                        assert!(peers.len() < (counts.seeders + counts.leechers) as usize);
                    }
                    if round % 100 == 0 {
                        runtime.block_on(store.expire(round / 4));
                        assert!(runtime.block_on(store.totals()).swarms <= 5);
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
    // Nothing was left behind that would count against a limit.
    for torrent in 0..5 {
        subject.enter(&Update { info_hash: info_hash(torrent), ..leecher(v4(u16::from(torrent))) });
    }
    for port in 1..=2 {
        let mut update = leecher(v4(0));
        update.peer.set_port(port);
        subject.enter(&update);
    }
}
