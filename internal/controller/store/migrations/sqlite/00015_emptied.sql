-- +goose Up
-- Tallies that have come to nothing are found and removed at once, many of them in one
-- statement.
DELETE FROM tallies WHERE n = 0;
CREATE INDEX tallies_emptied ON tallies (n) WHERE n = 0;
