-- +goose Up
-- Each report writes to all indices of what it changes. So tallies that have come to
-- nothing are removed by their keys, and only devices that failed are in an index of those.
DROP INDEX tallies_emptied;
CREATE INDEX states_failing ON states (failed, id) WHERE failed = 1;
DROP INDEX states_failed;
