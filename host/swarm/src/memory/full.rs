//! A swarm of any size, and what an announce stores in it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::choice::{Own, Wanted};
use super::clients::{Clients, Identity};
use super::columns::Details;
use super::list::List;
use super::record::{Record, Stamp, V4, V6};
use super::rows::{Rows, SCANNED};
use crate::Role;
use crate::locality::Reach;
use karuta_bittorrent::Family;

/// Any number of peers of both families.
#[derive(Debug)]
pub struct Full {
    pub completed: u32,
    pub v4: List<V4>,
    pub v6: List<V6>,
    /// Kept if peer ids are kept, and the swarm has both families, or so many peers that building
    /// it later would take long.
    clients: Option<Box<Clients>>,
}

/// What an announce stores of its peer.
#[derive(Clone, Copy)]
pub struct Entry {
    pub stamp: Stamp,
    pub details: Details,
    pub role: Role,
    /// It has just completed its download.
    pub completes: bool,
}

/// The place of a peer, until its swarm next changes.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    V4(usize),
    V6(usize),
}

impl Full {
    pub fn new(completed: u32, v4: List<V4>, v6: List<V6>) -> Self {
        Self { completed, v4, v6, clients: None }
    }

    pub fn len(&self) -> usize {
        self.v4.records().len() + self.v6.records().len()
    }

    /// Enters an announce of a known peer; returns its place now, and whether that was a download.
    pub fn update(&mut self, peer: SocketAddr, entry: &Entry) -> Option<(Place, bool)> {
        let Self { v4, v6, clients, .. } = self;
        match peer {
            SocketAddr::V4(peer) => {
                let record = V4::new(peer, entry.stamp);
                let (at, downloaded) = update(v4, clients, Family::Ipv4, record, entry)?;
                Some((Place::V4(at), downloaded))
            }
            SocketAddr::V6(peer) => {
                let record = V6::new(peer, entry.stamp);
                let (at, downloaded) = update(v6, clients, Family::Ipv6, record, entry)?;
                Some((Place::V6(at), downloaded))
            }
        }
    }

    /// Adds a new peer.
    pub fn insert(&mut self, peer: SocketAddr, entry: &Entry) -> Place {
        let Entry { stamp, details, role, .. } = entry;
        let place = match peer {
            SocketAddr::V4(peer) => {
                Place::V4(self.v4.insert(V4::new(peer, *stamp), details, *role))
            }
            SocketAddr::V6(peer) => {
                Place::V6(self.v6.insert(V6::new(peer, *stamp), details, *role))
            }
        };
        if let Some(clients) = &mut self.clients {
            let identity = Identity { peer_id: details.peer_id, role: *role };
            clients.enter(Family::of(peer.ip()), identity);
        } else if self.may_have_pairs() {
            let mut clients = Clients::default();
            self.v4.identities().for_each(|of| clients.enter(Family::Ipv4, of));
            self.v6.identities().for_each(|of| clients.enter(Family::Ipv6, of));
            self.clients = Some(Box::new(clients));
        }
        place
    }

    /// Sets how far a downloader with a label reaches.
    pub fn set_reach(&mut self, place: Place, reach: Reach) {
        match place {
            Place::V4(at) => self.v4.set_reach(at, reach),
            Place::V6(at) => self.v6.set_reach(at, reach),
        }
    }

    /// Removes a peer; returns whether it was there.
    pub fn remove(&mut self, peer: SocketAddr) -> bool {
        let Self { v4, v6, clients, .. } = self;
        let known = match peer {
            SocketAddr::V4(peer) => remove(v4, clients, Family::Ipv4, V4::new(peer, 0)),
            SocketAddr::V6(peer) => remove(v6, clients, Family::Ipv6, V6::new(peer, 0)),
        };
        self.forget_clients();
        known
    }

    /// Removes expired peers in a range of places, IPv4 first, and calls `gone` for each.
    pub fn expire(
        &mut self,
        places: Range<usize>,
        is_over: impl Fn(Stamp) -> bool,
        mut gone: impl FnMut(IpAddr),
    ) {
        let Self { v4, v6, clients, .. } = self;
        let mut leaves = |family, address, identity| {
            if let Some(clients) = clients {
                clients.leave(family, identity);
            }
            gone(address);
        };
        let (Range { start, end }, first) = (places, v4.records().len());
        let of_v6 = start.saturating_sub(first)..end.saturating_sub(first);
        v6.expire(of_v6, &is_over, |address, of| leaves(Family::Ipv6, address, of));
        let of_v4 = start.min(first)..end.min(first);
        v4.expire(of_v4, is_over, |address, of| leaves(Family::Ipv4, address, of));
        v4.forget_labels();
        v6.forget_labels();
        self.forget_clients();
    }

    /// Returns how many clients of a role are in both families.
    pub fn pairs(&self, role: Role) -> u32 {
        self.clients.as_ref().map_or(0, |clients| clients.pairs(role))
    }

    /// Returns the other rows of the client that has just announced, if any of them could be given.
    pub fn own(&self, me: Place, wanted: &Wanted) -> Option<Own<'_>> {
        let clients = self.clients.as_deref()?;
        let (mine, family, peer_ids) = match me {
            Place::V4(at) => (self.v4.identity(at), Family::Ipv6, self.v6.peer_ids()?),
            Place::V6(at) => (self.v6.identity(at), Family::Ipv4, self.v4.peer_ids()?),
        };
        if wanted.only.is_some_and(|only| only != family) {
            return None;
        }
        let roles: &[Role] = match wanted.gives {
            true => &[Role::Downloader],
            false => &[Role::Downloader, Role::PartialSeed, Role::Seeder],
        };
        let count = roles.iter().map(|&role| clients.rows(family, Identity { role, ..mine })).sum();
        (count > 0).then(|| Own::new(family, mine.peer_id, peer_ids, count))
    }

    fn may_have_pairs(&self) -> bool {
        let both = !self.v4.records().is_empty() && !self.v6.records().is_empty();
        self.v4.peer_ids().is_some() && (both || self.len() > SCANNED)
    }

    fn forget_clients(&mut self) {
        let one = self.v4.records().is_empty() || self.v6.records().is_empty();
        if self.clients.is_some() && one && self.len() <= SCANNED / 2 {
            self.clients = None;
        }
    }
}

fn update<R: Record>(
    list: &mut List<R>,
    clients: &mut Option<Box<Clients>>,
    family: Family,
    record: R,
    entry: &Entry,
) -> Option<(usize, bool)> {
    let Entry { details, role, completes, .. } = entry;
    let Some(clients) = clients else {
        return list.update(record, details, *role, *completes);
    };
    let before = list.identity(list.find(record)?);
    let (at, downloaded) = list.update(record, details, *role, *completes)?;
    let now = Identity { peer_id: details.peer_id, role: *role };
    if before != now {
        clients.leave(family, before);
        clients.enter(family, now);
    }
    // A client that has everything has announced that from its other address too.
    let seeder = Identity { role: Role::Seeder, ..now };
    Some((at, downloaded && clients.rows(family.other(), seeder) == 0))
}

fn remove<R: Record>(
    list: &mut List<R>,
    clients: &mut Option<Box<Clients>>,
    family: Family,
    record: R,
) -> bool {
    let Some(at) = list.find(record) else { return false };
    if let Some(clients) = clients {
        clients.leave(family, list.identity(at));
    }
    list.remove_at(at);
    true
}
