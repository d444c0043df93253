-- +goose Up
-- Webhooks, and the messages that wait for a receiver or were given up.
CREATE TABLE webhooks (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL
);
CREATE TABLE deliveries (
    id      TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    doc     JSON NOT NULL,
    webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    state   TEXT NOT NULL
);
CREATE INDEX deliveries_webhook ON deliveries (webhook, state);
CREATE INDEX deliveries_state ON deliveries (state, id);
