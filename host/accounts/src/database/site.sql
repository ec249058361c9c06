-- What waits to be played into the site's database, and what was played and is kept, to be played
-- again into a backup of it. Since version 3.

CREATE TABLE site (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    epoch      TEXT    NOT NULL,                 -- random; this file's part of the node's name
    open       INTEGER NOT NULL,                 -- the number of the next batch
    is_loaded  INTEGER NOT NULL                  -- members and torrents were read once
) STRICT;

CREATE TABLE batch (
    number      INTEGER PRIMARY KEY,             -- without gaps
    nonce       INTEGER NOT NULL,                -- random
    sealed_at   INTEGER NOT NULL,
    applied_at  INTEGER,                         -- NULL: as far as we know, not yet
    is_pruned   INTEGER NOT NULL DEFAULT 0       -- 1: some of its rows are gone; 2: all are
) STRICT;

-- What a client has added in a batch, and what it last reported then.
CREATE TABLE delta (
    batch          INTEGER NOT NULL,             -- 9223372036854775807: not sealed yet
    member         INTEGER NOT NULL,
    torrent        INTEGER NOT NULL,
    peer_id        BLOB    NOT NULL,
    moved_up       INTEGER NOT NULL,
    moved_down     INTEGER NOT NULL,
    credited_up    INTEGER NOT NULL,
    credited_down  INTEGER NOT NULL,
    seed_seconds   INTEGER NOT NULL,
    announces      INTEGER NOT NULL,
    completed      INTEGER NOT NULL,
    token_down     INTEGER NOT NULL,
    first_at       INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    total_up       INTEGER NOT NULL,
    total_down     INTEGER NOT NULL,
    remaining      INTEGER,
    active         INTEGER NOT NULL,
    address        TEXT,
    gone           INTEGER NOT NULL,             -- the session is forgotten
    PRIMARY KEY (batch, member, torrent, peer_id)
) STRICT, WITHOUT ROWID;

-- Rows of batches that the site's database has refused.
CREATE TABLE rejected (
    batch    INTEGER NOT NULL,
    member   INTEGER NOT NULL,
    torrent  INTEGER NOT NULL,
    peer_id  BLOB    NOT NULL,
    reason   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (batch, member, torrent, peer_id)
) STRICT, WITHOUT ROWID;
