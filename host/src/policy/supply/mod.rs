//! Supplies instances for workers and for calls off the request path.

mod control;
mod probation;
mod service;
mod slot;

pub use service::Service;
pub use slot::Slot;
