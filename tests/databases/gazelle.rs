//! The tables of Gazelle: written as by Ocelot, but exactly once.

use karuta_tests::announce::{escape, torrent};
use karuta_tests::server::Server;
use karuta_tests::{Daemon, eventually, get};

use crate::site::{
    ACCOUNTS, Site, announce, database, passkey, tracker, with_gazelles, with_others,
};
use crate::tables::Tables;

const PASSWORD: &str = "0123456789abcdef0123456789ABCDEF";

/// A door for the site, which has no other way to tell at once what it changes.
const DOOR: &str = "gazelle: { listen: '127.0.0.1:0', password: { file: secret } }";

/// Makes a call of the site, which is obeyed.
fn tell(site: &Site, query: &str) {
    let door = site.daemon.listener("gazelle");
    let answer = get(door, &format!("/{PASSWORD}/update?action={query}"), &[]);
    assert_eq!((answer.status, &*answer.body_text()), (200, "success"), "{query}");
}

/// Returns the table with the counts of torrents, and its key.
fn counts(site: &Site) -> (&'static str, &'static str) {
    match site.tables {
        Tables::Orpheus => ("torrents_leech_stats", "TorrentID"),
        _ => ("torrents", "ID"),
    }
}

#[test]
fn what_members_move_is_written_as_by_ocelot() {
    with_gazelles(|setting| {
        let database = database(setting);
        database.sql(
            "INSERT INTO users_freeleeches (UserID, TorrentID, Time) VALUES (1, 2, NOW()); \
             UPDATE torrents SET freetorrent = '2' WHERE ID = 3; \
             UPDATE users_main SET Visible = '0' WHERE ID = 2",
        );
        let port = database.port;
        let site = Site::start_with(setting, database, port, str::to_owned);
        let http = site.daemon.http;
        let agent = ["User-Agent: qBittorrent/4.6 \u{1f980}"];
        let first = announce(1, 1, 1, 0).event("started");
        assert_eq!(first.get(http, &agent).status, 200);
        announce(1, 1, 1, 100).http(http).unwrap();
        let failed = announce(1, 1, 1, 150).with("corrupt=11");
        failed.left(0).event("completed").http(http).unwrap();
        // With a token, and at a neutral torrent.
        announce(1, 2, 1, 0).event("started").http(http).unwrap();
        announce(1, 2, 1, 40).http(http).unwrap();
        announce(1, 3, 1, 0).event("started").http(http).unwrap();
        announce(1, 3, 1, 1000).http(http).unwrap();
        announce(2, 1, 2, 0).event("started").http(http).unwrap();
        announce(2, 1, 2, 7).event("stopped").http(http).unwrap();
        site.all_in();
        assert_eq!((site.credit(1), site.credit(2)), ((190, 300), (7, 14)));
        let (table, id) = counts(&site);
        let of = |torrent| {
            let columns = "Seeders, Leechers, Snatched, Balance, last_action >= CURDATE()";
            site.row(&format!("SELECT {columns} FROM {table} WHERE {id} = {torrent}"))
        };
        assert_eq!(of(1), "1 0 1 -168 1");
        assert!(of(3).starts_with("0 "), "{}", of(3));
        let clients = "SELECT active, announced, uploaded, downloaded, remaining, corrupt, ip, \
                       useragent, HEX(peer_id), timespent <= 600 AND mtime > UNIX_TIMESTAMP() - 600 \
                       FROM xbt_files_users WHERE fid = 1 AND uid =";
        let peer = |byte: &str| byte.repeat(20);
        assert_eq!(
            site.row(&format!("{clients} 1")),
            format!("1 3 150 300 0 11 127.0.0.1 qBittorrent/4.6  {} 1", peer("01"))
        );
        assert_eq!(
            site.row(&format!("{clients} 2")),
            format!("0 2 7 14 1 0   {} 1", peer("02")),
            "the address of one who is not visible is not written"
        );
        assert_eq!(site.row("SELECT uid, fid, IP FROM xbt_snatched"), "1 1 127.0.0.1");
        assert_eq!(site.row("SELECT Downloaded, Expired FROM users_freeleeches"), "80 0");
        // What the site corrects by hand stays corrected.
        let (sums, id) = site.tables.sums();
        site.database.sql(&format!("UPDATE {sums} SET Uploaded = 1000 WHERE {id} = 1"));
        announce(1, 1, 1, 160).left(0).event("stopped").http(http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (1010, 320));
    });
}

#[test]
fn what_clients_told_ocelot_last_is_where_they_go_on() {
    with_gazelles(|setting| {
        let database = database(setting);
        database.sql(
            "INSERT INTO xbt_files_users (uid, active, announced, downloaded, remaining, uploaded, \
             upspeed, downspeed, corrupt, timespent, useragent, peer_id, fid, mtime, ip) \
             VALUES (1, 1, 7, 200, 500, 100, 1, 1, 40, 3600, 'Transmission', UNHEX(REPEAT('01', 20)), 1, \
             UNIX_TIMESTAMP() - 1000, '192.0.2.7')",
        );
        let port = database.port;
        let site = Site::start_with(setting, database, port, str::to_owned);
        announce(1, 1, 1, 5100).with("corrupt=43").http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (5000, 10_000));
        let (table, id) = counts(&site);
        let balance = site.row(&format!("SELECT Balance FROM {table} WHERE {id} = 1"));
        assert_eq!(balance, "-5003", "3 more bytes are corrupt");
        let client = "SELECT announced, corrupt, useragent, timespent BETWEEN 4600 AND 5600, upspeed \
                      BETWEEN 2 AND 5 FROM xbt_files_users WHERE uid = 1";
        assert_eq!(site.row(client), "8 43 Transmission 1 1");
    });
}

#[test]
fn what_the_site_tells_holds_at_once_and_is_not_undone_by_what_was_read() {
    with_gazelles(|setting| {
        let site = Site::with_door(setting, DOOR, PASSWORD);
        let refusal = |member| announce(member, 1, 9, 0).http(site.daemon.http).err();
        assert_eq!(refusal(9).as_deref(), Some("unknown passkey"));
        site.tables.add_member(&site.database, 9);
        tell(&site, &format!("add_user&id=9&passkey={}", passkey(9)));
        assert_eq!(refusal(9), None);
        // The site tells it before others can see it.
        tell(&site, &format!("remove_user&passkey={}", passkey(1)));
        assert_eq!(refusal(1).as_deref(), Some("account disabled"));
        site.tables.add_member(&site.database, 10);
        eventually("all are read again", || refusal(10).is_none());
        assert_eq!(refusal(1).as_deref(), Some("account disabled"));
        let ban = site.accounts(&["ban", "2"]);
        assert!(!ban.status.success(), "by hand, they are changed in the database");
    });
}

#[test]
fn the_site_is_told_of_tokens_that_are_used_up_until_it_hears_it() {
    with_gazelles(|setting| {
        let tools = Server::at(([127, 0, 0, 1], 0).into());
        let callback = format!("gazelle: {{ callback: '{}', ", tools.url("/tools.php?x=1"));
        let site = Site::with_door(setting, &DOOR.replace("gazelle: { ", &callback), PASSWORD);
        site.database
            .sql("INSERT INTO users_freeleeches (UserID, TorrentID, Time) VALUES (1, 2, NOW())");
        tell(&site, &format!("add_token&userid=1&info_hash={}", escape(&torrent('b'))));
        let http = site.daemon.http;
        let moved = |bytes| announce(1, 2, 1, bytes);
        moved(0).event("started").http(http).unwrap();
        moved(40).left(0).event("completed").http(http).unwrap();
        moved(50).left(0).http(http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (50, 20), "the token was for what came before");
        eventually("it was called", || !tools.requests().is_empty());
        let waiting = || site.daemon.metric("karuta_accounts_spent_tokens");
        assert_eq!(waiting(), 1.0);
        // Neither a restart nor what the database says brings it back.
        let site = Site { daemon: site.daemon.restart(), ..site };
        moved(60).left(0).http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (60, 40));
        tools.answer("");
        eventually("it was told", || site.daemon.metric("karuta_accounts_spent_tokens") == 0.0);
        let told = tools.requests().pop().unwrap();
        let expected = format!(
            "get /tools.php?x=1&key={}&type=expiretoken&action=ocelot&tokens=1:2 http/1.1",
            PASSWORD.to_lowercase()
        );
        assert!(told.starts_with(&expected), "{told}");
        let log = site.daemon.log();
        assert!(!log.contains(PASSWORD), "{log}");
    });
}

#[test]
fn a_member_who_was_deleted_does_not_come_back() {
    with_gazelles(|setting| {
        let site = Site::start(setting);
        announce(2, 1, 2, 0).event("started").http(site.daemon.http).unwrap();
        site.all_in();
        site.database.sql("DELETE FROM users_main WHERE ID = 2");
        announce(2, 1, 2, 50).event("stopped").http(site.daemon.http).unwrap();
        announce(1, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
        announce(1, 1, 1, 50).event("stopped").http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.database.number("SELECT COUNT(*) FROM users_main"), 3);
        assert_eq!(site.credit(1), (50, 100));
        let rejected = String::from_utf8(site.accounts(&["rejected"]).stdout).unwrap();
        assert!(rejected.contains("there is no such member"), "{rejected}");
    });
}

#[test]
fn sums_and_values_that_do_not_fit_stop_nobody_else() {
    with_others(|setting| {
        let site = Site::start(setting);
        let (sums, id) = site.tables.sums();
        let most = u64::MAX - 3;
        site.database.sql(&format!("UPDATE {sums} SET Uploaded = {most} WHERE {id} = 1"));
        // No check may be of a column that counts up by itself.
        let not_2 = match site.tables {
            Tables::Unit3d => format!("passkey <> '{}'", passkey(2)),
            _ => format!("{id} <> 2"),
        };
        site.database.sql(&format!("ALTER TABLE {sums} ADD CHECK ({not_2} OR Uploaded < 10)"));
        for member in 1..=3 {
            announce(member, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
            announce(member, 1, 1, 50).event("stopped").http(site.daemon.http).unwrap();
        }
        site.all_in();
        assert_eq!(
            [site.credit(1), site.credit(2), site.credit(3)],
            [(most, 100), (0, 0), (50, 100)]
        );
        assert_eq!(site.status()["database"]["rejected_rows"], 1);
    });
}

#[test]
fn a_table_that_cannot_undo_is_refused() {
    with_gazelles(|setting| {
        let database = database(setting);
        database.sql("ALTER TABLE xbt_snatched ENGINE = MyISAM");
        let accounts = ACCOUNTS.replace("SCHEMA", setting.tables.name());
        let daemon = Daemon::start_in(tracker(&database, database.port, &accounts));
        daemon.logs("the table xbt_snatched cannot undo a transaction: its engine is not InnoDB");
    });
}
