//! What is known of members and torrents, as workers see it.

use serde::Serialize;

use crate::found::{Record, Words};

/// A member. Its default is what a new one may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Member {
    pub enabled: bool,
    /// May download.
    pub leech: bool,
    /// Addresses may be written down.
    pub visible: bool,
    /// For policies that warn or ban: not this one.
    pub immune: bool,
    /// Downloads are not counted.
    pub freeleech: bool,
    /// Uploads count at least twice.
    pub double_upload: bool,
    pub group: u32,
    /// The most torrents that it may download at a time; `None`: any number.
    pub slots: Option<u32>,
    /// Torrents that it seeds now.
    pub seeding: u32,
    /// Torrents that it downloads now.
    pub leeching: u32,
    /// Another one whenever anything of the above changes.
    #[serde(skip)]
    pub version: u32,
}

/// What all members of a group may, beside what each of them may. Its default changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Group {
    /// If not, all of its members are banned.
    pub enabled: bool,
    pub immune: bool,
    pub freeleech: bool,
    pub double_upload: bool,
    /// For members who have no number of their own; `None`: any number.
    pub slots: Option<u32>,
}

/// A torrent. Its default is what a new one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Torrent {
    /// What moderation says of it: 0 pending, 1 approved, 2 rejected, 3 postponed.
    pub status: u8,
    pub deleted: bool,
    /// Uploads count at least twice, and downloads not at all.
    pub featured: bool,
    /// Why it was deleted, as a number that the site gives a meaning.
    pub reason: u32,
    /// How much of an upload is credited.
    pub upload_percent: u16,
    /// How much of a download is counted.
    pub download_percent: u16,
    /// Another one whenever anything of the above changes.
    #[serde(skip)]
    pub version: u32,
}

/// The info-hashes of a torrent: of version 1, or else the only one; and of version 2.
pub type Hashes = [Option<[u8; 20]>; 2];

/// The status of a torrent that is approved.
const APPROVED: u8 = 1;
/// The highest status.
pub const STATUSES: u8 = 3;

impl Default for Member {
    fn default() -> Self {
        Self {
            enabled: true,
            leech: true,
            visible: true,
            immune: false,
            freeleech: false,
            double_upload: false,
            group: 0,
            slots: None,
            seeding: 0,
            leeching: 0,
            version: 0,
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self { enabled: true, immune: false, freeleech: false, double_upload: false, slots: None }
    }
}

impl Member {
    /// Returns what a member of a group may.
    #[must_use]
    pub fn within(self, group: Group) -> Self {
        Self {
            enabled: self.enabled && group.enabled,
            immune: self.immune || group.immune,
            freeleech: self.freeleech || group.freeleech,
            double_upload: self.double_upload || group.double_upload,
            slots: self.slots.or(group.slots),
            ..self
        }
    }
}

impl Default for Torrent {
    fn default() -> Self {
        Self {
            status: APPROVED,
            deleted: false,
            featured: false,
            reason: 0,
            upload_percent: 100,
            download_percent: 100,
            version: 0,
        }
    }
}

impl Torrent {
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.status == APPROVED
    }

    /// Returns whether uploads are credited, and downloads cost nothing.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.download_percent == 0 && self.upload_percent > 0
    }

    /// Returns whether nothing is counted.
    #[must_use]
    pub fn is_neutral(&self) -> bool {
        self.download_percent == 0 && self.upload_percent == 0
    }
}

/// The high half of a word.
const HIGH: u64 = (u32::MAX as u64) << 32;

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn halves(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Packs up to 32 answers, the first into the lowest bit.
fn bits<const N: usize>(answers: [bool; N]) -> u32 {
    answers.iter().rev().fold(0, |bits, answer| bits << 1 | u32::from(*answer))
}

fn bit(bits: u64, at: u32) -> bool {
    bits >> at & 1 == 1
}

impl Record for Member {
    /// A hash of the passkey.
    type Key = [u8; 12];
    const KEY: Words = [u64::MAX, HIGH, 0, 0, 0, 0];

    fn pack_key(key: &Self::Key) -> Words {
        let [first, second, third] = quarters(key);
        [halves(first, second), halves(third, 0), 0, 0, 0, 0]
    }

    fn pack(self) -> Words {
        let Self { enabled, leech, visible, immune, freeleech, double_upload, .. } = self;
        let has_slots = self.slots.is_some();
        let flags = bits([enabled, leech, visible, immune, freeleech, double_upload, has_slots]);
        let most = halves(self.group, self.slots.unwrap_or(0));
        [0, flags.into(), 0, most, halves(self.seeding, self.leeching), halves(self.version, 0)]
    }

    fn unpack(words: &Words) -> Self {
        let [_, flags, _, most, now, last] = *words;
        Self {
            enabled: bit(flags, 0),
            leech: bit(flags, 1),
            visible: bit(flags, 2),
            immune: bit(flags, 3),
            freeleech: bit(flags, 4),
            double_upload: bit(flags, 5),
            group: high(most),
            slots: bit(flags, 6).then_some(most as u32),
            seeding: high(now),
            leeching: now as u32,
            version: high(last),
        }
    }
}

impl Record for Torrent {
    /// An info-hash, or the first bytes of one.
    type Key = [u8; 20];
    const KEY: Words = [u64::MAX, u64::MAX, 0, HIGH, 0, 0];

    fn pack_key(key: &Self::Key) -> Words {
        let [first, second, third, fourth, fifth] = quarters(key);
        [halves(first, second), halves(third, fourth), 0, halves(fifth, 0), 0, 0]
    }

    fn pack(self) -> Words {
        let percents = halves(self.upload_percent.into(), self.download_percent.into());
        let others = u64::from(self.status) | u64::from(bits([self.deleted, self.featured])) << 8;
        // The percents leave the high quarter free.
        let percents = percents | others << 48;
        [0, 0, 0, self.reason.into(), percents, halves(self.version, 0)]
    }

    fn unpack(words: &Words) -> Self {
        let [.., reason, others, last] = *words;
        Self {
            status: (others >> 48) as u8,
            deleted: bit(others, 56),
            featured: bit(others, 57),
            reason: reason as u32,
            upload_percent: high(others) as u16,
            download_percent: others as u16,
            version: high(last),
        }
    }
}

/// Splits a key into numbers of four bytes.
fn quarters<const BYTES: usize, const N: usize>(key: &[u8; BYTES]) -> [u32; N] {
    const { assert!(BYTES == 4 * N) };
    let (quarters, _) = key.as_chunks();
    std::array::from_fn(|at| u32::from_be_bytes(quarters[at]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks that a record and its key take bits of their own, and none of those that are others'.
    fn check<R: Record>(record: R, key: &R::Key) {
        let (record, key) = (record.pack(), R::pack_key(key));
        for at in 0..record.len() {
            assert_eq!((record[at] & R::KEY[at], key[at] & !R::KEY[at]), (0, 0), "{at}");
        }
        for words in [record, key] {
            assert_eq!((words[crate::found::ID], words[crate::found::LAST] as u32), (0, 0));
        }
    }

    proptest! {
        #[test]
        fn a_member_is_packed(
            flags: [bool; 6], group: u32, slots: Option<u32>, seeding: u32, leeching: u32, version: u32,
            key: [u8; 12],
        ) {
            let [enabled, leech, visible, immune, freeleech, double_upload] = flags;
            let member = Member {
                enabled, leech, visible, immune, freeleech, double_upload, group, slots, seeding,
                leeching, version,
            };
            check(member, &key);
            prop_assert_eq!(Member::unpack(&member.pack()), member);
        }

        #[test]
        fn a_torrent_is_packed(
            status: u8, flags: [bool; 2], reason: u32, percents: [u16; 2], version: u32, key: [u8; 20],
        ) {
            let ([deleted, featured], [upload_percent, download_percent]) = (flags, percents);
            let torrent = Torrent {
                status, deleted, featured, reason, upload_percent, download_percent, version,
            };
            check(torrent, &key);
            prop_assert_eq!(Torrent::unpack(&torrent.pack()), torrent);
        }
    }
}
