//! All that knows of WebAssembly: the engine, plugins, their instances, the chain.

mod artifact;
mod bindings;
mod chain;
mod clock;
mod component;
mod contract;
mod control;
mod engine;
mod exchange;
mod explain;
mod generation;
mod host;
mod instance;
pub(crate) mod jwk;
mod ledger;
mod named;
mod plugin;
mod publications;
mod remembered;
mod state;
mod storage;
mod supply;
mod trial;
mod values;
mod wasi;

pub use artifact::Artifacts;
pub use chain::{Chain, NewLink, Policy, Ruling, When};
pub use component::Refusal;
pub use contract::{VERSION, WIT};
pub use engine::{Engine, EngineError, THREAD_STACK};
pub use exchange::{Answer, Exchange, Source};
pub use explain::{Explanation, explain};
pub use generation::{Change, Generation};
pub use plugin::{LoadError, Stage, hex};
pub use state::{Scope, Swarms};
pub use trial::{Candidate, Given, Said, Setting, Trial};
