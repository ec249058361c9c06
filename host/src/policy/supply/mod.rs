//! Instances where and when they are needed: for workers, and off the request path.

mod control;
mod control_loop;
mod probation;
mod service;
mod slot;

pub use control_loop::{ControlLoop, Told};
pub use service::Service;
pub use slot::Slot;
