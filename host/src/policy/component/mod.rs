//! Turns a file into a compiled and linked component, or says why that is not possible.

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
pub use link::{Code, compile, link, look, read, try_out, warm};
pub use refusal::{Refusal, recognise};
