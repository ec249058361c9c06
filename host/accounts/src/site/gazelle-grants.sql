-- What the tracker's user needs in the database of a Gazelle, and no more. Make the user first:
--   CREATE USER karuta@localhost IDENTIFIED BY '...';

GRANT SELECT (ID, torrent_pass, can_leech, Enabled, Visible, IP, Uploaded, Downloaded),
    UPDATE (Uploaded, Downloaded) ON users_main TO karuta@localhost;
GRANT SELECT (ID, info_hash, freetorrent, Seeders, Leechers, Snatched, balance, last_action),
    UPDATE (Seeders, Leechers, Snatched, balance, last_action) ON torrents TO karuta@localhost;
GRANT SELECT (UserID, TorrentID, Expired, Downloaded), UPDATE (Downloaded)
    ON users_freeleeches TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON xbt_files_users TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON xbt_snatched TO karuta@localhost;
GRANT SELECT ON xbt_client_whitelist TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON karuta_ledger TO karuta@localhost;
