//! Our own tables in PostgreSQL.

use super::Place::{Batch, Name, Node, Rows, Since};
use super::{Listing, Statements, Step, Which};

const UNSAFE_TABLES: &str = "SELECT relname::text FROM pg_class WHERE relname IN ('karuta_member', \
     'karuta_torrent', 'karuta_token', 'karuta_history', 'karuta_peer', \
     'karuta_snatch', 'karuta_ledger') AND relpersistence = 'u' \
     AND pg_table_is_visible(oid)";
const LOOK: &str = "SELECT applied, nonce FROM karuta_ledger WHERE node = $1";
const ENROLL: &str =
    "INSERT INTO karuta_ledger (node, applied, nonce, at) VALUES ($1, 0, 0, now())";
const STEP: &str = "UPDATE karuta_ledger SET applied = $1, nonce = $2, at = now() \
     WHERE node = $3 AND applied = $4 AND nonce = $5";
const MEMBERS_THERE: &str = pg!(
    "SELECT id FROM karuta_member WHERE id IN (SELECT m FROM",
    ") ORDER BY id FOR NO KEY UPDATE"
);
const MEMBERS: &str = pg!(
    "UPDATE karuta_member k SET \
     uploaded = LEAST(k.uploaded + r.cu, 9223372036854775807), \
     downloaded = LEAST(k.downloaded + r.cd, 9223372036854775807), \
     raw_uploaded = LEAST(k.raw_uploaded + r.mu, 9223372036854775807), \
     raw_downloaded = LEAST(k.raw_downloaded + r.md, 9223372036854775807), \
     seeding = r.se, leeching = r.le \
     FROM (SELECT m, sum(cu) AS cu, sum(cd) AS cd, sum(mu) AS mu, sum(md) AS md, \
     max(se) AS se, max(le) AS le FROM",
    "GROUP BY m) r WHERE k.id = r.m"
);
const TORRENTS: &str = pg!(
    "UPDATE karuta_torrent k SET completed = LEAST(k.completed + r.co, 9223372036854775807), \
     seeders = r.sd, leechers = r.lc \
     FROM (SELECT t, sum(co) AS co, max(sd) AS sd, max(lc) AS lc FROM",
    "GROUP BY t) r WHERE k.id = r.t"
);
const TOKENS: &str = pg!(
    "UPDATE karuta_token k SET downloaded = LEAST(k.downloaded + r.td, 9223372036854775807) \
     FROM (SELECT m, t, sum(td) AS td FROM",
    "WHERE td > 0 GROUP BY m, t) r WHERE k.member = r.m AND k.torrent = r.t"
);
const HISTORY: &str = pg!(
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
);
const PEERS: &str = pg!(
    "INSERT INTO karuta_peer AS k (member, torrent, peer_id, node, uploaded, downloaded, \
     remaining, active, address, port, seen_at) \
     SELECT m, t, decode(p, 'hex'), $2, tu, tl, re, ac = 1, ad::inet, po, to_timestamp(la) FROM",
    "WHERE an > 0 AND go = 0 ORDER BY m, t, p \
     ON CONFLICT (member, torrent, peer_id) DO UPDATE SET node = EXCLUDED.node, \
     uploaded = EXCLUDED.uploaded, downloaded = EXCLUDED.downloaded, \
     remaining = EXCLUDED.remaining, active = EXCLUDED.active, address = EXCLUDED.address, \
     port = EXCLUDED.port, seen_at = EXCLUDED.seen_at"
);
const SILENT: &str = pg!(
    "UPDATE karuta_peer k SET active = false FROM",
    "WHERE r.an = 0 AND r.go = 0 AND k.member = r.m AND k.torrent = r.t \
     AND k.peer_id = decode(r.p, 'hex') AND k.node = $2"
);
const GONE: &str = pg!(
    "DELETE FROM karuta_peer k USING",
    "WHERE r.go = 1 AND k.member = r.m AND k.torrent = r.t \
     AND k.peer_id = decode(r.p, 'hex') AND k.node = $2"
);
const SNATCHES: &str = pg!(
    "INSERT INTO karuta_snatch (node, batch, n, member, torrent, at, address) \
     SELECT $2, $3, n, m, t, to_timestamp(la), ad::inet FROM",
    "WHERE co > 0 ORDER BY n"
);
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
const LOAD_MEMBERS: &str = "SELECT id, passkey, enabled::int::bigint, leech::int::bigint, \
     visible::int::bigint, immune::int::bigint, freeleech::int::bigint, \
     double_upload::int::bigint, group_id::bigint, slots::bigint \
     FROM karuta_member \
     WHERE updated_at >= to_timestamp($1::double precision / 1000000) ORDER BY id";
const LOAD_TORRENTS: &str = "SELECT id, info_hash, info_hash_v2, status::bigint, deleted::int::bigint, \
     featured::int::bigint, reason::bigint, upload_percent::bigint, \
     download_percent::bigint FROM karuta_torrent \
     WHERE updated_at >= to_timestamp($1::double precision / 1000000) ORDER BY id";
const LOAD_TOKENS: &str = "SELECT member, torrent, \
     (expires_at IS NULL OR expires_at > now())::int::bigint FROM karuta_token \
     WHERE updated_at >= to_timestamp($1::double precision / 1000000) \
     OR (expires_at >= to_timestamp($2::double precision / 1000000) \
     AND expires_at <= now()) ORDER BY member, torrent";
const LOAD_PEERS: &str = "SELECT member, torrent, encode(peer_id, 'hex'), uploaded, downloaded, remaining, \
     active::int::bigint, extract(epoch FROM seen_at)::bigint, host(address), \
     port::bigint, 0::bigint FROM karuta_peer WHERE node = $1";

pub const KARUTA: Statements = Statements {
    greeting: None,
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
        Step { which: Which::Here, sql: PEERS, values: &[Rows, Name] },
        Step { which: Which::Silent, sql: SILENT, values: &[Rows, Name] },
        Step { which: Which::Gone, sql: GONE, values: &[Rows, Name] },
        Step { which: Which::Completed, sql: SNATCHES, values: &[Rows, Node, Batch] },
    ],
    now: Some(NOW),
    groups: None,
    members: Listing { table: "karuta_member", sql: LOAD_MEMBERS, values: &[Since] },
    torrents: Listing { table: "karuta_torrent", sql: LOAD_TORRENTS, values: &[Since] },
    tokens: Listing { table: "karuta_token", sql: LOAD_TOKENS, values: &[Since, Since] },
    peers: Listing { table: "karuta_peer", sql: LOAD_PEERS, values: &[Name] },
};
