-- +goose Up
-- Releases: one name for the loads of several models.
CREATE TABLE releases (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    search  TEXT NOT NULL
);
ALTER TABLE devices ADD COLUMN assigned_release TEXT NOT NULL DEFAULT '';
CREATE INDEX devices_assigned_release ON devices (assigned_release);
