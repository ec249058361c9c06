//! The parts of the load generator that other crates' benchmarks use.

pub mod judge;
pub mod signed;
