-- +goose Up
-- Users and secrets. Of secrets only hashes are kept, no two alike.
CREATE TABLE accounts (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    search  TEXT NOT NULL
);

CREATE TABLE credentials (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    hash    TEXT NOT NULL UNIQUE,
    ends    BIGINT NOT NULL
);
CREATE INDEX credentials_subject ON credentials (kind, subject);
CREATE INDEX credentials_ends ON credentials (ends);

CREATE TABLE throttles (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL
);
