-- +goose Up
-- Users and secrets. Of secrets only hashes are kept, no two alike.
CREATE TABLE accounts (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    search  TEXT NOT NULL
);

CREATE TABLE credentials (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    hash    TEXT NOT NULL UNIQUE,
    ends    BIGINT NOT NULL
);
CREATE INDEX credentials_subject ON credentials (kind, subject);
CREATE INDEX credentials_ends ON credentials (ends);

CREATE TABLE throttles (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL
);
