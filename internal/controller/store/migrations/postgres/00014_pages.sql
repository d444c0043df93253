-- +goose Up
-- Every statement finds its rows by an index, and pages of lists come in the order of
-- their keys.
DROP INDEX devices_model;
DROP INDEX devices_profile;
DROP INDEX devices_assigned;
DROP INDEX devices_assigned_release;
DROP INDEX devices_site;
DROP INDEX states_state;
DROP INDEX states_active;
DROP INDEX states_site;
DROP INDEX states_last_seen;
DROP INDEX history_at;
DROP INDEX audit_at;
DROP INDEX verdicts_device;
DROP INDEX job_steps_job;
DROP INDEX rollout_devices_standing;
CREATE INDEX devices_model ON devices (model, id);
CREATE INDEX devices_profile ON devices (profile, id);
CREATE INDEX devices_assigned ON devices (assigned, id);
CREATE INDEX devices_assigned_release ON devices (assigned_release, id);
CREATE INDEX devices_origin ON devices (origin, id);
CREATE INDEX states_state ON states (state, id);
CREATE INDEX states_active ON states (active, id);
CREATE INDEX states_last_seen ON states (last_seen, id);
CREATE INDEX history_at ON history (at, id);
CREATE INDEX history_kind ON history (kind, id);
CREATE INDEX audit_at ON audit (at, id);
CREATE INDEX audit_action ON audit (action, id);
CREATE INDEX credentials_of ON credentials (subject, id);
CREATE INDEX verdicts_device ON verdicts (device, id);
CREATE INDEX verdicts_load ON verdicts (load, id);
CREATE INDEX job_steps_job ON job_steps (job, id);
CREATE INDEX rollout_devices_rollout ON rollout_devices (rollout, id);
CREATE INDEX rollout_devices_standing ON rollout_devices (rollout, standing, id);
CREATE INDEX order_devices_order ON order_devices (sent_order, id);
CREATE INDEX audit_about ON audit (target COLLATE "C", id);
