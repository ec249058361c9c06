//! What other crates' benchmarks use of the load generator.

pub mod judge;
pub mod signed;
