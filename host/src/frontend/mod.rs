//! Bytes to requests, and answers to bytes.

mod batch;
mod connection;
pub mod http;
pub(crate) mod real_ip;
mod routes;
pub mod sockets;
pub mod udp;

use karuta_bittorrent::{Counts, InfoHash, Peers};

pub use routes::{RouteTable, Routes};

use crate::policy::Exchange;

/// What one request is worked on with, used again for the next.
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
