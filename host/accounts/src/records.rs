//! What is known of members and torrents, as workers see it.

use serde::Serialize;

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
