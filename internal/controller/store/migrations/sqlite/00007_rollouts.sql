-- +goose Up
-- Rollouts, their devices, and the loads that were found not to work on a device.
-- Times are microseconds since 1970, 0 is never. What is removed of the inventory
-- stays in the rollouts that count it.
CREATE TABLE rollouts (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    state   TEXT NOT NULL,
    active  INTEGER NOT NULL
);
CREATE INDEX rollouts_state ON rollouts (state);

CREATE TABLE rollout_devices (
    id       TEXT PRIMARY KEY,
    version  BIGINT NOT NULL,
    doc      TEXT NOT NULL,
    rollout  TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    device   TEXT NOT NULL,
    site     TEXT NOT NULL,
    wave     INTEGER NOT NULL,
    standing TEXT NOT NULL,
    tries    INTEGER NOT NULL,
    first_at BIGINT NOT NULL,
    due      BIGINT NOT NULL
);
CREATE INDEX rollout_devices_device ON rollout_devices (device);
CREATE INDEX rollout_devices_due ON rollout_devices (rollout, due);
CREATE INDEX rollout_devices_standing ON rollout_devices (rollout, standing);

CREATE TABLE verdicts (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    device  TEXT NOT NULL,
    load    TEXT NOT NULL,
    reason  TEXT NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX verdicts_device ON verdicts (device);
