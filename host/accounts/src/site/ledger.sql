-- The only table that the tracker needs beside those of the site: which batch of each tracker was the
-- last one. It is written in the transaction of that batch. Times are UTC.
CREATE TABLE karuta_ledger (
    node     varchar(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    applied  bigint      NOT NULL,
    nonce    bigint      NOT NULL,
    at       datetime    NOT NULL
) ENGINE = InnoDB;
