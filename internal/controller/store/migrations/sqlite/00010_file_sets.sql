-- +goose Up
-- File sets: locale, ring tones and other files that stand beside the loads.
CREATE TABLE file_sets (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    retired INTEGER NOT NULL,
    search  TEXT NOT NULL
);
