-- The tables of a Gazelle that a tracker has to do with: their columns, keys and constraints as far as
-- these matter to it.
CREATE TABLE users_main (
    ID int(10) unsigned NOT NULL PRIMARY KEY,
    Username varchar(20) NOT NULL UNIQUE,
    IP varchar(15) NOT NULL DEFAULT '0.0.0.0',
    Uploaded bigint(20) unsigned NOT NULL DEFAULT 0,
    Downloaded bigint(20) unsigned NOT NULL DEFAULT 0,
    Enabled enum('0', '1', '2') NOT NULL DEFAULT '0',
    Visible enum('1', '0') NOT NULL DEFAULT '1',
    can_leech tinyint(4) NOT NULL DEFAULT 1,
    torrent_pass char(32) NOT NULL,
    KEY (torrent_pass)
) ENGINE = InnoDB CHARSET = utf8;
CREATE TABLE torrents (
    ID int(10) NOT NULL AUTO_INCREMENT PRIMARY KEY,
    GroupID int(10) NOT NULL,
    info_hash blob NOT NULL,
    freetorrent enum('0', '1', '2') NOT NULL DEFAULT '0',
    Leechers int(6) NOT NULL DEFAULT 0,
    Seeders int(6) NOT NULL DEFAULT 0,
    Snatched int(10) unsigned NOT NULL DEFAULT 0,
    balance bigint(20) NOT NULL DEFAULT 0,
    last_action datetime NOT NULL DEFAULT '0000-00-00 00:00:00',
    UNIQUE KEY (info_hash(40))
) ENGINE = InnoDB CHARSET = utf8;
CREATE TABLE users_freeleeches (
    UserID int(10) NOT NULL,
    TorrentID int(10) NOT NULL,
    Time datetime NOT NULL,
    Expired tinyint(1) NOT NULL DEFAULT 0,
    Downloaded bigint(20) NOT NULL DEFAULT 0,
    Uses int(10) NOT NULL DEFAULT 1,
    PRIMARY KEY (UserID, TorrentID)
) ENGINE = InnoDB CHARSET = utf8;
CREATE TABLE xbt_client_whitelist (
    id int(10) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    peer_id varchar(20) UNIQUE,
    vstring varchar(200) DEFAULT ''
) ENGINE = InnoDB CHARSET = utf8;
CREATE TABLE xbt_files_users (
    uid int(11) NOT NULL,
    active tinyint(1) NOT NULL,
    announced int(11) NOT NULL,
    completed tinyint(1) NOT NULL DEFAULT 0,
    downloaded bigint(20) NOT NULL,
    remaining bigint(20) NOT NULL,
    uploaded bigint(20) NOT NULL,
    upspeed int(10) unsigned NOT NULL,
    downspeed int(10) unsigned NOT NULL,
    corrupt bigint(20) NOT NULL DEFAULT 0,
    timespent int(10) unsigned NOT NULL,
    useragent varchar(51) NOT NULL,
    connectable tinyint(4) NOT NULL DEFAULT 1,
    peer_id binary(20) NOT NULL,
    fid int(11) NOT NULL,
    mtime int(11) NOT NULL,
    ip varchar(15) NOT NULL DEFAULT '',
    PRIMARY KEY (peer_id, fid, uid),
    KEY (fid),
    KEY (uid, active)
) ENGINE = InnoDB CHARSET = utf8;
CREATE TABLE xbt_snatched (
    uid int(11) NOT NULL DEFAULT 0,
    tstamp int(11) NOT NULL,
    fid int(11) NOT NULL,
    IP varchar(15) NOT NULL,
    KEY (fid),
    KEY (uid, tstamp)
) ENGINE = InnoDB CHARSET = utf8;
