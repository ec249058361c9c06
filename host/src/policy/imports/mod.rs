//! The functions that a component may call: one module for each interface of the contract, and
//! WASI.

mod account;
pub mod call;
pub mod http;
pub mod keyvalue;
pub mod locality;
pub mod log;
pub mod memory;
pub mod metrics;
mod publisher;
mod request;
mod response;
mod sets;
pub mod signatures;
pub mod state;
mod swarm;
pub mod wasi;
