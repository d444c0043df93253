-- +goose Up
-- Jobs that change many devices in steps, and templates of such changes. Times
-- are microseconds since 1970, 0 is never.
CREATE TABLE jobs (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    state   TEXT NOT NULL,
    due     BIGINT NOT NULL
);
CREATE INDEX jobs_due ON jobs (due);

CREATE TABLE job_steps (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    job     TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX job_steps_job ON job_steps (job);

CREATE TABLE templates (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    search  TEXT NOT NULL
);
