-- +goose Up
-- Orders that were sent to devices, and how each device has answered. Times are
-- microseconds since 1970, 0 is never. What is removed of the inventory stays in
-- the orders that count it.
CREATE TABLE sent_orders (
    id        TEXT PRIMARY KEY,
    version   BIGINT NOT NULL,
    doc       TEXT NOT NULL,
    kind      TEXT NOT NULL,
    expires   BIGINT NOT NULL,
    cancelled BIGINT NOT NULL
);
CREATE INDEX sent_orders_expires ON sent_orders (expires);

CREATE TABLE order_devices (
    id         TEXT PRIMARY KEY,
    version    BIGINT NOT NULL,
    doc        TEXT NOT NULL,
    sent_order TEXT NOT NULL REFERENCES sent_orders (id) ON DELETE CASCADE,
    device     TEXT NOT NULL,
    site       TEXT NOT NULL,
    standing   TEXT NOT NULL
);
CREATE INDEX order_devices_device ON order_devices (device, standing);
CREATE INDEX order_devices_standing ON order_devices (standing, sent_order);
