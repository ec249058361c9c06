//! Everything that knows WebAssembly: the engine, plugins, their instances, the chain.

mod chain;
mod component;
mod contract;
mod explain;
mod generation;
mod imports;
mod instance;
mod shared;
mod supply;
mod trial;

pub use chain::{Chain, NewLink, Policy, When};
pub use component::{
    Artifacts, CompileJob, Compiler, Engine, EngineError, Refusal, THREAD_STACK, look, recognise,
    try_out,
};
pub use contract::{VERSION, Verdict, WIT};
pub use explain::{Explanation, Inquiry, Step};
pub use generation::{Change, Generation, Loader, Purpose, warm};
pub use instance::{LoadCause, LoadError};
pub use shared::clock::Clock;
pub use shared::estate::Estate;
pub use shared::kept::{Kept, KeptKind};
pub use shared::shutdown::Shutdown;
pub use shared::tracker::{Swarms, TrackerView};
pub use trial::{Answers, Asked, Component, Ended, Given, Question, Reply, Said, Setting, Trial};
