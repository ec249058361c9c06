-- What is different in a later Gazelle.
ALTER TABLE users_main DROP COLUMN Uploaded, DROP COLUMN Downloaded;
ALTER TABLE torrents DROP COLUMN Seeders, DROP COLUMN Leechers, DROP COLUMN Snatched,
    DROP COLUMN balance, DROP COLUMN last_action;
CREATE TABLE users_leech_stats (
    UserID int(10) unsigned NOT NULL PRIMARY KEY,
    Uploaded bigint(20) unsigned NOT NULL DEFAULT 0,
    Downloaded bigint(20) unsigned NOT NULL DEFAULT 0,
    FOREIGN KEY (UserID) REFERENCES users_main (ID) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8;
CREATE TABLE torrents_leech_stats (
    TorrentID int(10) NOT NULL PRIMARY KEY,
    Seeders int(6) unsigned NOT NULL DEFAULT 0,
    Leechers int(6) unsigned NOT NULL DEFAULT 0,
    Snatched int(6) unsigned NOT NULL DEFAULT 0,
    Balance bigint(20) NOT NULL DEFAULT 0,
    last_action datetime DEFAULT NULL,
    FOREIGN KEY (TorrentID) REFERENCES torrents (ID) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8;
