-- +goose Up
-- Jobs that change many devices in steps, and templates of such changes. Times
-- are microseconds since 1970, 0 is never.
CREATE TABLE jobs (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    state   TEXT NOT NULL,
    due     BIGINT NOT NULL
);
CREATE INDEX jobs_due ON jobs (due);

CREATE TABLE job_steps (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX job_steps_job ON job_steps (job);

CREATE TABLE templates (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    search  TEXT NOT NULL
);
