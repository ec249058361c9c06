//! Instances where and when they are needed: for workers, and off the request path.

mod control;
mod probation;
mod service;
mod slot;

pub use service::Service;
pub use slot::Slot;
