-- +goose Up
-- An order that changes many things is one entry of the audit log with parts.
ALTER TABLE audit ADD COLUMN part_of TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_part_of ON audit (part_of, id);
