//! Chooses peers by a plan.

use rand::Rng;

use super::choice::{Candidates, Own, Wanted};
use super::full::{Full, Place};
use super::labels::{DOWNLOADERS, Levels, Ranking, SEEDS};
use super::rows::Rows;
use super::sample;
use crate::{Locality, Order, Plan};
use karuta_bittorrent::{Family, Peers};

/// Appends up to `want` peers other than `me`, which has just announced with this locality, and its
/// `own`. Returns how many.
pub fn choose(
    full: &Full,
    me: Place,
    own: Option<Own>,
    wanted: &Wanted,
    locality: &Locality,
    rng: &mut impl Rng,
    peers: &mut Peers,
) -> usize {
    let plan = &locality.plan;
    let roles: &[usize] = if wanted.gives { &[DOWNLOADERS] } else { &[SEEDS, DOWNLOADERS] };
    let mut rooms = [Levels::EMPTY; 2];
    let mut picker = Picker::new(full, me, own, wanted, locality, &mut rooms);
    let far = plan.levels();

    // Near peers leave this many places to far ones.
    let mut share = plan.far_share(wanted.want);
    if share > 0 {
        let mut available = 0;
        for &role in roles {
            if available < share {
                available += picker.available(role, far, share - available);
            }
        }
        share = share.min(available);
    }
    let (mut room, mut near_room) = (wanted.want, wanted.want - share);
    let mut take = |role: usize, level: usize| {
        let places = if level < far { near_room.min(room) } else { room };
        if places > 0 {
            let given = picker.pick(role, level, places, rng, peers);
            room -= given;
            near_room -= if level < far { given } else { 0 };
        }
    };
    match plan.order() {
        Order::NearFirst => {
            (0..=far).for_each(|level| roles.iter().for_each(|&role| take(role, level)));
        }
        Order::RoleFirst => {
            roles.iter().for_each(|&role| (0..=far).for_each(|level| take(role, level)));
        }
    }
    wanted.want - room
}

/// Picks peers of both families.
struct Picker<'a> {
    full: &'a Full,
    plan: &'a Plan,
    v4: Ranking<'a>,
    v6: Ranking<'a>,
    only: Option<Family>,
    /// The place of the announcing peer, if it is a downloader.
    me: Option<Place>,
    own: Option<Own<'a>>,
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
        [room4, room6]: &'a mut [Levels; 2],
    ) -> Self {
        let (v4, v6) = (&full.v4, &full.v6);
        let (me4, me6) = match me {
            Place::V4(at) => (Some(at), None),
            Place::V6(at) => (None, Some(at)),
        };
        Self {
            full,
            plan: &locality.plan,
            v4: Ranking::of(
                v4.labels(),
                v4.records().len(),
                v4.downloaders(),
                locality,
                me4,
                room4,
            ),
            v6: Ranking::of(
                v6.labels(),
                v6.records().len(),
                v6.downloaders(),
                locality,
                me6,
                room6,
            ),
            only: wanted.only,
            me: (!wanted.gives).then_some(me),
            own,
        }
    }

    /// Returns how many of a class may be given; may return less once there are `enough`.
    fn available(&mut self, role: usize, level: usize, enough: usize) -> usize {
        let class = self.class(role, level);
        let Some(own) = &self.own else { return class.count() };
        if class.count() >= enough + own.count {
            return class.count() - own.count;
        }
        let own = (0..class.len() as u32).filter(|&number| self.is_own(role, &class, number));
        class.count() - own.count()
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

    fn class(&mut self, role: usize, level: usize) -> Class {
        let mut spans = [(0, 0); 4];
        let families = [(&mut self.v4, Family::Ipv4), (&mut self.v6, Family::Ipv6)];
        for ((ranking, family), spans) in families.into_iter().zip(spans.chunks_exact_mut(2)) {
            if self.only.is_none_or(|only| only == family) {
                spans.copy_from_slice(&ranking.class(role, level, self.plan));
            }
        }
        let mut class = Class { spans, me: None };
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
                None => None,
            };
        }
        class
    }

    /// Appends up to `places` peers of a class, every choice equally likely. Returns how many.
    fn pick(
        &mut self,
        role: usize,
        level: usize,
        places: usize,
        rng: &mut impl Rng,
        peers: &mut Peers,
    ) -> usize {
        let class = self.class(role, level);
        let spare = self.own.as_ref().map_or(0, |own| own.count);
        let count = (places + spare).min(class.count());
        if count == 0 {
            return 0;
        }
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
        // Maps a number to a rank: the next span begins where a span ends.
        let [(a, a_end), (b, b_end), (c, c_end), (d, _)] = class.spans;
        let (first, second, third) = (a_end - a, b_end - b, c_end - c);
        let of_v4 = first + second;
        let rank4 = |number: u32| if number < first { a + number } else { b + (number - first) };
        let rank6 = |number: u32| if number < third { c + number } else { d + (number - third) };
        let Peers { ipv4, ipv6, ipv4_ids, ipv6_ids } = peers;
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
