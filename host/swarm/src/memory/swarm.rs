//! One swarm: its peers of both families and its downloads.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;

use super::choice::{Candidates, Wanted};
use super::full::{Entry, Full, Place};
use super::label::Label;
use super::list::List;
use super::near;
use super::pick::Picked;
use super::record::{Lifetime, Record, Stamp, V4, V6};
use super::rows::{Rows, SCANNED};
use super::sample;
use super::small::Small;
use crate::locality::Reach;
use crate::{PIECE, Population, Role, SavedPeer};
use karuta_bittorrent::{Counts, Family, PeerId, Peers};

/// Most swarms are a handful of IPv4 peers, which fit in the swarm's slot in the map. Larger swarms
/// are a pointer.
#[derive(Debug)]
pub enum Swarm {
    Small(Small),
    Full(Box<Full>),
}

const _: () = assert!(size_of::<Swarm>() == 24);

/// What is known of a peer.
pub struct Found {
    pub role: Role,
    pub label: Label,
    pub reach: Reach,
    pub is_hidden: bool,
    pub stamp: Stamp,
    /// Zeros if peer ids are not kept.
    pub peer_id: PeerId,
}

/// How many peers are checked for expiry at a time.
pub const SLICE: usize = 1024;

impl Swarm {
    /// Makes a swarm without peers, with a known number of downloads.
    pub fn new(with_peer_ids: bool, completed: u32) -> Self {
        if with_peer_ids {
            let (v4, v6) = (List::new(true), List::new(true));
            Self::Full(Box::new(Full::new(completed, v4, v6)))
        } else {
            Self::Small(Small::new(completed))
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Small(small) => small.records().len(),
            Self::Full(full) => full.len(),
        }
    }

    /// Returns the IPv4 peers and the IPv6 peers.
    pub fn populations(&self) -> [Population; 2] {
        match self {
            Self::Small(small) => [small.population(), Population::default()],
            Self::Full(full) => full.populations(),
        }
    }

    pub fn counts(&self) -> Counts {
        let completed = self.downloads();
        let [v4, v6] = self.populations();
        // A family never has more peers than its index can count.
        let (seeders, leechers) = (v4.seeders + v6.seeders, v4.leechers + v6.leechers);
        let (mut seeders, mut leechers) = (seeders as u32, leechers as u32);
        let partial_seeds = match self {
            Self::Small(small) => small.partial_seeds() as u32,
            Self::Full(full) => {
                let partial_pairs = full.pairs(Role::PartialSeed);
                seeders -= full.pairs(Role::Seeder);
                leechers -= full.pairs(Role::Downloader) + partial_pairs;
                full.partial_seeds() as u32 - partial_pairs
            }
        };
        Counts { seeders, leechers, partial_seeds, completed }
    }

    pub fn downloads(&self) -> u32 {
        match self {
            Self::Small(small) => small.completed(),
            Self::Full(full) => full.completed,
        }
    }

    pub fn set_downloads(&mut self, downloads: u32) {
        *self.completed_mut() = downloads;
    }

    pub fn count_download(&mut self) {
        let completed = self.completed_mut();
        *completed = completed.saturating_add(1);
    }

    /// Counts at least this many downloads.
    pub fn raise_downloads(&mut self, downloads: u32) {
        let completed = self.completed_mut();
        *completed = downloads.max(*completed);
    }

    fn completed_mut(&mut self) -> &mut u32 {
        match self {
            Self::Small(small) => small.completed_mut(),
            Self::Full(full) => &mut full.completed,
        }
    }

    /// The number of steps to prefetch a swarm.
    pub const STEPS: usize = 3;

    /// Prefetches the memory that an announce to a small swarm reads, as far as its address is
    /// known after `step` steps; returns whether there is another step.
    pub fn fetch(&self, step: usize) -> bool {
        match (self, step) {
            (Self::Small(small), 0) => {
                if let Small::Block { .. } = small {
                    karuta_fetch::slice(small.records());
                }
                false
            }
            (Self::Small(_), _) => false,
            (Self::Full(full), 0) => {
                karuta_fetch::slice(std::slice::from_ref(&**full));
                true
            }
            (Self::Full(full), _) => {
                let more = full.v4.fetch(step);
                full.v6.fetch(step) || more
            }
        }
    }

    /// Returns what is known of a peer.
    pub fn find(&self, peer: SocketAddr) -> Option<Found> {
        match (self, peer) {
            (Self::Small(small), SocketAddr::V4(peer)) => found(small, V4::new(peer, 0)),
            (Self::Small(_), SocketAddr::V6(_)) => None,
            (Self::Full(full), SocketAddr::V4(peer)) => {
                let (peer, hidden) = (V4::new(peer, 0), full.hidden());
                found(&full.v4, peer).or_else(|| hide(found(&hidden?.v4, peer)))
            }
            (Self::Full(full), SocketAddr::V6(peer)) => {
                let (peer, hidden) = (V6::new(peer, 0), full.hidden());
                found(&full.v6, peer).or_else(|| hide(found(&hidden?.v6, peer)))
            }
        }
    }

    /// Enters an announce of a known peer; returns its place now, and whether that was a download.
    pub fn update(&mut self, peer: SocketAddr, entry: &Entry) -> Option<(Place, bool)> {
        let Entry { stamp, details, role, completes, is_hidden } = entry;
        if !details.label.is_none() || *is_hidden {
            self.fill();
        }
        match (self, peer) {
            (Self::Small(small), SocketAddr::V4(peer)) => {
                let updated = small.update(V4::new(peer, *stamp), details, *role, *completes);
                updated.map(|(at, downloaded)| (Place::V4(at), downloaded))
            }
            (Self::Small(_), SocketAddr::V6(_)) => None,
            (Self::Full(full), _) => full.update(peer, entry),
        }
    }

    /// Adds a new peer.
    pub fn insert(&mut self, peer: SocketAddr, entry: &Entry) -> Place {
        match (&mut *self, peer) {
            (Self::Small(small), SocketAddr::V4(peer))
                if small.records().len() < SCANNED
                    && entry.details.label.is_none()
                    && !entry.is_hidden =>
            {
                let record = V4::new(peer, entry.stamp);
                Place::V4(small.insert(record, &entry.details, entry.role))
            }
            _ => self.fill().insert(peer, entry),
        }
    }

    /// Converts to a swarm that can hold anything.
    fn fill(&mut self) -> &mut Full {
        if let Self::Small(small) = self {
            let full = Full::new(small.completed(), List::of(small), List::new(false));
            *self = Self::Full(Box::new(full));
        }
        match self {
            Self::Full(full) => full,
            Self::Small(_) => unreachable!("it has just been converted"),
        }
    }

    /// Removes a peer; returns whether it was there.
    pub fn remove(&mut self, peer: SocketAddr) -> bool {
        let known = match (&mut *self, peer) {
            (Self::Small(small), SocketAddr::V4(peer)) => small.remove(V4::new(peer, 0)),
            (Self::Small(_), SocketAddr::V6(_)) => false,
            (Self::Full(full), _) => full.remove(peer),
        };
        self.settle();
        known
    }

    /// Removes the expired peers among the [`SLICE`] peers, or fewer, before place `end`, and calls
    /// `gone` for each. Returns the places that were checked. Places count as [`Full::split`] does.
    pub fn expire(
        &mut self,
        end: usize,
        lifetime: Lifetime,
        now: Stamp,
        mut gone: impl FnMut(IpAddr),
    ) -> std::ops::Range<usize> {
        let end = end.min(self.len());
        let start = end.saturating_sub(self.slice());
        let is_over = |stamp| lifetime.is_over(stamp, now);
        match self {
            Self::Small(small) => small.expire(start..end, is_over, |address, _| gone(address)),
            Self::Full(full) => full.expire(start..end, is_over, gone),
        }
        self.settle();
        start..end
    }

    /// Appends the [`PIECE`] peers, or fewer, before place `end`, but for those that have expired.
    /// Returns the places.
    pub fn copy(
        &self,
        end: usize,
        lifetime: Lifetime,
        now: Stamp,
        peers: &mut Vec<SavedPeer>,
    ) -> std::ops::Range<usize> {
        let end = end.min(self.len());
        let start = end.saturating_sub(PIECE);
        match self {
            Self::Small(small) => copy(small, start..end, lifetime, now, peers),
            Self::Full(full) => {
                let [v4, v6, hidden_v4, hidden_v6] = full.split(start..end);
                copy(&full.v4, v4, lifetime, now, peers);
                copy(&full.v6, v6, lifetime, now, peers);
                if let Some(hidden) = full.hidden() {
                    let visible = peers.len();
                    copy(&hidden.v4, hidden_v4, lifetime, now, peers);
                    copy(&hidden.v6, hidden_v6, lifetime, now, peers);
                    peers[visible..].iter_mut().for_each(|peer| peer.is_hidden = true);
                }
            }
        }
        start..end
    }

    /// Peers that are sorted by label take longer to remove.
    fn slice(&self) -> usize {
        match self {
            Self::Full(full) if full.v4.labels().is_some() || full.v6.labels().is_some() => {
                SLICE / 8
            }
            _ => SLICE,
        }
    }

    /// Converts to a small swarm if everything fits.
    fn settle(&mut self) {
        if let Self::Full(full) = self
            && full.v6.records().is_empty()
            && full.hidden().is_none()
            && full.v4.records().len() <= SCANNED / 2
            && full.v4.columns().is_none()
        {
            *self = Self::Small(Small::of(&full.v4, full.completed));
        }
    }

    /// Appends up to `want` peers other than `me`, and other than its client if that is known:
    /// downloaders for a seed, any peers for a downloader. Every choice is equally likely, unless a
    /// locality prefers near ones.
    pub fn choose(
        &self,
        me: Place,
        wanted: &Wanted,
        rng: &mut impl Rng,
        peers: &mut Peers,
    ) -> Picked {
        let own = match self {
            Self::Small(_) => None,
            Self::Full(full) => full.own(me, wanted),
        };
        if let (Self::Full(full), Some(locality)) = (self, wanted.locality) {
            return near::choose(full, me, own, wanted, locality, rng, peers);
        }
        let downloaders_only = wanted.gives;
        let (mut v4, mut v6) = match self {
            Self::Small(small) => (Candidates::of(small, downloaders_only), Candidates::none()),
            Self::Full(full) => {
                let v4 = Candidates::of(&full.v4, downloaders_only);
                (v4, Candidates::of(&full.v6, downloaders_only))
            }
        };
        match wanted.only {
            Some(Family::Ipv4) => v6 = Candidates::none(),
            Some(Family::Ipv6) => v4 = Candidates::none(),
            None => {}
        }
        // Candidates are numbered over both families. A seed is not among the downloaders.
        let (first, second) = (v4.len() as u32, v6.len() as u32);
        let me = match me {
            Place::V4(at) if (at as u32) < first => Some(at as u32),
            Place::V6(at) if (at as u32) < second => Some(first + at as u32),
            _ => None,
        };
        let others = (first + second) as usize - usize::from(me.is_some());
        let spare = own.as_ref().map_or(0, |own| own.count);
        let count = (wanted.want + spare).min(others);
        let (mut few, mut many, mut most);
        let chosen = match count {
            0..=64 => {
                few = [0; 64];
                &mut few[..count]
            }
            65..=sample::QUICK => {
                many = [0; sample::QUICK];
                &mut many[..count]
            }
            _ => {
                most = vec![0; count];
                &mut most[..]
            }
        };
        if count == others {
            chosen.iter_mut().zip(0..).for_each(|(number, next)| *number = next);
        } else {
            sample::choose(others as u32, rng, chosen);
        }
        if let Some(me) = me {
            for number in &mut *chosen {
                *number += u32::from(me <= *number);
            }
        }
        let chosen = match own {
            None => chosen,
            Some(own) => sample::leave_out(chosen, wanted.want, rng, |number| match own.family {
                Family::Ipv4 => number < first && own.has(number as usize),
                Family::Ipv6 => first <= number && own.has((number - first) as usize),
            }),
        };
        let count = chosen.len();
        let picked = Picked { count, reach: None };
        let Peers { ipv4, ipv6, ipv4_ids, ipv6_ids } = peers;
        if second == 0 {
            v4.copy(chosen.iter().map(|number| *number as usize), count, ipv4, ipv4_ids);
            return picked;
        }
        let of_v4 = chosen.iter().filter(|&&number| number < first).count();
        let places = chosen.iter().filter(|&&number| number < first).map(|number| *number as usize);
        v4.copy(places, of_v4, ipv4, ipv4_ids);
        let places = chosen.iter().filter(|&&n| first <= n).map(|n| (*n - first) as usize);
        v6.copy(places, count - of_v4, ipv6, ipv6_ids);
        picked
    }

    /// Sets how far a downloader with a label reaches.
    pub fn set_reach(&mut self, place: Place, reach: Reach) {
        if let Self::Full(full) = self {
            full.set_reach(place, reach);
        }
    }

    /// Appends the peer itself, if its family may be given.
    pub fn echo(&self, me: Place, only: Option<Family>, peers: &mut Peers) {
        let Peers { ipv4, ipv6, ipv4_ids, ipv6_ids } = peers;
        match (self, me) {
            (Self::Small(small), Place::V4(at)) if only != Some(Family::Ipv6) => {
                Candidates::of(small, false).copy([at], 1, ipv4, ipv4_ids);
            }
            (Self::Full(full), Place::V4(at)) if only != Some(Family::Ipv6) => {
                Candidates::of(&full.v4, false).copy([at], 1, ipv4, ipv4_ids);
            }
            (Self::Full(full), Place::V6(at)) if only != Some(Family::Ipv4) => {
                Candidates::of(&full.v6, false).copy([at], 1, ipv6, ipv6_ids);
            }
            _ => {}
        }
    }
}

fn copy<L: Rows>(
    rows: &L,
    places: std::ops::Range<usize>,
    lifetime: Lifetime,
    now: Stamp,
    peers: &mut Vec<SavedPeer>,
) {
    let ids = rows.peer_ids();
    for at in places {
        let record = rows.records()[at];
        if !lifetime.is_over(record.stamp(), now) {
            peers.push(SavedPeer {
                address: record.address(),
                role: rows.role(at),
                age: lifetime.age(record.stamp(), now),
                downloaded: record.is_marked(),
                is_hidden: false,
                peer_id: ids.map_or(PeerId::UNKNOWN, |ids| ids[at]),
            });
        }
    }
}

/// Says of a peer that it was found among the hidden ones.
fn hide(found: Option<Found>) -> Option<Found> {
    found.map(|found| Found { is_hidden: true, ..found })
}

fn found<L: Rows>(rows: &L, wanted: L::Record) -> Option<Found> {
    let at = rows.find(wanted)?;
    let labels = rows.columns().and_then(|columns| columns.labels.as_ref());
    Some(Found {
        role: rows.role(at),
        label: labels.map_or(Label::NONE, |labels| labels.column()[at]),
        reach: labels.map_or(Reach::ALL, |labels| labels.reach(at)),
        is_hidden: false,
        stamp: rows.records()[at].stamp(),
        peer_id: rows.identity(at).peer_id,
    })
}

#[cfg(test)]
mod tests {
    use super::super::columns::Details;
    use super::*;

    const ENTRY: Entry = Entry {
        stamp: 0,
        details: Details { peer_id: PeerId([0; 20]), label: Label::NONE, reach: Some(Reach::ALL) },
        role: Role::Downloader,
        completes: false,
        is_hidden: false,
    };

    fn v4(port: usize) -> SocketAddr {
        ([1, 2, 3, 4], port as u16).into()
    }

    #[test]
    fn a_swarm_is_as_large_as_it_must_be() {
        let mut swarm = Swarm::new(false, 0);
        let grow = |swarm: &mut Swarm, ports: std::ops::Range<usize>| {
            for port in ports {
                swarm.insert(v4(port), &ENTRY);
            }
        };
        grow(&mut swarm, 0..2);
        assert!(matches!(swarm, Swarm::Small(Small::Pair { .. })));
        grow(&mut swarm, 2..10);
        assert!(
            matches!(&swarm, Swarm::Small(Small::Block { records, .. }) if records.len() == 11)
        );
        grow(&mut swarm, 10..SCANNED);
        swarm.count_download();
        assert!(matches!(swarm, Swarm::Small(_)));
        grow(&mut swarm, SCANNED..SCANNED + 1);
        assert!(matches!(swarm, Swarm::Full(_)));
        for port in 3..=SCANNED {
            assert!(swarm.remove(v4(port)));
        }
        assert!(matches!(&swarm, Swarm::Small(Small::Block { records, .. }) if records.len() <= 7));
        assert!(swarm.remove(v4(2)) && swarm.remove(v4(1)));
        assert!(matches!(swarm, Swarm::Small(Small::Pair { .. })));
        assert_eq!(swarm.counts(), Counts { leechers: 1, completed: 1, ..Counts::default() });
    }

    #[test]
    fn roles_are_kept_while_a_swarm_grows_and_shrinks() {
        let mut swarm = Swarm::new(false, 0);
        for port in 0..SCANNED + 10 {
            let role = [Role::Seeder, Role::Downloader, Role::PartialSeed][port % 3];
            swarm.insert(v4(port), &Entry { role, ..ENTRY });
        }
        assert!(matches!(swarm, Swarm::Full(_)));
        let counts = |swarm: &Swarm| {
            let Counts { seeders, leechers, partial_seeds, .. } = swarm.counts();
            [seeders, leechers, partial_seeds]
        };
        assert_eq!(counts(&swarm), [25, 49, 24]);
        for port in 6..SCANNED + 10 {
            swarm.remove(v4(port));
        }
        assert!(matches!(swarm, Swarm::Small(Small::Block { .. })));
        assert_eq!(counts(&swarm), [2, 4, 2]);
    }

    #[test]
    fn labels_are_kept_while_a_peer_has_one() {
        let mut swarm = Swarm::new(false, 0);
        let label = Label { value: 7, plan: 1 };
        let labelled = Entry { details: Details { label, ..ENTRY.details }, stamp: 60, ..ENTRY };
        for port in 0..20 {
            swarm.insert(v4(port), &ENTRY);
        }
        assert!(matches!(swarm, Swarm::Small(_)));
        swarm.update(v4(3), &labelled);
        assert!(matches!(&swarm, Swarm::Full(full) if full.v4.labels().is_some()));
        swarm.expire(20, Lifetime::from_seconds(10), 60, |_| {});
        assert!(matches!(&swarm, Swarm::Full(full) if full.v4.labels().is_some()));
        swarm.update(v4(3), &Entry { stamp: 60, ..ENTRY });
        swarm.expire(1, Lifetime::from_seconds(10), 60, |_| {});
        assert!(matches!(swarm, Swarm::Small(Small::Pair { .. })));
    }

    #[test]
    fn a_swarm_that_expires_becomes_small() {
        let mut swarm = Swarm::new(false, 0);
        let v6 = SocketAddr::from(([1, 2, 3, 4, 5, 6, 7, 8], 1));
        swarm.insert(v6, &ENTRY);
        swarm.insert(v4(1), &Entry { stamp: 50, ..ENTRY });
        let mut gone = Vec::new();
        let slice = swarm.expire(2, Lifetime::from_seconds(10), 60, |address| gone.push(address));
        assert_eq!((slice, gone), (0..2, vec![v6.ip()]));
        assert!(matches!(swarm, Swarm::Small(Small::Pair { .. })));
        assert_eq!(swarm.len(), 1);
    }
}
