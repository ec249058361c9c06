//! Turns bytes into requests, and answers into bytes.

mod batch;
mod body;
mod challenges;
mod connection;
pub mod gathering;
pub mod http;
mod late;
mod public;
pub(crate) mod real_ip;
mod routes;
pub mod sockets;
pub mod udp;

pub use challenges::Challenges;
pub use routes::{RouteTable, Routes};
