//! From a file to a component that is compiled and linked; or why it is none for this host.

mod artifact;
pub mod compiler;
pub mod engine;
mod footprint;
mod link;
mod refusal;
mod settings;

pub use artifact::Artifacts;
pub use compiler::{CompileJob, Compiler};
pub use engine::{Engine, EngineError, THREAD_STACK};
pub use link::{Code, compile, link, look, read};
pub use refusal::{Refusal, recognise};
