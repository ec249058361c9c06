//! The member and the torrent of the request, as `accounts` in the configuration knows them.

pub use crate::bindings::imports::account::{Marks, Rights};
use crate::bindings::imports::account::{MemberRecord, TorrentRecord};
use crate::host::account;

/// A member, as it was before the request.
#[derive(Clone, Copy, Debug)]
pub struct Member(MemberRecord);

/// A torrent, as it was before the request.
#[derive(Clone, Copy, Debug)]
pub struct Torrent(TorrentRecord);

/// Returns the member whose passkey the request carries. `None`: it carries none that is known, or
/// there are no accounts.
#[must_use]
pub fn member() -> Option<Member> {
    account::member().map(Member)
}

/// Returns the torrent of the request, unless it is unknown, or there are no accounts.
#[must_use]
pub fn torrent() -> Option<Torrent> {
    account::torrent().map(Torrent)
}

/// Sets how much of what was moved since the client's last announce is credited, in percent, at most
/// 10000. Without it, what the records of the member and the torrent say. It holds for a refused
/// announce, too.
pub fn credit(upload: u32, download: u32) {
    account::credit(upload, download);
}

/// Hides the peer of an announce: it is counted, and it is given others, but it is given to nobody
/// until it announces again. Works without accounts, too.
pub fn hide_peer() {
    account::hide_peer();
}

impl Member {
    /// Returns its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Returns what it may.
    #[must_use]
    pub fn rights(&self) -> Rights {
        self.0.rights
    }

    /// Returns whether it is not banned.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.rights.contains(Rights::ENABLED)
    }

    /// Returns whether it may download.
    #[must_use]
    pub fn may_leech(&self) -> bool {
        self.0.rights.contains(Rights::LEECH)
    }

    /// Returns the number of its group.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.0.group
    }

    /// Returns the most torrents that it may download at a time; `None` for any number.
    #[must_use]
    pub fn slots(&self) -> Option<u32> {
        self.0.slots
    }

    /// Returns the number of torrents that it seeds.
    #[must_use]
    pub fn seeding(&self) -> u32 {
        self.0.seeding
    }

    /// Returns the number of torrents that it downloads.
    #[must_use]
    pub fn leeching(&self) -> u32 {
        self.0.leeching
    }

    /// Returns the number of its peers at this torrent.
    #[must_use]
    pub fn here(&self) -> u32 {
        self.0.here
    }
}

impl Torrent {
    /// Returns its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Returns what is known of it.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.0.marks
    }

    /// Returns whether moderation has approved it.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.0.marks.contains(Marks::APPROVED)
    }

    /// Returns whether it was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.0.marks.contains(Marks::DELETED)
    }

    /// Returns what moderation says: 0 pending, 1 approved, 2 rejected, 3 postponed.
    #[must_use]
    pub fn status(&self) -> u32 {
        self.0.status
    }

    /// Returns why it was deleted, as a number that the site gives a meaning.
    #[must_use]
    pub fn reason(&self) -> u32 {
        self.0.reason
    }

    /// Returns how much of an upload is credited, in percent.
    #[must_use]
    pub fn upload_percent(&self) -> u32 {
        self.0.upload_percent
    }

    /// Returns how much of a download is counted, in percent.
    #[must_use]
    pub fn download_percent(&self) -> u32 {
        self.0.download_percent
    }
}
