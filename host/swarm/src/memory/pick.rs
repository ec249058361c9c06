//! The order in which a plan picks from the classes of peers.

use rand::Rng;

use super::choice::Wanted;
use super::label::{DOWNLOADERS, SEEDS};
use crate::{Order, Plan};

/// Picks from the classes of peers: those of one role that are equally near.
pub trait Pick {
    /// Returns how many of a class may be given; may return less once there are `enough`.
    fn available(&mut self, role: usize, level: usize, enough: usize) -> usize;

    /// Picks up to `places` peers of a class, every choice equally likely. Returns how many.
    fn pick(&mut self, role: usize, level: usize, places: usize, rng: &mut impl Rng) -> usize;
}

/// Picks from one class after another, in the order of the plan. Returns how many peers.
pub fn walk(wanted: &Wanted, plan: &Plan, from: &mut impl Pick, rng: &mut impl Rng) -> usize {
    let roles: &[usize] = if wanted.gives { &[DOWNLOADERS] } else { &[SEEDS, DOWNLOADERS] };
    let far = plan.levels();

    // Near peers leave this many places to far ones.
    let mut share = plan.far_share(wanted.want);
    if share > 0 {
        let mut available = 0;
        for &role in roles {
            if available < share {
                available += from.available(role, far, share - available);
            }
        }
        share = share.min(available);
    }
    let (mut room, mut near_room) = (wanted.want, wanted.want - share);
    let mut take = |role: usize, level: usize| {
        let places = if level < far { near_room.min(room) } else { room };
        if places > 0 {
            let given = from.pick(role, level, places, rng);
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
