-- +goose Up
-- Counts of devices, kept where devices and states are written. at_site is the site
-- that a device belongs to: its own, else that of the network it last reported from.
ALTER TABLE devices ADD COLUMN at_site TEXT NOT NULL DEFAULT '';
ALTER TABLE states ADD COLUMN at_site TEXT NOT NULL DEFAULT '';
ALTER TABLE states ADD COLUMN from_origin BIGINT NOT NULL DEFAULT 0;
ALTER TABLE states ADD COLUMN from_peers BIGINT NOT NULL DEFAULT 0;
ALTER TABLE states ADD COLUMN from_cache BIGINT NOT NULL DEFAULT 0;
ALTER TABLE states ADD COLUMN to_peers BIGINT NOT NULL DEFAULT 0;

UPDATE devices SET at_site = site WHERE site <> '';
UPDATE devices SET at_site = coalesce((SELECT s.site FROM states s WHERE s.id = devices.id), '') WHERE site = '';
UPDATE states SET at_site = coalesce((SELECT d.at_site FROM devices d WHERE d.id = states.id), ''),
    from_origin = coalesce(CAST(doc -> 'traffic' ->> 'from_origin' AS BIGINT), 0),
    from_peers = coalesce(CAST(doc -> 'traffic' ->> 'from_peers' AS BIGINT), 0),
    from_cache = coalesce(CAST(doc -> 'traffic' ->> 'from_cache' AS BIGINT), 0),
    to_peers = coalesce(CAST(doc -> 'traffic' ->> 'to_peers' AS BIGINT), 0);

CREATE INDEX devices_at_site ON devices (at_site, id);
CREATE INDEX states_at_site ON states (at_site, last_seen);

-- Scope 0 counts all devices, 1 those at each site, 2 sums those at each site up.
-- Numbers of bytes are kept in halves: no sum of as many as there may be overflows.
CREATE TABLE tallies (
    scope            INTEGER NOT NULL,
    site             TEXT NOT NULL,
    model            TEXT NOT NULL,
    profile          TEXT NOT NULL,
    assigned         TEXT NOT NULL,
    assigned_release TEXT NOT NULL,
    state            TEXT NOT NULL,
    active           TEXT NOT NULL,
    role             TEXT NOT NULL,
    n                BIGINT NOT NULL,
    from_origin_hi   BIGINT NOT NULL,
    from_origin_lo   BIGINT NOT NULL,
    from_peers_hi    BIGINT NOT NULL,
    from_peers_lo    BIGINT NOT NULL,
    from_cache_hi    BIGINT NOT NULL,
    from_cache_lo    BIGINT NOT NULL,
    to_peers_hi      BIGINT NOT NULL,
    to_peers_lo      BIGINT NOT NULL,
    PRIMARY KEY (scope, site, model, profile, assigned, assigned_release, state, active, role)
);

INSERT INTO tallies
SELECT 1, d.at_site, d.model, coalesce(d.profile, ''), d.assigned, d.assigned_release, coalesce(s.state, ''),
    coalesce(s.active, ''), coalesce(s.role, ''), count(*),
    CAST(sum(coalesce(s.from_origin, 0) / 4294967296) AS BIGINT), CAST(sum(coalesce(s.from_origin, 0) % 4294967296) AS BIGINT),
    CAST(sum(coalesce(s.from_peers, 0) / 4294967296) AS BIGINT), CAST(sum(coalesce(s.from_peers, 0) % 4294967296) AS BIGINT),
    CAST(sum(coalesce(s.from_cache, 0) / 4294967296) AS BIGINT), CAST(sum(coalesce(s.from_cache, 0) % 4294967296) AS BIGINT),
    CAST(sum(coalesce(s.to_peers, 0) / 4294967296) AS BIGINT), CAST(sum(coalesce(s.to_peers, 0) % 4294967296) AS BIGINT)
FROM devices d LEFT JOIN states s ON s.id = d.id
GROUP BY 2, 3, 4, 5, 6, 7, 8, 9;
INSERT INTO tallies
SELECT 0, '', model, profile, assigned, assigned_release, state, active, role, CAST(sum(n) AS BIGINT),
    CAST(sum(from_origin_hi) AS BIGINT), CAST(sum(from_origin_lo) AS BIGINT),
    CAST(sum(from_peers_hi) AS BIGINT), CAST(sum(from_peers_lo) AS BIGINT),
    CAST(sum(from_cache_hi) AS BIGINT), CAST(sum(from_cache_lo) AS BIGINT),
    CAST(sum(to_peers_hi) AS BIGINT), CAST(sum(to_peers_lo) AS BIGINT)
FROM tallies WHERE scope = 1
GROUP BY 3, 4, 5, 6, 7, 8, 9;
INSERT INTO tallies
SELECT 2, site, '', '', '', '', '', '', '', CAST(sum(n) AS BIGINT),
    CAST(sum(from_origin_hi) AS BIGINT), CAST(sum(from_origin_lo) AS BIGINT),
    CAST(sum(from_peers_hi) AS BIGINT), CAST(sum(from_peers_lo) AS BIGINT),
    CAST(sum(from_cache_hi) AS BIGINT), CAST(sum(from_cache_lo) AS BIGINT),
    CAST(sum(to_peers_hi) AS BIGINT), CAST(sum(to_peers_lo) AS BIGINT)
FROM tallies WHERE scope = 1 AND site <> ''
GROUP BY site;
