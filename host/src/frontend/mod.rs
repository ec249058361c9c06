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

use crate::tracker::Passage;

/// The buffers of one request, reused for the next.
#[derive(Default)]
struct Scratch {
    /// An announce; for a scrape, only its exchange is used.
    passage: Passage,
    info_hashes: Vec<InfoHash>,
    counts: Vec<Counts>,
    body: Vec<u8>,
}
