-- What a client has added since its session began is in the session's row, so that an announce changes
-- one place of the file. It is settled, added to what its member has, when the session is forgotten, the
-- member's totals are set, or it is very much. Since version 6.

ALTER TABLE session ADD COLUMN moved_up INTEGER NOT NULL DEFAULT 0;      -- not settled yet, as are these
ALTER TABLE session ADD COLUMN moved_down INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN credited_up INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN credited_down INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN seed_seconds INTEGER NOT NULL DEFAULT 0;

ALTER TABLE member RENAME TO member_settled;
ALTER TABLE history RENAME TO history_settled;

-- Announces are settled when the session is forgotten.
UPDATE history_settled AS h SET announces = max(announces - (
    SELECT coalesce(sum(s.announces), 0) FROM session s WHERE s.member = h.member AND s.torrent = h.torrent
), 0);

-- Members with all that they have moved.
CREATE VIEW member AS
SELECT m.id, m.passkey, m.enabled, m.leech, m.visible, m.immune, m.freeleech, m.double_upload, m.group_id,
    m.slots,
    (SELECT min(m.uploaded, 9223372036854775807 - more) + more
        FROM (SELECT coalesce(sum(credited_up), 0) AS more FROM session WHERE member = m.id)) AS uploaded,
    (SELECT min(m.downloaded, 9223372036854775807 - more) + more
        FROM (SELECT coalesce(sum(credited_down), 0) AS more FROM session WHERE member = m.id)) AS downloaded,
    (SELECT min(m.raw_uploaded, 9223372036854775807 - more) + more
        FROM (SELECT coalesce(sum(moved_up), 0) AS more FROM session WHERE member = m.id)) AS raw_uploaded,
    (SELECT min(m.raw_downloaded, 9223372036854775807 - more) + more
        FROM (SELECT coalesce(sum(moved_down), 0) AS more FROM session WHERE member = m.id)) AS raw_downloaded
FROM member_settled m;

-- What members have moved at torrents, sessions included.
CREATE VIEW history AS
SELECT h.member, h.torrent,
    min(h.uploaded, 9223372036854775807 - coalesce(sum(s.moved_up), 0))
        + coalesce(sum(s.moved_up), 0) AS uploaded,
    min(h.downloaded, 9223372036854775807 - coalesce(sum(s.moved_down), 0))
        + coalesce(sum(s.moved_down), 0) AS downloaded,
    min(h.credited_uploaded, 9223372036854775807 - coalesce(sum(s.credited_up), 0))
        + coalesce(sum(s.credited_up), 0) AS credited_uploaded,
    min(h.credited_downloaded, 9223372036854775807 - coalesce(sum(s.credited_down), 0))
        + coalesce(sum(s.credited_down), 0) AS credited_downloaded,
    min(h.seed_seconds, 9223372036854775807 - coalesce(sum(s.seed_seconds), 0))
        + coalesce(sum(s.seed_seconds), 0) AS seed_seconds,
    h.announces + coalesce(sum(s.announces), 0) AS announces,
    h.first_at,
    max(h.last_at, coalesce(max(s.seen_at), 0)) AS last_at,
    h.completed_at
FROM history_settled h LEFT JOIN session s USING (member, torrent)
GROUP BY h.member, h.torrent;
