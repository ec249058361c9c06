//! The order in which a plan picks from the classes of peers.

use rand::Rng;

use super::choice::Wanted;
use super::label::{DOWNLOADERS, OPEN, SEEDS};
use crate::locality::Reach;
use crate::{Order, Plan};

/// Picks from the classes of peers: those of one role that are equally near.
pub trait Pick {
    /// Returns how many of a class may be given; may return less once there are `enough`.
    fn available(&mut self, role: usize, level: usize, enough: usize) -> usize;

    /// Returns how many others up to a level, which is not far, are seeds, or downloaders that reach
    /// beyond it.
    fn usable(&mut self, level: usize) -> usize;

    /// Picks up to `places` peers of a class (role and level), every choice equally likely; of downloaders one that
    /// reaches `beyond` a level first, if there is one. Returns how many.
    fn pick(
        &mut self,
        class: (usize, usize),
        places: usize,
        beyond: Option<usize>,
        rng: &mut impl Rng,
    ) -> usize;
}

/// What was picked.
pub struct Picked {
    /// How many peers.
    pub count: usize,
    /// How far the announcing peer reaches, by a plan with gateways.
    pub reach: Option<Reach>,
}

/// Returns the last level that the announcing peer is given.
pub fn last_level(wanted: &Wanted, plan: &Plan, from: &mut impl Pick) -> usize {
    let gateways = match plan.gateways() {
        0 => return plan.levels(),
        _ if wanted.gives => return plan.levels(),
        gateways => gateways,
    };
    let enough = |level: &usize| gateways <= from.usable(*level);
    (0..plan.levels()).find(enough).unwrap_or(plan.levels())
}

/// Picks from one class after another up to the `last` level, in the order of the plan. Returns how
/// many peers.
pub fn walk(
    wanted: &Wanted,
    plan: &Plan,
    last: usize,
    from: &mut impl Pick,
    rng: &mut impl Rng,
) -> usize {
    let roles: &[usize] = if wanted.gives { &[DOWNLOADERS] } else { &[SEEDS, DOWNLOADERS] };
    let has_gateways = plan.gateways() > 0;
    // Of other groups, only those whom the plan lets them be given.
    let class = |role: usize, level: usize| match role {
        DOWNLOADERS if has_gateways && level > 0 => OPEN,
        _ => role,
    };

    // Nearer peers leave this many places to those of the last level.
    let mut share = match last {
        0 if has_gateways => 0,
        _ if has_gateways && !wanted.gives => plan.gateway_share(wanted.want),
        _ => plan.far_share(wanted.want),
    };
    if share > 0 {
        let mut available = 0;
        for &role in roles {
            if available < share {
                available += from.available(class(role, last), last, share - available);
            }
        }
        share = share.min(available);
    }
    // Who is given only its group is not left without one that brings in what the group has not. By
    // luck alone some would be, and the groups would be further from each other.
    let beyond = (has_gateways && last < plan.levels()).then_some(last);
    let (mut room, mut near_room) = (wanted.want, wanted.want - share);
    let mut take = |role: usize, level: usize| {
        let places = if level < last { near_room.min(room) } else { room };
        if places > 0 {
            let beyond = beyond.filter(|_| role == DOWNLOADERS);
            let given = from.pick((class(role, level), level), places, beyond, rng);
            room -= given;
            near_room -= if level < last { given } else { 0 };
        }
    };
    match plan.order() {
        Order::NearFirst => {
            (0..=last).for_each(|level| roles.iter().for_each(|&role| take(role, level)));
        }
        Order::RoleFirst => {
            roles.iter().for_each(|&role| (0..=last).for_each(|level| take(role, level)));
        }
    }
    wanted.want - room
}
