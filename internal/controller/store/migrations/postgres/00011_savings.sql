-- +goose Up
-- What was saved, by month, site and load; and of devices, which load they are to
-- run, and whether they tell of a failure.
CREATE TABLE savings (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    month   TEXT COLLATE "C" NOT NULL,
    site    TEXT NOT NULL,
    load    TEXT NOT NULL
);
CREATE INDEX savings_site ON savings (site, month);
CREATE INDEX savings_load ON savings (load, month);
CREATE INDEX savings_month ON savings (month);

ALTER TABLE states ADD COLUMN wanted TEXT NOT NULL DEFAULT '';
ALTER TABLE states ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
UPDATE states SET wanted = coalesce(doc -> 'last' ->> 'wanted', ''),
    failed = CASE WHEN state IN ('failed', 'rolled-back') THEN 1 ELSE 0 END;
CREATE INDEX states_wanted ON states (wanted);
CREATE INDEX states_failed ON states (failed, id);
CREATE INDEX states_last_seen ON states (last_seen);
