package storesuite

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
)

// rolloutTables: what finds rollouts, their devices and verdicts, and what goes with a
// rollout that is removed.
func rolloutTables(t *testing.T, open Open) {
	s := fresh(t, open)
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.RolloutDevices().Put(t.Context(), &domain.RolloutDevice{Rollout: "none", Row: rollout.Row{Device: "a"}})
	})
	if err == nil {
		t.Error("a device is in a rollout that does not exist")
	}
	update(t, s, fleet)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		expect := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, not %v", what, got, want)
			}
		}
		all := domain.RolloutFilter{}
		expect("all", keys(t, ctx, tx.Rollouts(), all), "aborted", "draft", "finished", "running")
		expect("active", keys(t, ctx, tx.Rollouts(), domain.RolloutFilter{Active: true}), "running")
		expect("finished", keys(t, ctx, tx.Rollouts(), domain.RolloutFilter{State: "finished"}), "finished")
		of := func(f domain.RolloutDeviceFilter) []string { return keys(t, ctx, tx.RolloutDevices(), f) }
		expect("of b", of(domain.RolloutDeviceFilter{Device: "b"}), "aborted/b", "draft/b", "finished/b")
		expect("failed", of(domain.RolloutDeviceFilter{Rollout: "finished", Standing: "failed"}), "finished/b")
		expect("at a site", of(domain.RolloutDeviceFilter{Site: "Kyoto"}), "running/a")
		expect("verdicts", keys(t, ctx, tx.Verdicts(), domain.VerdictFilter{Device: "a"}), "a/x", "a/y")
		kyoto := domain.RealmOf([]string{"Kyoto"}) // where a is now, whatever its rows say
		expect("of a realm", keys(t, ctx, tx.Rollouts(), domain.RolloutFilter{Realm: kyoto}), "finished", "running")
		expect("devices of a realm", of(domain.RolloutDeviceFilter{Realm: kyoto}), "finished/a", "running/a")
		expect("verdicts of a realm", keys(t, ctx, tx.Verdicts(), domain.VerdictFilter{Realm: kyoto}), "a/x", "a/y")
		expect("on y", keys(t, ctx, tx.Verdicts(), domain.VerdictFilter{Load: "y"}), "a/y", "b/y")
		for device, want := range map[string]string{"a": "running", "b": "aborted", "c": "", "x\x00": "", "": ""} {
			all, err := tx.RolloutDevices().Holders(ctx, []string{device, "b", device})
			got, b := all[device], domain.Holder{Rollout: "aborted"}
			if got != (domain.Holder{Rollout: want, Active: want == "running"}) || all["b"] != b || err != nil {
				t.Errorf("%q is held by %+v of %+v, %v; want %q", device, got, all, err, want)
			}
		}
		return nil
	})
	dues(t, s)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if err := errors.Join(tx.RolloutDevices().Drop(ctx, "running"), tx.RolloutDevices().Drop(ctx, "x\x00"),
			tx.Rollouts().Delete(ctx, "finished", 0)); err != nil {
			return err
		}
		got := keys(t, ctx, tx.RolloutDevices(), domain.RolloutDeviceFilter{})
		if !slices.Equal(got, []string{"aborted/b", "draft/b", "draft/c"}) {
			t.Errorf("%v are left", got)
		}
		return nil
	})
}

// fleet adds four rollouts: one is active; another ended, and its devices had
// grants before those of a third; one is a draft.
func fleet(ctx context.Context, tx domain.Tx) error {
	errs := []error{tx.Devices().Put(ctx, &domain.Device{Name: "a", Site: "Kyoto"})}
	for id, state := range map[string]rollout.State{"running": rollout.Running, "finished": rollout.Finished,
		"aborted": rollout.Aborted, "draft": rollout.Draft} {
		errs = append(errs, tx.Rollouts().Put(ctx, &domain.Rollout{Record: rollout.Record{ID: id, State: state}}))
	}
	add := func(id string, row rollout.Row) {
		errs = append(errs, tx.RolloutDevices().Put(ctx, &domain.RolloutDevice{Rollout: id, Row: row}))
	}
	add("running", rollout.Row{Device: "a", Site: "Kyoto", Due: at.Add(time.Nanosecond)})
	add("running", rollout.Row{Device: "d", Due: at.Add(-time.Hour)})
	add("running", rollout.Row{Device: "e"})
	add("running", rollout.Row{Device: "f", Due: at.Add(-time.Hour)})
	add("finished", rollout.Row{Device: "a", Try: 1, First: at})
	add("finished", rollout.Row{Device: "b", Try: 3, First: at, Standing: rollout.Failed, Due: at.Add(-time.Hour)})
	add("aborted", rollout.Row{Device: "b", Try: 1, First: at.Add(time.Second)})
	add("draft", rollout.Row{Device: "b"})
	add("draft", rollout.Row{Device: "c"})
	for _, v := range []domain.Verdict{{Device: "a", Load: "y"}, {Device: "a", Load: "x"}, {Device: "b", Load: "y"}} {
		errs = append(errs, tx.Verdicts().Put(ctx, &v))
	}
	return errors.Join(errs...)
}

// dues: what is due comes with its version, in order, no earlier than it says, and
// no more than was asked for.
func dues(t *testing.T, s domain.Store) {
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, c := range []struct {
			now   time.Time
			limit int
			want  []string
		}{
			{at, 9, []string{"d", "f"}}, {at, 1, []string{"d"}}, {at.Add(-2 * time.Hour), 9, nil},
			{at.Add(time.Microsecond), 9, []string{"d", "f", "a"}},
		} {
			due, err := tx.RolloutDevices().Due(ctx, "running", c.now, c.limit)
			var got []string
			for _, d := range due {
				got = append(got, d.Row.Device)
				if d.Version != 1 {
					t.Errorf("%s has version %d", d.Key(), d.Version)
				}
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("at %v, %v, %v are due; want %v", c.now, err, got, c.want)
			}
		}
		none, err := tx.RolloutDevices().Due(ctx, "x\x00", at, 1)
		if len(none) > 0 {
			t.Errorf("of nothing %v are due", none)
		}
		return err
	})
}

// Kept is a store for the suite of keepers, a keepersuite.Kept. Its queue is a table
// of the store, so that a job is there if its transaction is.
type Kept struct {
	*rollouts.Store
	of domain.Store
}

// Keep opens a store for the suite of keepers.
func Keep(t *testing.T, s domain.Store) *Kept {
	s = fresh(t, func(*testing.T) (domain.Store, func(*testing.T) domain.Store) { return s, nil })
	return &Kept{rollouts.New(s, jobs{}, func() time.Time { return at }), s}
}

// Hear implements keepersuite.Kept.
func (k *Kept) Hear(ctx context.Context, device string, at time.Time) error {
	return k.of.Update(ctx, func(tx domain.Tx) error {
		s, err := tx.States().Get(ctx, device)
		if errors.Is(err, domain.ErrNotFound) {
			s = domain.DeviceState{Device: device}
			err = tx.Devices().Put(ctx, &domain.Device{Name: device})
		}
		if err != nil {
			return err
		}
		s.LastSeen = at
		return tx.States().Put(ctx, &s)
	})
}

// Jobs implements keepersuite.Kept.
func (k *Kept) Jobs(ctx context.Context) (all []keeper.Job, err error) {
	err = k.of.View(ctx, func(tx domain.Tx) error {
		all = nil
		l, err := tx.Throttles().List(ctx, domain.None{}, domain.Page{})
		for _, row := range l.Items {
			var j keeper.Job
			err = errors.Join(err, json.Unmarshal([]byte(row.Name), &j))
			j.At = row.Until
			all = append(all, j)
		}
		return err
	})
	return all, err
}

// Take implements keepersuite.Kept.
func (k *Kept) Take(ctx context.Context, j keeper.Job) error {
	return k.of.Update(ctx, func(tx domain.Tx) error { return tx.Throttles().Delete(ctx, nameOf(j), 0) })
}

// jobs implements rollouts.Queue: a job is a throttle that ends when it is due.
type jobs struct{}

func nameOf(j keeper.Job) string {
	j.At = time.Time{}
	b, err := json.Marshal(j)
	if err != nil {
		panic(err) // it has texts and numbers only
	}
	return string(b)
}

// Enqueue implements rollouts.Queue.
func (jobs) Enqueue(ctx context.Context, tx domain.Tx, j keeper.Job) error {
	row, err := tx.Throttles().Get(ctx, nameOf(j))
	switch {
	case errors.Is(err, domain.ErrNotFound):
		row = domain.Throttle{Name: nameOf(j)}
	case err != nil:
		return err
	case !j.At.Before(row.Until):
		return nil
	}
	row.Until = j.At
	return tx.Throttles().Put(ctx, &row)
}
