//! Bad rows, locks, backups, copies and full disks.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use karuta_tests::databases::Database;
use karuta_tests::{Daemon, Done, eventually};

use crate::site::{Crowd, Site, announce, database, with_all, with_each};

/// A session of somebody else in the database, which is open until it is dropped.
struct Other(Child);

impl Other {
    fn open(database: &Database) -> Self {
        Self(database.client().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn say(&mut self, sql: &str) {
        let input = self.0.stdin.as_mut().unwrap();
        // After a deadlock, it may be the one that the database has ended.
        let _ = writeln!(input, "{sql};").and_then(|()| input.flush());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_row_that_the_database_refuses_is_set_aside_and_the_rest_goes_on() {
    with_each(|kind| {
        let site = Site::start(kind);
        site.database
            .sql("ALTER TABLE karuta_member ADD CONSTRAINT few CHECK (id <> 2 OR uploaded < 1000)");
        let http = site.daemon.http;
        for member in 1..=4 {
            announce(member, 1, member as u8, 0).event("started").http(http).unwrap();
            announce(member, 1, member as u8, 5000).event("stopped").http(http).unwrap();
        }
        site.all_in();
        for member in [1, 3, 4] {
            assert_eq!(site.credit(member), (5000, 10_000));
        }
        assert_eq!(site.credit(2), (0, 0));
        assert_eq!(
            site.database
                .number("SELECT count(*) FROM karuta_history WHERE member = 2 AND uploaded > 0"),
            0
        );
        assert_eq!(site.status()["database"]["rejected_rows"], 1);
        let rejected = String::from_utf8(site.accounts(&["rejected"]).stdout).unwrap();
        assert!(
            rejected.contains("member 2, torrent 1:") && rejected.contains("5000 B up"),
            "{rejected}"
        );
        // Still refused, and still kept.
        assert_eq!(site.accounts(&["rejected", "--again"]).stdout, b"1 rows\n");
        site.all_in();
        assert_eq!(
            (site.credit(2), &site.status()["database"]["rejected_rows"]),
            ((0, 0), &1.into())
        );
        site.database.sql("ALTER TABLE karuta_member DROP CONSTRAINT few");
        site.accounts(&["rejected", "--again"]);
        site.all_in();
        assert_eq!(
            (site.credit(2), &site.status()["database"]["rejected_rows"]),
            ((5000, 10_000), &0.into())
        );
    });
}

#[test]
fn what_a_deleted_member_has_moved_is_set_aside_and_the_member_does_not_come_back() {
    with_each(|kind| {
        let site = Site::start(kind);
        announce(2, 1, 2, 0).event("started").http(site.daemon.http).unwrap();
        site.all_in();
        site.database.sql("DELETE FROM karuta_member WHERE id = 2");
        announce(2, 1, 2, 50).event("stopped").http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.database.number("SELECT count(*) FROM karuta_member"), 3);
        let rejected = String::from_utf8(site.accounts(&["rejected"]).stdout).unwrap();
        assert!(rejected.contains("there is no such member"), "{rejected}");
    });
}

#[test]
fn sums_that_do_not_fit_stay_at_the_most() {
    with_each(|kind| {
        let site = Site::start(kind);
        let most = i64::MAX as u64;
        site.database.sql(&format!("UPDATE karuta_member SET uploaded = {most} - 3 WHERE id = 1"));
        announce(1, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
        announce(1, 1, 1, 50).event("stopped").http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (most, 100));
        assert_eq!(site.status()["database"]["rejected_rows"], 0);
    });
}

#[test]
fn a_deadlock_and_a_row_that_is_locked_for_a_while_delay_the_batch_only() {
    with_each(|kind| {
        let site = Site::start(kind);
        let crowd = Crowd::begin(&site.daemon);
        let update = |member| {
            format!("UPDATE karuta_member SET group_id = group_id + 1 WHERE id = {member}")
        };
        crowd.during(|| {
            let mut other = Other::open(&site.database);
            other.say("BEGIN");
            other.say(&update(4));
            // The batch has the first members' rows, and waits for the last one's.
            let applied = || site.daemon.metric("karuta_accounts_applied_total");
            let waits = kind.kind().lock_waits();
            eventually("the batch waits", || site.database.number(waits) > 0);
            let before = applied();
            // Now each waits for the other, and the database ends one of them.
            other.say(&update(1));
            other.say("COMMIT");
            drop(other);
            eventually("batches go on", || applied() > before + 3.0);
        });
        crowd.end(&site);
    });
}

#[test]
fn a_backup_that_is_put_back_gets_all_that_it_lacks() {
    with_all(|kind| {
        let mut site = Site::start(kind);
        let crowd = Crowd::begin(&site.daemon);
        let some = |site: &Site| {
            let applied = || site.daemon.metric("karuta_accounts_applied_total");
            let goal = applied() + 5.0;
            eventually("some batches", || applied() > goal);
        };
        crowd.during(|| some(&site));
        site.database.stop();
        site.database.back_up();
        site.database.launch();
        crowd.during(|| some(&site));
        site.database.stop();
        site.database.restore();
        site.database.launch();
        crowd.during(|| some(&site));
        assert!(site.daemon.metric("karuta_accounts_replayed_total") > 2.0);
        crowd.end(&site);
    });
}

#[test]
fn books_that_are_lost_begin_with_what_the_database_knows_of_clients() {
    with_all(|kind| {
        let mut site = Site::start(kind);
        let crowd = Crowd::begin(&site.daemon);
        crowd.during(|| {
            let applied = || site.daemon.metric("karuta_accounts_applied_total");
            eventually("some batches", || applied() > 5.0);
        });
        let folder = site.daemon.kill();
        for end in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(folder.path().join(format!("state/accounts.db{end}")));
        }
        site.daemon = Daemon::start_in(folder);
        site.is_loaded();
        crowd.moves_to(site.daemon.http);
        crowd.end(&site);
    });
}

#[test]
fn of_two_trackers_with_a_copy_of_one_file_one_stops() {
    with_each(|kind| {
        let site = Site::start(kind);
        announce(1, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
        site.all_in();
        let folder = site.daemon.stop();
        let copy = tempfile::tempdir().unwrap();
        let from = format!("{}/.", folder.path().display());
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        let config = fs::read_to_string(copy.path().join("config.yaml")).unwrap();
        let ours = folder.path().display().to_string();
        let config = config.replace(&ours, &copy.path().display().to_string());
        fs::write(copy.path().join("config.yaml"), config).unwrap();
        let tables = site.tables;
        let site = Site { daemon: Daemon::start_in(folder), database: site.database, tables };
        announce(1, 1, 1, 10).event("stopped").http(site.daemon.http).unwrap();
        site.all_in();
        let other = Site { daemon: Daemon::start_in(copy), database: site.database, tables };
        eventually("it has stopped", || other.status()["database"]["stopped"] == true);
        let error = other.status()["database"]["error"].to_string();
        assert!(error.contains("another tracker uses a copy of it"), "{error}");
        assert_eq!(other.credit(1), (10, 20));
    });
}

#[test]
fn nothing_is_lost_when_the_file_is_full_while_the_database_is_away() {
    with_each(|kind| {
        let database = database(kind);
        let port = database.port;
        let mut site = Site::start_with(kind, database, port, |accounts| {
            accounts.replace("every: 5ms", "every: 5ms, max_size: 1MiB")
        });
        let crowd = Crowd::begin(&site.daemon);
        site.database.stop();
        // Of clients that stop at once: each leaves a row.
        let (http, is_full) = (site.daemon.http, AtomicBool::new(false));
        let sent = AtomicU32::new(0);
        std::thread::scope(|scope| {
            // Also if it is never full: the scope waits for them.
            let end = Done(&is_full);
            for _ in 0..64 {
                scope.spawn(|| {
                    while !is_full.load(Ordering::Relaxed) {
                        let mut peer_id = [b'x'; 20];
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        peer_id[..4].copy_from_slice(&number.to_be_bytes());
                        let one = announce(1, 1, 200, 0).peer_id(peer_id).event("stopped");
                        one.http(http).unwrap();
                    }
                });
            }
            eventually("it is full", || site.daemon.metric("karuta_accounts_writable") == 0.0);
            drop(end);
        });
        let full = || site.daemon.metric("karuta_accounts_writable") == 0.0;
        site.database.launch();
        eventually("there is room again", || !full());
        crowd.during(|| {
            let announces = || site.daemon.metric("karuta_accounts_announces_total");
            let goal = announces() + 200.0;
            eventually("announces are written", || announces() > goal);
        });
        crowd.end(&site);
    });
}
