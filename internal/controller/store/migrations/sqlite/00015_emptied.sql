-- +goose Up
-- Tallies that have come to nothing are found and removed by one statement.
CREATE INDEX tallies_emptied ON tallies (n) WHERE n = 0;
