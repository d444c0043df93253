-- +goose Up
-- What an administrator keeps. Every table has the key, the version that
-- counts changes, the thing as JSON, and the columns by which it is found.
CREATE TABLE profiles (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    search  TEXT NOT NULL
);

CREATE TABLE devices (
    id       TEXT COLLATE "C" PRIMARY KEY,
    version  BIGINT NOT NULL,
    doc      JSON NOT NULL,
    model    TEXT NOT NULL,
    profile  TEXT COLLATE "C" REFERENCES profiles (id),
    site     TEXT NOT NULL,
    origin   TEXT NOT NULL,
    assigned TEXT NOT NULL,
    search   TEXT NOT NULL
);
CREATE INDEX devices_model ON devices (model);
CREATE INDEX devices_profile ON devices (profile);
CREATE INDEX devices_assigned ON devices (assigned);

CREATE TABLE enterprises (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL
);

CREATE TABLE models (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL
);

CREATE TABLE loads (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    retired INTEGER NOT NULL,
    search  TEXT NOT NULL
);
