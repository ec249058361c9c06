//! The contract between the tracker and its policies: the WIT, its generated bindings, and
//! conversions of values.

pub mod bindings;
pub mod values;
pub mod wit;

pub use bindings::hooks::lifecycle::Role;
pub use bindings::imports::types::Verdict;
pub use wit::{Contract, VERSION, WIT};
