//! The tables of UNIT3D, as UNIT3D-Announce uses them: in MySQL and MariaDB.
//!
//! Rows of users and torrents are never inserted: those that the site has deleted stay deleted.

use super::Place::{DonorsDouble, DonorsImmune, Rows};
use super::mysql::{ENROLL, LOOK, STEP};
use super::{Listing, Statements, Step, Which};

/// A value that does not fit is refused, and times are UTC, as the site's are.
const GREETING: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), \
     time_zone = '+00:00'";
const UNSAFE_TABLES: &str = "SELECT CAST(table_name AS CHAR(64)) FROM information_schema.tables \
     WHERE table_schema = DATABASE() AND table_name IN ('karuta_ledger', 'users', 'torrents', \
     'history', 'peers') AND engine <> 'InnoDB'";
const MEMBERS_THERE: &str = my!(
    "SELECT CAST(id AS SIGNED) FROM users WHERE id IN (SELECT m FROM",
    ") ORDER BY id FOR UPDATE"
);
/// Columns of sums are unsigned, but no sum of ours grows beyond what is signed.
const MEMBERS: &str = my!(
    "UPDATE users k JOIN (SELECT m, SUM(cu) AS cu, SUM(cd) AS cd FROM",
    "GROUP BY m) r ON k.id = r.m SET \
     k.uploaded = GREATEST(k.uploaded, LEAST(k.uploaded + r.cu, 9223372036854775807)), \
     k.downloaded = GREATEST(k.downloaded, LEAST(k.downloaded + r.cd, 9223372036854775807))"
);
const TORRENTS: &str = my!(
    "UPDATE torrents k JOIN (SELECT t, SUM(co) AS co, MAX(sd) AS sd, MAX(lc) AS lc, \
     SUM(mu) - SUM(md) AS ba FROM",
    "GROUP BY t) r ON k.id = r.t SET \
     k.times_completed = LEAST(k.times_completed + r.co, 2147483647), \
     k.seeders = r.sd, k.leechers = r.lc, k.updated_at = NOW(), \
     k.balance = LEAST(GREATEST(COALESCE(k.balance, 0) + r.ba, -9223372036854775808), \
     9223372036854775807)"
);
/// Whoever was not immune once is not immune to a hit and run. Of a torrent that is gone there is no
/// history, as if it had gone later. The placeholder of donors comes before that of the rows.
const HISTORY: &str = my!(
    "INSERT INTO history (user_id, torrent_id, agent, uploaded, actual_uploaded, \
     client_uploaded, downloaded, actual_downloaded, client_downloaded, seeder, active, \
     seedtime, immune, created_at, updated_at, completed_at) \
     SELECT r.m, r.t, LEFT(COALESCE(MAX(r.ag), ''), 64), \
     LEAST(SUM(r.cu), 9223372036854775807), LEAST(SUM(r.mu), 9223372036854775807), MAX(r.tu), \
     LEAST(SUM(r.cd), 9223372036854775807), LEAST(SUM(r.md), 9223372036854775807), MAX(r.tl), \
     COALESCE(MAX(r.re = 0), 0), MAX(r.ac), LEAST(SUM(r.ss), 9223372036854775807), \
     COALESCE(MAX(g.is_immune), 0) OR (? AND MAX(u.is_donor OR u.is_lifetime)), \
     FROM_UNIXTIME(MIN(r.fa)), FROM_UNIXTIME(MAX(r.la)), \
     FROM_UNIXTIME(MIN(CASE WHEN r.co > 0 THEN r.la END)) FROM",
    "JOIN users u ON u.id = r.m LEFT JOIN `groups` g ON g.id = u.group_id \
     WHERE r.an > 0 AND EXISTS (SELECT 1 FROM torrents k WHERE k.id = r.t) \
     GROUP BY r.m, r.t ORDER BY r.m, r.t ON DUPLICATE KEY UPDATE \
     agent = IF(VALUES(agent) = '', agent, VALUES(agent)), \
     uploaded = LEAST(uploaded + CAST(VALUES(uploaded) AS DECIMAL(20)), 9223372036854775807), \
     actual_uploaded = LEAST(actual_uploaded + \
     CAST(VALUES(actual_uploaded) AS DECIMAL(20)), 9223372036854775807), \
     client_uploaded = VALUES(client_uploaded), \
     downloaded = \
     LEAST(downloaded + CAST(VALUES(downloaded) AS DECIMAL(20)), 9223372036854775807), \
     actual_downloaded = LEAST(actual_downloaded + \
     CAST(VALUES(actual_downloaded) AS DECIMAL(20)), 9223372036854775807), \
     client_downloaded = VALUES(client_downloaded), \
     seeder = VALUES(seeder), active = VALUES(active), \
     seedtime = LEAST(seedtime + CAST(VALUES(seedtime) AS DECIMAL(20)), 9223372036854775807), \
     immune = immune AND VALUES(immune), updated_at = VALUES(updated_at), \
     completed_at = COALESCE(completed_at, VALUES(completed_at))"
);
/// The site takes whoever has nothing left for a seeder, so a client that does not say has 1 byte
/// left. At a torrent that is gone there are no clients.
const PEERS: &str = my!(
    "INSERT INTO peers (user_id, torrent_id, peer_id, ip, port, agent, uploaded, downloaded, \
     `left`, seeder, active, visible, created_at, updated_at) \
     SELECT r.m, r.t, UNHEX(r.p), COALESCE(INET6_ATON(r.ad), INET6_ATON('0.0.0.0')), \
     COALESCE(r.po, 0), LEFT(COALESCE(r.ag, ''), 64), r.tu, r.tl, COALESCE(r.re, 1), \
     COALESCE(r.re = 0, 0), r.ac, 1, FROM_UNIXTIME(r.fa), FROM_UNIXTIME(r.la) FROM",
    "WHERE r.an > 0 AND r.go = 0 AND EXISTS (SELECT 1 FROM torrents k WHERE k.id = r.t) \
     ORDER BY r.m, r.t, r.p ON DUPLICATE KEY UPDATE \
     ip = VALUES(ip), port = VALUES(port), agent = IF(VALUES(agent) = '', agent, VALUES(agent)), \
     uploaded = VALUES(uploaded), downloaded = VALUES(downloaded), `left` = VALUES(`left`), \
     seeder = VALUES(seeder), active = VALUES(active), updated_at = VALUES(updated_at)"
);
/// Another tracker may have heard of the client since.
const AWAY: &str = my!(
    "UPDATE peers k JOIN",
    "ON k.user_id = r.m AND k.torrent_id = r.t AND k.peer_id = UNHEX(r.p) SET k.active = 0 \
     WHERE (r.an = 0 OR r.go = 1) AND k.updated_at <= FROM_UNIXTIME(r.la)"
);
/// Comes after those: a member may have several clients at a torrent. Who has none there any more stays
/// a seeder or not, as its last one was.
const PRESENT: &str = my!(
    "UPDATE history k JOIN (SELECT DISTINCT m, t FROM",
    ") r ON k.user_id = r.m AND k.torrent_id = r.t SET \
     k.active = EXISTS (SELECT 1 FROM peers p \
     WHERE p.user_id = k.user_id AND p.torrent_id = k.torrent_id AND p.active = 1), \
     k.seeder = COALESCE((SELECT MAX(p.seeder) FROM peers p \
     WHERE p.user_id = k.user_id AND p.torrent_id = k.torrent_id AND p.active = 1), k.seeder)"
);

const GROUPS: Listing = Listing {
    table: "groups",
    sql: "SELECT CAST(id AS SIGNED), \
          CAST(slug NOT IN ('banned', 'validating', 'disabled') AS SIGNED), \
          CAST(is_immune AS SIGNED), CAST(is_freeleech AS SIGNED), \
          CAST(is_double_upload AS SIGNED), CAST(download_slots AS SIGNED) FROM `groups`",
    values: &[],
};
const USERS: Listing = Listing {
    table: "users",
    sql: "SELECT CAST(id AS SIGNED), passkey, 1, CAST(can_download AS SIGNED), 1, \
          CAST(? AND (is_donor OR is_lifetime) AS SIGNED), \
          CAST(EXISTS (SELECT 1 FROM personal_freeleeches f WHERE f.user_id = users.id) AS SIGNED), \
          CAST(? AND (is_donor OR is_lifetime) AS SIGNED), CAST(group_id AS SIGNED), \
          CAST(NULL AS SIGNED) \
          FROM users WHERE deleted_at IS NULL ORDER BY id",
    values: &[DonorsImmune, DonorsDouble],
};
/// Of several with one info-hash, one: that which is there, approved, and the oldest.
const ALL_TORRENTS: Listing = Listing {
    table: "torrents",
    sql: "SELECT CAST(k.id AS SIGNED), k.info_hash, CAST(NULL AS BINARY), \
          CAST(k.status AS SIGNED), CAST(k.deleted_at IS NOT NULL AS SIGNED), \
          CAST(EXISTS (SELECT 1 FROM featured_torrents f WHERE f.torrent_id = k.id) AS SIGNED), 0, \
          IF(k.doubleup, 200, 100), 100 - LEAST(GREATEST(k.free, 0), 100) \
          FROM torrents k JOIN (SELECT COALESCE( \
          MIN(CASE WHEN deleted_at IS NULL AND status = 1 THEN id END), \
          MIN(CASE WHEN deleted_at IS NULL THEN id END), MIN(id)) AS id \
          FROM torrents GROUP BY info_hash) one ON one.id = k.id ORDER BY k.id",
    values: &[],
};
const FREELEECH_TOKENS: Listing = Listing {
    table: "freeleech_tokens",
    sql: "SELECT DISTINCT CAST(f.user_id AS SIGNED), CAST(f.torrent_id AS SIGNED), 1 \
          FROM freeleech_tokens f JOIN users u ON u.id = f.user_id \
          JOIN torrents t ON t.id = f.torrent_id WHERE u.deleted_at IS NULL ORDER BY 1, 2",
    values: &[],
};
const CLIENTS: Listing = Listing {
    table: "peers",
    sql: "SELECT CAST(user_id AS SIGNED), CAST(torrent_id AS SIGNED), LOWER(HEX(peer_id)), \
          CAST(uploaded AS SIGNED), CAST(downloaded AS SIGNED), CAST(`left` AS SIGNED), \
          CAST(active AS SIGNED), CAST(UNIX_TIMESTAMP(updated_at) AS SIGNED), INET6_NTOA(ip), \
          CAST(port AS SIGNED), 0 FROM peers",
    values: &[],
};

pub const UNIT3D: Statements = Statements {
    greeting: Some(GREETING),
    unsafe_tables: UNSAFE_TABLES,
    look: LOOK,
    enroll: ENROLL,
    step: STEP,
    members_there: MEMBERS_THERE,
    steps: &[
        Step { which: Which::All, sql: MEMBERS, values: &[Rows] },
        Step { which: Which::All, sql: TORRENTS, values: &[Rows] },
        Step { which: Which::Announced, sql: HISTORY, values: &[DonorsImmune, Rows] },
        Step { which: Which::Here, sql: PEERS, values: &[Rows] },
        Step { which: Which::Away, sql: AWAY, values: &[Rows] },
        Step { which: Which::All, sql: PRESENT, values: &[Rows] },
    ],
    now: None,
    groups: Some(GROUPS),
    members: USERS,
    torrents: ALL_TORRENTS,
    tokens: FREELEECH_TOKENS,
    peers: CLIENTS,
};
