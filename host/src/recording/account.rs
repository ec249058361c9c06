//! What `accounts` knew of a request, in a record.

use karuta_accounts::{Member, Torrent};

use super::bytes::{Put, take};
use crate::exchange::Account;

/// The size of an account in bytes.
pub const SIZE: usize = 1 + 29 + 22 + 4;

/// Writes an account: a byte of flags, a member of 29 bytes, a torrent of 22 bytes, and how many peers
/// the member has there (4 bytes).
pub fn write(account: &Account, out: &mut Put) {
    let Account { member, torrent, has_token, here } = account;
    let flag = |set: bool, bit: u8| u8::from(set) << bit;
    out.put(&[flag(member.is_some(), 0) | flag(torrent.is_some(), 1) | flag(*has_token, 2)]);
    let (id, member) = member.unwrap_or_default();
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
        version,
    } = member;
    out.put(&id.to_le_bytes());
    let flags = [enabled, leech, visible, immune, freeleech, double_upload, slots.is_some()];
    out.put(&[(0..).zip(flags).map(|(bit, set)| flag(set, bit)).sum()]);
    for number in [group, slots.unwrap_or(0), seeding, leeching, version] {
        out.put(&number.to_le_bytes());
    }
    let (id, torrent) = torrent.unwrap_or_default();
    let Torrent { status, deleted, featured, reason, upload_percent, download_percent, version } =
        torrent;
    out.put(&id.to_le_bytes());
    out.put(&[status, flag(deleted, 0) | flag(featured, 1)]);
    out.put(&reason.to_le_bytes());
    out.put(&upload_percent.to_le_bytes());
    out.put(&download_percent.to_le_bytes());
    out.put(&version.to_le_bytes());
    out.put(&here.to_le_bytes());
}

/// Reads an account. `None`: it is malformed.
pub fn read(rest: &mut &[u8]) -> Option<Account> {
    let [known] = take(rest)?;
    let member_id = u64::from_le_bytes(take(rest)?);
    let [flags] = take(rest)?;
    let mut number = || take(rest).map(u32::from_le_bytes);
    let (group, slots, seeding, leeching, version) =
        (number()?, number()?, number()?, number()?, number()?);
    let is = |bit: u8| flags >> bit & 1 == 1;
    let member = Member {
        enabled: is(0),
        leech: is(1),
        visible: is(2),
        immune: is(3),
        freeleech: is(4),
        double_upload: is(5),
        group,
        slots: is(6).then_some(slots),
        seeding,
        leeching,
        version,
    };
    let torrent_id = u64::from_le_bytes(take(rest)?);
    let [status, flags] = take(rest)?;
    let torrent = Torrent {
        status,
        deleted: flags & 1 == 1,
        featured: flags & 2 == 2,
        reason: u32::from_le_bytes(take(rest)?),
        upload_percent: u16::from_le_bytes(take(rest)?),
        download_percent: u16::from_le_bytes(take(rest)?),
        version: u32::from_le_bytes(take(rest)?),
    };
    let here = u32::from_le_bytes(take(rest)?);
    Some(Account {
        member: (known & 1 == 1).then_some((member_id, member)),
        torrent: (known & 2 == 2).then_some((torrent_id, torrent)),
        has_token: known & 4 == 4,
        here,
    })
}
