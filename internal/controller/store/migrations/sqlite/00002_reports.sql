-- +goose Up
-- What devices report, and who changed what. Times are microseconds since 1970.
CREATE TABLE states (
    id        TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    version   BIGINT NOT NULL,
    doc       TEXT NOT NULL,
    state     TEXT NOT NULL,
    active    TEXT NOT NULL,
    role      TEXT NOT NULL,
    last_seen BIGINT NOT NULL
);
CREATE INDEX states_state ON states (state);
CREATE INDEX states_active ON states (active);

CREATE TABLE history (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    at      BIGINT NOT NULL,
    subject TEXT NOT NULL,
    kind    TEXT NOT NULL
);
CREATE INDEX history_subject ON history (subject, id);
CREATE INDEX history_at ON history (at);

CREATE TABLE audit (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    at      BIGINT NOT NULL,
    subject TEXT NOT NULL,
    action  TEXT NOT NULL,
    target  TEXT NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, id);
CREATE INDEX audit_target ON audit (target, id);
CREATE INDEX audit_at ON audit (at);
