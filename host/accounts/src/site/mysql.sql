-- Karuta's tables in MySQL 8.0 or newer, or MariaDB 10.6 or newer. Amounts are in bytes.

-- The members. Yours are all columns but the six sums and counts, which the tracker adds to: it never
-- sets `uploaded`, so you may correct it at any time.
CREATE TABLE karuta_member (
    id              bigint       NOT NULL PRIMARY KEY CHECK (id > 0),
    passkey         varchar(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE, -- 16 to 64 letters, digits, - and _
    enabled         boolean      NOT NULL DEFAULT true,
    leech           boolean      NOT NULL DEFAULT true,
    visible         boolean      NOT NULL DEFAULT true,    -- addresses may be written down
    immune          boolean      NOT NULL DEFAULT false,
    freeleech       boolean      NOT NULL DEFAULT false,
    double_upload   boolean      NOT NULL DEFAULT false,
    group_id        int          NOT NULL DEFAULT 0,
    slots           int,                                   -- NULL: any number
    uploaded        bigint       NOT NULL DEFAULT 0,       -- as credited
    downloaded      bigint       NOT NULL DEFAULT 0,
    raw_uploaded    bigint       NOT NULL DEFAULT 0,       -- as moved
    raw_downloaded  bigint       NOT NULL DEFAULT 0,
    seeding         int          NOT NULL DEFAULT 0,       -- torrents, now
    leeching        int          NOT NULL DEFAULT 0,
    -- The time of your changes, so that the tracker reads them; its own leave it as it is.
    updated_at      timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    KEY (updated_at)
) ENGINE = InnoDB;

-- The torrents. The tracker changes `seeders`, `leechers` and `completed`.
CREATE TABLE karuta_torrent (
    id               bigint       NOT NULL PRIMARY KEY CHECK (id > 0),
    info_hash        varbinary(32) NOT NULL UNIQUE CHECK (length(info_hash) IN (20, 32)),
    info_hash_v2     varbinary(32) UNIQUE CHECK (length(info_hash_v2) IN (20, 32)),
    status           smallint     NOT NULL DEFAULT 1,      -- 0 pending, 1 approved, 2 rejected, 3 postponed
    deleted          boolean      NOT NULL DEFAULT false,
    featured         boolean      NOT NULL DEFAULT false,
    reason           int          NOT NULL DEFAULT 0,
    upload_percent   int          NOT NULL DEFAULT 100,
    download_percent int          NOT NULL DEFAULT 100,
    seeders          int          NOT NULL DEFAULT 0,
    leechers         int          NOT NULL DEFAULT 0,
    completed        bigint       NOT NULL DEFAULT 0,
    updated_at       timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    KEY (updated_at)
) ENGINE = InnoDB;

-- To take a token back at once, set `expires_at` to NOW(). The tracker changes `downloaded`.
CREATE TABLE karuta_token (
    member      bigint       NOT NULL,
    torrent     bigint       NOT NULL,
    downloaded  bigint       NOT NULL DEFAULT 0,           -- as moved with it
    expires_at  timestamp    NULL,
    updated_at  timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    PRIMARY KEY (member, torrent),
    KEY (updated_at)
) ENGINE = InnoDB;

-- Below, all is the tracker's. Times are UTC.

-- What a member has moved at a torrent.
CREATE TABLE karuta_history (
    member               bigint   NOT NULL,
    torrent              bigint   NOT NULL,
    uploaded             bigint   NOT NULL,
    downloaded           bigint   NOT NULL,
    credited_uploaded    bigint   NOT NULL,
    credited_downloaded  bigint   NOT NULL,
    seed_seconds         bigint   NOT NULL,
    announces            bigint   NOT NULL,
    first_at             datetime NOT NULL,
    last_at              datetime NOT NULL,
    completed_at         datetime,
    PRIMARY KEY (member, torrent)
) ENGINE = InnoDB;

-- What each client last reported.
CREATE TABLE karuta_peer (
    member      bigint      NOT NULL,
    torrent     bigint      NOT NULL,
    peer_id     binary(20)  NOT NULL,
    node        varchar(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- `accounts.node` of its tracker
    uploaded    bigint      NOT NULL,
    downloaded  bigint      NOT NULL,
    remaining   bigint,                                   -- NULL: it does not say
    active      boolean     NOT NULL,
    address     varchar(45) CHARACTER SET ascii,          -- NULL: the member is not visible
    port        int,
    seen_at     datetime    NOT NULL,
    PRIMARY KEY (member, torrent, peer_id)
) ENGINE = InnoDB;

-- Finished downloads, one by one.
CREATE TABLE karuta_snatch (
    node     varchar(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    batch    bigint      NOT NULL,
    n        bigint      NOT NULL,
    member   bigint      NOT NULL,
    torrent  bigint      NOT NULL,
    at       datetime    NOT NULL,
    address  varchar(45) CHARACTER SET ascii,
    PRIMARY KEY (node, batch, n)
) ENGINE = InnoDB;

-- Which batch of each tracker was the last one. It is written in the transaction of that batch.
CREATE TABLE karuta_ledger (
    node     varchar(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    applied  bigint      NOT NULL,
    nonce    bigint      NOT NULL,
    at       datetime    NOT NULL
) ENGINE = InnoDB;
