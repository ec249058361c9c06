//! Chooses peers by a plan.

use rand::Rng;

use super::choice::{Candidates, Own, Wanted};
use super::few::Few;
use super::full::{Full, Place};
use super::label::DOWNLOADERS;
use super::labels::{Ranking, Room};
use super::pick::{Pick, Picked, last_level, walk};
use super::rows::Rows;
use super::sample;
use crate::locality::Reach;
use crate::{Locality, Plan};
use karuta_bittorrent::{Family, Peers};

/// Appends up to `want` peers other than `me`, which has just announced with this locality, and its
/// `own`.
pub fn choose(
    full: &Full,
    me: Place,
    own: Option<Own>,
    wanted: &Wanted,
    locality: &Locality,
    rng: &mut impl Rng,
    peers: &mut Peers,
) -> Picked {
    let plan = &locality.plan;
    let reach = |last| {
        let reach = if last == plan.levels() { Reach::ALL } else { Reach::up_to(last) };
        (plan.gateways() > 0).then_some(reach)
    };
    if Few::are_all(full, wanted) {
        let mut few = Few::NONE;
        few.sort(full, me, wanted, locality);
        let last = last_level(wanted, plan, &mut few);
        few.leave_out(full, own);
        let count = walk(wanted, plan, last, &mut few, rng);
        few.give(full, peers);
        return Picked { count, reach: reach(last) };
    }
    let mut rooms = [const { None }; 2];
    let mut picker = Picker::new(full, me, own, wanted, locality, &mut rooms, peers);
    let last = last_level(wanted, plan, &mut picker);
    let count = walk(wanted, plan, last, &mut picker, rng);
    Picked { count, reach: reach(last) }
}

/// Picks peers of both families.
struct Picker<'a> {
    full: &'a Full,
    plan: &'a Plan,
    v4: Ranking<'a>,
    v6: Ranking<'a>,
    /// The place of the announcing peer, if it is a downloader.
    me: Option<Place>,
    own: Option<Own<'a>>,
    peers: &'a mut Peers,
}

/// The peers of one role that are equally near: two ranges of ranks per family.
struct Class {
    spans: [(u32, u32); 4],
    /// The announcing peer's number in the class.
    me: Option<u32>,
}

impl Class {
    fn len(&self) -> usize {
        self.spans.iter().map(|(start, end)| (end - start) as usize).sum()
    }

    /// Returns how many may be given.
    fn count(&self) -> usize {
        self.len() - usize::from(self.me.is_some())
    }

    /// Maps a number to a family and a rank.
    fn rank(&self, number: u32) -> (Family, u32) {
        // The next span begins where a span ends.
        let [(a, a_end), (b, b_end), (c, c_end), (d, _)] = self.spans;
        let (first, second, third) = (a_end - a, b_end - b, c_end - c);
        let of_v4 = first + second;
        match number {
            _ if number < first => (Family::Ipv4, a + number),
            _ if number < of_v4 => (Family::Ipv4, b + (number - first)),
            _ if number < of_v4 + third => (Family::Ipv6, c + (number - of_v4)),
            _ => (Family::Ipv6, d + (number - of_v4 - third)),
        }
    }

    /// Returns the number of a rank in one family.
    fn number(&self, family: usize, rank: u32) -> Option<u32> {
        let mut before = 0;
        for (at, &(start, end)) in self.spans.iter().enumerate() {
            if at / 2 == family && (start..end).contains(&rank) {
                return Some(before + rank - start);
            }
            before += end - start;
        }
        None
    }
}

impl<'a> Picker<'a> {
    fn new(
        full: &'a Full,
        me: Place,
        own: Option<Own<'a>>,
        wanted: &Wanted,
        locality: &'a Locality,
        [room4, room6]: &'a mut [Option<Room>; 2],
        peers: &'a mut Peers,
    ) -> Self {
        let (v4, v6) = (&full.v4, &full.v6);
        let (me4, me6) = match me {
            Place::V4(at) => (Some(at), None),
            Place::V6(at) => (None, Some(at)),
            Place::Hidden(..) => (None, None),
        };
        let of_v4 = match wanted.only {
            Some(Family::Ipv6) => Ranking::NONE,
            _ => {
                let (rows, downloaders) = (v4.records().len(), v4.downloaders());
                Ranking::of(v4.labels(), rows, downloaders, locality, me4, room4)
            }
        };
        let of_v6 = match wanted.only {
            Some(Family::Ipv4) => Ranking::NONE,
            _ => {
                let (rows, downloaders) = (v6.records().len(), v6.downloaders());
                Ranking::of(v6.labels(), rows, downloaders, locality, me6, room6)
            }
        };
        Self {
            full,
            plan: &locality.plan,
            v4: of_v4,
            v6: of_v6,
            me: (!wanted.gives).then_some(me),
            own,
            peers,
        }
    }

    /// Returns whether a number in a class belongs to the announcing client.
    fn is_own(&self, role: usize, class: &Class, number: u32) -> bool {
        self.own.as_ref().is_some_and(|own| {
            let (family, rank) = class.rank(number);
            let ranking = match family {
                Family::Ipv4 => &self.v4,
                Family::Ipv6 => &self.v6,
            };
            own.family == family && own.has(ranking.row(role, rank))
        })
    }

    /// Returns the number in the class that was last listed of a downloader that reaches `beyond` a
    /// level, each of them equally likely.
    fn one_beyond(
        &mut self,
        (role, level): (usize, usize),
        beyond: usize,
        class: &Class,
        rng: &mut impl Rng,
    ) -> Option<u32> {
        let [v4, v6] = [&self.v4, &self.v6].map(|of| of.beyond(level, beyond, self.plan));
        let (of_v4, all) = (v4.count(), v4.count() + v6.count());
        let first = sample::draw(all.checked_sub(1)?, rng);
        // Nearly always the first: the others are for those who may not be given.
        (0..all.min(Own::MOST + 2)).find_map(|step| {
            let nth = (first + step) % all;
            let (family, ranking, of, nth) = match nth.checked_sub(of_v4) {
                None => (0, &self.v4, &v4, nth),
                Some(nth) => (1, &self.v6, &v6, nth),
            };
            let rank = ranking.rank_beyond((role, level), beyond, of, nth)?;
            let number = class.number(family, rank)?;
            (class.me != Some(number) && !self.is_own(role, class, number)).then_some(number)
        })
    }

    /// Prepares a class for [`Ranking::row`].
    fn list(&mut self, role: usize, level: usize) {
        self.v4.list(role, level);
        self.v6.list(role, level);
    }

    fn class(&mut self, role: usize, level: usize) -> Class {
        let [a, b] = self.v4.class(role, level, self.plan);
        let [c, d] = self.v6.class(role, level, self.plan);
        let mut class = Class { spans: [a, b, c, d], me: None };
        // The announcing peer is nearest to itself.
        if level == 0 && role == DOWNLOADERS {
            class.me = match self.me {
                Some(Place::V4(at)) => {
                    let rank = |labels| self.v4.rank(at, labels, role);
                    self.full.v4.labels().and_then(rank).and_then(|rank| class.number(0, rank))
                }
                Some(Place::V6(at)) => {
                    let rank = |labels| self.v6.rank(at, labels, role);
                    self.full.v6.labels().and_then(rank).and_then(|rank| class.number(1, rank))
                }
                Some(Place::Hidden(..)) | None => None,
            };
        }
        class
    }
}

impl Pick for Picker<'_> {
    fn available(&mut self, role: usize, level: usize, enough: usize) -> usize {
        let class = self.class(role, level);
        let Some(own) = &self.own else { return class.count() };
        if class.count() >= enough + own.count {
            return class.count() - own.count;
        }
        self.list(role, level);
        let own = (0..class.len() as u32).filter(|&number| self.is_own(role, &class, number));
        class.count() - own.count()
    }

    fn usable(&mut self, level: usize) -> usize {
        self.v4.usable(level, self.plan) + self.v6.usable(level, self.plan)
    }

    fn pick(
        &mut self,
        (role, level): (usize, usize),
        places: usize,
        beyond: Option<usize>,
        rng: &mut impl Rng,
    ) -> usize {
        let class = self.class(role, level);
        let spare = self.own.as_ref().map_or(0, |own| own.count);
        let count = (places + spare).min(class.count());
        if count == 0 {
            return 0;
        }
        self.list(role, level);
        let (mut few, mut many);
        let chosen = if count <= 64 {
            few = [0; 64];
            &mut few[..count]
        } else {
            many = vec![0; count];
            &mut many[..]
        };
        if count == class.count() {
            chosen.iter_mut().zip(0..).for_each(|(number, next)| *number = next);
        } else {
            sample::choose(class.count() as u32, rng, chosen);
        }
        if let Some(me) = class.me {
            for number in &mut *chosen {
                *number += u32::from(me <= *number);
            }
        }
        let is_own = |number| self.is_own(role, &class, number);
        let chosen = match &self.own {
            None => chosen,
            Some(_) => sample::leave_out(chosen, places, rng, is_own),
        };
        let count = chosen.len();
        if let Some(beyond) = beyond
            && let Some(number) = self.one_beyond((role, level), beyond, &class, rng)
            && !chosen.contains(&number)
            && count > 0
        {
            chosen[sample::draw(count as u32 - 1, rng) as usize] = number;
        }
        // Maps a number to a rank: the next span begins where a span ends.
        let [(a, a_end), (b, b_end), (c, c_end), (d, _)] = class.spans;
        let (first, second, third) = (a_end - a, b_end - b, c_end - c);
        let of_v4 = first + second;
        let rank4 = |number: u32| if number < first { a + number } else { b + (number - first) };
        let rank6 = |number: u32| if number < third { c + number } else { d + (number - third) };
        let Peers { ipv4, ipv6, ipv4_ids, ipv6_ids } = &mut *self.peers;
        let v4 = Candidates::of(&self.full.v4, false);
        if class.len() == of_v4 as usize
            && let Some(rows) = self.v4.listed()
        {
            let places = chosen.iter().map(|number| usize::from(rows[*number as usize]));
            v4.copy(places, count, ipv4, ipv4_ids);
            return count;
        }
        let row4 = |number: &u32| self.v4.row(role, rank4(*number));
        if class.len() == of_v4 as usize {
            v4.copy(chosen.iter().map(row4), count, ipv4, ipv4_ids);
            return count;
        }
        let count4 = chosen.iter().filter(|&&number| number < of_v4).count();
        let places = chosen.iter().filter(|&&number| number < of_v4).map(row4);
        v4.copy(places, count4, ipv4, ipv4_ids);
        if count4 < count {
            let v6 = chosen.iter().filter(|&&number| of_v4 <= number);
            Candidates::of(&self.full.v6, false).copy(
                v6.map(|&number| self.v6.row(role, rank6(number - of_v4))),
                count - count4,
                ipv6,
                ipv6_ids,
            );
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::net::SocketAddr;

    use karuta_bittorrent::PeerId;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::columns::Details;
    use super::super::full::Entry;
    use super::super::label::{Label, SEEDS};
    use super::super::levels::SORTED;
    use super::super::swarm::Swarm;
    use super::*;
    use crate::locality::Reach;
    use crate::{Order, PlanId, PlanName, Role};

    const ROLES: [Role; 3] = [Role::Downloader, Role::PartialSeed, Role::Seeder];

    /// Another peer of the swarm, as the announcing one sees it.
    struct Other {
        class: (usize, usize),
        reach: Reach,
        is_own: bool,
    }

    /// A swarm with peers of every role, near and far, and some without a label.
    struct Crowd {
        swarm: Swarm,
        /// Each peer with its class (role and level), the number of its client, and its reach.
        peers: Vec<(SocketAddr, (usize, usize), usize, Reach)>,
        locality: Locality,
    }

    impl Crowd {
        fn new([of_v4, of_v6]: [usize; 2], plan: Plan, with_peer_ids: bool) -> Self {
            let mut swarm = Swarm::new(with_peer_ids, 0);
            let locality =
                Locality { label: 0x0101 << 48, plan, id: PlanId::of(PlanName(*b"nearness")) };
            let v4 = (0..of_v4).map(|n| (n, SocketAddr::from(([10, 0, 0, 1], n as u16))));
            let v6 = (0..of_v6).map(|n| (n, SocketAddr::from(([1; 8], n as u16))));
            let mut peers = Vec::new();
            for (number, peer) in v4.chain(v6) {
                let label = [0x0101, 0x0102, 0x0201, 0x0301][number / 3 % 4] << 48;
                let located = (number % 7 > 0).then_some(Locality { label, ..locality });
                let role = ROLES[number % 3];
                let kept = located.is_some() && role == Role::Downloader && number % 5 > 0;
                let reach = if kept { Reach::up_to(number % 2) } else { Reach::ALL };
                swarm.insert(peer, &Self::entry(number, role, located.as_ref(), Some(reach)));
                let level = if located.is_some() { [0, 1, 2, 2][number / 3 % 4] } else { 2 };
                let class = (if number % 3 == 0 { DOWNLOADERS } else { SEEDS }, level);
                peers.push((peer, class, number, reach));
            }
            Self { swarm, peers, locality }
        }

        fn entry(
            client: usize,
            role: Role,
            locality: Option<&Locality>,
            reach: Option<Reach>,
        ) -> Entry {
            let mut peer_id = [1; 20];
            peer_id[..8].copy_from_slice(&client.to_le_bytes());
            let details = Details { peer_id: PeerId(peer_id), label: Label::of(locality), reach };
            Entry { stamp: 0, details, role, completes: false, is_hidden: false }
        }

        /// Checks an answer to a peer.
        fn check(&mut self, at: usize, want: usize, only: Option<Family>, rng: &mut SmallRng) {
            let (me, (role, _), client, _) = self.peers[at];
            let decided = (role == SEEDS).then_some(Reach::ALL);
            let entry = Self::entry(client, ROLES[client % 3], Some(&self.locality), decided);
            let (place, _) = self.swarm.update(me, &entry).unwrap();
            self.peers[at].1 = (role, 0);
            let with_peer_ids =
                matches!(&self.swarm, Swarm::Full(full) if full.v4.peer_ids().is_some());
            let classes: HashMap<_, _> = self
                .peers
                .iter()
                .filter(|(peer, ..)| {
                    only.is_none_or(|only| only == Family::of(peer.ip())) && *peer != me
                })
                .map(|(peer, class, other, reach)| {
                    let is_own = with_peer_ids && *other == client;
                    (*peer, Other { class: *class, reach: *reach, is_own })
                })
                .collect();
            let (expected, reach) = self.expected(role == SEEDS, want, &classes);

            let mut given = Peers::default();
            let gives = role == SEEDS;
            let wanted = Wanted { gives, want, only, locality: Some(&self.locality) };
            let picked = self.swarm.choose(place, &wanted, rng, &mut given);
            let all = expected.values().sum();
            assert_eq!((picked.count, given.len()), (all, all), "{at}, {want}, {only:?}");
            assert_eq!(picked.reach, reach, "{at}, {want}, {only:?}");
            if let Some(reach) = picked.reach.filter(|_| role == DOWNLOADERS) {
                self.swarm.set_reach(place, reach);
                self.peers[at].3 = reach;
            }
            let different: HashSet<_> = given.iter().collect();
            assert_eq!(different.len(), all);
            let mut counts = HashMap::new();
            for peer in given.iter() {
                assert!(!classes[&peer].is_own);
                *counts.entry(classes[&peer].class).or_insert(0) += 1;
            }
            assert_eq!(counts, expected, "{at}, {want}, {only:?}");
            let Some(last) = reach.filter(|reach| *reach != Reach::ALL).map(Reach::level) else {
                return;
            };
            // Of each class, one that reaches further than this peer, if there is one.
            for (class, _) in expected.into_iter().filter(|((role, _), _)| *role == DOWNLOADERS) {
                let reaches_beyond = |peer: &SocketAddr| {
                    let other = &classes[peer];
                    other.class == class && !other.is_own && other.reach.covers(last + 1)
                };
                assert_eq!(
                    given.iter().any(|peer| reaches_beyond(&peer)),
                    classes.keys().any(reaches_beyond),
                    "{at}, {want}, {only:?}"
                );
            }
        }

        /// Returns how many peers an answer has of each class, and how far the peer reaches then.
        fn expected(
            &self,
            gives: bool,
            want: usize,
            others: &HashMap<SocketAddr, Other>,
        ) -> (HashMap<(usize, usize), usize>, Option<Reach>) {
            let plan = &self.locality.plan;
            let usable = |level| {
                let is_usable = |other: &&Other| {
                    let (role, of) = other.class;
                    of <= level && (role == SEEDS || other.reach.covers(level + 1))
                };
                others.values().filter(is_usable).count()
            };
            let gateways = plan.gateways();
            let last = match gateways {
                0 => 2,
                _ if gives => 2,
                _ => (0..2).find(|level| usable(*level) >= gateways).unwrap_or(2),
            };
            let len = |class: (usize, usize)| {
                let is = |other: &&Other| {
                    let is_open = class.0 == SEEDS || other.reach.covers(class.1);
                    other.class == class && !other.is_own && (gateways == 0 || is_open)
                };
                others.values().filter(is).count()
            };
            let roles = if gives { &[DOWNLOADERS][..] } else { &[SEEDS, DOWNLOADERS] };
            let far = roles.iter().map(|role| len((*role, last))).sum();
            let share = match gateways {
                _ if last == 0 => 0,
                0 => plan.far_share(want),
                _ if gives => plan.far_share(want),
                _ => plan.gateway_share(want),
            };
            let mut near_room = want - share.min(far);
            let mut room = want;
            let mut order: Vec<_> =
                roles.iter().flat_map(|role| (0..=last).map(|l| (*role, l))).collect();
            if plan.order() == Order::NearFirst {
                order.sort_by_key(|(_, level)| *level);
            }
            let mut expected = HashMap::new();
            for class in order {
                let places = if class.1 < last { near_room.min(room) } else { room };
                let count = len(class).min(places);
                room -= count;
                near_room -= if class.1 < last { count } else { 0 };
                if count > 0 {
                    expected.insert(class, count);
                }
            }
            let reach = if last == 2 { Reach::ALL } else { Reach::up_to(last) };
            (expected, (gateways > 0).then_some(reach))
        }
    }

    #[test]
    fn answers_follow_the_plan_in_swarms_of_every_size() {
        let mut rng = SmallRng::seed_from_u64(3);
        let sizes = [1, 63, 64, 65, 127, 128, SORTED - 1, SORTED, SORTED + 1];
        for of_v4 in sizes {
            for (at, of_v6) in [0, 1, 64, 65, SORTED, SORTED + 1].into_iter().enumerate() {
                let order = [Order::NearFirst, Order::RoleFirst][at % 2];
                for (with_peer_ids, far_percent, gateways) in
                    [(true, 0, 0), (true, 30, 0), (false, 30, 0), (true, 30, 2), (false, 10, 40)]
                {
                    let plan = Plan::new(&[16, 8], order, far_percent).unwrap();
                    let plan = plan.with_gateways(gateways);
                    let mut crowd = Crowd::new([of_v4, of_v6], plan, with_peer_ids);
                    let all = of_v4 + of_v6;
                    // Peers of both roles and families, in the first and the last word of bits.
                    for at in [0, 1, of_v4 - 1, of_v4, of_v4 + 1, all - 1, all / 2 - all / 2 % 3] {
                        for only in [None, Some(Family::Ipv4), Some(Family::Ipv6)] {
                            for want in [0, 1, 20, 50, all / 2, all] {
                                crowd.check(at.min(all - 1), want, only, &mut rng);
                            }
                        }
                    }
                }
            }
        }
    }
}
