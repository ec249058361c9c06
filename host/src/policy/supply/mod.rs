//! Supplies instances for workers and for calls off the request path.

mod control;
mod control_loop;
mod probation;
mod service;
mod slot;

pub use control_loop::{ControlLoop, Told};
pub use service::Service;
pub use slot::Slot;
