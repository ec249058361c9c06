-- What the tracker's user needs in MySQL or MariaDB, and no more. Make the user first:
--   CREATE USER karuta@localhost IDENTIFIED BY '...';

GRANT SELECT, UPDATE (uploaded, downloaded, raw_uploaded, raw_downloaded, seeding, leeching, updated_at)
    ON karuta_member TO karuta@localhost;
GRANT SELECT, UPDATE (seeders, leechers, completed, updated_at) ON karuta_torrent TO karuta@localhost;
GRANT SELECT, UPDATE (downloaded, updated_at) ON karuta_token TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON karuta_history TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE, DELETE ON karuta_peer TO karuta@localhost;
GRANT SELECT, INSERT ON karuta_snatch TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON karuta_ledger TO karuta@localhost;
