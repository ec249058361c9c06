//! A swarm of any size, and what an announce leaves in it.

use std::net::SocketAddr;

use super::columns::Details;
use super::list::List;
use super::record::{Record, Stamp, V4, V6};
use super::rows::Rows;
use crate::swarm::Role;

/// Any number of peers of both families.
#[derive(Debug)]
pub struct Full {
    pub completed: u32,
    pub v4: List<V4>,
    pub v6: List<V6>,
}

/// What an announce leaves of its peer.
#[derive(Clone, Copy)]
pub struct Entry {
    pub stamp: Stamp,
    pub details: Details,
    pub role: Role,
    /// It has just downloaded everything.
    pub completes: bool,
}

/// Where a peer is, until the next change of its swarm.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    V4(usize),
    V6(usize),
}

impl Full {
    /// Adds a peer that is not there yet.
    pub fn insert(&mut self, peer: SocketAddr, entry: &Entry) -> Place {
        let Entry { stamp, details, role, .. } = entry;
        match peer {
            SocketAddr::V4(peer) => {
                Place::V4(self.v4.insert(V4::new(peer, *stamp), details, *role))
            }
            SocketAddr::V6(peer) => {
                Place::V6(self.v6.insert(V6::new(peer, *stamp), details, *role))
            }
        }
    }
}
