//! What is written into the database.

use karuta_tests::eventually;
use serde_json::json;

use crate::site::{Site, announce, with_each};

#[test]
fn what_members_move_is_written_into_all_tables() {
    with_each(|kind| {
        let site = Site::start(kind);
        let (database, http) = (&site.database, site.daemon.http);
        database.sql("INSERT INTO karuta_token (member, torrent) VALUES (1, 1)");
        database.sql("UPDATE karuta_torrent SET upload_percent = 300 WHERE id = 1");
        eventually("the token", || site.shown("members/1")["tokens"] == json!([1]));
        eventually("the torrent", || site.shown("torrents/1")["upload_percent"] == 300);
        announce(1, 1, 1, 0).event("started").http(http).unwrap();
        announce(1, 1, 1, 100).http(http).unwrap();
        announce(1, 1, 1, 150).left(0).event("completed").http(http).unwrap();
        announce(2, 1, 2, 0).event("started").http(http).unwrap();
        announce(2, 1, 2, 7).event("stopped").http(http).unwrap();
        site.all_in();
        assert_eq!((site.credit(1), site.credit(2)), ((450, 0), (21, 14)));
        let row = |sql: &str| database.sql(sql).trim().replace('\t', " ");
        assert_eq!(
            row(
                "SELECT raw_uploaded, raw_downloaded, seeding, leeching FROM karuta_member WHERE id = 1"
            ),
            "150 300 1 0"
        );
        assert_eq!(
            row("SELECT seeders, leechers, completed FROM karuta_torrent WHERE id = 1"),
            "1 0 1"
        );
        assert_eq!(row("SELECT downloaded FROM karuta_token"), "300");
        assert_eq!(
            row("SELECT uploaded, downloaded, credited_uploaded, credited_downloaded, announces, \
                 completed_at IS NOT NULL AND completed_at <= last_at AND first_at <= last_at \
                 FROM karuta_history WHERE member = 1")
            .replace('t', "1"),
            "150 300 450 0 3 1"
        );
        assert_eq!(
            row(
                "SELECT uploaded, downloaded, remaining, port, node FROM karuta_peer WHERE member = 1"
            ),
            "150 300 0 6001 one"
        );
        assert_eq!(database.number("SELECT count(*) FROM karuta_peer WHERE active"), 2);
        assert_eq!(row("SELECT member, torrent FROM karuta_snatch"), "1 1");
        assert_eq!(
            database.number("SELECT count(*) FROM karuta_ledger WHERE node LIKE 'one:%'"),
            1
        );
        // What the site corrects by hand stays corrected.
        database.sql("UPDATE karuta_member SET uploaded = 1000 WHERE id = 1");
        announce(1, 1, 1, 160).left(0).event("stopped").http(http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (1030, 0));
        let members = site.daemon.metric("karuta_accounts_members");
        let up = site.daemon.metric("karuta_accounts_database_up");
        assert_eq!((members, up), (4.0, 1.0));
        assert!(site.daemon.metric("karuta_accounts_applied_total") > 1.0);
    });
}

#[test]
fn addresses_of_members_who_are_not_visible_are_not_written() {
    with_each(|kind| {
        let site = Site::start(kind);
        site.database.sql("UPDATE karuta_member SET visible = false WHERE id = 1");
        eventually("it is known", || site.shown("members/1")["visible"] == false);
        announce(1, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
        announce(2, 1, 2, 0).event("started").http(site.daemon.http).unwrap();
        site.all_in();
        let sql = "SELECT member FROM karuta_peer WHERE address IS NULL";
        assert_eq!(site.database.number(sql), 1);
    });
}
