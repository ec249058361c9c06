//! Where members have peers now: the addresses of each member at each torrent.
//!
//! The swarms do not know whose a peer is, so that one without accounts takes no memory for it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use karuta_bittorrent::InfoHash;

use crate::change::{Change, GroupChange, MemberChange, TorrentChange};
use crate::database::Reader;
use crate::pairs::{Pair, Pairs, Peers, SHARDS, Seen};

/// The peers of members.
pub struct Presence {
    pairs: Arc<Pairs>,
    /// How long after its last announce a peer is in its swarm, in seconds.
    lifetime: u64,
}

impl Presence {
    pub fn new(pairs: Arc<Pairs>, lifetime: u64) -> Self {
        Self { pairs, lifetime }
    }

    /// Enters a peer of a member at a torrent, or takes it out, and calls `other` with each other one
    /// that the member has there.
    pub fn enter(
        &self,
        pair: Pair,
        peer: SocketAddr,
        leaves: bool,
        now: u64,
        mut other: impl FnMut(SocketAddr),
    ) {
        let me = Seen::new(peer, u32::try_from(now).unwrap_or(u32::MAX));
        self.pairs.change(pair, |at| match &mut at.peers {
            // Most announces are those of the only peer.
            Peers::One(seen) if seen.is(peer) && !leaves => *seen = me,
            known => {
                let others = known.all().iter().copied();
                let mut all: Vec<_> =
                    others.filter(|seen| !seen.is(peer) && self.is_there(*seen, now)).collect();
                all.iter().for_each(|seen| other(seen.peer()));
                if !leaves {
                    all.push(me);
                }
                *known = all.into();
            }
        });
    }

    /// Returns whether a member has peers at a torrent.
    pub fn has(&self, pair: Pair, now: u64) -> bool {
        self.pairs.look(pair, |at| at.peers.all().iter().any(|seen| self.is_there(*seen, now)))
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
        for shard in 0..SHARDS {
            self.pairs.change_all(shard, |(member, torrent), at| {
                if goes(member, torrent) {
                    let gone = std::mem::take(&mut at.peers);
                    taken.extend(gone.all().iter().map(|seen| (torrent, seen.peer())));
                }
            });
        }
        taken
    }

    /// Forgets the silent peers of one shard.
    pub fn sweep(&self, shard: usize, now: u64) {
        self.pairs.change_all(shard, |_, at| {
            if !at.peers.all().iter().any(|seen| self.is_there(*seen, now)) {
                at.peers = Peers::None;
            }
        });
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
        let presence = Presence::new(Arc::default(), 100);
        assert_eq!(others(&presence, 1, false, 0), NONE);
        assert_eq!(others(&presence, 1, false, 50), NONE);
        assert_eq!(others(&presence, 2, false, 50), [1]);
        assert_eq!(others(&presence, 3, false, 60), [1, 2]);
        assert_eq!(others(&presence, 1, false, 150), [2, 3]);
        assert_eq!(others(&presence, 1, false, 155), [3], "2 is silent");
        assert_eq!(others(&presence, 3, true, 155), [1]);
        assert_eq!(others(&presence, 1, false, 155), NONE);
        let has = |torrent, now| presence.has((1, torrent), now);
        assert!(has(1, 255) && !has(1, 256) && !has(2, 155));
        presence.enter((1, 2), peer(1), false, 155, |_| panic!("it is another torrent"));
        presence.enter((2, 1), peer(9), false, 155, |_| panic!("it is another member"));
        let mut taken = presence.take(|member, _| member == 1);
        taken.sort_unstable();
        assert_eq!(taken, [(1, peer(1)), (2, peer(1))]);
        assert_eq!(presence.take(|_, torrent| torrent == 1), [(1, peer(9))]);
    }

    #[test]
    fn silent_peers_are_forgotten_shard_by_shard() {
        let presence = Presence::new(Arc::default(), 100);
        (0..5000).for_each(|id| presence.enter((id, 1), peer(1), false, id / 50, |_| {}));
        (0..SHARDS).for_each(|shard| presence.sweep(shard, 150));
        assert_eq!(presence.take(|_, _| true).len(), 2500);
    }
}
