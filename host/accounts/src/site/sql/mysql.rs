//! Our own tables in MySQL and MariaDB.

use super::Place::{Batch, Name, Node, Rows, Since};
use super::{Listing, Statements, Step, Which};

/// A value that does not fit is refused, and not cut.
pub const STRICT: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
const UNSAFE_TABLES: &str = "SELECT CAST(table_name AS CHAR(64)) FROM information_schema.tables \
     WHERE table_schema = DATABASE() AND table_name IN ('karuta_member', \
     'karuta_torrent', 'karuta_token', 'karuta_history', 'karuta_peer', \
     'karuta_snatch', 'karuta_ledger') AND engine <> 'InnoDB'";
pub const LOOK: &str = "SELECT applied, nonce FROM karuta_ledger WHERE node = ?";
pub const ENROLL: &str = "INSERT INTO karuta_ledger (node, applied, nonce, at) \
     VALUES (?, 0, 0, UTC_TIMESTAMP())";
pub const STEP: &str = "UPDATE karuta_ledger SET applied = ?, nonce = ?, at = UTC_TIMESTAMP() \
     WHERE node = ? AND applied = ? AND nonce = ?";
const MEMBERS_THERE: &str =
    my!("SELECT id FROM karuta_member WHERE id IN (SELECT m FROM", ") ORDER BY id FOR UPDATE");
const MEMBERS: &str = my!(
    "UPDATE karuta_member k JOIN (SELECT m, SUM(cu) AS cu, SUM(cd) AS cd, SUM(mu) AS mu, \
     SUM(md) AS md, MAX(se) AS se, MAX(le) AS le FROM",
    "GROUP BY m) r ON k.id = r.m SET \
     k.uploaded = LEAST(k.uploaded + r.cu, 9223372036854775807), \
     k.downloaded = LEAST(k.downloaded + r.cd, 9223372036854775807), \
     k.raw_uploaded = LEAST(k.raw_uploaded + r.mu, 9223372036854775807), \
     k.raw_downloaded = LEAST(k.raw_downloaded + r.md, 9223372036854775807), \
     k.seeding = r.se, k.leeching = r.le, k.updated_at = k.updated_at"
);
const TORRENTS: &str = my!(
    "UPDATE karuta_torrent k JOIN (SELECT t, SUM(co) AS co, MAX(sd) AS sd, MAX(lc) AS lc FROM",
    "GROUP BY t) r ON k.id = r.t SET \
     k.completed = LEAST(k.completed + r.co, 9223372036854775807), \
     k.seeders = r.sd, k.leechers = r.lc, k.updated_at = k.updated_at"
);
const TOKENS: &str = my!(
    "UPDATE karuta_token k JOIN (SELECT m, t, SUM(td) AS td FROM",
    "WHERE td > 0 GROUP BY m, t) r ON k.member = r.m AND k.torrent = r.t SET \
     k.downloaded = LEAST(k.downloaded + r.td, 9223372036854775807), \
     k.updated_at = k.updated_at"
);
const HISTORY: &str = my!(
    "INSERT INTO karuta_history (member, torrent, uploaded, downloaded, credited_uploaded, \
     credited_downloaded, seed_seconds, announces, first_at, last_at, completed_at) \
     SELECT m, t, LEAST(SUM(mu), 9223372036854775807), LEAST(SUM(md), 9223372036854775807), \
     LEAST(SUM(cu), 9223372036854775807), LEAST(SUM(cd), 9223372036854775807), \
     LEAST(SUM(ss), 9223372036854775807), SUM(an), FROM_UNIXTIME(MIN(fa)), \
     FROM_UNIXTIME(MAX(la)), FROM_UNIXTIME(MIN(CASE WHEN co > 0 THEN la END)) FROM",
    "WHERE an > 0 GROUP BY m, t ORDER BY m, t ON DUPLICATE KEY UPDATE \
     uploaded = LEAST(uploaded + CAST(VALUES(uploaded) AS DECIMAL(20)), 9223372036854775807), \
     downloaded = \
     LEAST(downloaded + CAST(VALUES(downloaded) AS DECIMAL(20)), 9223372036854775807), \
     credited_uploaded = LEAST(credited_uploaded + \
     CAST(VALUES(credited_uploaded) AS DECIMAL(20)), 9223372036854775807), \
     credited_downloaded = LEAST(credited_downloaded + \
     CAST(VALUES(credited_downloaded) AS DECIMAL(20)), 9223372036854775807), \
     seed_seconds = \
     LEAST(seed_seconds + CAST(VALUES(seed_seconds) AS DECIMAL(20)), 9223372036854775807), \
     announces = announces + VALUES(announces), last_at = VALUES(last_at), \
     completed_at = COALESCE(completed_at, VALUES(completed_at))"
);
/// The placeholder of the node comes before that of the rows.
const PEERS: &str = my!(
    "INSERT INTO karuta_peer (node, member, torrent, peer_id, uploaded, downloaded, remaining, \
     active, address, port, seen_at) \
     SELECT ?, m, t, UNHEX(p), tu, tl, re, ac, ad, po, FROM_UNIXTIME(la) FROM",
    "WHERE an > 0 AND go = 0 ORDER BY m, t, p ON DUPLICATE KEY UPDATE node = VALUES(node), \
     uploaded = VALUES(uploaded), downloaded = VALUES(downloaded), \
     remaining = VALUES(remaining), active = VALUES(active), address = VALUES(address), \
     port = VALUES(port), seen_at = VALUES(seen_at)"
);
const SILENT: &str = my!(
    "UPDATE (SELECT ? AS node) a JOIN",
    "JOIN karuta_peer k ON k.member = r.m AND k.torrent = r.t AND k.peer_id = UNHEX(r.p) \
     SET k.active = 0 WHERE r.an = 0 AND r.go = 0 AND k.node = a.node"
);
const GONE: &str = my!(
    "DELETE k FROM (SELECT ? AS node) a JOIN",
    "JOIN karuta_peer k ON k.member = r.m AND k.torrent = r.t AND k.peer_id = UNHEX(r.p) \
     WHERE r.go = 1 AND k.node = a.node"
);
const SNATCHES: &str = my!(
    "INSERT INTO karuta_snatch (node, batch, n, member, torrent, at, address) \
     SELECT ?, ?, n, m, t, FROM_UNIXTIME(la), ad FROM",
    "WHERE co > 0 ORDER BY n"
);
const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
const LOAD_MEMBERS: &str = "SELECT id, passkey, CAST(enabled AS SIGNED), CAST(leech AS SIGNED), \
     CAST(visible AS SIGNED), CAST(immune AS SIGNED), CAST(freeleech AS SIGNED), \
     CAST(double_upload AS SIGNED), CAST(group_id AS SIGNED), CAST(slots AS SIGNED) \
     FROM karuta_member WHERE updated_at >= FROM_UNIXTIME(? / 1000000) ORDER BY id";
const LOAD_TORRENTS: &str = "SELECT id, info_hash, info_hash_v2, CAST(status AS SIGNED), \
     CAST(deleted AS SIGNED), CAST(featured AS SIGNED), CAST(reason AS SIGNED), \
     CAST(upload_percent AS SIGNED), CAST(download_percent AS SIGNED) \
     FROM karuta_torrent WHERE updated_at >= FROM_UNIXTIME(? / 1000000) ORDER BY id";
const LOAD_TOKENS: &str = "SELECT member, torrent, CAST(expires_at IS NULL OR expires_at > NOW() AS SIGNED) \
     FROM karuta_token WHERE updated_at >= FROM_UNIXTIME(? / 1000000) \
     OR (expires_at >= FROM_UNIXTIME(? / 1000000) AND expires_at <= NOW()) \
     ORDER BY member, torrent";
const LOAD_PEERS: &str = "SELECT member, torrent, LOWER(HEX(peer_id)), uploaded, downloaded, remaining, \
     CAST(active AS SIGNED), CAST(UNIX_TIMESTAMP(seen_at) AS SIGNED), address, \
     CAST(port AS SIGNED), 0 FROM karuta_peer WHERE node = ?";

pub const KARUTA: Statements = Statements {
    greeting: Some(STRICT),
    unsafe_tables: UNSAFE_TABLES,
    look: LOOK,
    enroll: ENROLL,
    step: STEP,
    members_there: MEMBERS_THERE,
    steps: &[
        Step { which: Which::All, sql: MEMBERS, values: &[Rows] },
        Step { which: Which::All, sql: TORRENTS, values: &[Rows] },
        Step { which: Which::Token, sql: TOKENS, values: &[Rows] },
        Step { which: Which::Announced, sql: HISTORY, values: &[Rows] },
        Step { which: Which::Here, sql: PEERS, values: &[Name, Rows] },
        Step { which: Which::Silent, sql: SILENT, values: &[Name, Rows] },
        Step { which: Which::Gone, sql: GONE, values: &[Name, Rows] },
        Step { which: Which::Completed, sql: SNATCHES, values: &[Node, Batch, Rows] },
    ],
    now: Some(NOW),
    groups: None,
    members: Listing { table: "karuta_member", sql: LOAD_MEMBERS, values: &[Since] },
    torrents: Listing { table: "karuta_torrent", sql: LOAD_TORRENTS, values: &[Since] },
    tokens: Listing { table: "karuta_token", sql: LOAD_TOKENS, values: &[Since, Since] },
    peers: Listing { table: "karuta_peer", sql: LOAD_PEERS, values: &[Name] },
};
