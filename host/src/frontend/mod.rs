//! Turns bytes into requests, and answers into bytes.

mod batch;
mod connection;
pub mod http;
pub(crate) mod real_ip;
mod routes;
pub mod sockets;
pub mod udp;

use karuta_bittorrent::{Counts, InfoHash};

pub use routes::{RouteTable, Routes};

use crate::exchange::Exchange;

/// The buffers of a scrape, reused for the next.
#[derive(Default)]
struct Scrape {
    exchange: Box<Exchange>,
    info_hashes: Vec<InfoHash>,
    counts: Vec<Counts>,
}
