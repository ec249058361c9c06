//! The tables that sites have, and where sums are in them.

use karuta_tests::databases::Database;
use karuta_tests::{root, run};

use crate::site::{MEMBERS, TORRENTS, hash, letter, passkey};

/// Those of Gazelle, as far as a tracker has to do with them.
const GAZELLE: &str = include_str!("gazelle.sql");
/// Those of a later Gazelle that are others, or have other columns.
const ORPHEUS: &str = include_str!("orpheus.sql");

/// Those of UNIT3D.
const UNIT3D: &str = include_str!("unit3d.sql");

/// Whose tables a database has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tables {
    Karuta,
    Gazelle,
    Orpheus,
    Unit3d,
}

impl Tables {
    /// Returns their name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Karuta => "karuta",
            Self::Gazelle => "gazelle",
            Self::Orpheus => "orpheus",
            Self::Unit3d => "unit3d",
        }
    }

    /// Makes them, with a few members and torrents, and grants the rights of a tracker.
    pub fn make(self, database: &Database) {
        let schema = |more: &[&str]| {
            let mysql: &[&str] = if database.kind.is_mysql() { &["--mysql"] } else { &[] };
            let arguments = [&["accounts", "schema", self.name()][..], mysql, more].concat();
            let printed = run(&arguments, &root());
            assert!(printed.status.success(), "{printed:?}");
            database.sql(&String::from_utf8(printed.stdout).unwrap());
        };
        match self {
            Self::Karuta => {}
            Self::Gazelle => drop(database.sql(GAZELLE)),
            Self::Orpheus => drop(database.sql(&format!("{GAZELLE}{ORPHEUS}"))),
            Self::Unit3d => drop(database.sql(UNIT3D)),
        }
        schema(&[]);
        schema(&["--grants"]);
        (1..=MEMBERS).for_each(|id| self.add_member(database, id));
        for id in 1..=TORRENTS {
            let hash = hash(database, letter(id));
            database.sql(&match self {
                Self::Karuta => {
                    format!("INSERT INTO karuta_torrent (id, info_hash) VALUES ({id}, {hash})")
                }
                Self::Unit3d => format!(
                    "INSERT INTO torrents (id, name, info_hash, status) \
                     VALUES ({id}, 'torrent {id}', {hash}, 1)"
                ),
                Self::Gazelle | Self::Orpheus => format!(
                    "INSERT INTO torrents (ID, GroupID, info_hash) VALUES ({id}, 1, {hash})"
                ),
            });
            if self == Self::Orpheus {
                database
                    .sql(&format!("INSERT INTO torrents_leech_stats (TorrentID) VALUES ({id})"));
            }
        }
    }

    pub fn add_member(self, database: &Database, id: u64) {
        let passkey = passkey(id);
        database.sql(&match self {
            Self::Karuta => {
                format!("INSERT INTO karuta_member (id, passkey) VALUES ({id}, '{passkey}')")
            }
            Self::Unit3d => format!(
                "INSERT INTO users (id, username, passkey, group_id) \
                 VALUES ({id}, 'member {id}', '{passkey}', 3)"
            ),
            Self::Gazelle | Self::Orpheus => format!(
                "INSERT INTO users_main (ID, Username, torrent_pass, IP, Enabled) \
                 VALUES ({id}, 'member {id}', '{passkey}', '192.0.2.1', '1')"
            ),
        });
        if self == Self::Orpheus {
            database.sql(&format!("INSERT INTO users_leech_stats (UserID) VALUES ({id})"));
        }
    }

    /// Returns the table with the sums of members, and its key.
    pub fn sums(self) -> (&'static str, &'static str) {
        match self {
            Self::Karuta => ("karuta_member", "id"),
            Self::Gazelle => ("users_main", "ID"),
            Self::Orpheus => ("users_leech_stats", "UserID"),
            Self::Unit3d => ("users", "id"),
        }
    }

    /// Returns SQL for a sum of a member.
    pub fn credit(self, column: &str, member: u64) -> String {
        let (table, id) = self.sums();
        format!("SELECT {column} FROM {table} WHERE {id} = {member}")
    }

    /// Returns SQL for what a member has uploaded at a torrent, if that is there.
    pub fn uploaded(self, member: u64, torrent: u64) -> Option<String> {
        let (column, table, of, at) = match self {
            Self::Karuta => ("credited_uploaded", "karuta_history", "member", "torrent"),
            Self::Unit3d => ("uploaded", "history", "user_id", "torrent_id"),
            Self::Gazelle | Self::Orpheus => return None,
        };
        Some(format!("SELECT {column} FROM {table} WHERE {of} = {member} AND {at} = {torrent}"))
    }

    /// Returns SQL for the most that a client of a member reports at a torrent.
    pub fn reported(self, member: u64, torrent: u64) -> String {
        let (table, of, at) = match self {
            Self::Karuta => ("karuta_peer", "member", "torrent"),
            Self::Unit3d => ("peers", "user_id", "torrent_id"),
            Self::Gazelle | Self::Orpheus => ("xbt_files_users", "uid", "fid"),
        };
        format!("SELECT MAX(uploaded) FROM {table} WHERE {of} = {member} AND {at} = {torrent}")
    }
}
