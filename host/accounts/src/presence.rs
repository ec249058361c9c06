//! Where members have peers now: the addresses of each member at each torrent.
//!
//! The swarms do not know whose a peer is, so that one without accounts takes no memory for it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use karuta_bittorrent::InfoHash;
use parking_lot::Mutex;

use crate::change::{Change, GroupChange, MemberChange, TorrentChange};
use crate::database::Reader;
use crate::table::Key;

/// Locked by a worker for a look at one member's peers at one torrent.
pub struct Presence {
    shards: Box<[Mutex<Shard>]>,
    /// How long after its last announce a peer is in its swarm, in seconds.
    lifetime: u64,
}

/// By member and torrent.
type Shard = HashMap<(u64, u64), Peers>;

/// Nearly always, it is one.
enum Peers {
    One(Seen),
    Several(Vec<Seen>),
}

#[derive(Clone, Copy)]
struct Seen {
    peer: SocketAddr,
    /// Seconds since 1970, which last until 2106.
    at: u32,
}

/// The number of shards.
const SHARDS: usize = 1024;

impl Peers {
    fn all(&self) -> &[Seen] {
        match self {
            Self::One(seen) => std::slice::from_ref(seen),
            Self::Several(all) => all,
        }
    }

    /// Returns `None` if there are none.
    fn of(mut all: Vec<Seen>) -> Option<Self> {
        match all.len() {
            0 => None,
            1 => all.pop().map(Self::One),
            _ => Some(Self::Several(all)),
        }
    }
}

impl Presence {
    pub fn new(lifetime: u64) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), lifetime }
    }

    fn shard(&self, pair: (u64, u64)) -> &Mutex<Shard> {
        &self.shards[(pair.spread() >> 32) as usize % SHARDS]
    }

    /// Enters a peer of a member at a torrent, or takes it out, and calls `other` with each other one
    /// that the member has there.
    pub fn enter(
        &self,
        pair: (u64, u64),
        peer: SocketAddr,
        leaves: bool,
        now: u64,
        mut other: impl FnMut(SocketAddr),
    ) {
        let at = u32::try_from(now).unwrap_or(u32::MAX);
        let mut shard = self.shard(pair).lock();
        match shard.get_mut(&pair) {
            // Most announces are those of the only peer.
            Some(Peers::One(seen)) if seen.peer == peer && !leaves => seen.at = at,
            known => {
                let known = known.as_ref().map_or(&[][..], |peers| peers.all());
                let others = known.iter().copied();
                let mut all: Vec<_> =
                    others.filter(|seen| seen.peer != peer && self.is_there(*seen, now)).collect();
                all.iter().for_each(|seen| other(seen.peer));
                if !leaves {
                    all.push(Seen { peer, at });
                }
                match Peers::of(all) {
                    Some(peers) => drop(shard.insert(pair, peers)),
                    None => drop(shard.remove(&pair)),
                }
            }
        }
    }

    /// Takes out the peers of members that are banned, and of torrents that are deleted, by changes
    /// that have been made. Returns them, with the info-hashes of each.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn leaving(
        &self,
        reader: &Reader,
        changes: &[Change],
    ) -> rusqlite::Result<Vec<(Vec<InfoHash>, SocketAddr)>> {
        let (mut members, mut torrents) = (HashSet::new(), HashSet::new());
        for change in changes {
            match change {
                Change::Member(MemberChange { id, enabled: Some(false), .. }) => {
                    members.insert(*id);
                }
                // It may be another one than before.
                Change::Member(MemberChange { id, group: Some(_), .. })
                    if reader.is_banned_by_group(*id)? =>
                {
                    members.insert(*id);
                }
                Change::Group(GroupChange { id, enabled: Some(false), .. }) => {
                    members.extend(reader.members_of(*id)?);
                }
                Change::Torrent(TorrentChange { id, deleted: Some(true), .. }) => {
                    torrents.insert(*id);
                }
                _ => {}
            }
        }
        if members.is_empty() && torrents.is_empty() {
            return Ok(Vec::new());
        }
        let goes = |member, torrent| members.contains(&member) || torrents.contains(&torrent);
        let with_hashes = |(torrent, peer)| Ok((reader.hashes(torrent)?, peer));
        self.take(goes).into_iter().map(with_hashes).collect()
    }

    /// Takes out the peers of all members and torrents that `goes` names, and returns them.
    pub fn take(&self, goes: impl Fn(u64, u64) -> bool) -> Vec<(u64, SocketAddr)> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            shard.lock().retain(|(member, torrent), peers| {
                let goes = goes(*member, *torrent);
                if goes {
                    taken.extend(peers.all().iter().map(|seen| (*torrent, seen.peer)));
                }
                !goes
            });
        }
        taken
    }

    /// Forgets the silent peers of one shard.
    pub fn sweep(&self, shard: usize, now: u64) {
        let mut shard = self.shards[shard % SHARDS].lock();
        shard.retain(|_, peers| peers.all().iter().any(|seen| self.is_there(*seen, now)));
        if shard.capacity() > 4 * shard.len() {
            shard.shrink_to_fit();
        }
    }

    fn is_there(&self, seen: Seen, now: u64) -> bool {
        now.saturating_sub(seen.at.into()) <= self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u16; 0] = [];

    fn peer(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn others(presence: &Presence, port: u16, leaves: bool, now: u64) -> Vec<u16> {
        let mut others = Vec::new();
        presence.enter((1, 1), peer(port), leaves, now, |peer| others.push(peer.port()));
        others
    }

    #[test]
    fn a_member_s_other_peers_are_known_until_they_leave_or_are_silent() {
        let presence = Presence::new(100);
        assert_eq!(others(&presence, 1, false, 0), NONE);
        assert_eq!(others(&presence, 1, false, 50), NONE);
        assert_eq!(others(&presence, 2, false, 50), [1]);
        assert_eq!(others(&presence, 3, false, 60), [1, 2]);
        assert_eq!(others(&presence, 1, false, 150), [2, 3]);
        assert_eq!(others(&presence, 1, false, 155), [3], "2 is silent");
        assert_eq!(others(&presence, 3, true, 155), [1]);
        assert_eq!(others(&presence, 1, false, 155), NONE);
        presence.enter((1, 2), peer(1), false, 155, |_| panic!("it is another torrent"));
        presence.enter((2, 1), peer(9), false, 155, |_| panic!("it is another member"));
        let mut taken = presence.take(|member, _| member == 1);
        taken.sort_unstable();
        assert_eq!(taken, [(1, peer(1)), (2, peer(1))]);
        assert_eq!(presence.take(|_, torrent| torrent == 1), [(1, peer(9))]);
    }

    #[test]
    fn silent_peers_are_forgotten_shard_by_shard() {
        let presence = Presence::new(100);
        (0..5000).for_each(|id| presence.enter((id, 1), peer(1), false, id / 50, |_| {}));
        (0..SHARDS).for_each(|shard| presence.sweep(shard, 150));
        assert_eq!(presence.take(|_, _| true).len(), 2500);
    }
}
