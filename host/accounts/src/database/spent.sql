-- Since version 4.

-- The client's user agent, if it is known.
ALTER TABLE delta ADD COLUMN agent TEXT;

-- Tokens that a finished download has used up, until the site has been told.
CREATE TABLE spent (
    member   INTEGER NOT NULL,
    torrent  INTEGER NOT NULL,
    PRIMARY KEY (member, torrent)
) STRICT, WITHOUT ROWID;
