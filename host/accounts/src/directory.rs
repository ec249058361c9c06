//! Members and torrents, as workers look them up: without the database, and without a lock but for what is
//! known of one at the other.

use std::hash::Hasher;
use std::sync::Arc;

use karuta_bittorrent::InfoHash;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::found::Found;
use crate::pairs::{Here, Pair, Pairs};
use crate::records::{Hashes, Member, Torrent};

/// A member takes 60 bytes to 80 here, and so does each info-hash. It is changed by one thread.
#[derive(Default)]
pub struct Directory {
    /// By the digest of a passkey.
    pub(crate) members: Found<Member>,
    /// By each info-hash.
    pub(crate) torrents: Found<Torrent>,
    /// What is known of members at torrents.
    pub(crate) pairs: Arc<Pairs>,
    pub(crate) digests: Digests,
}

/// The first 12 bytes of a keyed hash, so that passkeys are not in memory, and nobody can choose two
/// with one hash, nor guess one that a member has.
pub(crate) type Digest = [u8; 12];

/// A hash with a key of its own.
#[derive(Clone, Copy)]
pub(crate) struct Digests(u64, u64);

impl Default for Digests {
    fn default() -> Self {
        Self(rand::random(), rand::random())
    }
}

impl Digests {
    pub fn of(self, passkey: &str) -> Digest {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(passkey.as_bytes());
        let [digest @ .., _, _, _, _] = hasher.finish128().as_bytes();
        digest
    }
}

/// What a directory begins with, as the database has it.
#[derive(Default)]
pub(crate) struct Loaded {
    pub digests: Digests,
    pub members: Found<Member>,
    pub torrents: Found<Torrent>,
    pub tokens: Vec<Pair>,
    pub here: Vec<(Pair, Here)>,
}

impl From<Loaded> for Directory {
    fn from(loaded: Loaded) -> Self {
        let Loaded { digests, members, torrents, tokens, here } = loaded;
        let directory = Self { members, torrents, pairs: Arc::default(), digests };
        tokens.into_iter().for_each(|pair| directory.enter_token(pair, true));
        here.into_iter().for_each(|(pair, now)| directory.turn(pair, |here| *here = now));
        directory
    }
}

impl Member {
    /// Returns it with what it has at a torrent from now on. It seeds a torrent, or else downloads it,
    /// however many peers it has there.
    fn turn(self, before: Here, now: Here) -> Self {
        let seeds = |here: Here| here.seeding > 0;
        let leeches = |here: Here| here.leeching > 0 && here.seeding == 0;
        let step = |count: u32, before: bool, now: bool| match (before, now) {
            (false, true) => count.saturating_add(1),
            (true, false) => count.saturating_sub(1),
            _ => count,
        };
        Self {
            seeding: step(self.seeding, seeds(before), seeds(now)),
            leeching: step(self.leeching, leeches(before), leeches(now)),
            version: self.version.wrapping_add(1),
            ..self
        }
    }
}

impl Directory {
    /// Returns the member with a passkey, and its id.
    #[must_use]
    pub fn member(&self, passkey: &str) -> Option<(u64, Member)> {
        self.members.get(&self.digests.of(passkey))
    }

    /// Returns the torrent with an info-hash, of either version, and its id.
    #[must_use]
    pub fn torrent(&self, info_hash: InfoHash) -> Option<(u64, Torrent)> {
        self.torrents.get(&info_hash.0)
    }

    /// Returns whether a member has a token for a torrent.
    #[must_use]
    pub fn has_token(&self, member: u64, torrent: u64) -> bool {
        self.at(member, torrent).0
    }

    /// Returns whether a member has a token for a torrent, and how many peers it has there now.
    #[must_use]
    pub fn at(&self, member: u64, torrent: u64) -> (bool, u32) {
        self.pairs.look((member, torrent), |at| (at.has_token, at.here.all()))
    }

    /// Returns whether there is a member with an id.
    #[must_use]
    pub fn has_member(&self, id: u64) -> bool {
        self.members.with_id(id).is_some()
    }

    /// Returns whether there is a torrent with an id, deleted or not.
    #[must_use]
    pub fn has_torrent(&self, id: u64) -> bool {
        self.torrents.with_id(id).is_some()
    }

    /// Returns how many members there are.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Returns how many torrents there are.
    #[must_use]
    pub fn torrents(&self) -> usize {
        self.torrents.len()
    }

    /// Changes what a member has at a torrent.
    pub(crate) fn turn(&self, pair: Pair, change: impl FnOnce(&mut Here)) {
        let (before, now) = self.pairs.change(pair, |at| {
            let before = at.here;
            change(&mut at.here);
            (before, at.here)
        });
        if before != now {
            self.members.change(pair.0, |member| member.turn(before, now));
        }
    }

    /// Enters a member as its record says, but for what it has now. Of `passkeys`, the first is the one
    /// that it had; `None`: it keeps its own.
    pub(crate) fn enter_member(
        &self,
        id: u64,
        record: Member,
        passkeys: Option<(Option<String>, String)>,
    ) {
        let onto = |known: Member| {
            let Member { seeding, leeching, version, .. } = known;
            Member { seeding, leeching, version: version.wrapping_add(1), ..record }
        };
        let Some((old, new)) = passkeys else { return self.members.change(id, onto) };
        let known = self.members.with_id(id).unwrap_or_default();
        self.members.put(&self.digests.of(&new), id, onto(known));
        if let Some(old) = old.filter(|old| *old != new) {
            self.members.remove(&self.digests.of(&old), id);
        }
    }

    /// Enters a torrent as its record says, with the info-hashes that it had, and those that it has.
    pub(crate) fn enter_torrent(&self, id: u64, record: Torrent, [old, new]: [Hashes; 2]) {
        let known = self.torrents.with_id(id);
        let version = known.map_or(0, |known| known.version.wrapping_add(1));
        for hash in new.iter().flatten() {
            self.torrents.put(hash, id, Torrent { version, ..record });
        }
        for hash in old.iter().flatten().filter(|hash| !new.contains(&Some(**hash))) {
            self.torrents.remove(hash, id);
        }
    }

    /// Removes a member that another one takes the passkey from.
    pub(crate) fn remove_member(&self, id: u64, passkey: &str) {
        self.members.remove(&self.digests.of(passkey), id);
    }

    /// Removes a torrent that another one takes an info-hash from.
    pub(crate) fn remove_torrent(&self, id: u64, hashes: Hashes) {
        hashes.iter().flatten().for_each(|hash| self.torrents.remove(hash, id));
    }

    pub(crate) fn enter_token(&self, pair: Pair, exists: bool) {
        self.pairs.change(pair, |at| at.has_token = exists);
    }
}
