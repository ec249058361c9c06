//! `karuta:policy/account`: the member and the torrent of the request, and what is credited.

use karuta_accounts::{Member, Terms, Torrent};
use wasmtime::component::HasData;

use crate::exchange::{Account, Asked, Draft};
use crate::policy::contract::bindings::imports::account::{
    Host, Marks, MemberRecord, Rights, TorrentRecord,
};

/// The most that is credited, in percent.
const MOST: u32 = 10_000;

/// The account of the request, and what the call does with it.
pub struct View<'a> {
    pub account: &'a Account,
    /// The changes of the current hook.
    pub draft: &'a mut Draft,
    /// What the current call has looked at.
    pub asked: &'a mut Asked,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn member(&mut self) -> Option<MemberRecord> {
        self.asked.member = true;
        let (id, member) = self.account.member?;
        Some(MemberRecord {
            id,
            rights: rights(&member),
            group: member.group,
            slots: member.slots,
            seeding: member.seeding,
            leeching: member.leeching,
            here: self.account.here,
        })
    }

    fn torrent(&mut self) -> Option<TorrentRecord> {
        self.asked.torrent = true;
        let (id, torrent) = self.account.torrent?;
        Some(TorrentRecord {
            id,
            marks: marks(&torrent, self.account.has_token),
            status: torrent.status.into(),
            reason: torrent.reason,
            upload_percent: torrent.upload_percent.into(),
            download_percent: torrent.download_percent.into(),
        })
    }

    fn credit(&mut self, upload: u32, download: u32) {
        self.draft.any = true;
        let [upload, download] = [upload, download].map(|percent| percent.min(MOST));
        self.draft.credit = Some(Terms { upload, download });
    }

    fn hide_peer(&mut self) {
        self.draft.any = true;
        self.draft.hides_peer = true;
    }
}

fn rights(member: &Member) -> Rights {
    let rights = [
        (member.enabled, Rights::ENABLED),
        (member.leech, Rights::LEECH),
        (member.visible, Rights::VISIBLE),
        (member.immune, Rights::IMMUNE),
        (member.freeleech, Rights::FREELEECH),
        (member.double_upload, Rights::DOUBLE_UPLOAD),
    ];
    let rights = rights.into_iter().filter(|(has, _)| *has);
    rights.fold(Rights::empty(), |all, (_, right)| all | right)
}

fn marks(torrent: &Torrent, has_token: bool) -> Marks {
    let marks = [
        (torrent.is_approved(), Marks::APPROVED),
        (torrent.deleted, Marks::DELETED),
        (torrent.is_free(), Marks::FREE),
        (torrent.is_neutral(), Marks::NEUTRAL),
        (torrent.featured, Marks::FEATURED),
        (has_token, Marks::TOKEN),
    ];
    let marks = marks.into_iter().filter(|(has, _)| *has);
    marks.fold(Marks::empty(), |all, (_, mark)| all | mark)
}
