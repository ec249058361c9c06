//! What classes of peers are made of: the label that a plan gives a peer, and its role.

use crate::{Locality, PlanId, PlanName};

pub const DOWNLOADERS: usize = 0;
/// Seeders and partial seeds, which only give.
pub const SEEDS: usize = 1;
/// The downloaders that the plan lets other groups be given: those whose reach covers their level.
pub const OPEN: usize = 2;

/// The location of a peer in a plan; plan 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(2))]
pub struct Label {
    pub value: u64,
    pub plan: u16,
}

const _: () = assert!(size_of::<Label>() == 10);

impl Label {
    pub const NONE: Self = Self { value: 0, plan: 0 };

    pub fn of(locality: Option<&Locality>) -> Self {
        locality.map_or(Self::NONE, |at| Self { value: at.label, plan: at.id.get() })
    }

    /// Returns the label of a plan that another node has named.
    pub fn named(label: Option<(PlanName, u64)>) -> Self {
        label.map_or(Self::NONE, |(plan, value)| Self { value, plan: PlanId::of(plan).get() })
    }

    /// Returns the label as other nodes know it, if it has one.
    pub fn name(self) -> Option<(PlanName, u64)> {
        PlanId::name_of(self.plan).map(|plan| (plan, self.value))
    }

    pub fn is_none(self) -> bool {
        self.plan == 0
    }
}
