-- Karuta's tables in PostgreSQL 12 or newer. Amounts are in bytes.

-- The members. Yours are all columns but the six sums and counts, which the tracker adds to: it never
-- sets `uploaded`, so you may correct it at any time.
CREATE TABLE karuta_member (
    id              bigint      PRIMARY KEY CHECK (id > 0),
    passkey         text        NOT NULL UNIQUE,          -- 16 to 64 letters, digits, - and _
    enabled         boolean     NOT NULL DEFAULT true,
    leech           boolean     NOT NULL DEFAULT true,
    visible         boolean     NOT NULL DEFAULT true,    -- addresses may be written down
    immune          boolean     NOT NULL DEFAULT false,
    freeleech       boolean     NOT NULL DEFAULT false,
    double_upload   boolean     NOT NULL DEFAULT false,
    group_id        integer     NOT NULL DEFAULT 0,
    slots           integer,                              -- NULL: any number
    uploaded        bigint      NOT NULL DEFAULT 0,       -- as credited
    downloaded      bigint      NOT NULL DEFAULT 0,
    raw_uploaded    bigint      NOT NULL DEFAULT 0,       -- as moved
    raw_downloaded  bigint      NOT NULL DEFAULT 0,
    seeding         integer     NOT NULL DEFAULT 0,       -- torrents, now
    leeching        integer     NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX karuta_member_updated ON karuta_member (updated_at);

-- The torrents. The tracker changes `seeders`, `leechers` and `completed`.
CREATE TABLE karuta_torrent (
    id               bigint      PRIMARY KEY CHECK (id > 0),
    info_hash        bytea       NOT NULL UNIQUE CHECK (length(info_hash) IN (20, 32)),
    info_hash_v2     bytea       UNIQUE CHECK (length(info_hash_v2) IN (20, 32)),
    status           smallint    NOT NULL DEFAULT 1,      -- 0 pending, 1 approved, 2 rejected, 3 postponed
    deleted          boolean     NOT NULL DEFAULT false,
    featured         boolean     NOT NULL DEFAULT false,
    reason           integer     NOT NULL DEFAULT 0,
    upload_percent   integer     NOT NULL DEFAULT 100,
    download_percent integer     NOT NULL DEFAULT 100,
    seeders          integer     NOT NULL DEFAULT 0,
    leechers         integer     NOT NULL DEFAULT 0,
    completed        bigint      NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX karuta_torrent_updated ON karuta_torrent (updated_at);

-- To take a token back at once, set `expires_at` to now(). The tracker changes `downloaded`.
CREATE TABLE karuta_token (
    member      bigint      NOT NULL,
    torrent     bigint      NOT NULL,
    downloaded  bigint      NOT NULL DEFAULT 0,           -- as moved with it
    expires_at  timestamptz,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (member, torrent)
);
CREATE INDEX karuta_token_updated ON karuta_token (updated_at);

-- Below, all is the tracker's.

-- What a member has moved at a torrent.
CREATE TABLE karuta_history (
    member               bigint      NOT NULL,
    torrent              bigint      NOT NULL,
    uploaded             bigint      NOT NULL,
    downloaded           bigint      NOT NULL,
    credited_uploaded    bigint      NOT NULL,
    credited_downloaded  bigint      NOT NULL,
    seed_seconds         bigint      NOT NULL,
    announces            bigint      NOT NULL,
    first_at             timestamptz NOT NULL,
    last_at              timestamptz NOT NULL,
    completed_at         timestamptz,
    PRIMARY KEY (member, torrent)
) WITH (fillfactor = 80);

-- What each client last reported.
CREATE TABLE karuta_peer (
    member      bigint      NOT NULL,
    torrent     bigint      NOT NULL,
    peer_id     bytea       NOT NULL,
    node        text        NOT NULL,                     -- `accounts.node` of its tracker
    uploaded    bigint      NOT NULL,
    downloaded  bigint      NOT NULL,
    remaining   bigint,                                   -- NULL: it does not say
    active      boolean     NOT NULL,
    address     inet,                                     -- NULL: the member is not visible
    port        integer,
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (member, torrent, peer_id)
) WITH (fillfactor = 70);

-- Finished downloads, one by one.
CREATE TABLE karuta_snatch (
    node     text        NOT NULL,
    batch    bigint      NOT NULL,
    n        bigint      NOT NULL,
    member   bigint      NOT NULL,
    torrent  bigint      NOT NULL,
    at       timestamptz NOT NULL,
    address  inet,
    PRIMARY KEY (node, batch, n)
);

-- Which batch of each tracker was the last one. It is written in the transaction of that batch.
CREATE TABLE karuta_ledger (
    node     varchar(80) PRIMARY KEY,
    applied  bigint      NOT NULL,
    nonce    bigint      NOT NULL,
    at       timestamptz NOT NULL
);

-- Notes the time of your changes, so that the tracker reads them, but not of its own.
CREATE FUNCTION karuta_touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END';
CREATE TRIGGER karuta_touch BEFORE UPDATE OF id, passkey, enabled, leech, visible, immune, freeleech,
    double_upload, group_id, slots ON karuta_member FOR EACH ROW EXECUTE FUNCTION karuta_touch();
CREATE TRIGGER karuta_touch BEFORE UPDATE OF id, info_hash, info_hash_v2, status, deleted, featured,
    reason, upload_percent, download_percent ON karuta_torrent
    FOR EACH ROW EXECUTE FUNCTION karuta_touch();
CREATE TRIGGER karuta_touch BEFORE UPDATE OF expires_at ON karuta_token
    FOR EACH ROW EXECUTE FUNCTION karuta_touch();
