//! All that knows of WebAssembly: the engine, plugins, their instances, the chain.

mod artifact;
mod bindings;
mod chain;
mod engine;
mod exchange;
mod generation;
mod host;
mod instance;
mod jwk;
mod plugin;
mod remembered;
mod state;
mod storage;
mod supply;
mod values;
mod wasi;

pub use artifact::Artifacts;
pub use chain::{Chain, NewLink, Policy, Ruling, UNAVAILABLE, When};
pub use engine::{Engine, EngineError, THREAD_STACK};
pub use exchange::{Answer, Exchange, Request, Source};
pub use generation::{Change, Generation};
pub use instance::{Instance, Place, Role};
pub use plugin::{LoadError, Plugin, Stage, hex};
pub use state::{Scope, Swarms};
pub use supply::Supplier;
