//! What authors of policies rely on: `karuta plugin`, the samples, and released contracts.

mod plugin_check;
mod plugin_test;
mod plugin_tools;
mod released_contract;
pub mod samples;
