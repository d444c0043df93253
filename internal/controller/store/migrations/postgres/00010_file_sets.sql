-- +goose Up
-- File sets: locale, ring tones and other files that stand beside the loads.
CREATE TABLE file_sets (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    retired INTEGER NOT NULL,
    search  TEXT NOT NULL
);
