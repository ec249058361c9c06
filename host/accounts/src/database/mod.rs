//! The file of the books: SQLite, in one transaction at a time.

mod batch;
mod corrupt;
mod edit;
mod entry;
mod group;
mod pending;
mod read;
mod settled;
mod spent;
mod sweep;
mod waiting;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub use self::batch::Limits;
pub use self::edit::{Changed, NotChanged};
pub use self::entry::{Entry, Key, Standing};
pub use self::pending::{Baseline, Rejection};
pub use self::read::{LastReport, Page, Reader, ShownMember, ShownPeer, ShownTorrent};
pub use self::sweep::Swept;
pub use self::waiting::{Batches, Delta, Sealed, ShownRejection, What};
use crate::directory::Loaded;

/// The books, open to one process. Others may read the file.
pub struct Database {
    connection: Connection,
    path: PathBuf,
    /// Which file it is: its device and its number there.
    identity: (u64, u64),
    /// The most pages of the file.
    pages: i64,
    /// Whether what is written is also put into batches for the site's database.
    collects: bool,
    /// Locked as long as this process has the books open.
    _lock: File,
}

/// A member and a torrent, where the member has a peer there, and when that was in seconds since 1970.
type Active = ((u64, u64), SocketAddr, u64);

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct OpenError {
    pub path: PathBuf,
    pub reason: Reason,
}

#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("another process has it open")]
    InUse,
    #[error(
        "it is damaged ({0}); put a backup in its place, and remove its -wal and -shm files, or move all three away to begin anew"
    )]
    Damaged(String),
    #[error("it is a database of something else, expected one of Karuta's accounts")]
    Foreign,
    #[error("it is of version {0}, which a newer Karuta has made, expected at most {VERSION}")]
    Newer(i64),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Sql(rusqlite::Error),
}

/// `krta`, which tells our files from those of others.
const APPLICATION: i64 = 0x6b72_7461;
const VERSION: i64 = 7;
/// Makes version 2.
const SCHEMA: &str = include_str!("schema.sql");
/// Makes version 2 of version 1.
const SPARE: &str = "ALTER TABLE session ADD COLUMN spare INTEGER NOT NULL DEFAULT 0";
/// Makes version 3 of version 2.
const SITE: &str = include_str!("site.sql");
/// Makes version 4 of version 3.
const SPENT: &str = include_str!("spent.sql");
/// Makes version 5 of version 4.
const GROUP: &str = include_str!("group.sql");
/// Makes version 6 of version 5.
const CORRUPT: &str = include_str!("corrupt.sql");
const SETTLED: &str = include_str!("settled.sql");
/// Makes version 7 of version 6.
const OPEN: &str = include_str!("open.sql");
/// What is said when the file is gone.
pub const GONE: &str = "accounts.db was removed or replaced while it was open";
/// Only the tracker's user: there are passkeys and addresses in it.
const MODE: u32 = 0o600;
/// How long a transaction waits for another process that has locked the file.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pages that SQLite keeps, in KiB. With them, a million members take less than 100 MB.
const CACHE: i64 = 22 << 10;
/// After so many pages, what was written is moved into the file: 64 MiB. Announces change pages all
/// over it, and a page that changed often is then moved once.
const CHECKPOINT: i64 = 16_384;
/// The pages beyond the size of the file for what makes room.
const RESERVE: i64 = 1024;
/// The statements that stay prepared: all that batches need.
const STATEMENTS: usize = 48;

impl From<rusqlite::Error> for Reason {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            _ => Self::Sql(error),
        }
    }
}

impl Database {
    /// Opens the file at `path`, which may grow to `max_size` bytes, and creates it if there is none.
    /// What a crash has left unfinished is undone.
    ///
    /// # Errors
    ///
    /// It is in use, damaged, of something else or of a newer version, or cannot be written.
    pub fn open(path: &Path, max_size: u64) -> Result<Self, OpenError> {
        Self::try_open(path, max_size).map_err(|reason| OpenError { path: path.to_owned(), reason })
    }

    fn try_open(path: &Path, max_size: u64) -> Result<Self, Reason> {
        let lock = lock(path)?;
        close_to_others(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        // A transaction that begins by reading cannot wait for another process to write.
        connection.set_transaction_behavior(TransactionBehavior::Immediate);
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, version, tables) =
            (pragma("application_id")?, pragma("user_version")?, pragma("schema_version")?);
        match (application, version) {
            (0, 0) if tables == 0 => {}
            (APPLICATION, 1..=VERSION) => {}
            (APPLICATION, _) => return Err(Reason::Newer(version)),
            _ => return Err(Reason::Foreign),
        }
        let checked: String =
            connection.query_one("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if checked != "ok" {
            return Err(Reason::Damaged(checked));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -CACHE)?;
        let page_size = pragma("page_size")?.max(1);
        let pages = int(max_size) / page_size;
        let pages = pages.clamp(1, i64::from(u32::MAX) - 1 - RESERVE);
        // What makes a new version of a full file needs some, too.
        connection.pragma_update(None, "max_page_count", pages + RESERVE)?;
        if version < VERSION {
            let transaction = connection.transaction()?;
            // `schema.sql` is that of version 2.
            match version {
                0 => transaction.execute_batch(SCHEMA)?,
                1 => transaction.execute_batch(SPARE)?,
                _ => {}
            }
            if version < 3 {
                transaction.execute_batch(SITE)?;
            }
            if version < 4 {
                transaction.execute_batch(SPENT)?;
            }
            if version < 5 {
                transaction.execute_batch(GROUP)?;
            }
            if version < 6 {
                transaction.execute_batch(CORRUPT)?;
                transaction.execute_batch(SETTLED)?;
            }
            transaction.execute_batch(OPEN)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        connection.pragma_update(None, "max_page_count", pages)?;
        let identity = identity(path)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            identity,
            pages,
            collects: false,
            _lock: lock,
        })
    }

    /// Does something that makes room in the end: for it, the file may grow a little beyond its size.
    pub fn with_reserve(&mut self, job: impl FnOnce(&mut Self)) {
        let pragma = |database: &Self, pages| {
            database.connection.pragma_update(None, "max_page_count", pages)
        };
        // If it fails, the job does.
        let _ = pragma(self, self.pages + RESERVE);
        job(self);
        // It cannot be less than the pages that there are.
        let _ = pragma(self, self.pages);
    }

    /// Returns whether the file is still where it was opened.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }

    /// Reads what workers need to know.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(crate) fn load(&self) -> rusqlite::Result<Loaded> {
        read::load(&self.connection)
    }

    /// Returns where members have peers, as far as that is written down.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn active(&self) -> rusqlite::Result<Vec<Active>> {
        let sql = "SELECT member, torrent, address, seen_at FROM session \
                   WHERE active = 1 AND address IS NOT NULL";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let pair = (uint(row.get(0)?), uint(row.get(1)?));
            Ok((pair, row.get::<_, String>(2)?.parse().ok(), uint(row.get(3)?)))
        })?;
        let known = rows.map(|row| row.map(|(pair, peer, at)| Some((pair, peer?, at))));
        known.filter_map(Result::transpose).collect()
    }

    /// Returns the number of sessions.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn count_sessions(&self) -> rusqlite::Result<u64> {
        let count = |row: &rusqlite::Row| row.get(0).map(uint);
        self.connection.query_one("SELECT count(*) FROM session", [], count)
    }

    /// Returns the bytes of the file, without those that wait to be moved into it.
    #[must_use]
    pub fn size(&self) -> u64 {
        let pragma = |name| {
            let value = self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            value.map_or(0, uint)
        };
        pragma("page_count").saturating_mul(pragma("page_size"))
    }

    /// Returns the bytes of the file that are in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        let pragma = |name| {
            let value = self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            value.map_or(0, uint)
        };
        let pages = pragma("page_count").saturating_sub(pragma("freelist_count"));
        pages.saturating_mul(pragma("page_size"))
    }
}

/// Locks the books for this process. SQLite's own locks are for a transaction only, so that others may
/// read, and take a backup.
fn lock(path: &Path) -> Result<File, Reason> {
    let file =
        OpenOptions::new().create(true).append(true).mode(MODE).open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Reason::InUse),
        Err(TryLockError::Error(error)) => Err(Reason::File(error)),
    }
}

/// Creates the file if there is none. SQLite gives the files beside it the same rights.
fn close_to_others(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
    for file in [path.into(), beside(path, "-wal"), beside(path, "-shm")] {
        match fs::metadata(&file) {
            Ok(found) if found.mode() & 0o777 != MODE => {
                fs::set_permissions(&file, Permissions::from_mode(MODE))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the path of a file beside the books.
fn beside(path: &Path, end: &str) -> OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Says why nothing can be written. SQLite does not tell a full disk from a file that may not grow.
pub fn reason(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            format!("{error}, or `accounts.ledger.max_size` is reached")
        }
        _ => error.to_string(),
    }
}

/// SQLite's numbers are signed; more than fits is the most.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;
    /// Makes version 5 of version 6.
    const TO_VERSION_5: &str = "DROP VIEW member; DROP VIEW history; \
         ALTER TABLE member_settled RENAME TO member; \
         ALTER TABLE history_settled RENAME TO history; \
         ALTER TABLE session DROP COLUMN moved_up; ALTER TABLE session DROP COLUMN moved_down; \
         ALTER TABLE session DROP COLUMN credited_up; \
         ALTER TABLE session DROP COLUMN credited_down; \
         ALTER TABLE session DROP COLUMN seed_seconds; \
         ALTER TABLE session DROP COLUMN corrupt; ALTER TABLE delta DROP COLUMN corrupt; \
         ALTER TABLE delta DROP COLUMN total_corrupt;";

    #[test]
    fn only_one_process_has_the_books_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let first = Database::open(&path, SIZE).unwrap();
        let error = Database::open(&path, SIZE).err().unwrap();
        assert!(error.to_string().ends_with("accounts.db: another process has it open"), "{error}");
        drop(first);
        Database::open(&path, SIZE).unwrap();
    }

    #[test]
    fn others_may_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let _ours = Database::open(&path, SIZE).unwrap();
        let other = Connection::open(&path).unwrap();
        let count: i64 =
            other.query_one("SELECT count(*) FROM member", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let open = || Database::open(&path, SIZE).err().unwrap().to_string();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE x (y)").unwrap();
        assert!(open().contains("a database of something else"));
        other.pragma_update(None, "application_id", APPLICATION).unwrap();
        other.pragma_update(None, "user_version", 8).unwrap();
        assert!(open().contains("of version 8, which a newer Karuta has made, expected at most 7"));
        drop(other);
        std::fs::write(&path, "no database at all, but a text that is long enough").unwrap();
        assert!(open().contains("it is damaged (file is not a database); put a backup"));
    }

    #[test]
    fn nobody_else_may_read_the_file_and_what_is_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        let check = || {
            let _open = Database::open(&path, SIZE).unwrap();
            for entry in fs::read_dir(folder.path()).unwrap() {
                let entry = entry.unwrap();
                assert_eq!(entry.metadata().unwrap().mode() & 0o777, MODE, "{entry:?}");
            }
            assert!(fs::read_dir(folder.path()).unwrap().count() > 2);
        };
        check();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        check();
    }

    #[test]
    fn earlier_versions_are_read() {
        for (version, later) in [
            (5, ""),
            (4, "DROP TABLE member_group"),
            (
                1,
                "ALTER TABLE session DROP COLUMN spare; DROP TABLE site; DROP TABLE batch; \
                 DROP TABLE delta; DROP TABLE rejected; DROP TABLE spent; DROP TABLE member_group",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("accounts.db");
            drop(Database::open(&path, SIZE).unwrap());
            let other = Connection::open(&path).unwrap();
            other.execute_batch(TO_VERSION_5).unwrap();
            other.execute_batch(later).unwrap();
            other.pragma_update(None, "user_version", version).unwrap();
            drop(other);
            let ours = Database::open(&path, SIZE).unwrap();
            let all = "SELECT spare, s.corrupt, epoch, d.agent, total_corrupt, g.immune \
                       FROM session s, site, delta d, member_group g";
            ours.connection.prepare(all).unwrap();
        }
    }

    #[test]
    fn what_members_have_moved_is_kept_of_earlier_versions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        drop(Database::open(&path, SIZE).unwrap());
        let other = Connection::open(&path).unwrap();
        other.execute_batch(TO_VERSION_5).unwrap();
        let two_sessions_and_one_that_is_gone = "INSERT INTO member (id, passkey, uploaded, downloaded, raw_uploaded, raw_downloaded) \
             VALUES (1, 'p', 10, 20, 30, 40); \
             INSERT INTO history VALUES (1, 1, 30, 40, 10, 20, 50, 9, 100, 300, NULL); \
             INSERT INTO session (member, torrent, peer_id, uploaded, downloaded, first_at, \
             seen_at, announces, active) VALUES (1, 1, zeroblob(20), 7, 7, 100, 200, 3, 1), \
             (1, 1, x'0100000000000000000000000000000000000000', 7, 7, 100, 200, 4, 1);";
        other.execute_batch(two_sessions_and_one_that_is_gone).unwrap();
        other.pragma_update(None, "user_version", 5).unwrap();
        drop(other);
        let mut ours = Database::open(&path, SIZE).unwrap();
        let shown = || {
            let reader = Reader::open(&path).unwrap();
            let member = reader.member(1).unwrap().unwrap();
            let history = reader.page(1).unwrap().history.remove(0);
            let sums =
                [member.uploaded, member.downloaded, member.raw_uploaded, member.raw_downloaded];
            assert_eq!([history.uploaded, history.downloaded], sums[2..]);
            assert_eq!([history.credited_uploaded, history.credited_downloaded], sums[..2]);
            (sums, history.seed_seconds, history.announces, history.last_at)
        };
        assert_eq!(shown(), ([10, 20, 30, 40], 50, 9, 300));
        ours.sweep(Key::default(), 9, 1000, 1, 1).unwrap();
        assert_eq!(ours.count_sessions().unwrap(), 0);
        assert_eq!(shown(), ([10, 20, 30, 40], 50, 9, 300), "as they are forgotten");
    }

    #[test]
    fn the_open_batch_of_version_6_is_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        Database::open(&path, SIZE).unwrap().collect().unwrap();
        let other = Connection::open(&path).unwrap();
        let rows = "UPDATE site SET open = 8; INSERT INTO batch VALUES (7, 1, 1, NULL, 0); \
             INSERT INTO delta (batch, member, torrent, peer_id, moved_up, moved_down, credited_up, \
             credited_down, seed_seconds, announces, completed, token_down, first_at, last_at, \
             total_up, total_down, active, gone) VALUES \
             (7, 1, 1, zeroblob(20), 1, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0), \
             (8, 1, 1, zeroblob(20), 2, 0, 2, 0, 0, 1, 0, 0, 2, 2, 3, 0, 1, 0)";
        other.execute_batch(rows).unwrap();
        other.pragma_update(None, "user_version", 6).unwrap();
        drop(other);
        let mut ours = Database::open(&path, SIZE).unwrap();
        ours.collect().unwrap();
        let (sealed, _) = ours.seal(Key::default(), 9).unwrap().unwrap();
        assert_eq!(sealed.number, 8);
        let reader = Reader::open(&path).unwrap();
        let moved = |batch| reader.deltas(batch, Key::default(), 9).unwrap()[0].moved[0];
        assert_eq!((moved(7), moved(8)), (1, 2));
    }

    #[test]
    fn a_damaged_page_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        drop(Database::open(&path, SIZE).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        // The root of a table, after the first page, which has the schema.
        let page = 4096..2 * 4096;
        bytes[page].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let error = Database::open(&path, SIZE).err().unwrap();
        assert!(error.to_string().contains("it is damaged"), "{error}");
    }
}
