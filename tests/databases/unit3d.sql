-- The tables of a UNIT3D that a tracker has to do with: their columns, keys and constraints as far as
-- these matter to it.
CREATE TABLE `groups` (
    id int NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(255) NOT NULL,
    slug varchar(255) NOT NULL UNIQUE,
    download_slots int DEFAULT NULL,
    is_immune tinyint(1) NOT NULL DEFAULT '0',
    is_freeleech tinyint(1) NOT NULL DEFAULT '0',
    is_double_upload tinyint(1) NOT NULL DEFAULT '0'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
INSERT INTO `groups` (id, name, slug) VALUES (1, 'Validating', 'validating'), (3, 'User', 'user'),
    (5, 'Banned', 'banned');
CREATE TABLE users (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username varchar(255) NOT NULL UNIQUE,
    passkey varchar(255) NOT NULL UNIQUE,
    group_id int NOT NULL,
    uploaded bigint unsigned NOT NULL DEFAULT '0',
    downloaded bigint unsigned NOT NULL DEFAULT '0',
    can_download tinyint(1) NOT NULL DEFAULT '1',
    is_donor tinyint(1) NOT NULL DEFAULT '0',
    is_lifetime tinyint(1) NOT NULL DEFAULT '0',
    created_at timestamp NULL DEFAULT NULL,
    updated_at timestamp NULL DEFAULT NULL,
    deleted_at timestamp NULL DEFAULT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE torrents (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(255) NOT NULL,
    leechers int NOT NULL DEFAULT '0',
    seeders int NOT NULL DEFAULT '0',
    times_completed int NOT NULL DEFAULT '0',
    free smallint NOT NULL DEFAULT '0',
    doubleup tinyint(1) NOT NULL DEFAULT '0',
    status smallint NOT NULL DEFAULT '0',
    balance bigint DEFAULT NULL,
    balance_offset bigint DEFAULT NULL,
    info_hash binary(20) NOT NULL,
    created_at timestamp NULL DEFAULT NULL,
    updated_at timestamp NULL DEFAULT NULL,
    deleted_at timestamp NULL DEFAULT NULL,
    KEY (info_hash)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE history (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id int unsigned NOT NULL,
    torrent_id int unsigned NOT NULL,
    agent varchar(64) NOT NULL,
    uploaded bigint unsigned NOT NULL DEFAULT '0',
    actual_uploaded bigint unsigned NOT NULL DEFAULT '0',
    client_uploaded bigint unsigned NOT NULL,
    downloaded bigint unsigned NOT NULL DEFAULT '0',
    refunded_download bigint unsigned NOT NULL DEFAULT '0',
    actual_downloaded bigint unsigned NOT NULL DEFAULT '0',
    client_downloaded bigint unsigned NOT NULL,
    seeder tinyint(1) NOT NULL,
    active tinyint(1) NOT NULL DEFAULT '1',
    seedtime bigint unsigned NOT NULL DEFAULT '0',
    immune tinyint(1) NOT NULL,
    hitrun tinyint(1) NOT NULL DEFAULT '0',
    prewarn tinyint(1) NOT NULL DEFAULT '0',
    created_at timestamp NULL DEFAULT NULL,
    updated_at timestamp NULL DEFAULT NULL,
    completed_at datetime DEFAULT NULL,
    UNIQUE KEY (user_id, torrent_id),
    FOREIGN KEY (torrent_id) REFERENCES torrents (id) ON DELETE CASCADE ON UPDATE CASCADE,
    FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE peers (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    peer_id binary(20) NOT NULL,
    ip varbinary(16) NOT NULL,
    port smallint unsigned NOT NULL,
    agent varchar(64) NOT NULL,
    uploaded bigint unsigned NOT NULL,
    downloaded bigint unsigned NOT NULL,
    `left` bigint unsigned NOT NULL,
    seeder tinyint(1) NOT NULL,
    created_at timestamp NULL DEFAULT NULL,
    updated_at timestamp NULL DEFAULT NULL,
    torrent_id int unsigned NOT NULL,
    user_id int unsigned NOT NULL,
    connectable tinyint(1) NOT NULL DEFAULT '0',
    active tinyint(1) NOT NULL,
    visible tinyint(1) NOT NULL,
    UNIQUE KEY (user_id, torrent_id, peer_id),
    FOREIGN KEY (torrent_id) REFERENCES torrents (id) ON DELETE CASCADE ON UPDATE CASCADE,
    FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE freeleech_tokens (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id int unsigned NOT NULL,
    torrent_id int unsigned NOT NULL,
    FOREIGN KEY (torrent_id) REFERENCES torrents (id) ON DELETE CASCADE ON UPDATE CASCADE,
    FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE personal_freeleeches (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id int unsigned NOT NULL,
    FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE featured_torrents (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id int unsigned NOT NULL,
    torrent_id int unsigned NOT NULL,
    FOREIGN KEY (torrent_id) REFERENCES torrents (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE blacklist_clients (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    peer_id_prefix varchar(255) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
