-- Times are in seconds since 1970, amounts in bytes. Nothing is deleted but tokens, sessions, and deleted
-- torrents whose info-hash another one has taken.

CREATE TABLE member (
    id              INTEGER PRIMARY KEY,
    passkey         TEXT    NOT NULL UNIQUE,
    enabled         INTEGER NOT NULL DEFAULT 1,
    leech           INTEGER NOT NULL DEFAULT 1,
    visible         INTEGER NOT NULL DEFAULT 1,
    immune          INTEGER NOT NULL DEFAULT 0,
    freeleech       INTEGER NOT NULL DEFAULT 0,
    double_upload   INTEGER NOT NULL DEFAULT 0,
    group_id        INTEGER NOT NULL DEFAULT 0,
    slots           INTEGER,                     -- NULL: any number
    uploaded        INTEGER NOT NULL DEFAULT 0,  -- as credited
    downloaded      INTEGER NOT NULL DEFAULT 0,
    raw_uploaded    INTEGER NOT NULL DEFAULT 0,  -- as moved
    raw_downloaded  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE torrent (
    id               INTEGER PRIMARY KEY,
    info_hash        BLOB    NOT NULL UNIQUE,    -- 20 bytes
    info_hash_v2     BLOB    UNIQUE,             -- the first 20 bytes
    status           INTEGER NOT NULL DEFAULT 1, -- 0 pending, 1 approved, 2 rejected, 3 postponed
    deleted          INTEGER NOT NULL DEFAULT 0,
    featured         INTEGER NOT NULL DEFAULT 0,
    reason           INTEGER NOT NULL DEFAULT 0,
    upload_percent   INTEGER NOT NULL DEFAULT 100,
    download_percent INTEGER NOT NULL DEFAULT 100,
    completed        INTEGER NOT NULL DEFAULT 0  -- finished downloads
) STRICT;

CREATE TABLE token (
    member      INTEGER NOT NULL,
    torrent     INTEGER NOT NULL,
    downloaded  INTEGER NOT NULL DEFAULT 0,      -- as moved with it
    PRIMARY KEY (member, torrent)
) STRICT, WITHOUT ROWID;

-- What each client has last reported: the difference to it is what the next announce adds.
CREATE TABLE session (
    member      INTEGER NOT NULL,
    torrent     INTEGER NOT NULL,
    peer_id     BLOB    NOT NULL,
    uploaded    INTEGER NOT NULL,
    downloaded  INTEGER NOT NULL,
    remaining   INTEGER,                         -- NULL: the client does not say
    first_at    INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    announces   INTEGER NOT NULL,
    active      INTEGER NOT NULL,
    suspect     INTEGER NOT NULL DEFAULT 0,      -- announces that exceeded the guard's rate
    address     TEXT,                            -- NULL: the member is not visible
    spare       INTEGER NOT NULL DEFAULT 0,      -- bytes that the guard allows at once
    PRIMARY KEY (member, torrent, peer_id)
) STRICT, WITHOUT ROWID;

-- What a member has moved at a torrent, whatever has become of the sessions.
CREATE TABLE history (
    member               INTEGER NOT NULL,
    torrent              INTEGER NOT NULL,
    uploaded             INTEGER NOT NULL,
    downloaded           INTEGER NOT NULL,
    credited_uploaded    INTEGER NOT NULL,
    credited_downloaded  INTEGER NOT NULL,
    seed_seconds         INTEGER NOT NULL,
    announces            INTEGER NOT NULL,
    first_at             INTEGER NOT NULL,
    last_at              INTEGER NOT NULL,
    completed_at         INTEGER,
    PRIMARY KEY (member, torrent)
) STRICT, WITHOUT ROWID;
