//! The SDK for policy plugins of the Karuta tracker. A policy is a type that implements a trait for
//! each of its hooks, and one line exports it.
//!
//! ```
//! use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict, response};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     lowest: u16,
//! }
//!
//! struct Ports {
//!     lowest: u16,
//! }
//!
//! impl Policy for Ports {
//!     type Config = Config;
//!     fn init(config: Config, _: &Context) -> Result<Self, Error> {
//!         Ok(Self { lowest: config.lowest })
//!     }
//! }
//!
//! impl AnnounceFilter for Ports {
//!     fn on_announce(&mut self, announce: &Announce) -> Verdict {
//!         if announce.port() < self.lowest {
//!             return response::reject("port not allowed");
//!         }
//!         Verdict::Next
//!     }
//! }
//!
//! karuta_plugin::export!(Ports: announce);
//! # fn main() {}
//! ```
//!
//! Built with `cargo build --target wasm32-wasip2` as a `cdylib`, this is a component for `policies`
//! in the tracker's configuration. On any other target the host functions are those of [`testing`],
//! so that `cargo test` runs a policy as it is.
//!
//! # Conventions
//!
//! * Values from the host ([`Announce`], [`Outcome`], [`swarm::Stats`] …) have getters, not fields:
//!   they are read-only, are decoded only when they are asked for, and may grow without breaking a
//!   policy. What a test fills in or looks at ([`testing::Request`], [`testing::Answer`]) has fields.
//! * Every fallible function and every hook returns [`Error`], so `?` works between them.
//! * Time is [`Duration`](std::time::Duration) or [`SystemTime`](std::time::SystemTime), rounded to
//!   the contract's whole seconds or minutes. [`clock`] is the clock.
//! * `None` is what a client did not say.

#![deny(missing_docs)]
#![warn(unreachable_pub)]

pub mod account;
#[doc(hidden)]
pub mod bindings;
pub mod clock;
pub mod config;
mod error;
pub mod http;
pub mod keyvalue;
pub mod lists;
pub mod locality;
pub mod log;
pub mod metrics;
mod network;
mod policy;
pub mod publisher;
pub mod request;
pub mod response;
#[doc(hidden)]
pub mod runtime;
pub mod sets;
pub mod signatures;
pub mod swarm;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod text;
mod units;
mod values;

pub use bindings::imports::types::{Event, Transport, Verdict};
pub use error::Error;
pub use network::Network;
pub use policy::{
    AnnounceFilter, Context, DataSink, Observer, PeerRanker, Policy, Role, ScrapeFilter, Ticker,
};
pub use values::{Announce, Candidate, InfoHash, Outcome, Scrape};

#[cfg(target_family = "wasm")]
use bindings::{control, imports as host};
#[cfg(not(target_family = "wasm"))]
use testing::{control, host};
