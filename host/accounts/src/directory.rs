//! Members and torrents, as workers look them up: without a lock, and without the database.

use std::hash::Hasher;

use karuta_bittorrent::InfoHash;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::records::{Hashes, Member, Torrent};
use crate::table::Table;

/// A member has 64 bytes here, and so has a torrent. It is changed by one thread.
#[derive(Default)]
pub struct Directory {
    pub(crate) members: Table<u64, Member>,
    passkeys: Table<Digest, u64>,
    pub(crate) torrents: Table<u64, Torrent>,
    hashes: Table<[u8; 20], u64>,
    tokens: Table<(u64, u64), ()>,
    /// Sessions of a member at a torrent that are active.
    here: Table<(u64, u64), Here>,
    digests: Digests,
}

/// Sessions that are active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Here {
    pub seeding: u16,
    pub leeching: u16,
}

impl Here {
    pub(crate) fn enter(&mut self, is_seeder: bool) {
        let count = if is_seeder { &mut self.seeding } else { &mut self.leeching };
        *count = count.saturating_add(1);
    }

    pub(crate) fn leave(&mut self, is_seeder: bool) {
        let count = if is_seeder { &mut self.seeding } else { &mut self.leeching };
        *count = count.saturating_sub(1);
    }

    pub(crate) fn all(self) -> u32 {
        u32::from(self.seeding) + u32::from(self.leeching)
    }
}

/// The first 16 bytes of a keyed hash, so that passkeys are not in memory, and nobody can choose two
/// with one hash.
pub(crate) type Digest = [u8; 16];

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
        hasher.finish128().as_bytes()
    }
}

/// What a directory begins with, as the database has it.
#[derive(Default)]
pub(crate) struct Loaded {
    pub digests: Digests,
    /// In the order of their ids.
    pub members: Vec<(u64, Member)>,
    pub passkeys: Vec<(Digest, u64)>,
    pub torrents: Vec<(u64, Torrent)>,
    pub hashes: Vec<([u8; 20], u64)>,
    pub tokens: Vec<((u64, u64), ())>,
    pub here: Vec<((u64, u64), Here)>,
}

impl From<Loaded> for Directory {
    fn from(loaded: Loaded) -> Self {
        let Loaded { digests, mut members, passkeys, torrents, hashes, tokens, here } = loaded;
        for ((member, _), now) in &here {
            if let Ok(at) = members.binary_search_by_key(member, |(id, _)| *id) {
                members[at].1.turn(Here::default(), *now);
            }
        }
        Self {
            members: members.into(),
            passkeys: passkeys.into(),
            torrents: torrents.into(),
            hashes: hashes.into(),
            tokens: tokens.into(),
            here: here.into(),
            digests,
        }
    }
}

impl Member {
    /// Notes what it has at a torrent from now on. It seeds a torrent, or else downloads it, however
    /// many peers it has there.
    fn turn(&mut self, before: Here, now: Here) {
        let seeds = |here: Here| here.seeding > 0;
        let leeches = |here: Here| here.leeching > 0 && here.seeding == 0;
        let step = |count: u32, before: bool, now: bool| match (before, now) {
            (false, true) => count.saturating_add(1),
            (true, false) => count.saturating_sub(1),
            _ => count,
        };
        self.seeding = step(self.seeding, seeds(before), seeds(now));
        self.leeching = step(self.leeching, leeches(before), leeches(now));
        self.version = self.version.wrapping_add(1);
    }
}

impl Directory {
    /// Returns the member with a passkey, and its id.
    #[must_use]
    pub fn member(&self, passkey: &str) -> Option<(u64, Member)> {
        let id = self.passkeys.get(&self.digests.of(passkey))?;
        Some((id, self.members.get(&id)?))
    }

    /// Returns the torrent with an info-hash, of either version, and its id.
    #[must_use]
    pub fn torrent(&self, info_hash: InfoHash) -> Option<(u64, Torrent)> {
        let id = self.hashes.get(&info_hash.0)?;
        Some((id, self.torrents.get(&id)?))
    }

    /// Returns whether a member has a token for a torrent.
    #[must_use]
    pub fn has_token(&self, member: u64, torrent: u64) -> bool {
        self.tokens.len() > 0 && self.tokens.get(&(member, torrent)).is_some()
    }

    /// Returns how many peers a member has at a torrent now.
    #[must_use]
    pub fn here(&self, member: u64, torrent: u64) -> u32 {
        self.here.get(&(member, torrent)).map_or(0, Here::all)
    }

    /// Returns whether there is a member with an id.
    #[must_use]
    pub fn has_member(&self, id: u64) -> bool {
        self.members.get(&id).is_some()
    }

    /// Returns whether there is a torrent with an id, deleted or not.
    #[must_use]
    pub fn has_torrent(&self, id: u64) -> bool {
        self.torrents.get(&id).is_some()
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

    /// Notes what a member has at a torrent from now on.
    pub(crate) fn turn(&self, pair: (u64, u64), before: Here, now: Here) {
        if before == now {
            return;
        }
        self.here.change(pair, |_| (now.all() > 0).then_some(now));
        self.members.change(pair.0, |member| {
            let mut member = member?;
            member.turn(before, now);
            Some(member)
        });
    }

    /// Returns what a member has at a torrent now.
    pub(crate) fn present(&self, pair: (u64, u64)) -> Here {
        self.here.get(&pair).unwrap_or_default()
    }

    /// Enters a member as its record says, but for what it has now.
    pub(crate) fn enter_member(&self, id: u64, record: Member) {
        self.members.change(id, |known| {
            let Member { seeding, leeching, version, .. } = known.unwrap_or_default();
            Some(Member { seeding, leeching, version: version.wrapping_add(1), ..record })
        });
    }

    pub(crate) fn enter_passkey(&self, old: Option<&str>, new: &str, id: u64) {
        if let Some(old) = old {
            self.passkeys.remove(self.digests.of(old));
        }
        self.passkeys.put(self.digests.of(new), id);
    }

    pub(crate) fn enter_torrent(&self, id: u64, record: Torrent) {
        self.torrents.change(id, |known| {
            let version = known.map_or(0, |known| known.version.wrapping_add(1));
            Some(Torrent { version, ..record })
        });
    }

    pub(crate) fn enter_hash(&self, old: Option<[u8; 20]>, new: Option<[u8; 20]>, id: u64) {
        if let Some(old) = old {
            self.hashes.remove(old);
        }
        if let Some(new) = new {
            self.hashes.put(new, id);
        }
    }

    /// Removes a member that another one takes the passkey from.
    pub(crate) fn remove_member(&self, id: u64, passkey: &str) {
        self.passkeys.remove(self.digests.of(passkey));
        self.members.remove(id);
    }

    /// Removes a torrent that another one takes an info-hash from.
    pub(crate) fn remove_torrent(&self, id: u64, hashes: Hashes) {
        hashes.into_iter().flatten().for_each(|hash| self.hashes.remove(hash));
        self.torrents.remove(id);
    }

    pub(crate) fn enter_token(&self, pair: (u64, u64), exists: bool) {
        self.tokens.change(pair, |_| exists.then_some(()));
    }
}
