//! Announces that another node has taken, and those of this node as others were told of them.

use std::cmp::Ordering;
use std::sync::atomic;

use dashmap::Entry;
use karuta_bittorrent::{InfoHash, PeerId};

use super::columns::Details;
use super::full;
use super::label::Label;
use super::record::marked;
use super::swarm::{Found, Swarm};
use super::{Memory, Tally};
use crate::Seconds;
use crate::announced::{Announced, Change};
use crate::locality::Reach;

/// When something was announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    /// How long before `now`.
    pub age: Seconds,
    pub now: Seconds,
}

impl Memory {
    /// Applies what an announce did on its node. Limits do not apply, nobody is given, and the peer
    /// never becomes older. Of an announce that is older than the lifetime, only downloads are
    /// taken: one more if it `adds` one, and no fewer than it says. Returns how the number that it
    /// says compares to what was known with the one that was added.
    pub(crate) fn apply(&self, announced: &Announced, when: When, adds: bool) -> Ordering {
        let Announced { info_hash, peer, downloads: said, .. } = *announced;
        let entry = self.entry_told(announced, when);
        let is_new = self.lifetime.stamp_before(when.now, when.age).is_some();
        let added = |known: u32| known.saturating_add(u32::from(adds));
        match self.swarms.entry(info_hash) {
            Entry::Occupied(mut slot) => {
                let swarm = slot.get_mut();
                let before = swarm.populations();
                let known = added(swarm.downloads());
                swarm.set_downloads(known.max(said));
                if let Some(entry) = entry {
                    self.enter_told(swarm, announced, entry, when.now);
                } else if announced.change == Change::Stopped && is_new && swarm.remove(peer) {
                    self.release_address(peer.ip());
                }
                self.tally.moved(info_hash, before, swarm.populations());
                self.drop_if_empty(slot, when.now);
                said.cmp(&known)
            }
            Entry::Vacant(slot) => {
                let shard = self.shard(info_hash);
                let known = added(match entry {
                    Some(_) => self.downloads.take(shard, info_hash),
                    None => self.downloads.get(shard, info_hash).unwrap_or(0),
                });
                let downloads = known.max(said);
                if let Some(entry) = entry {
                    self.torrents.fetch_add(1, atomic::Ordering::Relaxed);
                    let mut swarm = Swarm::new(self.options.keep_peer_ids, downloads);
                    self.count_address(peer.ip());
                    swarm.insert(peer, &entry);
                    self.tally.moved(info_hash, Tally::NOBODY, swarm.populations());
                    slot.insert(swarm);
                } else {
                    self.downloads.keep(shard, info_hash, downloads, when.now, when.age);
                }
                said.cmp(&known)
            }
        }
    }

    /// Calls `with` with the downloads of a swarm while it cannot change.
    pub(crate) fn with_downloads(&self, info_hash: InfoHash, with: impl FnOnce(u32)) {
        match self.swarms.entry(info_hash) {
            Entry::Occupied(slot) => with(slot.get().downloads()),
            Entry::Vacant(_locked) => {
                with(self.downloads.get(self.shard(info_hash), info_hash).unwrap_or(0));
            }
        }
    }

    /// Returns whether a peer is as an announce has left it.
    pub(crate) fn is_so(&self, announced: &Announced) -> bool {
        let now = self.look_up(announced);
        now.change == announced.change
            && now.label == announced.label
            && now.reach == announced.reach
    }

    /// Returns what an announce would say of the same peer that changes nothing.
    pub(crate) fn look_up(&self, announced: &Announced) -> Announced {
        let Announced { info_hash, peer, .. } = *announced;
        let swarm = self.swarms.get(&info_hash);
        let found = swarm.as_ref().and_then(|swarm| swarm.find(peer));
        let (change, label, reach, peer_id) = match found {
            Some(Found { role, is_hidden: true, peer_id, .. }) => {
                (Change::IsHidden(role), None, Reach::ALL, peer_id)
            }
            Some(Found { role, label, reach, peer_id, .. }) => {
                let label = label.name();
                // Without a name for the label, there is nothing that it would be told of.
                let reach = if label.is_some() { reach } else { Reach::ALL };
                (Change::Is(role), label, reach, peer_id)
            }
            None => (Change::Stopped, None, Reach::ALL, PeerId::UNKNOWN),
        };
        let downloads = swarm.map_or(0, |swarm| swarm.downloads());
        Announced { info_hash, peer, change, counted: false, label, reach, peer_id, downloads }
    }

    /// Returns what is stored of a peer that is in its swarm, unless it has expired.
    fn entry_told(&self, announced: &Announced, when: When) -> Option<full::Entry> {
        let (role, is_hidden) = match announced.change {
            Change::Is(role) => (role, false),
            Change::IsHidden(role) => (role, true),
            Change::Stopped | Change::Nothing | Change::Downloads => return None,
        };
        let stamp = self.lifetime.stamp_before(when.now, when.age)?;
        Some(full::Entry {
            stamp: marked(stamp, announced.counted),
            details: Details {
                peer_id: announced.peer_id,
                label: Label::named(announced.label),
                reach: Some(announced.reach),
            },
            role,
            completes: false,
            is_hidden,
        })
    }

    fn enter_told(
        &self,
        swarm: &mut Swarm,
        announced: &Announced,
        mut entry: full::Entry,
        now: Seconds,
    ) {
        let now = self.lifetime.stamp(now);
        let age = |stamp| self.lifetime.age(stamp, now);
        // Most are of this second.
        if entry.stamp != marked(now, announced.counted)
            && let Some(Found { stamp, .. }) = swarm.find(announced.peer)
            && age(stamp) < age(entry.stamp)
        {
            entry.stamp = marked(stamp, announced.counted);
        }
        if swarm.update(announced.peer, &entry).is_none() {
            self.count_address(announced.peer.ip());
            swarm.insert(announced.peer, &entry);
        }
    }
}
