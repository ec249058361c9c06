//! Karuta: a BitTorrent tracker whose policies are WebAssembly components.
//!
//! `docs/architecture.md` shows the rooms of this crate and the path of a request through them.

mod accept;
pub mod admin;
mod author;
pub mod books;
pub mod cli;
pub mod config;
mod confine;
pub mod daemon;
pub mod data;
pub mod decisions;
mod doctor;
mod doors;
mod edits;
mod entry;
pub mod exchange;
pub mod export;
mod fetch;
mod file;
mod finding;
pub mod frontend;
#[cfg(fuzzing)]
pub mod fuzzed;
mod generations;
mod history;
mod import;
mod jwk;
mod jwt;
pub mod limits;
mod log;
mod manual;
pub mod metrics;
pub mod policy;
mod probe;
mod process;
pub mod public;
pub mod recording;
pub mod replay;
mod service;
mod share;
mod snapshot;
mod state_dir;
mod survey;
mod text;
mod time;
pub mod tls;
pub mod tracker;
mod watch;
