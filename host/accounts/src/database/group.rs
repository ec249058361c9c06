//! Groups of members: what all of a group may.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::edit::{Changed, Fault};
use super::read::{self, MEMBER};
use super::{Database, Reader, int, uint};
use crate::change::GroupChange;
use crate::records::Group;

/// The columns that [`group`] reads.
const COLUMNS: &str = "enabled, immune, freeleech, double_upload, slots";

fn group(row: &Row) -> rusqlite::Result<Group> {
    Ok(Group {
        enabled: row.get("enabled")?,
        immune: row.get("immune")?,
        freeleech: row.get("freeleech")?,
        double_upload: row.get("double_upload")?,
        slots: row.get("slots")?,
    })
}

/// Returns a group; one that nobody has changed is the default.
pub fn find(connection: &Connection, id: u32) -> rusqlite::Result<Group> {
    let sql = format!("SELECT {COLUMNS} FROM member_group WHERE id = ?1");
    let found = connection.prepare_cached(&sql)?.query_one([id], group).optional()?;
    Ok(found.unwrap_or_default())
}

/// Returns all groups that somebody has changed.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<(u32, Group)>> {
    let mut statement = connection.prepare(&format!("SELECT id, {COLUMNS} FROM member_group"))?;
    statement.query_map([], |row| Ok((row.get("id")?, group(row)?)))?.collect()
}

/// Changes a group, and with it what its members may.
pub fn change(
    connection: &Connection,
    change: &GroupChange,
    made: &mut Vec<Changed>,
) -> Result<(), Fault> {
    let before = find(connection, change.id)?;
    let now = change.onto(before);
    if now == before {
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO member_group (id, enabled, immune, freeleech, double_upload, \
               slots) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Group { enabled, immune, freeleech, double_upload, slots } = now;
    let values = params![change.id, enabled, immune, freeleech, double_upload, slots];
    connection.prepare_cached(sql)?.execute(values)?;
    let sql = format!("SELECT {MEMBER} FROM member WHERE group_id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([change.id])?;
    while let Some(row) = rows.next()? {
        let record = read::member(row)?.within(now);
        made.push(Changed::Member { id: uint(row.get("id")?), record, passkeys: None });
    }
    Ok(())
}

impl Database {
    /// Forgets all groups: a site's database says itself what each member may.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn forget_groups(&mut self) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM member_group", []).map(|_| ())
    }
}

impl Reader {
    /// Returns a group; one that nobody has changed is the default.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn group(&self, id: u32) -> rusqlite::Result<Group> {
        find(&self.0, id)
    }

    /// Returns whether a member is in a group that is banned.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn is_banned_by_group(&self, member: u64) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM member JOIN member_group g ON g.id = group_id \
                   WHERE member.id = ?1 AND NOT g.enabled";
        self.0.prepare_cached(sql)?.exists([int(member)])
    }

    /// Returns the ids of the members of a group.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn members_of(&self, group: u32) -> rusqlite::Result<Vec<u64>> {
        let mut statement = self.0.prepare("SELECT id FROM member WHERE group_id = ?1")?;
        statement.query_map([group], |row| row.get(0).map(uint))?.collect()
    }
}

#[cfg(test)]
mod tests {
    use karuta_bittorrent::InfoHash;

    use crate::tests::{changes, options, wait};
    use crate::{Accounts, Change, Group, GroupChange, Member, MemberChange};

    const NOW: u64 = 100;

    fn group(id: u32, enabled: bool) -> Change {
        Change::Group(GroupChange { id, enabled: Some(enabled), ..GroupChange::default() })
    }

    fn moves(id: u64, group: u32) -> Change {
        Change::Member(MemberChange { id, group: Some(group), ..MemberChange::default() })
    }

    fn member(accounts: &Accounts, id: u64) -> Member {
        accounts.directory().members.with_id(id).unwrap()
    }

    #[test]
    fn a_member_may_what_its_group_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let accounts = Accounts::open(&path, options(), None).unwrap();
        let change = |changes| wait(accounts.change(changes)).unwrap();
        change(changes());
        change(vec![moves(1, 5)]);
        let before = member(&accounts, 1);
        let lucky = GroupChange {
            id: 5,
            freeleech: Some(true),
            immune: Some(true),
            double_upload: Some(true),
            slots: Some(Some(3)),
            ..GroupChange::default()
        };
        change(vec![Change::Group(lucky)]);
        let now = member(&accounts, 1);
        assert!(now.enabled && now.freeleech && now.immune && now.double_upload);
        assert_eq!((now.slots, now.leech), (Some(3), true));
        assert_ne!(now.version, before.version, "verdicts about it are no longer remembered");
        assert!(!member(&accounts, 2).freeleech, "who is in another group");
        // Its own settings stay its own.
        change(vec![
            Change::Member(MemberChange {
                id: 1,
                slots: Some(Some(9)),
                immune: Some(false),
                ..MemberChange::default()
            }),
            moves(2, 5),
        ]);
        let (one, two) = (member(&accounts, 1), member(&accounts, 2));
        assert_eq!((one.slots, two.slots, one.immune), (Some(9), Some(3), true));
        change(vec![group(5, false)]);
        let seen = |accounts: &Accounts| {
            assert!(!member(accounts, 1).enabled && !member(accounts, 2).enabled);
            assert!(member(accounts, 2).freeleech && member(accounts, 3).enabled);
            let expected = Group {
                enabled: false,
                immune: true,
                freeleech: true,
                double_upload: true,
                slots: Some(3),
            };
            assert_eq!(accounts.group(5).unwrap(), expected);
            assert_eq!(accounts.group(6).unwrap(), Group::default());
        };
        seen(&accounts);
        assert!(accounts.end(std::time::Duration::from_secs(60)));
        drop(accounts);
        let accounts = Accounts::open(&path, options(), None).unwrap();
        seen(&accounts);
        wait(accounts.change(vec![moves(1, 0)])).unwrap();
        let free = member(&accounts, 1);
        assert!(free.enabled && !free.freeleech && !free.immune);
    }

    #[test]
    fn the_peers_of_a_banned_group_leave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let accounts = Accounts::open(&path, options(), None).unwrap();
        wait(accounts.change(changes())).unwrap();
        wait(accounts.change(vec![moves(1, 5), group(6, false)])).unwrap();
        let peer = |member: u64| ([192, 0, 2, member as u8], 6881).into();
        let enter = |member| accounts.meet((member, 1), peer(member), false, NOW, |_| {});
        let gone = |changes: Vec<Change>| {
            wait(accounts.change(changes.clone())).unwrap();
            accounts.leaving(&changes).unwrap()
        };
        (1..=3).for_each(enter);
        let hashes = vec![InfoHash([1; 20])];
        assert_eq!(gone(vec![group(5, false)]), [(hashes.clone(), peer(1))]);
        assert_eq!(gone(vec![moves(2, 6)]), [(hashes, peer(2))]);
        assert_eq!(gone(vec![moves(3, 7), group(7, true)]), []);
    }
}
