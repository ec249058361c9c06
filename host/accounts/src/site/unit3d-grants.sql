-- What the tracker's user needs in the database of a UNIT3D, and no more. Make the user first:
--   CREATE USER karuta@localhost IDENTIFIED BY '...';

GRANT SELECT (id, passkey, group_id, can_download, is_donor, is_lifetime, deleted_at, uploaded,
        downloaded),
    UPDATE (uploaded, downloaded) ON users TO karuta@localhost;
GRANT SELECT (id, info_hash, status, free, doubleup, deleted_at, seeders, leechers, times_completed, balance),
    UPDATE (seeders, leechers, times_completed, balance, updated_at) ON torrents TO karuta@localhost;
GRANT SELECT (id, slug, download_slots, is_immune, is_freeleech, is_double_upload)
    ON `groups` TO karuta@localhost;
GRANT SELECT ON freeleech_tokens TO karuta@localhost;
GRANT SELECT ON personal_freeleeches TO karuta@localhost;
GRANT SELECT ON featured_torrents TO karuta@localhost;
GRANT SELECT ON blacklist_clients TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON history TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON peers TO karuta@localhost;
GRANT SELECT, INSERT, UPDATE ON karuta_ledger TO karuta@localhost;
