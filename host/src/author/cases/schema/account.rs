//! The member and the torrent of a request.

use karuta_accounts::{Member, Torrent};
use serde::Deserialize;

use crate::exchange;

/// What `accounts` knows of a request; missing keys are unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    pub member: Option<KnownMember>,
    pub torrent: Option<KnownTorrent>,
}

/// Missing keys default to those of a new member.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownMember {
    pub id: u64,
    pub enabled: bool,
    pub leech: bool,
    pub visible: bool,
    pub immune: bool,
    pub freeleech: bool,
    pub double_upload: bool,
    pub group: u32,
    pub slots: Option<u32>,
    pub seeding: u32,
    pub leeching: u32,
    pub here: u32,
}

/// Missing keys default to those of a new torrent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownTorrent {
    pub id: u64,
    pub status: u8,
    pub deleted: bool,
    pub featured: bool,
    pub reason: u32,
    pub upload_percent: u16,
    pub download_percent: u16,
    pub token: bool,
}

impl Default for KnownMember {
    fn default() -> Self {
        let Member {
            enabled,
            leech,
            visible,
            immune,
            freeleech,
            double_upload,
            group,
            slots,
            seeding,
            leeching,
            version: _,
        } = Member::default();
        Self {
            id: 1,
            enabled,
            leech,
            visible,
            immune,
            freeleech,
            double_upload,
            group,
            slots,
            seeding,
            leeching,
            here: 0,
        }
    }
}

impl Default for KnownTorrent {
    fn default() -> Self {
        let Torrent {
            status,
            deleted,
            featured,
            reason,
            upload_percent,
            download_percent,
            version: _,
        } = Torrent::default();
        Self {
            id: 1,
            status,
            deleted,
            featured,
            reason,
            upload_percent,
            download_percent,
            token: false,
        }
    }
}

impl From<Account> for exchange::Account {
    fn from(Account { member, torrent }: Account) -> Self {
        Self {
            member: member.map(|from| (from.id, from.into())),
            torrent: torrent.map(|from| (from.id, from.into())),
            has_token: torrent.is_some_and(|torrent| torrent.token),
            here: member.map_or(0, |member| member.here),
        }
    }
}

impl From<KnownMember> for Member {
    fn from(from: KnownMember) -> Self {
        Self {
            enabled: from.enabled,
            leech: from.leech,
            visible: from.visible,
            immune: from.immune,
            freeleech: from.freeleech,
            double_upload: from.double_upload,
            group: from.group,
            slots: from.slots,
            seeding: from.seeding,
            leeching: from.leeching,
            version: 0,
        }
    }
}

impl From<KnownTorrent> for Torrent {
    fn from(from: KnownTorrent) -> Self {
        Self {
            status: from.status,
            deleted: from.deleted,
            featured: from.featured,
            reason: from.reason,
            upload_percent: from.upload_percent,
            download_percent: from.download_percent,
            version: 0,
        }
    }
}
