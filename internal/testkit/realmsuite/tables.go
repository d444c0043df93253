package realmsuite

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
)

// Elsewhere is the id of a rollout of Osaka.
const Elsewhere = "elsewhere"

// rollouts adds rollouts: one has devices of two sites, the others have none of
// Kyoto.
func (f *Fleet) rollouts(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	must(t, f.Store.Update(ctx, func(tx domain.Tx) error {
		var errs []error
		for id, devices := range map[string][]string{"both": {Own, Unnamed}, Elsewhere: {Outside},
			Secret: {Stray, Unnamed}} {
			errs = append(errs, tx.Rollouts().Put(ctx, &domain.Rollout{Record: rollout.Record{ID: id,
				State: rollout.Running, Waves: []rollout.WaveRecord{{}}}}))
			for _, d := range devices {
				errs = append(errs, tx.RolloutDevices().Put(ctx, &domain.RolloutDevice{Rollout: id,
					Row: rollout.Row{Device: d}}), tx.Verdicts().Put(ctx, &domain.Verdict{Device: d, Load: id}))
			}
		}
		return errors.Join(errs...)
	}))
	read := func(tx domain.Tx) error { return tell(ctx, tx) }
	spoil := func(tx domain.Tx, _ domain.Note) error { spoil(ctx, tx); return nil }
	Add(f.Samples, func(domain.Tx) error { return nil }, read)
	Add(f.Samples, func(domain.Tx, domain.Note) error { return nil }, spoil)
}

// tell is an error with all that a transaction lists of devices.
func tell(ctx context.Context, tx domain.Tx) error {
	var all []any
	var errs []error
	list := func(v any, err error) { all, errs = append(all, v), append(errs, err) }
	p := domain.Page{}
	v, err := tx.Devices().List(ctx, domain.DeviceFilter{}, p)
	list(v, err)
	w, err := tx.States().List(ctx, domain.StateFilter{}, p)
	list(w, err)
	s, err := tx.Sites().List(ctx, domain.TextFilter{}, p)
	list(s, err)
	h, err := tx.History().List(ctx, domain.HistoryFilter{}, p)
	list(h, err)
	a, err := tx.Audit().List(ctx, domain.AuditFilter{}, p)
	list(a, err)
	r, err := tx.Rollouts().List(ctx, domain.RolloutFilter{}, p)
	list(r, err)
	d, err := tx.RolloutDevices().List(ctx, domain.RolloutDeviceFilter{}, p)
	list(d, err)
	x, err := tx.Verdicts().List(ctx, domain.VerdictFilter{}, p)
	list(x, err)
	y, err := tx.Savings().List(ctx, domain.SavingFilter{}, p)
	list(y, err)
	b, err := json.Marshal(all)
	return errors.Join(errors.New(string(b)), err, errors.Join(errs...))
}

// spoil tries to remove and to write what is outside. Whatever it is told, the
// transaction is kept.
func spoil(ctx context.Context, tx domain.Tx) {
	_, _ = tx.History().Trim(ctx, time.Now().Add(time.Hour))
	for _, key := range []string{Outside, Unnamed, Stray, Osaka, Nara, "lobby", "desks", "Camera 1", "a1", "9.4",
		"enterprise", "both", Secret, "both/" + Unnamed, Secret + "/" + Stray, Unnamed + "/both"} {
		_ = tx.Devices().Delete(ctx, key, 0)
		_ = tx.States().Delete(ctx, key, 0)
		_ = tx.Sites().Delete(ctx, key, 0)
		_ = tx.Profiles().Delete(ctx, key, 0)
		_ = tx.Models().Delete(ctx, key, 0)
		_ = tx.Loads().Delete(ctx, key, 0)
		_ = tx.Releases().Delete(ctx, key, 0)
		_ = tx.Enterprises().Delete(ctx, key, 0)
		_ = tx.Rollouts().Delete(ctx, key, 0)
		_ = tx.RolloutDevices().Delete(ctx, key, 0)
		_ = tx.RolloutDevices().Drop(ctx, key)
		_ = tx.Verdicts().Delete(ctx, key, 0)
		_ = tx.Savings().Delete(ctx, key, 0)
		_ = tx.Devices().Put(ctx, &domain.Device{Name: key + "x", Site: Osaka})
		_ = tx.States().Put(ctx, &domain.DeviceState{Device: key, Site: Osaka})
		_ = tx.Sites().Put(ctx, &domain.Site{Name: key + "x"})
		_ = tx.Profiles().Put(ctx, &domain.Profile{Name: key + "x"})
		_ = tx.Loads().Put(ctx, &domain.Load{Name: key + "x"})
		_ = tx.RolloutDevices().Put(ctx, &domain.RolloutDevice{Rollout: "both", Row: rollout.Row{Device: key}})
		_ = tx.Verdicts().Put(ctx, &domain.Verdict{Device: key, Load: "b1"})
		_, _ = tx.History().TrimOf(ctx, key, 0)
	}
}
