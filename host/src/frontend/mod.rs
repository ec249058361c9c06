//! Turns bytes into requests, and answers into bytes.

mod batch;
mod connection;
pub mod http;
pub(crate) mod real_ip;
mod routes;
pub mod sockets;
pub mod udp;

use karuta_bittorrent::{Counts, InfoHash, Peers};

pub use routes::{RouteTable, Routes};

use crate::exchange::Exchange;

/// The buffers of one request, reused for the next.
#[derive(Default)]
struct Scratch {
    exchange: Box<Exchange>,
    peers: Peers,
    info_hashes: Vec<InfoHash>,
    counts: Vec<Counts>,
    /// The URL data of a UDP announce.
    url: Vec<u8>,
    body: Vec<u8>,
}
