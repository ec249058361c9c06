//! What is said to the site's database. Rows of a batch come as one JSON text, so that a statement is
//! the same for any number of them, and each statement adds up what it needs.

/// The statements of a kind of database.
pub struct Statements {
    /// What is said first, if anything.
    pub greeting: Option<&'static str>,
    /// Returns tables that cannot undo a transaction.
    pub unsafe_tables: &'static str,
    /// `node`: the batch that was applied last, and its nonce.
    pub look: &'static str,
    /// `node`: enters one that has applied nothing.
    pub enroll: &'static str,
    /// `applied, nonce, node, before, nonce before`: must meet one row.
    pub step: &'static str,
    /// `rows`: locks their members, and returns those that there are.
    pub members_there: &'static str,
    /// `rows`
    pub members: &'static str,
    pub torrents: &'static str,
    pub tokens: &'static str,
    pub history: &'static str,
    /// `rows, node`
    pub peers: &'static str,
    pub silent: &'static str,
    pub gone: &'static str,
    /// `rows, node, batch`
    pub snatches: &'static str,
    /// Microseconds since 1970, by the clock of the database.
    pub now: &'static str,
    /// Microseconds since 1970: what has changed since then.
    pub load_members: &'static str,
    pub load_torrents: &'static str,
    /// The same, three times.
    pub load_tokens: &'static str,
    /// `node`
    pub load_peers: &'static str,
}

pub const BEGIN: &str = "BEGIN";
pub const COMMIT: &str = "COMMIT";
pub const SAVE: &str = "SAVEPOINT part";
pub const KEEP: &str = "RELEASE SAVEPOINT part";
pub const UNDO: &str = "ROLLBACK TO SAVEPOINT part";

/// The rows in PostgreSQL. Keys are those of `apply::Sent`.
macro_rules! pg {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " json_to_recordset($1::json) AS r(m bigint, t bigint, p text, mu bigint, md bigint, \
             cu bigint, cd bigint, ss bigint, an bigint, co bigint, td bigint, fa bigint, \
             la bigint, tu bigint, tl bigint, re bigint, ac bigint, ad text, po bigint, go bigint, \
             se bigint, le bigint, sd bigint, lc bigint, n bigint) ",
            $after
        )
    };
}

/// The rows in MySQL and MariaDB.
macro_rules! my {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " JSON_TABLE(?, '$[*]' COLUMNS (m BIGINT PATH '$.m', t BIGINT PATH '$.t', \
             p CHAR(40) PATH '$.p', mu BIGINT PATH '$.mu', md BIGINT PATH '$.md', \
             cu BIGINT PATH '$.cu', cd BIGINT PATH '$.cd', ss BIGINT PATH '$.ss', \
             an BIGINT PATH '$.an', co BIGINT PATH '$.co', td BIGINT PATH '$.td', \
             fa BIGINT PATH '$.fa', la BIGINT PATH '$.la', tu BIGINT PATH '$.tu', \
             tl BIGINT PATH '$.tl', re BIGINT PATH '$.re', ac BIGINT PATH '$.ac', \
             ad VARCHAR(45) PATH '$.ad', po BIGINT PATH '$.po', go BIGINT PATH '$.go', \
             se BIGINT PATH '$.se', le BIGINT PATH '$.le', sd BIGINT PATH '$.sd', \
             lc BIGINT PATH '$.lc', n BIGINT PATH '$.n')) r ",
            $after
        )
    };
}

pub const POSTGRES: Statements = Statements {
    greeting: None,
    unsafe_tables: "SELECT relname::text FROM pg_class WHERE relname IN ('karuta_member', \
                    'karuta_torrent', 'karuta_token', 'karuta_history', 'karuta_peer', \
                    'karuta_snatch', 'karuta_ledger') AND relpersistence = 'u' \
                    AND pg_table_is_visible(oid)",
    look: "SELECT applied, nonce FROM karuta_ledger WHERE node = $1",
    enroll: "INSERT INTO karuta_ledger (node, applied, nonce, at) VALUES ($1, 0, 0, now())",
    step: "UPDATE karuta_ledger SET applied = $1, nonce = $2, at = now() \
           WHERE node = $3 AND applied = $4 AND nonce = $5",
    members_there: pg!(
        "SELECT id FROM karuta_member WHERE id IN (SELECT m FROM",
        ") ORDER BY id FOR NO KEY UPDATE"
    ),
    members: pg!(
        "UPDATE karuta_member k SET \
         uploaded = LEAST(k.uploaded + r.cu, 9223372036854775807), \
         downloaded = LEAST(k.downloaded + r.cd, 9223372036854775807), \
         raw_uploaded = LEAST(k.raw_uploaded + r.mu, 9223372036854775807), \
         raw_downloaded = LEAST(k.raw_downloaded + r.md, 9223372036854775807), \
         seeding = r.se, leeching = r.le \
         FROM (SELECT m, sum(cu) AS cu, sum(cd) AS cd, sum(mu) AS mu, sum(md) AS md, \
         max(se) AS se, max(le) AS le FROM",
        "GROUP BY m) r WHERE k.id = r.m"
    ),
    torrents: pg!(
        "UPDATE karuta_torrent k SET completed = LEAST(k.completed + r.co, 9223372036854775807), \
         seeders = r.sd, leechers = r.lc \
         FROM (SELECT t, sum(co) AS co, max(sd) AS sd, max(lc) AS lc FROM",
        "GROUP BY t) r WHERE k.id = r.t"
    ),
    tokens: pg!(
        "UPDATE karuta_token k SET downloaded = LEAST(k.downloaded + r.td, 9223372036854775807) \
         FROM (SELECT m, t, sum(td) AS td FROM",
        "WHERE td > 0 GROUP BY m, t) r WHERE k.member = r.m AND k.torrent = r.t"
    ),
    history: pg!(
        "INSERT INTO karuta_history AS k (member, torrent, uploaded, downloaded, \
         credited_uploaded, credited_downloaded, seed_seconds, announces, first_at, last_at, \
         completed_at) \
         SELECT m, t, LEAST(sum(mu), 9223372036854775807), LEAST(sum(md), 9223372036854775807), \
         LEAST(sum(cu), 9223372036854775807), LEAST(sum(cd), 9223372036854775807), \
         LEAST(sum(ss), 9223372036854775807), sum(an), to_timestamp(min(fa)), \
         to_timestamp(max(la)), to_timestamp(min(CASE WHEN co > 0 THEN la END)) FROM",
        "WHERE an > 0 GROUP BY m, t ORDER BY m, t \
         ON CONFLICT (member, torrent) DO UPDATE SET \
         uploaded = LEAST(k.uploaded::numeric + EXCLUDED.uploaded, 9223372036854775807), \
         downloaded = LEAST(k.downloaded::numeric + EXCLUDED.downloaded, 9223372036854775807), \
         credited_uploaded = \
         LEAST(k.credited_uploaded::numeric + EXCLUDED.credited_uploaded, 9223372036854775807), \
         credited_downloaded = \
         LEAST(k.credited_downloaded::numeric + EXCLUDED.credited_downloaded, 9223372036854775807), \
         seed_seconds = LEAST(k.seed_seconds::numeric + EXCLUDED.seed_seconds, 9223372036854775807), \
         announces = k.announces + EXCLUDED.announces, last_at = EXCLUDED.last_at, \
         completed_at = COALESCE(k.completed_at, EXCLUDED.completed_at)"
    ),
    peers: pg!(
        "INSERT INTO karuta_peer AS k (member, torrent, peer_id, node, uploaded, downloaded, \
         remaining, active, address, port, seen_at) \
         SELECT m, t, decode(p, 'hex'), $2, tu, tl, re, ac = 1, ad::inet, po, to_timestamp(la) FROM",
        "WHERE an > 0 AND go = 0 ORDER BY m, t, p \
         ON CONFLICT (member, torrent, peer_id) DO UPDATE SET node = EXCLUDED.node, \
         uploaded = EXCLUDED.uploaded, downloaded = EXCLUDED.downloaded, \
         remaining = EXCLUDED.remaining, active = EXCLUDED.active, address = EXCLUDED.address, \
         port = EXCLUDED.port, seen_at = EXCLUDED.seen_at"
    ),
    silent: pg!(
        "UPDATE karuta_peer k SET active = false FROM",
        "WHERE r.an = 0 AND r.go = 0 AND k.member = r.m AND k.torrent = r.t \
         AND k.peer_id = decode(r.p, 'hex') AND k.node = $2"
    ),
    gone: pg!(
        "DELETE FROM karuta_peer k USING",
        "WHERE r.go = 1 AND k.member = r.m AND k.torrent = r.t \
         AND k.peer_id = decode(r.p, 'hex') AND k.node = $2"
    ),
    snatches: pg!(
        "INSERT INTO karuta_snatch (node, batch, n, member, torrent, at, address) \
         SELECT $2, $3, n, m, t, to_timestamp(la), ad::inet FROM",
        "WHERE co > 0 ORDER BY n"
    ),
    now: "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    load_members: "SELECT id, passkey, enabled::int::bigint, leech::int::bigint, \
                   visible::int::bigint, immune::int::bigint, freeleech::int::bigint, \
                   double_upload::int::bigint, group_id::bigint, slots::bigint \
                   FROM karuta_member \
                   WHERE updated_at >= to_timestamp($1::double precision / 1000000) ORDER BY id",
    load_torrents: "SELECT id, info_hash, info_hash_v2, status::bigint, deleted::int::bigint, \
                    featured::int::bigint, reason::bigint, upload_percent::bigint, \
                    download_percent::bigint FROM karuta_torrent \
                    WHERE updated_at >= to_timestamp($1::double precision / 1000000) ORDER BY id",
    load_tokens: "SELECT member, torrent, \
                  (expires_at IS NULL OR expires_at > now())::int::bigint FROM karuta_token \
                  WHERE updated_at >= to_timestamp($1::double precision / 1000000) \
                  OR (expires_at >= to_timestamp($2::double precision / 1000000) \
                  AND expires_at <= now()) ORDER BY member, torrent",
    load_peers: "SELECT member, torrent, encode(peer_id, 'hex'), uploaded, downloaded, remaining, \
                 active::int::bigint, extract(epoch FROM seen_at)::bigint, host(address), \
                 port::bigint FROM karuta_peer WHERE node = $1",
};

pub const MYSQL: Statements = Statements {
    // A value that does not fit is refused, and not cut.
    greeting: Some("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"),
    unsafe_tables: "SELECT CAST(table_name AS CHAR(64)) FROM information_schema.tables \
                    WHERE table_schema = DATABASE() AND table_name IN ('karuta_member', \
                    'karuta_torrent', 'karuta_token', 'karuta_history', 'karuta_peer', \
                    'karuta_snatch', 'karuta_ledger') AND engine <> 'InnoDB'",
    look: "SELECT applied, nonce FROM karuta_ledger WHERE node = ?",
    enroll: "INSERT INTO karuta_ledger (node, applied, nonce, at) \
             VALUES (?, 0, 0, UTC_TIMESTAMP())",
    step: "UPDATE karuta_ledger SET applied = ?, nonce = ?, at = UTC_TIMESTAMP() \
           WHERE node = ? AND applied = ? AND nonce = ?",
    members_there: my!(
        "SELECT id FROM karuta_member WHERE id IN (SELECT m FROM",
        ") ORDER BY id FOR UPDATE"
    ),
    members: my!(
        "UPDATE karuta_member k JOIN (SELECT m, SUM(cu) AS cu, SUM(cd) AS cd, SUM(mu) AS mu, \
         SUM(md) AS md, MAX(se) AS se, MAX(le) AS le FROM",
        "GROUP BY m) r ON k.id = r.m SET \
         k.uploaded = LEAST(k.uploaded + r.cu, 9223372036854775807), \
         k.downloaded = LEAST(k.downloaded + r.cd, 9223372036854775807), \
         k.raw_uploaded = LEAST(k.raw_uploaded + r.mu, 9223372036854775807), \
         k.raw_downloaded = LEAST(k.raw_downloaded + r.md, 9223372036854775807), \
         k.seeding = r.se, k.leeching = r.le, k.updated_at = k.updated_at"
    ),
    torrents: my!(
        "UPDATE karuta_torrent k JOIN (SELECT t, SUM(co) AS co, MAX(sd) AS sd, MAX(lc) AS lc FROM",
        "GROUP BY t) r ON k.id = r.t SET \
         k.completed = LEAST(k.completed + r.co, 9223372036854775807), \
         k.seeders = r.sd, k.leechers = r.lc, k.updated_at = k.updated_at"
    ),
    tokens: my!(
        "UPDATE karuta_token k JOIN (SELECT m, t, SUM(td) AS td FROM",
        "WHERE td > 0 GROUP BY m, t) r ON k.member = r.m AND k.torrent = r.t SET \
         k.downloaded = LEAST(k.downloaded + r.td, 9223372036854775807), \
         k.updated_at = k.updated_at"
    ),
    history: my!(
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
    ),
    // The placeholder of the node comes before that of the rows.
    peers: my!(
        "INSERT INTO karuta_peer (node, member, torrent, peer_id, uploaded, downloaded, remaining, \
         active, address, port, seen_at) \
         SELECT ?, m, t, UNHEX(p), tu, tl, re, ac, ad, po, FROM_UNIXTIME(la) FROM",
        "WHERE an > 0 AND go = 0 ORDER BY m, t, p ON DUPLICATE KEY UPDATE node = VALUES(node), \
         uploaded = VALUES(uploaded), downloaded = VALUES(downloaded), \
         remaining = VALUES(remaining), active = VALUES(active), address = VALUES(address), \
         port = VALUES(port), seen_at = VALUES(seen_at)"
    ),
    silent: my!(
        "UPDATE (SELECT ? AS node) a JOIN",
        "JOIN karuta_peer k ON k.member = r.m AND k.torrent = r.t AND k.peer_id = UNHEX(r.p) \
         SET k.active = 0 WHERE r.an = 0 AND r.go = 0 AND k.node = a.node"
    ),
    gone: my!(
        "DELETE k FROM (SELECT ? AS node) a JOIN",
        "JOIN karuta_peer k ON k.member = r.m AND k.torrent = r.t AND k.peer_id = UNHEX(r.p) \
         WHERE r.go = 1 AND k.node = a.node"
    ),
    snatches: my!(
        "INSERT INTO karuta_snatch (node, batch, n, member, torrent, at, address) \
         SELECT ?, ?, n, m, t, FROM_UNIXTIME(la), ad FROM",
        "WHERE co > 0 ORDER BY n"
    ),
    now: "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
    load_members: "SELECT id, passkey, CAST(enabled AS SIGNED), CAST(leech AS SIGNED), \
                   CAST(visible AS SIGNED), CAST(immune AS SIGNED), CAST(freeleech AS SIGNED), \
                   CAST(double_upload AS SIGNED), CAST(group_id AS SIGNED), CAST(slots AS SIGNED) \
                   FROM karuta_member WHERE updated_at >= FROM_UNIXTIME(? / 1000000) ORDER BY id",
    load_torrents: "SELECT id, info_hash, info_hash_v2, CAST(status AS SIGNED), \
                    CAST(deleted AS SIGNED), CAST(featured AS SIGNED), CAST(reason AS SIGNED), \
                    CAST(upload_percent AS SIGNED), CAST(download_percent AS SIGNED) \
                    FROM karuta_torrent WHERE updated_at >= FROM_UNIXTIME(? / 1000000) ORDER BY id",
    load_tokens: "SELECT member, torrent, CAST(expires_at IS NULL OR expires_at > NOW() AS SIGNED) \
                  FROM karuta_token WHERE updated_at >= FROM_UNIXTIME(? / 1000000) \
                  OR (expires_at >= FROM_UNIXTIME(? / 1000000) AND expires_at <= NOW()) \
                  ORDER BY member, torrent",
    load_peers: "SELECT member, torrent, LOWER(HEX(peer_id)), uploaded, downloaded, remaining, \
                 CAST(active AS SIGNED), CAST(UNIX_TIMESTAMP(seen_at) AS SIGNED), address, \
                 CAST(port AS SIGNED) FROM karuta_peer WHERE node = ?",
};
