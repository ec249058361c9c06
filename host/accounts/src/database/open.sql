-- Rows of the open batch have this number, so that it can be sealed in parts. Since version 7.

UPDATE delta SET batch = 9223372036854775807 WHERE batch >= (SELECT open FROM site);
