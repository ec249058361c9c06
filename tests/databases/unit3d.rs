//! The tables of UNIT3D: written as by UNIT3D-Announce, but exactly once.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr};

use karuta_tests::announce::reply;
use karuta_tests::{Daemon, bencode, eventually, exchange};
use serde_json::{Value, json};

use crate::site::{Site, announce, database, hash, passkey, with_unit3d};

const KEY: &str = "0123456789abcdef0123456789ABCDEF";

/// A door for the site, which has no other way to tell at once what it changes.
const DOOR: &str = "unit3d: { listen: '127.0.0.1:0', key: { file: secret } }";

/// Makes a call as the site does, which is obeyed.
#[track_caller]
fn call(site: &Site, method: &str, what: &str, body: &Value) {
    let (body, door) = (body.to_string(), site.daemon.listener("unit3d"));
    let request = format!(
        "{method} /announce/{KEY}/{what} HTTP/1.1\r\nHost: {door}\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(door, request.as_bytes()).status, 200, "{what}: {body}");
}

/// Tells of a user.
fn tell(site: &Site, id: u64, group: u64, is_donor: bool) {
    let user = json!({
        "id": id, "group_id": group, "passkey": passkey(id), "can_download": true,
        "is_donor": is_donor, "is_lifetime": false, "num_seeding": 0, "num_leeching": 0,
    });
    call(site, "PUT", "users", &user);
}

/// Changes the configuration of a tracker, which a restart or a reload obeys.
fn configure(daemon: &Daemon, change: impl Fn(&str) -> String) {
    let file = daemon.folder.path().join("config.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    let changed = change(&yaml);
    assert_ne!(yaml, changed);
    fs::write(file, changed).unwrap();
}

fn restarted(site: Site) -> Site {
    Site { daemon: site.daemon.restart(), ..site }
}

/// Why an announce of a member is refused.
fn refusal(site: &Site, member: u64) -> Option<String> {
    announce(member, 1, 9, 0).http(site.daemon.http).err()
}

#[test]
fn what_members_move_is_written_as_by_unit3d_announce() {
    with_unit3d(|setting| {
        let database = database(setting);
        database.sql(
            "INSERT INTO freeleech_tokens (user_id, torrent_id) VALUES (1, 2); \
             UPDATE torrents SET free = 25, doubleup = 1 WHERE id = 3; \
             INSERT INTO `groups` (id, name, slug, is_immune, is_freeleech, is_double_upload) \
             VALUES (7, 'Power', 'power', 1, 1, 1); \
             UPDATE users SET group_id = 7 WHERE id = 3; \
             INSERT INTO personal_freeleeches (user_id) VALUES (4)",
        );
        let port = database.port;
        let site = Site::start_with(setting, database, port, str::to_owned);
        let http = site.daemon.http;
        let agent = ["User-Agent: qBittorrent/4.6 \u{1f980}"];
        let first = announce(1, 1, 1, 0).event("started");
        assert_eq!(first.get(http, &agent).status, 200);
        announce(1, 1, 1, 100).http(http).unwrap();
        announce(1, 1, 1, 150).left(0).event("completed").http(http).unwrap();
        // A second client of the same member, which stops.
        announce(1, 1, 2, 0).event("started").http(http).unwrap();
        announce(1, 1, 2, 7).event("stopped").http(http).unwrap();
        // With a token; at a torrent that is free in part; of a lucky group; of a lucky member.
        for (member, torrent) in [(1, 2), (2, 3), (3, 1), (4, 1)] {
            let client = 10 * member as u8;
            announce(member, torrent, client, 0).event("started").http(http).unwrap();
            announce(member, torrent, client, 40).http(http).unwrap();
        }
        site.all_in();
        let credits = [1, 2, 3, 4].map(|member| site.credit(member));
        assert_eq!(credits, [(197, 314), (80, 60), (80, 0), (40, 0)]);
        let history = |member, torrent| {
            let columns = "uploaded, actual_uploaded, downloaded, actual_downloaded, seeder, active, \
                           immune, completed_at >= UTC_TIMESTAMP() - INTERVAL 1 HOUR, seedtime < 600, agent, \
                           ABS(TIMESTAMPDIFF(SECOND, updated_at, NOW())) < 600";
            let of = format!("user_id = {member} AND torrent_id = {torrent}");
            site.row(&format!("SELECT {columns} FROM history WHERE {of}"))
        };
        let mine = history(1, 1);
        assert_eq!(
            mine, "157 157 314 314 1 1 0 1 1 qBittorrent/4.6  1",
            "one client is still there"
        );
        assert_eq!(history(1, 2), "40 40 0 80 0 1 0 NULL 1  1");
        assert_eq!(history(2, 3), "80 40 60 80 0 1 0 NULL 1  1");
        assert_eq!(history(3, 1), "80 40 0 80 0 1 1 NULL 1  1");
        let said = "SELECT client_uploaded, client_downloaded FROM history WHERE user_id = 2";
        assert_eq!(site.row(said), "40 80");
        let peer = |client: u8| {
            let columns = "user_id, torrent_id, INET6_NTOA(ip), port, agent, uploaded, downloaded, \
                           `left`, seeder, active, visible";
            let id = hex(client);
            site.row(&format!("SELECT {columns} FROM peers WHERE peer_id = x'{id}'"))
        };
        assert_eq!(peer(1), "1 1 127.0.0.1 6001 qBittorrent/4.6  150 300 0 1 1 1");
        assert_eq!(peer(2), "1 1 127.0.0.1 6002  7 14 1 0 0 1");
        let torrent = |id| {
            let columns = "seeders, leechers, times_completed, balance, \
                           ABS(TIMESTAMPDIFF(SECOND, updated_at, NOW())) < 600";
            site.row(&format!("SELECT {columns} FROM torrents WHERE id = {id}"))
        };
        assert_eq!(torrent(1), "1 2 1 -237 1");
        assert_eq!(torrent(2), "0 1 0 -40 1");
        // What the site corrects by hand stays corrected, and one who was not immune is not later.
        site.database.sql("UPDATE users SET uploaded = 1000, group_id = 7 WHERE id = 1");
        announce(1, 1, 1, 160).left(0).event("stopped").http(http).unwrap();
        site.all_in();
        assert_eq!(site.row("SELECT uploaded >= 1010 FROM users WHERE id = 1"), "1");
        let left =
            site.row("SELECT active, immune FROM history WHERE user_id = 1 AND torrent_id = 1");
        assert_eq!(left, "0 0", "both of its clients are gone");
    });
}

/// Returns a client's peer id as SQL has it.
fn hex(client: u8) -> String {
    format!("{client:02x}").repeat(20)
}

#[test]
fn what_clients_told_unit3d_announce_last_is_where_they_go_on() {
    with_unit3d(|setting| {
        let database = database(setting);
        database.sql(&format!(
            "INSERT INTO peers (peer_id, ip, port, agent, uploaded, downloaded, `left`, seeder, \
             created_at, updated_at, torrent_id, user_id, active, visible) \
             VALUES (x'{}', INET6_ATON('192.0.2.7'), 6001, 'Transmission', 100, 200, 500, 0, \
             NOW(), NOW() - INTERVAL 1000 SECOND, 1, 1, 1, 1)",
            hex(1)
        ));
        let port = database.port;
        let site = Site::start_with(setting, database, port, str::to_owned);
        announce(1, 1, 1, 5100).http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (5000, 10_000));
        let client = site.row("SELECT agent, uploaded FROM peers WHERE user_id = 1");
        assert_eq!(client, "Transmission 5100");
    });
}

#[test]
fn who_may_is_read_from_users_groups_and_torrents() {
    with_unit3d(|setting| {
        let database = database(setting);
        let taken = hash(&database, 'a');
        database.sql(&format!(
            "UPDATE users SET group_id = 5 WHERE id = 1; \
             UPDATE users SET deleted_at = NOW() WHERE id = 2; \
             UPDATE users SET can_download = 0 WHERE id = 3; \
             UPDATE torrents SET deleted_at = NOW() WHERE id = 1; \
             INSERT INTO torrents (id, name, info_hash, status) VALUES (9, 'again', {taken}, 1); \
             INSERT INTO featured_torrents (user_id, torrent_id) VALUES (3, 2); \
             UPDATE `groups` SET download_slots = 4, is_immune = 1 WHERE id = 3"
        ));
        let port = database.port;
        let site = Site::start_with(setting, database, port, str::to_owned);
        assert_eq!(refusal(&site, 1).as_deref(), Some("account disabled"));
        assert_eq!(refusal(&site, 2).as_deref(), Some("unknown passkey"));
        assert_eq!(refusal(&site, 4), None);
        let member = site.shown("members/3");
        assert_eq!(
            (&member["leech"], &member["immune"], &member["slots"]),
            (&false.into(), &true.into(), &4.into())
        );
        let featured = site.shown("torrents/2");
        assert_eq!(featured["featured"], true);
        // The one with the same info-hash that is not deleted counts.
        assert_eq!(site.shown("torrents/9")["deleted"], false);
        // What is changed with SQL holds at the next read.
        site.database.sql("UPDATE `groups` SET slug = 'banned-not' WHERE id = 5; UPDATE `groups` SET slug = 'disabled' WHERE id = 3");
        eventually("the groups are read", || {
            refusal(&site, 1).is_none() && refusal(&site, 4).as_deref() == Some("account disabled")
        });
    });
}

#[test]
fn what_the_site_tells_holds_at_once_and_is_not_undone_by_what_was_read() {
    with_unit3d(|setting| {
        let site = Site::with_door(setting, DOOR, KEY);
        assert_eq!(refusal(&site, 9).as_deref(), Some("unknown passkey"));
        site.tables.add_member(&site.database, 9);
        tell(&site, 9, 3, false);
        assert_eq!(refusal(&site, 9), None);
        // The site tells it before others can see it.
        tell(&site, 1, 5, false);
        assert_eq!(refusal(&site, 1).as_deref(), Some("account disabled"));
        site.tables.add_member(&site.database, 10);
        eventually("all are read again", || refusal(&site, 10).is_none());
        assert_eq!(refusal(&site, 1).as_deref(), Some("account disabled"));
        // Groups are kept over a restart, and those of the door are those of the table.
        let site = restarted(site);
        eventually("the table says so", || refusal(&site, 1).is_none());
        let ban = site.accounts(&["ban", "2"]);
        assert!(!ban.status.success(), "by hand, they are changed in the database");
    });
}

#[test]
fn what_donors_get_is_not_undone_by_what_is_read() {
    with_unit3d(|setting| {
        let donors = "donors: { double_upload: true, immune: true }, ";
        let door = DOOR.replace("unit3d: { ", &format!("unit3d: {{ {donors}"));
        let site = Site::with_door(setting, &door, KEY);
        let rights = |site: &Site, member: u64| {
            let shown = site.shown(&format!("members/{member}"));
            ["leech", "double_upload", "immune"].map(|right| shown[right] == true)
        };
        tell(&site, 1, 3, true);
        tell(&site, 2, 3, true);
        assert_eq!(rights(&site, 1), [true, true, true], "as the site has told");
        // What the site told before the restart no longer protects it from what is read.
        site.database.sql(
            "UPDATE users SET can_download = 0, is_donor = (id = 1), is_lifetime = (id = 3) \
             WHERE id < 4",
        );
        site.tables.add_member(&site.database, 10);
        let site = restarted(site);
        eventually("all are read", || refusal(&site, 10).is_none());
        assert_eq!(rights(&site, 1), [false, true, true], "a donor");
        assert_eq!(rights(&site, 2), [false, false, false], "the site has changed its mind");
        assert_eq!(rights(&site, 3), [false, true, true], "for life, and nobody has told");
        for member in 1..=3 {
            let seeds = announce(member, 1, 30 + member as u8, 0).left(0).event("started");
            seeds.http(site.daemon.http).unwrap();
        }
        site.all_in();
        let immune = site.row("SELECT GROUP_CONCAT(immune ORDER BY user_id) FROM history");
        assert!(immune.starts_with("1,0,1"), "{immune}");
        // Another configuration takes it back.
        configure(&site.daemon, |yaml| yaml.replace(donors, ""));
        call(&site, "POST", "config/reload", &json!({}));
        eventually("all are read again", || {
            [1, 3].map(|member| rights(&site, member)) == [[false; 3]; 2]
        });
    });
}

#[test]
fn a_column_that_is_missing_is_told_and_all_stays_as_it_was_read() {
    with_unit3d(|setting| {
        let site = Site::start(setting);
        site.database.sql("ALTER TABLE users DROP COLUMN is_lifetime");
        let site = restarted(site);
        eventually("it says so", || site.status()["database"]["stopped"] == true);
        let error = site.status()["database"]["error"].to_string();
        assert!(
            error.contains("is_lifetime") && error.contains("karuta accounts schema"),
            "{error}"
        );
        assert_eq!(refusal(&site, 1), None);
    });
}

#[test]
fn what_is_on_the_way_to_rows_that_are_deleted_is_credited_or_set_aside() {
    with_unit3d(|setting| {
        let site = Site::start(setting);
        let http = site.daemon.http;
        let say = |moved: u64, event| {
            for (member, torrent) in [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1)] {
                let client = (10 * member + torrent) as u8;
                announce(member, torrent, client, moved).event(event).http(http).unwrap();
            }
        };
        say(0, "started");
        say(10, "");
        site.all_in();
        // A batch that fails holds up all that comes after it, which is then one batch.
        site.database.sql("REVOKE UPDATE ON karuta_ledger FROM karuta@localhost");
        announce(4, 3, 99, 0).event("started").http(http).unwrap();
        eventually("a batch fails", || site.status()["database"]["stopped"] == true);
        say(50, "stopped");
        site.database.sql(
            "DELETE FROM peers WHERE user_id IN (2, 3); \
             DELETE FROM history WHERE user_id IN (2, 3); DELETE FROM users WHERE id = 2; \
             DELETE FROM torrents WHERE id = 2; UPDATE users SET deleted_at = NOW() WHERE id = 1; \
             GRANT UPDATE ON karuta_ledger TO karuta@localhost",
        );
        site.all_in();
        let there =
            site.row("SELECT (SELECT COUNT(*) FROM users), (SELECT COUNT(*) FROM torrents)");
        assert_eq!(there, "3 2", "none comes back");
        assert_eq!(site.credit(1), (100, 200), "also what was moved at a torrent that is gone");
        assert_eq!([3, 4].map(|member| site.credit(member)), [(50, 100); 2]);
        for table in ["history", "peers"] {
            let gone = format!("SELECT COUNT(*) FROM {table} WHERE user_id = 2 OR torrent_id = 2");
            assert_eq!(site.database.number(&gone), 0, "{table}");
        }
        let anew = site.row("SELECT uploaded, client_uploaded FROM history WHERE user_id = 3");
        assert_eq!(anew, "40 50", "what has come since");
        assert_eq!(site.status()["database"]["rejected_rows"], 1);
        let rejected = String::from_utf8(site.accounts(&["rejected"]).stdout).unwrap();
        assert!(
            rejected.contains("member 2, torrent 1:")
                && rejected.contains("there is no such member"),
            "{rejected}"
        );
    });
}

#[test]
fn a_client_with_ipv6_is_written_and_read_back_as_the_same() {
    with_unit3d(|setting| {
        let mut site = Site::start(setting);
        let http = |site: &Site| SocketAddr::from((Ipv6Addr::LOCALHOST, site.daemon.http.port()));
        announce(1, 1, 1, 0).event("started").http(http(&site)).unwrap();
        announce(1, 1, 1, 100).http(http(&site)).unwrap();
        site.all_in();
        let written = "SELECT LENGTH(ip), INET6_NTOA(ip), port FROM peers WHERE user_id = 1";
        assert_eq!(site.row(written), "16 ::1 6001");
        // As a tracker that has never seen it.
        let folder = site.daemon.kill();
        for end in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(folder.path().join(format!("state/accounts.db{end}")));
        }
        site.daemon = Daemon::start_in(folder);
        site.is_loaded();
        assert_eq!(site.shown("members/1")["sessions"][0]["address"], "[::1]:6001");
        announce(1, 1, 1, 150).http(http(&site)).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (150, 300));
        assert_eq!(site.row(written), "16 ::1 6001", "one client");
    });
}

#[test]
fn a_user_agent_is_noted_as_far_as_it_fits_and_is_plain() {
    with_unit3d(|setting| {
        let site = Site::start(setting);
        let long = "x".repeat(100);
        let wide = "\u{e9}".repeat(40) + &"Z".repeat(70);
        let agents: [(&[u8], &str); 4] = [
            (long.as_bytes(), &long[..64]),
            (wide.as_bytes(), &"Z".repeat(64)),
            (b"Transmission/\xe9\xff4.0", "Transmission/4.0"),
            (b"", ""),
        ];
        for (member, (agent, _)) in (1..).zip(agents) {
            let query = announce(member, 1, member as u8, 0).event("started").query();
            let head = format!(
                "GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            );
            let request = [head.as_bytes(), b"User-Agent: ", agent, b"\r\n\r\n"].concat();
            assert_eq!(exchange(site.daemon.http, &request).status, 200);
        }
        site.all_in();
        for (member, (_, expected)) in (1..).zip(agents) {
            for table in ["peers", "history"] {
                let of = format!("user_id = {member} AND torrent_id = 1");
                let noted = site.row(&format!("SELECT agent FROM {table} WHERE {of}"));
                assert_eq!(noted, expected, "{table}");
            }
        }
    });
}

#[test]
fn calls_edit_a_blacklist_that_is_the_database_s() {
    with_unit3d(|setting| {
        let site = Site::with_door(setting, DOOR, KEY);
        site.database.sql(
            "INSERT INTO blacklist_clients (name, peer_id_prefix) VALUES ('X', '-XL'), ('B', '-BT')",
        );
        configure(&site.daemon, |yaml| {
            let policy = "config: { blacklist_from: blacklist }, data: { blacklist: { query: SELECT \
                          peer_id_prefix FROM blacklist_clients, every: 1s, format: strings, \
                          edits: true } }";
            yaml.replace("secret } }", "secret }, blacklist: members/blacklist }")
                .replace("passkey.wasm", "unit3d.wasm")
                .replace("config: { accounts: true }", policy)
        });
        let site = restarted(site);
        let listed = |site: &Site| {
            ["-XL", "-BT", "-KA", "-UT"].map(|client| {
                let announce = announce(1, 1, 5, 0).client(client);
                let answer = announce.get(site.daemon.http, &["User-Agent: qBittorrent/5.0"]);
                let refusal = reply(&bencode::read(&answer.body)).err();
                let expected = "Client is not acceptable. Please check our blacklist.";
                assert!(refusal.is_none() || refusal.as_deref() == Some(expected), "{refusal:?}");
                refusal.is_some()
            })
        };
        eventually("it is read", || listed(&site) == [true, true, false, false]);
        call(&site, "PUT", "blacklisted-agents", &json!({ "peer_id_prefix": "-KA" }));
        call(&site, "DELETE", "blacklisted-agents", &json!({ "peer_id_prefix": "-XL" }));
        eventually("the site has told", || listed(&site) == [false, true, true, false]);
        // What was told stays on top of what is read.
        site.database
            .sql("INSERT INTO blacklist_clients (name, peer_id_prefix) VALUES ('U', '-UT')");
        eventually("it is read again", || listed(&site)[3]);
        assert_eq!(listed(&site), [false, true, true, true]);
        let site = restarted(site);
        eventually("so it is after a restart", || listed(&site) == [false, true, true, true]);
    });
}

#[test]
fn tables_that_cannot_undo_a_transaction_are_refused() {
    with_unit3d(|setting| {
        let mut site = Site::start(setting);
        for table in ["karuta_ledger", "history", "peers", "torrents", "users"] {
            site.database.sql(&format!(
                "RENAME TABLE {table} TO was; CREATE TABLE {table} LIKE was; \
                 ALTER TABLE {table} ENGINE = MEMORY"
            ));
            site = restarted(site);
            eventually("it says so", || site.status()["database"]["stopped"] == true);
            let error = site.status()["database"]["error"].to_string();
            let expected =
                format!("the table {table} cannot undo a transaction: its engine is not InnoDB");
            assert!(error.contains(&expected), "{error}");
            site.database.sql(&format!("DROP TABLE {table}; RENAME TABLE was TO {table}"));
        }
    });
}

#[test]
fn nobody_may_anything_because_of_a_group_that_is_not_there() {
    with_unit3d(|setting| {
        let database = database(setting);
        database.sql(
            "INSERT INTO `groups` (id, name, slug, is_freeleech, download_slots) \
             VALUES (7, 'Power', 'power', 1, NULL), (8, 'Odd', 'odd', 0, -1); \
             UPDATE users SET group_id = 5 WHERE id = 1; \
             UPDATE users SET group_id = id + 5 WHERE id IN (2, 3)",
        );
        let port = database.port;
        let site = Site::start_with(setting, database, port, str::to_owned);
        let disabled = Some("account disabled");
        let are = |site: &Site, expected: [Option<&str>; 4]| {
            [1, 2, 3, 4].map(|member| refusal(site, member))
                == expected.map(|it| it.map(str::to_owned))
        };
        assert!(are(&site, [disabled, None, disabled, None]), "a row that makes no sense");
        assert_eq!(site.status()["database"]["unusable_rows"], 1);
        site.database.sql("DELETE FROM `groups` WHERE id IN (5, 7)");
        let site = restarted(site);
        eventually("both are gone", || are(&site, [disabled, disabled, disabled, None]));
        site.daemon.logs("no such group that makes sense");
        assert_eq!(site.shown("members/2")["freeleech"], false);
        site.database.sql(
            "INSERT INTO `groups` (id, name, slug) VALUES (7, 'Power', 'power'); \
             UPDATE `groups` SET download_slots = NULL WHERE id = 8",
        );
        let site = restarted(site);
        eventually("they are there", || are(&site, [disabled, None, None, None]));
        // As if somebody had emptied the table by mistake.
        site.database.sql("DELETE FROM `groups`");
        let site = restarted(site);
        site.daemon.logs("the table groups is empty");
        assert!(are(&site, [disabled, None, None, None]), "they stay as they are");
    });
}
