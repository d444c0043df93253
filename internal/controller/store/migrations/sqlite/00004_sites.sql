-- +goose Up
-- Sites are things. Each label that devices and enrolment tokens have becomes
-- one, as it is written, and as old as the first thing that has it.
CREATE TABLE sites (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    search  TEXT NOT NULL
);
CREATE INDEX devices_site ON devices (site);
ALTER TABLE states ADD COLUMN site TEXT NOT NULL DEFAULT '';
CREATE INDEX states_site ON states (site);

INSERT INTO sites (id, version, doc, search)
SELECT label, 1, CAST('{"version":1,"created":"' || coalesce(min(since), '0001-01-01T00:00:00Z') ||
    '","changed":"' || coalesce(min(since), '0001-01-01T00:00:00Z') ||
    '","name":"' || replace(replace(label, '\', '\\'), '"', '\"') || '","networks":[]}' AS TEXT ), lower(label)
FROM (SELECT site AS label, doc ->> 'created' AS since FROM devices
      UNION SELECT doc ->> 'site', doc ->> 'created' FROM credentials WHERE kind IN ('enrolment', 'site-key')) AS labels
WHERE label <> ''
GROUP BY label;
