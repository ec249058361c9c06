//! Members and torrents are those of the database.

use std::fs;

use karuta_tests::{Daemon, eventually};
use serde_json::json;

use crate::site::{Site, announce, database, hash, passkey, tracker, with_each};

/// Returns why an announce of member 1 at torrent 1 is refused.
fn refusal(site: &Site) -> Option<String> {
    announce(1, 1, 1, 0).http(site.daemon.http).err()
}

#[test]
fn a_change_in_the_database_holds_a_moment_later() {
    with_each(|kind| {
        let site = Site::start(kind);
        let holds = |sql: &str, expected: Option<&str>| {
            site.database.sql(sql);
            eventually(sql, || refusal(&site).as_deref() == expected);
        };
        let member = "UPDATE karuta_member SET";
        holds(&format!("{member} enabled = false WHERE id = 1"), Some("account disabled"));
        holds(
            &format!("{member} enabled = true, leech = false WHERE id = 1"),
            Some("leeching not allowed"),
        );
        holds(&format!("{member} leech = true WHERE id = 1"), None);
        let torrent = "UPDATE karuta_torrent SET";
        holds(&format!("{torrent} status = 0 WHERE id = 1"), Some("torrent not approved"));
        holds(
            &format!("{torrent} status = 1, deleted = true WHERE id = 1"),
            Some("unregistered torrent"),
        );
        holds(&format!("{torrent} deleted = false WHERE id = 1"), None);
        // Two members change their passkeys: each gets the other's.
        let swap = "'swapped-for-a-moment'";
        holds(&format!("{member} passkey = {swap} WHERE id = 1"), Some("unknown passkey"));
        let second = passkey(2);
        let first = passkey(1);
        site.database.sql(&format!("{member} passkey = '{first}' WHERE id = 2"));
        holds(&format!("{member} passkey = '{second}' WHERE id = 1"), None);
        // The torrent is uploaded once more, with another number.
        site.database.sql("DELETE FROM karuta_torrent WHERE id = 1");
        let hash = hash(&site.database, 'a');
        let insert = "INSERT INTO karuta_torrent (id, info_hash, status) VALUES";
        holds(&format!("{insert} (99, {hash}, 2)"), Some("torrent not approved"));
        // A token, until it is taken back.
        let tokens = || site.shown("members/3")["tokens"].clone();
        site.database.sql("INSERT INTO karuta_token (member, torrent) VALUES (3, 2)");
        eventually("the token", || tokens() == json!([2]));
        site.database
            .sql("UPDATE karuta_token SET expires_at = CURRENT_TIMESTAMP WHERE member = 3");
        eventually("no token", || tokens() == json!([]));
    });
}

#[test]
fn who_is_no_longer_in_the_database_is_disabled_when_all_are_read() {
    with_each(|kind| {
        let site = Site::start(kind);
        site.database.sql("DELETE FROM karuta_member WHERE id = 1");
        let site = Site { daemon: site.daemon.restart(), ..site };
        eventually("the member is gone", || refusal(&site).as_deref() == Some("account disabled"));
        // As if somebody had emptied the table by mistake.
        site.database.sql("DELETE FROM karuta_member");
        let site = Site { daemon: site.daemon.restart(), ..site };
        site.daemon.logs("the table karuta_member is empty");
        assert_eq!(announce(2, 1, 1, 0).http(site.daemon.http).err(), None);
    });
}

#[test]
fn rows_that_make_no_sense_are_told_and_left_out() {
    with_each(|kind| {
        let database = database(kind);
        database.sql("INSERT INTO karuta_member (id, passkey) VALUES (9, 'short')");
        database.sql("UPDATE karuta_torrent SET status = 7 WHERE id = 2");
        let port = database.port;
        let site = Site::start_with(kind, database, port, str::to_owned);
        assert_eq!(site.status()["database"]["unusable_rows"], 2);
        assert_eq!(refusal(&site), None, "the others");
        let second = announce(1, 2, 1, 0).http(site.daemon.http).unwrap_err();
        assert_eq!(second, "unregistered torrent");
        assert!(!site.daemon.log().contains("short"), "a passkey is never logged");
    });
}

#[test]
fn the_database_is_the_one_place_to_change_them() {
    with_each(|kind| {
        let site = Site::start(kind);
        let output = site.accounts(&["ban", "1"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("those of `accounts.database`"),
            "{said}"
        );
    });
}

#[test]
fn a_tracker_serves_without_its_database_if_it_has_read_it_once() {
    with_each(|kind| {
        let mut site = Site::start(kind);
        site.database.stop();
        let site = Site { daemon: site.daemon.restart(), ..site };
        assert_eq!(refusal(&site), None);
        assert_eq!(refusal_of_ready(&site.daemon), None);
        // Another one, which has never seen it.
        let other = tracker(
            &site.database,
            site.database.port,
            "accounts: { credential: ['query:passkey'], database: { file: database } }\n",
        );
        let other = Daemon::start_in(other);
        let said = refusal_of_ready(&other).unwrap();
        assert!(said.contains("members have not been read"), "{said}");
    });
}

fn refusal_of_ready(daemon: &Daemon) -> Option<String> {
    let answer = karuta_tests::get(daemon.admin, "/readyz", &[]);
    (answer.status != 200).then(|| answer.body_text())
}

#[test]
fn what_is_missing_in_the_database_is_told() {
    with_each(|kind| {
        let database = database(kind);
        let user = if kind.is_mysql() { "karuta@localhost" } else { "karuta" };
        database.sql(&format!("REVOKE UPDATE ON karuta_ledger FROM {user}"));
        let port = database.port;
        let site = Site::start_with(kind, database, port, str::to_owned);
        announce(1, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
        eventually("it says so", || site.status()["database"]["stopped"] == true);
        let error = site.status()["database"]["error"].to_string();
        assert!(
            error.contains("karuta_ledger") && error.contains("karuta accounts schema"),
            "{error}"
        );
        let log = site.daemon.log();
        let secret = fs::read_to_string(site.daemon.folder.path().join("database")).unwrap();
        assert!(
            !log.contains(&secret) && !log.contains("karuta:karuta@"),
            "the URL is never logged"
        );
    });
}
