package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// flag is 1 or 0, which both databases have.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

var rollouts = schema[domain.Rollout, domain.RolloutFilter]{
	name: "rollouts",
	columns: []column[domain.Rollout]{
		{"state", func(r domain.Rollout) any { return string(r.Record.State) }},
		{"active", func(r domain.Rollout) any { return flag(r.Record.State.Active()) }},
	},
	where: func(f domain.RolloutFilter) []condition {
		c := equal(nil, "state", f.State)
		if f.Active {
			c = append(c, condition{sql: "active = 1"})
		}
		if has, ok := ofRealm("device", f.Realm); ok {
			c = append(c, condition{sql: "id IN (SELECT rollout FROM rollout_devices WHERE " + has.sql + ")", args: has.args})
		}
		return c
	},
}

var rolloutDevices = schema[domain.RolloutDevice, domain.RolloutDeviceFilter]{
	name: "rollout_devices",
	columns: []column[domain.RolloutDevice]{
		{"rollout", func(d domain.RolloutDevice) any { return d.Rollout }},
		{"device", func(d domain.RolloutDevice) any { return d.Row.Device }},
		{"site", func(d domain.RolloutDevice) any { return d.Row.Site }},
		{"wave", func(d domain.RolloutDevice) any { return d.Row.Wave }},
		{"standing", func(d domain.RolloutDevice) any { return string(d.Row.Standing) }},
		{"tries", func(d domain.RolloutDevice) any { return d.Row.Try }},
		{"first_at", func(d domain.RolloutDevice) any { return micros(d.Row.First) }},
		{"due", func(d domain.RolloutDevice) any { return upMicros(d.Row.Due) }},
	},
	where: func(f domain.RolloutDeviceFilter) []condition {
		c := equal(nil, "rollout", f.Rollout)
		c = equal(c, "device", f.Device)
		c = equal(c, "site", f.Site)
		c = inRealm(c, "device", f.Realm)
		return equal(c, "standing", f.Standing)
	},
}

// upMicros rounds up, so that nothing is due before its time.
func upMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Microsecond - time.Nanosecond).UnixMicro()
}

var verdicts = schema[domain.Verdict, domain.VerdictFilter]{
	name: "verdicts",
	columns: []column[domain.Verdict]{
		{"device", func(v domain.Verdict) any { return v.Device }},
		{"load", func(v domain.Verdict) any { return v.Load }},
		{"reason", func(v domain.Verdict) any { return v.Reason }},
		{"at", func(v domain.Verdict) any { return micros(v.At) }},
	},
	where: func(f domain.VerdictFilter) []condition {
		c := equal(equal(nil, "device", f.Device), "load", f.Load)
		if f.Devices != nil {
			c = append(c, oneOf("device", f.Devices))
		}
		return inRealm(c, "device", f.Realm)
	},
}

// rolloutDevicesTable implements domain.RolloutDevices.
type rolloutDevicesTable struct {
	table[domain.RolloutDevice, domain.RolloutDeviceFilter, *domain.RolloutDevice]
}

// Holders implements domain.RolloutDevices.
func (t *rolloutDevicesTable) Holders(ctx context.Context, devices []string) (map[string]domain.Holder, error) {
	all := map[string]domain.Holder{}
	for part := range slices.Chunk(devices, maxTuples) {
		in, args := t.tx.oneOf("d.device", part)
		query := "SELECT d.device, d.rollout, r.active FROM rollout_devices d JOIN rollouts r ON r.id = d.rollout " +
			"WHERE " + in + " AND (r.active = 1 OR d.tries > 0) " +
			"ORDER BY d.device, r.active DESC, d.first_at DESC, d.rollout DESC"
		err := t.tx.rows(ctx, "find the rollouts of devices", query, args, func(rows *sql.Rows) error {
			var device string
			var h domain.Holder
			var n int
			err := rows.Scan(&device, &h.Rollout, &n)
			h.Active = n == 1
			if _, better := all[device]; !better {
				all[device] = h
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Due implements domain.RolloutDevices.
func (t *rolloutDevicesTable) Due(ctx context.Context, id string, now time.Time, limit int) (
	due []domain.RolloutDevice, err error) {
	if !storable(id) {
		return nil, nil
	}
	const query = "SELECT version, doc FROM rollout_devices WHERE rollout = ? AND due > 0 AND due <= ? " +
		"ORDER BY due, device LIMIT ?"
	err = t.tx.rows(ctx, "list what is due", query, []any{id, now.UnixMicro(), limit}, t.scan(&due))
	return due, err
}

// Drop implements domain.RolloutDevices.
func (t *rolloutDevicesTable) Drop(ctx context.Context, id string) error {
	if !storable(id) {
		return nil
	}
	_, err := t.tx.exec(ctx, "drop the devices of a rollout", "DELETE FROM rollout_devices WHERE rollout = ?", id)
	return err
}
