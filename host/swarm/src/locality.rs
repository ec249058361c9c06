//! The locations of peers, in a hierarchy defined by a policy, and plans for choosing peers by
//! them.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::LazyLock;

use parking_lot::Mutex;

/// Where an announcing peer is, and how the peers for its answer are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Locality {
    /// Most significant bits first: the longer a prefix two labels share, the nearer they are.
    pub label: u64,
    pub plan: Plan,
    /// Labels of different plans are unrelated.
    pub id: PlanId,
}

/// How near peers are preferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// In descending order, padded with zeros.
    prefixes: [u8; Plan::MOST_LEVELS],
    levels: u8,
    order: Order,
    far_percent: u8,
    /// 0: all are given far peers.
    gateways: u8,
}

/// Up to which level of its plan a peer is given others, and is given to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Reach(u8);

/// Which of nearness and role comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Near peers first; among equally near ones, a downloader gets seeders and partial seeds
    /// first.
    NearFirst,
    /// A downloader gets seeders and partial seeds first, near ones before far ones.
    RoleFirst,
}

/// Why a plan is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidPlan {
    #[error("a plan has at most {} prefixes", Plan::MOST_LEVELS)]
    Levels,
    #[error("a prefix of {0} bits is longer than the 64 bits of a label")]
    Prefix(u8),
    #[error("prefixes must get shorter: nearest first")]
    Ascending,
    #[error("a far share of {0} percent is above 100")]
    Share(u8),
}

impl Plan {
    pub const MOST_LEVELS: usize = 8;

    /// Makes a plan. `prefixes` are lengths in bits, nearest first; `far_percent` of each answer,
    /// rounded up, is reserved for peers that share none of them.
    pub fn new(prefixes: &[u8], order: Order, far_percent: u8) -> Result<Self, InvalidPlan> {
        let mut padded = [0; Self::MOST_LEVELS];
        padded.get_mut(..prefixes.len()).ok_or(InvalidPlan::Levels)?.copy_from_slice(prefixes);
        if let Some(&long) = prefixes.iter().find(|&&bits| bits > 64) {
            return Err(InvalidPlan::Prefix(long));
        }
        if !prefixes.is_sorted_by(|longer, shorter| longer > shorter) {
            return Err(InvalidPlan::Ascending);
        }
        if far_percent > 100 {
            return Err(InvalidPlan::Share(far_percent));
        }
        let levels = prefixes.len() as u8;
        Ok(Self { prefixes: padded, levels, order, far_percent, gateways: 0 })
    }

    /// Makes a plan with gateways. Without it, or with 0, all peers are given far ones.
    ///
    /// A downloader is given peers of the next level only if fewer than so many others of its own
    /// level, and of lower ones, are seeds or are given them. And no others are given to peers of
    /// the next level.
    #[must_use]
    pub fn with_gateways(self, gateways: u8) -> Self {
        Self { gateways, ..self }
    }

    /// Returns bytes that no other plan has.
    pub fn to_bytes(&self) -> Vec<u8> {
        let order = match self.order {
            Order::NearFirst => 0,
            Order::RoleFirst => 1,
        };
        let mut bytes = self.prefixes.to_vec();
        bytes.extend([self.levels, order, self.far_percent]);
        // Plans without gateways keep the names by which nodes of earlier versions know them.
        bytes.extend((self.gateways > 0).then_some(self.gateways));
        bytes
    }

    /// Returns how many gateways a group has; 0: the plan has none.
    pub fn gateways(&self) -> usize {
        self.gateways.into()
    }

    pub fn order(&self) -> Order {
        self.order
    }

    /// Returns the number of prefixes, which is also the level of far peers.
    pub fn levels(&self) -> usize {
        self.levels.into()
    }

    /// Returns the length in bits of the prefix that peers of this level and lower ones share.
    pub fn prefix(&self, level: usize) -> u32 {
        self.prefixes[level].into()
    }

    /// Maps the number of shared leading bits of two labels to a level; 0 is nearest.
    pub fn levels_by_shared_bits(&self) -> [u8; 65] {
        let mut levels = [self.levels; 65];
        for level in (0..self.levels).rev() {
            levels[usize::from(self.prefixes[usize::from(level)])..].fill(level);
        }
        levels
    }

    /// Returns how many of `want` peers are reserved for far ones.
    pub fn far_share(&self, want: usize) -> usize {
        (want * usize::from(self.far_percent)).div_ceil(100)
    }

    /// Returns how many of `want` peers are reserved for those of the last level that a gateway
    /// reaches. The others of its group are given it, so it needs few of them.
    pub fn gateway_share(&self, want: usize) -> usize {
        self.far_share(want).max(want.div_ceil(2))
    }
}

impl Reach {
    pub const ALL: Self = Self(u8::MAX);
    pub const NEAREST: Self = Self(0);

    /// Makes the reach up to a level; 0 is the nearest.
    pub fn up_to(level: usize) -> Self {
        u8::try_from(level).map_or(Self::ALL, Self)
    }

    /// Returns the reach up to a level of a plan, but not the last; `None` if no plan has it.
    pub fn kept(level: u8) -> Option<Self> {
        (usize::from(level) < Plan::MOST_LEVELS).then_some(Self(level))
    }

    pub fn covers(self, level: usize) -> bool {
        level <= self.0.into()
    }

    /// Returns the level, of a reach that is not [`Reach::ALL`].
    pub fn level(self) -> usize {
        self.0.into()
    }

    pub fn number(self) -> u8 {
        self.0
    }
}

/// The name of a plan: the same wherever the same policy defines the same plan, and different for all
/// other plans.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PlanName(pub [u8; 8]);

/// Distinguishes the labels of different plans, also after a reload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanId {
    name: PlanName,
    /// Stands for the name in this process.
    number: NonZeroU16,
}

/// The numbers of the plans that this process knows.
#[derive(Default)]
struct Numbers {
    of: HashMap<PlanName, NonZeroU16>,
    /// The name of number 1 comes first.
    names: Vec<PlanName>,
    /// The next number, if all have been taken once.
    oldest: usize,
}

static NUMBERS: LazyLock<Mutex<Numbers>> = LazyLock::new(Mutex::default);

impl PlanId {
    /// Returns the id of a plan. If there are more than 65 535 plans, the oldest is forgotten: labels
    /// live no longer than a peer.
    pub fn of(name: PlanName) -> Self {
        Self { name, number: NUMBERS.lock().number(name) }
    }

    pub fn name(self) -> PlanName {
        self.name
    }

    pub fn get(self) -> u16 {
        self.number.get()
    }

    /// Returns the name of the plan with this number, if it is known.
    pub(crate) fn name_of(number: u16) -> Option<PlanName> {
        let at = usize::from(number).checked_sub(1)?;
        NUMBERS.lock().names.get(at).copied()
    }
}

impl Numbers {
    fn number(&mut self, name: PlanName) -> NonZeroU16 {
        if let Some(&number) = self.of.get(&name) {
            return number;
        }
        let new = u16::try_from(self.names.len() + 1).ok().and_then(NonZeroU16::new);
        let number = match new {
            Some(number) => {
                self.names.push(name);
                number
            }
            None => {
                let at = self.oldest;
                self.oldest = (at + 1) % self.names.len();
                let forgotten = std::mem::replace(&mut self.names[at], name);
                self.of.remove(&forgotten).unwrap_or(NonZeroU16::MIN)
            }
        };
        self.of.insert(name, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_make_no_sense_are_refused() {
        let plan =
            |prefixes: &[u8], far_percent| Plan::new(prefixes, Order::NearFirst, far_percent);
        assert!(plan(&[64, 56, 48, 40, 32, 24, 16, 0], 100).is_ok());
        assert!(plan(&[], 0).is_ok());
        assert_eq!(plan(&[9, 8, 7, 6, 5, 4, 3, 2, 1], 0), Err(InvalidPlan::Levels));
        assert_eq!(plan(&[65], 0), Err(InvalidPlan::Prefix(65)));
        assert_eq!(plan(&[16, 22], 0), Err(InvalidPlan::Ascending));
        assert_eq!(plan(&[16, 16], 0), Err(InvalidPlan::Ascending));
        assert_eq!(plan(&[16], 101), Err(InvalidPlan::Share(101)));
    }

    #[test]
    fn a_longer_shared_prefix_is_nearer() {
        let levels = |prefixes: &[u8], shared: [usize; 5]| {
            let plan = Plan::new(prefixes, Order::NearFirst, 0).unwrap();
            shared.map(|bits| plan.levels_by_shared_bits()[bits])
        };
        assert_eq!(levels(&[64, 26, 16], [64, 63, 26, 16, 15]), [0, 1, 1, 2, 3]);
        assert_eq!(levels(&[8, 0], [64, 8, 7, 1, 0]), [0, 0, 1, 1, 1]);
        assert_eq!(levels(&[], [64, 26, 16, 1, 0]), [0; 5]);
    }

    #[test]
    fn only_the_same_plan_has_the_same_bytes() {
        let plan = Plan::new(&[26, 16], Order::RoleFirst, 10).unwrap();
        // These bytes name the plan to nodes of other versions.
        assert_eq!(plan.to_bytes(), [26, 16, 0, 0, 0, 0, 0, 0, 2, 1, 10]);
        assert_eq!(plan.with_gateways(0), plan);
        assert_eq!(plan.with_gateways(2).to_bytes(), [&plan.to_bytes()[..], &[2]].concat());
    }

    #[test]
    fn the_far_share_is_rounded_up() {
        let plan = Plan::new(&[8], Order::NearFirst, 10).unwrap();
        assert_eq!([0, 1, 10, 11, 50].map(|want| plan.far_share(want)), [0, 1, 1, 2, 5]);
    }

    #[test]
    fn a_plan_keeps_its_number_until_very_many_others_came() {
        let mut numbers = Numbers::default();
        let name = |number: u64| PlanName(number.to_be_bytes());
        let of = |numbers: &mut Numbers, number| numbers.number(name(number)).get();
        for number in 0..u64::from(u16::MAX) {
            assert_eq!(u64::from(of(&mut numbers, number)), number + 1);
        }
        assert_eq!([of(&mut numbers, 7), of(&mut numbers, 0)], [8, 1]);
        let new = 1 << 40;
        assert_eq!([of(&mut numbers, new), of(&mut numbers, new)], [1, 1]);
        assert_eq!([of(&mut numbers, 1), of(&mut numbers, 0)], [2, 2]);
        assert_eq!(numbers.names.len(), numbers.of.len());
    }
}
