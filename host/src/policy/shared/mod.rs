//! What all instances of one policy share.

pub mod allowance;
pub mod clock;
pub mod estate;
pub mod inbox;
pub mod kept;
pub mod keyvalues;
pub mod ledger;
pub mod named;
pub mod outcome;
pub mod publications;
pub mod shutdown;
pub mod tracker;
