-- What failed clients' hash checks. Since version 6.

ALTER TABLE session ADD COLUMN corrupt INTEGER NOT NULL DEFAULT 0;        -- as last reported

ALTER TABLE delta ADD COLUMN corrupt INTEGER NOT NULL DEFAULT 0;          -- added in the batch
ALTER TABLE delta ADD COLUMN total_corrupt INTEGER NOT NULL DEFAULT 0;    -- as last reported
