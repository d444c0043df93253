-- +goose Up
-- Webhooks, and the messages that wait for a receiver or were given up.
CREATE TABLE webhooks (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL
);
CREATE TABLE deliveries (
    id      TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     TEXT NOT NULL,
    webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    state   TEXT NOT NULL
);
CREATE INDEX deliveries_webhook ON deliveries (webhook, state);
CREATE INDEX deliveries_state ON deliveries (state, id);
