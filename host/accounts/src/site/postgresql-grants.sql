-- What the tracker's user needs in PostgreSQL, and no more. Make the user first:
--   CREATE ROLE karuta LOGIN PASSWORD '...';

GRANT SELECT ON karuta_member, karuta_torrent, karuta_token TO karuta;
GRANT UPDATE (uploaded, downloaded, raw_uploaded, raw_downloaded, seeding, leeching)
    ON karuta_member TO karuta;
GRANT UPDATE (seeders, leechers, completed) ON karuta_torrent TO karuta;
GRANT UPDATE (downloaded) ON karuta_token TO karuta;
GRANT SELECT, INSERT, UPDATE ON karuta_history TO karuta;
GRANT SELECT, INSERT, UPDATE, DELETE ON karuta_peer TO karuta;
GRANT SELECT, INSERT ON karuta_snatch TO karuta;
GRANT SELECT, INSERT, UPDATE ON karuta_ledger TO karuta;
