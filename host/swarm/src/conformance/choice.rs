//! Which peers are given to which peer.

use super::*;

pub fn own_addresses_are_not_given<S: Store>(make: impl Fn(Options) -> S) {
    let plan = Plan::new(&[16, 8], Order::NearFirst, 30).unwrap();
    let id = plan_id(1);
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
    // All others are equally likely.
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

/// Enters peers 1 to 3 as seeders, 4 to 8 as leechers, in both families.
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
    // Ten of each role and family, regardless of order: in a small swarm, and in one that needs an
    // index.
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
        // Until it announces again. It is a leecher in every count except `partial_seeds`.
        assert_eq!(subject.enter(&leecher(v4(unit))).partial_seeds, roles.partial_seeds - 1);
        assert_eq!(subject.enter(&stopped(v4(unit + 1))).partial_seeds, roles.partial_seeds - 2);
        let leechers = subject.totals().ipv4.leechers;
        assert_eq!(leechers, u64::from(2 * unit) - 1);
        subject.expire(LIFETIME + 1);
        assert_eq!(subject.counts(0), None);
    }
}

pub fn hidden_peers_are_counted_and_not_given<S: Store>(make: impl Fn(Options) -> S) {
    for keep_peer_ids in [false, true] {
        // One that fits in a small swarm, and one that does not.
        for others in [3, 100] {
            let options = Options { keep_peer_ids, echo_lone_peer: true, ..options() };
            let mut subject = Subject::new(make(options));
            let of = |number, peer| Update { peer_id: client(number), ..leecher(peer) };
            let shown: Vec<_> = (1..=others).map(v4).collect();
            for (number, &peer) in (1..).zip(&shown) {
                subject.enter(&of(number, peer));
            }
            let hidden = |update| Update { is_hidden: true, ..update };
            let four = of(1000, v4(1000));
            let six = Update { seeder: true, ..of(1001, v6(1001)) };
            let others = u32::from(others);
            // Who is hidden is given others.
            assert_eq!(subject.given(&hidden(four)), shown);
            assert_eq!(subject.enter(&hidden(six)), counts(1, others + 1, 0));
            assert_eq!(subject.given(&leecher(v4(1))).len(), shown.len() - 1);
            assert_eq!(subject.given(&seeder(v6(2))), shown);
            subject.enter(&stopped(v6(2)));
            // A download is one, hidden or not.
            let completed = Update { event: Event::Completed, seeder: true, ..four };
            assert_eq!(subject.enter(&hidden(completed)), counts(2, others, 1));
            assert_eq!(subject.enter(&completed), counts(2, others, 1));
            let me = leecher(v4(1));
            assert_eq!(subject.given(&me), [&shown[1..], &[v4(1000)]].concat());
            // It leaves, or becomes silent, like any other.
            subject.enter(&hidden(completed));
            assert_eq!(subject.given(&me), shown[1..]);
            assert_eq!(subject.enter(&stopped(v4(1000))), counts(1, others, 1));
            for &peer in &shown {
                subject.enter(&Update { now: 1, ..leecher(peer) });
            }
            subject.expire(LIFETIME + 1);
            assert_eq!(subject.counts(0), Some(counts(0, others, 1)));
            subject.enter(&hidden(Update { now: LIFETIME + 1, ..four }));
            subject.expire(LIFETIME + 2);
            assert_eq!(subject.counts(0), Some(counts(0, 1, 1)));
            let lone = hidden(Update { now: LIFETIME + 2, ..four });
            assert_eq!(subject.given(&lone), [], "it is not even given itself");
        }
    }
}

pub fn seeders_are_given_leechers<S: Store>(make: impl Fn(Options) -> S) {
    let mut subject = mixed(make(options()));
    for me in both(1..=3) {
        assert_eq!(subject.given(&seeder(me)), both(4..=8));
        assert_eq!(subject.given(&Update { want: 4, ..seeder(me) }).len(), 4);
    }
    // A peer that has just completed is already a seeder.
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
    subject.store.announce(&update, &mut subject.rng, &mut peers).unwrap();
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

/// Returns how many standard deviations chi-square is from its expected value, if `want` of the
/// peers were drawn `times` times.
fn deviations<'a>(given: impl ExactSizeIterator<Item = &'a u32>, want: usize, times: u32) -> f64 {
    // Drawing without replacement makes the sum smaller than chi-square by this factor.
    let (others, want, times) = (given.len() as f64, want as f64, f64::from(times));
    let expected = times * want / others;
    let squares: f64 = given.map(|&n| (f64::from(n) - expected).powi(2)).sum();
    let chi_square = squares / expected * (others - 1.0) / (others - want);
    (chi_square - (others - 1.0)) / (2.0 * (others - 1.0)).sqrt()
}

/// Makes an announce of a leecher with a label of a plan.
fn at(label: u64, plan: Plan, id: PlanId, peer: SocketAddr) -> Update {
    Update { locality: Some(Locality { label, plan, id }), ..leecher(peer) }
}

pub fn near_peers_come_first<S: Store>(make: impl Fn(Options) -> S) {
    let id = plan_id(1);
    // Seeders and leechers in my rack, in my site and elsewhere: two units of each. In larger
    // swarms labels are kept sorted.
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
    let [before, after] = [plan_id(1), plan_id(2)];
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
        // Peers that are always given are near.
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
        // A peer that no longer sends its location has none.
        subject.enter(&leecher(v4(1)));
        assert_eq!(near(&mut subject, 2), [v6(1)]);
        subject.enter(&stopped(v6(1)));
        assert_eq!(near(&mut subject, 2), []);
    }
}

pub fn equally_near_peers_are_equally_likely<S: Store>(make: impl Fn(Options) -> S) {
    let id = plan_id(1);
    let plan = Plan::new(&[16, 8], Order::NearFirst, 25).unwrap();
    // Near IPv4 and IPv6 peers, as many far ones, and how many peers have no label.
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

/// Peers of racks: number n is in rack n / 100, which is in row n / 1000.
struct Racks {
    plan: Plan,
}

impl Racks {
    fn new(gateways: u8) -> Self {
        let plan = Plan::new(&[32, 16], Order::NearFirst, 0).unwrap();
        Self { plan: plan.with_gateways(gateways) }
    }

    fn at(&self, number: u16) -> Update {
        let label = u64::from(number / 1000) << 48 | u64::from(number / 100) << 32;
        at(label, self.plan, plan_id(1), v4(number))
    }

    /// Returns the numbers of the peers in the answer to one.
    fn given<S: Store>(&self, subject: &mut Subject<S>, number: u16) -> Vec<u16> {
        let number_of = |peer: SocketAddr| (0..10_000).find(|number| v4(*number) == peer).unwrap();
        subject.given(&self.at(number)).into_iter().map(number_of).collect()
    }
}

pub fn few_peers_of_a_group_are_given_far_ones<S: Store>(make: impl Fn(Options) -> S) {
    for crowd in [5, 400] {
        let mut subject = Subject::new(make(options()));
        let racks = Racks { plan: Plan::new(&[32], Order::NearFirst, 0).unwrap().with_gateways(2) };
        for rack in 0..3 {
            // A crowd does not fit in a rack's numbers.
            for number in 0..crowd {
                let label = rack << 32;
                let peer = v4(1000 * rack as u16 + number);
                let update = at(label, racks.plan, plan_id(1), peer);
                let given = subject.given(&update);
                let far = given.iter().filter(|peer| {
                    (0..1000).all(|number| v4(1000 * rack as u16 + number) != **peer)
                });
                // The first two of each rack are given those of the racks before, and so are far
                // peers: two of each.
                let expected = if number < 2 { 2 * rack as usize } else { 0 };
                assert_eq!(far.count(), expected, "{number} of rack {rack}");
                assert_eq!(given.len(), expected + usize::from(number), "{number} of rack {rack}");
            }
        }
        // A far seeder is given to gateways, and they to it.
        let lone = at(9 << 32, racks.plan, plan_id(1), v4(9000));
        let gateways = [0, 1, 1000, 1001, 2000, 2001].map(v4);
        assert_eq!(subject.given(&Update { seeder: true, ..lone }), gateways);
        for (number, is_gateway) in [(0, true), (1, true), (2, false), (crowd - 1, false)] {
            let update = at(1 << 32, racks.plan, plan_id(1), v4(1000 + number));
            assert_eq!(subject.given(&update).contains(&v4(9000)), is_gateway, "{number}");
        }
        // Who has no label, or a label of another plan, is far, and given to all who reach far.
        subject.enter(&leecher(v4(9001)));
        subject.enter(&at(1 << 32, racks.plan, plan_id(2), v4(9002)));
        for (number, expected) in [(0, true), (2, false)] {
            let given = subject.given(&at(1 << 32, racks.plan, plan_id(1), v4(1000 + number)));
            let others = [9001, 9002].map(|number| given.contains(&v4(number)));
            assert_eq!(others, [expected; 2], "{number}");
        }
    }
}

pub fn gateways_are_replaced<S: Store>(make: impl Fn(Options) -> S) {
    for crowd in [0, 300] {
        let racks = Racks { plan: Plan::new(&[32], Order::NearFirst, 0).unwrap().with_gateways(1) };
        let make = || {
            let mut subject = Subject::new(make(options()));
            // Others somewhere else, and a far seeder that only gateways are given.
            for number in (0..crowd).map(|number| 5000 + number) {
                let label = u64::from(number) << 32;
                subject.enter(&Update { want: 0, ..at(label, racks.plan, plan_id(1), v4(number)) });
            }
            subject.enter(&Update { seeder: true, ..racks.at(900) });
            for number in 101..105 {
                subject.enter(&racks.at(number));
            }
            subject
        };
        let is_gateway =
            |subject: &mut Subject<S>, number| racks.given(subject, number).contains(&900);
        // It stays one as long as it is there.
        let mut subject = make();
        for _ in 0..3 {
            let gateways = [104, 103, 102, 101].map(|number| is_gateway(&mut subject, number));
            assert_eq!(gateways, [false, false, false, true]);
        }
        // It stops: the next that announces takes its place, and keeps it.
        subject.enter(&Update { event: Event::Stopped, ..racks.at(101) });
        assert!(is_gateway(&mut subject, 103) && !is_gateway(&mut subject, 102));
        assert!(!is_gateway(&mut subject, 101) && is_gateway(&mut subject, 103));
        // It is done: the rack needs nobody else.
        subject.enter(&Update { event: Event::Completed, seeder: true, ..racks.at(103) });
        assert!([101, 102, 104].iter().all(|number| !is_gateway(&mut subject, *number)));
        // The seeder leaves.
        subject.enter(&Update { event: Event::Stopped, ..racks.at(103) });
        assert!(is_gateway(&mut subject, 104) && !is_gateway(&mut subject, 102));
        // A seeder that wants more again is a leecher among others.
        let mut subject = make();
        subject.enter(&Update { seeder: true, ..racks.at(102) });
        assert!(!is_gateway(&mut subject, 101), "the rack has a seeder");
        assert!(is_gateway(&mut subject, 102), "there is no seeder now, and no gateway");
        // It expires.
        let mut subject = make();
        let later = |update: Update| Update { now: LIFETIME, ..update };
        subject.enter(&later(racks.at(103)));
        subject.enter(&Update { seeder: true, ..later(racks.at(900)) });
        subject.expire(LIFETIME + 1);
        assert!(subject.given(&later(racks.at(103))).contains(&v4(900)));
        assert!(!subject.given(&later(racks.at(102))).contains(&v4(900)));
    }
}

pub fn a_gateway_of_a_wider_group_is_one_of_each_group_in_it<S: Store>(
    make: impl Fn(Options) -> S,
) {
    for hosts in [4, 40] {
        let mut subject = Subject::new(make(options()));
        let racks = Racks::new(1);
        let all = (0..3000_u16).filter(|number| {
            let (row, rack, host) = (number / 1000, number / 100 % 10, number % 100);
            1 <= row && rack < 3 && host < hosts
        });
        for number in all {
            let given = racks.given(&mut subject, number);
            let (row, rack, host) = (number / 1000, number / 100 % 10, number % 100);
            let other_racks = given.iter().filter(|other| **other / 100 != number / 100);
            let other_rows = given.iter().filter(|other| **other / 1000 != row);
            assert!(other_racks.clone().all(|other| other % 100 == 0), "{number}: {given:?}");
            assert!(other_rows.clone().all(|other| other % 1000 == 0), "{number}: {given:?}");
            // The first of a rack knows the others of the row, the first of a row other rows.
            let is_first = host == 0;
            let of_row = if is_first { rack } else { 0 };
            let of_rows = if is_first && rack == 0 { row - 1 } else { 0 };
            assert_eq!(other_rows.clone().count(), usize::from(of_rows), "{number}: {given:?}");
            assert_eq!(other_racks.count(), usize::from(of_row + of_rows), "{number}: {given:?}");
        }
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
