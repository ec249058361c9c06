//! The tables of Gazelle, as Ocelot uses them: in MySQL and MariaDB. A later Gazelle, as Orpheus has
//! it, keeps the sums of members and torrents in tables of their own.
//!
//! Rows of members and torrents are never inserted: those that the site has deleted stay deleted.

use super::Place::Rows;
use super::mysql::{ENROLL, LOOK, STEP, STRICT};
use super::{Listing, Statements, Step, Which};

macro_rules! unsafe_tables {
    ($more:literal) => {
        concat!(
            "SELECT CAST(table_name AS CHAR(64)) FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name IN ('karuta_ledger', 'users_main', \
             'torrents', 'users_freeleeches', 'xbt_files_users', 'xbt_snatched'",
            $more,
            ") AND engine <> 'InnoDB'"
        )
    };
}

/// Locks the rows with the sums of members.
macro_rules! members_there {
    ($table:literal, $id:literal) => {
        my!(
            concat!(
                "SELECT CAST(",
                $id,
                " AS SIGNED) FROM ",
                $table,
                " WHERE ",
                $id,
                " IN (SELECT m FROM"
            ),
            concat!(") ORDER BY ", $id, " FOR UPDATE")
        )
    };
}

macro_rules! members {
    ($table:literal, $id:literal) => {
        concat!(
            my!(
                concat!("UPDATE ", $table, " k JOIN (SELECT m, SUM(cu) AS cu, SUM(cd) AS cd FROM"),
                "GROUP BY m) r"
            ),
            " ON k.",
            $id,
            " = r.m SET \
             k.Uploaded = GREATEST(k.Uploaded, LEAST(k.Uploaded + r.cu, 9223372036854775807)), \
             k.Downloaded = GREATEST(k.Downloaded, LEAST(k.Downloaded + r.cd, 9223372036854775807))"
        )
    };
}

macro_rules! torrents {
    ($table:literal, $id:literal) => {
        concat!(
            my!(
                concat!(
                    "UPDATE ",
                    $table,
                    " k JOIN (SELECT t, SUM(co) AS co, MAX(sd) AS sd, MAX(lc) AS lc, \
                     SUM(mu) - SUM(md) - SUM(mc) AS ba FROM"
                ),
                "GROUP BY t) r"
            ),
            " ON k.",
            $id,
            " = r.t SET k.Snatched = LEAST(k.Snatched + r.co, 4294967295), \
             k.Seeders = r.sd, k.Leechers = r.lc, \
             k.Balance = \
             LEAST(GREATEST(k.Balance + r.ba, -9223372036854775808), 9223372036854775807)"
        )
    };
}

/// Alone, because a time that is 0 could not be set to what it is where the server forbids zeros.
macro_rules! seeded {
    ($table:literal, $id:literal) => {
        concat!(
            my!(
                concat!("UPDATE ", $table, " k JOIN (SELECT t, MAX(sd) AS sd FROM"),
                "GROUP BY t) r"
            ),
            " ON k.",
            $id,
            " = r.t SET k.last_action = NOW() WHERE r.sd > 0"
        )
    };
}

const TOKENS: &str = my!(
    "UPDATE users_freeleeches k JOIN (SELECT m, t, SUM(td) AS td FROM",
    "WHERE td > 0 GROUP BY m, t) r ON k.UserID = r.m AND k.TorrentID = r.t \
     SET k.Downloaded = LEAST(k.Downloaded + r.td, 9223372036854775807)"
);
/// Speeds are those since the row was written last, in bytes a second. `mtime` comes last: what is
/// before it needs the old one. The site takes whoever has nothing left for a seeder, so a client that
/// does not say has 1 byte left. Only IPv4 addresses fit.
const PEERS: &str = my!(
    "INSERT INTO xbt_files_users (uid, fid, active, uploaded, downloaded, upspeed, downspeed, \
     remaining, corrupt, timespent, announced, ip, peer_id, useragent, mtime) \
     SELECT r.m, r.t, r.ac, r.tu, r.tl, 0, 0, COALESCE(r.re, 1), r.tc, \
     GREATEST(r.la - r.fa, 0), r.an, IF(r.ad LIKE '%:%', '', COALESCE(r.ad, '')), UNHEX(r.p), \
     LEFT(COALESCE(r.ag, ''), 51), r.la FROM",
    "WHERE r.an > 0 AND r.go = 0 ORDER BY r.m, r.t, r.p ON DUPLICATE KEY UPDATE \
     active = VALUES(active), uploaded = VALUES(uploaded), downloaded = VALUES(downloaded), \
     upspeed = IF(r.la > mtime, LEAST(r.mu DIV (r.la - mtime), 4294967295), 0), \
     downspeed = IF(r.la > mtime, LEAST(r.md DIV (r.la - mtime), 4294967295), 0), \
     remaining = VALUES(remaining), corrupt = VALUES(corrupt), \
     timespent = timespent + GREATEST(r.la - mtime, 0), announced = announced + r.an, \
     ip = VALUES(ip), mtime = VALUES(mtime)"
);
/// Another tracker may have heard of the client since.
const AWAY: &str = my!(
    "UPDATE xbt_files_users k JOIN",
    "ON k.uid = r.m AND k.fid = r.t AND k.peer_id = UNHEX(r.p) \
     SET k.active = 0, k.upspeed = 0, k.downspeed = 0 \
     WHERE (r.an = 0 OR r.go = 1) AND k.mtime <= r.la"
);
/// Where a table has a unique key, the first one stays.
const SNATCHES: &str = my!(
    "INSERT INTO xbt_snatched (uid, fid, tstamp, IP) \
     SELECT r.m, r.t, r.la, IF(r.ad LIKE '%:%', '', COALESCE(r.ad, '')) FROM",
    "WHERE r.co > 0 ORDER BY r.n ON DUPLICATE KEY UPDATE xbt_snatched.uid = xbt_snatched.uid"
);

const MEMBERS: Listing = Listing {
    table: "users_main",
    sql: "SELECT CAST(ID AS SIGNED), torrent_pass, 1, CAST(can_leech = 1 AS SIGNED), \
          CAST(NOT (Visible = '0' OR IP = '127.0.0.1') AS SIGNED), 0, 0, 0, 0, \
          CAST(NULL AS SIGNED) FROM users_main WHERE Enabled = '1' ORDER BY ID",
    values: &[],
};
const TORRENTS: Listing = Listing {
    table: "torrents",
    sql: "SELECT CAST(ID AS SIGNED), info_hash, CAST(NULL AS BINARY), 1, 0, 0, \
          0, IF(freetorrent = '2', 0, 100), IF(freetorrent = '0', 100, 0) \
          FROM torrents ORDER BY ID",
    values: &[],
};
const VALID_TOKENS: Listing = Listing {
    table: "users_freeleeches",
    sql: "SELECT CAST(f.UserID AS SIGNED), CAST(f.TorrentID AS SIGNED), 1 FROM users_freeleeches f \
          JOIN users_main u ON u.ID = f.UserID JOIN torrents t ON t.ID = f.TorrentID \
          WHERE f.Expired = '0' AND u.Enabled = '1' ORDER BY f.UserID, f.TorrentID",
    values: &[],
};
const CLIENTS: Listing = Listing {
    table: "xbt_files_users",
    sql: "SELECT CAST(uid AS SIGNED), CAST(fid AS SIGNED), LOWER(HEX(peer_id)), \
          CAST(uploaded AS SIGNED), CAST(downloaded AS SIGNED), CAST(remaining AS SIGNED), CAST(active AS SIGNED), CAST(mtime AS SIGNED), ip, \
          CAST(NULL AS SIGNED), CAST(corrupt AS SIGNED) FROM xbt_files_users",
    values: &[],
};

pub const GAZELLE: Statements = Statements {
    greeting: Some(STRICT),
    unsafe_tables: unsafe_tables!(""),
    look: LOOK,
    enroll: ENROLL,
    step: STEP,
    members_there: members_there!("users_main", "ID"),
    steps: &[
        Step { which: Which::All, sql: members!("users_main", "ID"), values: &[Rows] },
        Step { which: Which::All, sql: torrents!("torrents", "ID"), values: &[Rows] },
        Step { which: Which::Seeded, sql: seeded!("torrents", "ID"), values: &[Rows] },
        Step { which: Which::Token, sql: TOKENS, values: &[Rows] },
        Step { which: Which::Here, sql: PEERS, values: &[Rows] },
        Step { which: Which::Away, sql: AWAY, values: &[Rows] },
        Step { which: Which::Completed, sql: SNATCHES, values: &[Rows] },
    ],
    now: None,
    groups: None,
    members: MEMBERS,
    torrents: TORRENTS,
    tokens: VALID_TOKENS,
    peers: CLIENTS,
};

pub const ORPHEUS: Statements = Statements {
    unsafe_tables: unsafe_tables!(", 'users_leech_stats', 'torrents_leech_stats'"),
    members_there: members_there!("users_leech_stats", "UserID"),
    steps: &[
        Step { which: Which::All, sql: members!("users_leech_stats", "UserID"), values: &[Rows] },
        Step {
            which: Which::All,
            sql: torrents!("torrents_leech_stats", "TorrentID"),
            values: &[Rows],
        },
        Step {
            which: Which::Seeded,
            sql: seeded!("torrents_leech_stats", "TorrentID"),
            values: &[Rows],
        },
        Step { which: Which::Token, sql: TOKENS, values: &[Rows] },
        Step { which: Which::Here, sql: PEERS, values: &[Rows] },
        Step { which: Which::Away, sql: AWAY, values: &[Rows] },
        Step { which: Which::Completed, sql: SNATCHES, values: &[Rows] },
    ],
    ..GAZELLE
};
