//! A swarm of any size, and what an announce stores in it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::choice::{Own, Wanted};
use super::clients::{Clients, Identity};
use super::columns::Details;
use super::list::List;
use super::record::{Record, Stamp, V4, V6};
use super::rows::{Rows, SCANNED};
use crate::locality::Reach;
use crate::{Population, Role};
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
    hidden: Option<Box<Hidden>>,
}

/// The peers that are given to nobody. Apart from the others, so that no choice has to pass over them;
/// and so is the code for them, because few swarms have any.
#[derive(Debug)]
pub struct Hidden {
    pub v4: List<V4>,
    pub v6: List<V6>,
}

/// What an announce stores of its peer.
#[derive(Clone, Copy)]
pub struct Entry {
    pub stamp: Stamp,
    pub details: Details,
    pub role: Role,
    /// It has just completed its download.
    pub completes: bool,
    pub is_hidden: bool,
}

/// The place of a peer, until its swarm next changes.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    V4(usize),
    V6(usize),
    /// Among the hidden peers of a family.
    Hidden(Family, usize),
}

impl Full {
    pub fn new(completed: u32, v4: List<V4>, v6: List<V6>) -> Self {
        Self { completed, v4, v6, clients: None, hidden: None }
    }

    pub fn len(&self) -> usize {
        let hidden = self.hidden().map_or(0, Hidden::len);
        self.v4.records().len() + self.v6.records().len() + hidden
    }

    pub fn hidden(&self) -> Option<&Hidden> {
        self.hidden.as_deref()
    }

    /// Returns the IPv4 peers and the IPv6 peers.
    #[inline]
    pub fn populations(&self) -> [Population; 2] {
        let visible = [self.v4.population(), self.v6.population()];
        match self.hidden() {
            None => visible,
            Some(hidden) => hidden.populations(visible),
        }
    }

    /// Returns how many partial seeds there are.
    #[inline]
    pub fn partial_seeds(&self) -> usize {
        let hidden = self.hidden().map_or(0, Hidden::partial_seeds);
        self.v4.partial_seeds() + self.v6.partial_seeds() + hidden
    }

    /// Enters an announce of a known peer; returns its place now, and whether that was a download.
    pub fn update(&mut self, peer: SocketAddr, entry: &Entry) -> Option<(Place, bool)> {
        let Self { v4, v6, clients, .. } = self;
        let found = match peer {
            SocketAddr::V4(peer) => {
                let record = V4::new(peer, entry.stamp);
                let updated = update(v4, clients, Family::Ipv4, record, entry);
                updated.map(|(at, downloaded)| (Place::V4(at), downloaded))
            }
            SocketAddr::V6(peer) => {
                let record = V6::new(peer, entry.stamp);
                let updated = update(v6, clients, Family::Ipv6, record, entry);
                updated.map(|(at, downloaded)| (Place::V6(at), downloaded))
            }
        };
        match found {
            Some((place, downloaded)) if entry.is_hidden => {
                Some((self.hide(place, entry), downloaded))
            }
            None if self.hidden.is_some() => self.update_hidden(peer, entry),
            _ => found,
        }
    }

    /// Does what [`update`](Self::update) does, for a peer that is not among the visible ones.
    #[inline(never)]
    fn update_hidden(&mut self, peer: SocketAddr, entry: &Entry) -> Option<(Place, bool)> {
        let Self { clients, hidden, .. } = self;
        let Hidden { v4, v6 } = &mut **hidden.as_mut()?;
        let (family, (at, downloaded)) = match peer {
            SocketAddr::V4(peer) => {
                let record = V4::new(peer, entry.stamp);
                (Family::Ipv4, update(v4, clients, Family::Ipv4, record, entry)?)
            }
            SocketAddr::V6(peer) => {
                let record = V6::new(peer, entry.stamp);
                (Family::Ipv6, update(v6, clients, Family::Ipv6, record, entry)?)
            }
        };
        let place = match entry.is_hidden {
            true => Place::Hidden(family, at),
            false => self.show(family, at, entry),
        };
        Some((place, downloaded))
    }

    /// Moves a peer to the hidden ones.
    #[inline(never)]
    fn hide(&mut self, place: Place, entry: &Entry) -> Place {
        let Self { v4, v6, hidden, .. } = self;
        let hidden = hidden.get_or_insert_with(|| Box::new(Hidden::like(v4, v6)));
        match place {
            Place::V4(at) => Place::Hidden(Family::Ipv4, moved(v4, at, &mut hidden.v4, entry)),
            Place::V6(at) => Place::Hidden(Family::Ipv6, moved(v6, at, &mut hidden.v6, entry)),
            Place::Hidden(..) => place,
        }
    }

    /// Moves a peer from the hidden ones to the others.
    fn show(&mut self, family: Family, at: usize, entry: &Entry) -> Place {
        let Self { v4, v6, hidden, .. } = self;
        let Some(hidden) = hidden else { return Place::Hidden(family, at) };
        let place = match family {
            Family::Ipv4 => Place::V4(moved(&mut hidden.v4, at, v4, entry)),
            Family::Ipv6 => Place::V6(moved(&mut hidden.v6, at, v6, entry)),
        };
        self.forget_hidden();
        place
    }

    /// Adds a new peer.
    pub fn insert(&mut self, peer: SocketAddr, entry: &Entry) -> Place {
        let Entry { stamp, details, role, is_hidden, .. } = entry;
        let Self { v4, v6, hidden, .. } = self;
        let place = match (peer, is_hidden) {
            (SocketAddr::V4(peer), false) => {
                Place::V4(v4.insert(V4::new(peer, *stamp), details, *role))
            }
            (SocketAddr::V6(peer), false) => {
                Place::V6(v6.insert(V6::new(peer, *stamp), details, *role))
            }
            (peer, true) => {
                let hidden = hidden.get_or_insert_with(|| Box::new(Hidden::like(v4, v6)));
                let at = match peer {
                    SocketAddr::V4(peer) => hidden.v4.insert(V4::new(peer, *stamp), details, *role),
                    SocketAddr::V6(peer) => hidden.v6.insert(V6::new(peer, *stamp), details, *role),
                };
                Place::Hidden(Family::of(peer.ip()), at)
            }
        };
        if let Some(clients) = &mut self.clients {
            let identity = Identity { peer_id: details.peer_id, role: *role };
            clients.enter(Family::of(peer.ip()), identity);
        } else if self.may_have_pairs() {
            let mut clients = Clients::default();
            self.v4.identities().for_each(|of| clients.enter(Family::Ipv4, of));
            self.v6.identities().for_each(|of| clients.enter(Family::Ipv6, of));
            if let Some(Hidden { v4, v6 }) = self.hidden() {
                v4.identities().for_each(|of| clients.enter(Family::Ipv4, of));
                v6.identities().for_each(|of| clients.enter(Family::Ipv6, of));
            }
            self.clients = Some(Box::new(clients));
        }
        place
    }

    /// Sets how far a downloader with a label reaches.
    pub fn set_reach(&mut self, place: Place, reach: Reach) {
        match place {
            Place::V4(at) => self.v4.set_reach(at, reach),
            Place::V6(at) => self.v6.set_reach(at, reach),
            Place::Hidden(..) => {}
        }
    }

    /// Removes a peer; returns whether it was there.
    pub fn remove(&mut self, peer: SocketAddr) -> bool {
        let Self { v4, v6, clients, hidden, .. } = self;
        let known = match peer {
            SocketAddr::V4(peer) => {
                let record = V4::new(peer, 0);
                let mut remove = |list| remove(list, clients, Family::Ipv4, record);
                remove(v4) || hidden.as_mut().is_some_and(|hidden| remove(&mut hidden.v4))
            }
            SocketAddr::V6(peer) => {
                let record = V6::new(peer, 0);
                let mut remove = |list| remove(list, clients, Family::Ipv6, record);
                remove(v6) || hidden.as_mut().is_some_and(|hidden| remove(&mut hidden.v6))
            }
        };
        self.forget_hidden();
        self.forget_clients();
        known
    }

    /// Splits a range of places: IPv4, IPv6, and of the hidden peers IPv4, IPv6.
    pub fn split(&self, places: Range<usize>) -> [Range<usize>; 4] {
        let hidden = self.hidden().map_or(0, |hidden| hidden.v4.records().len());
        let mut before = 0;
        [self.v4.records().len(), self.v6.records().len(), hidden, usize::MAX].map(|len| {
            let within = |at: usize| at.saturating_sub(before).min(len);
            let range = within(places.start)..within(places.end);
            before = before.saturating_add(len);
            range
        })
    }

    /// Removes expired peers in a range of [places](Self::split), and calls `gone` for each.
    pub fn expire(
        &mut self,
        places: Range<usize>,
        is_over: impl Fn(Stamp) -> bool,
        mut gone: impl FnMut(IpAddr),
    ) {
        let [of_v4, of_v6, hidden_v4, hidden_v6] = self.split(places);
        let Self { v4, v6, clients, hidden, .. } = self;
        let mut leaves = |family, address, identity| {
            if let Some(clients) = clients {
                clients.leave(family, identity);
            }
            gone(address);
        };
        v6.expire(of_v6, &is_over, |address, of| leaves(Family::Ipv6, address, of));
        v4.expire(of_v4, &is_over, |address, of| leaves(Family::Ipv4, address, of));
        if let Some(hidden) = hidden {
            let Hidden { v4, v6 } = &mut **hidden;
            v6.expire(hidden_v6, &is_over, |address, of| leaves(Family::Ipv6, address, of));
            v4.expire(hidden_v4, &is_over, |address, of| leaves(Family::Ipv4, address, of));
        }
        v4.forget_labels();
        v6.forget_labels();
        self.forget_hidden();
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
            Place::Hidden(Family::Ipv4, at) => {
                (self.hidden()?.v4.identity(at), Family::Ipv6, self.v6.peer_ids()?)
            }
            Place::Hidden(Family::Ipv6, at) => {
                (self.hidden()?.v6.identity(at), Family::Ipv4, self.v4.peer_ids()?)
            }
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
        self.v4.peer_ids().is_some() && (self.has_both_families() || self.len() > SCANNED)
    }

    fn has_both_families(&self) -> bool {
        let [v4, v6] = self.populations().map(|of| of.seeders + of.leechers);
        v4 > 0 && v6 > 0
    }

    fn forget_clients(&mut self) {
        if self.clients.is_some() && !self.has_both_families() && self.len() <= SCANNED / 2 {
            self.clients = None;
        }
    }

    fn forget_hidden(&mut self) {
        if self.hidden().is_some_and(|hidden| hidden.len() == 0) {
            self.hidden = None;
        }
    }
}

impl Hidden {
    /// Makes an empty one that keeps peer ids if the visible peers do.
    fn like(v4: &List<V4>, v6: &List<V6>) -> Self {
        let (v4, v6) = (List::new(v4.peer_ids().is_some()), List::new(v6.peer_ids().is_some()));
        Self { v4, v6 }
    }

    fn len(&self) -> usize {
        self.v4.records().len() + self.v6.records().len()
    }

    /// Adds the hidden peers to the visible ones.
    #[inline(never)]
    fn populations(&self, [v4, v6]: [Population; 2]) -> [Population; 2] {
        [v4 + self.v4.population(), v6 + self.v6.population()]
    }

    #[inline(never)]
    fn partial_seeds(&self) -> usize {
        self.v4.partial_seeds() + self.v6.partial_seeds()
    }
}

/// Moves a row to another list; returns its place there.
fn moved<R: Record>(from: &mut List<R>, at: usize, to: &mut List<R>, entry: &Entry) -> usize {
    let record = from.records()[at];
    from.remove_at(at);
    to.insert(record, &entry.details, entry.role)
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
