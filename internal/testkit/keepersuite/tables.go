package keepersuite

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

// update runs a transaction, twice, and fails the test if it does.
func update(t *testing.T, s *twice, fn func(ctx context.Context, tx keeper.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx keeper.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// rows: what is put is there, in the place of what was; what is due comes in order;
// a transaction that fails leaves nothing.
func rows(t *testing.T, open Open) {
	s := &twice{Kept: open(t)}
	record := rollout.Record{ID: "r", State: rollout.Running, Created: noon}
	put := func(ctx context.Context, tx keeper.Tx) error {
		record.Open++
		errs := []error{tx.PutRollout(ctx, record)}
		for device, due := range map[string]time.Time{"a": noon, "b": noon.Add(-time.Hour), "c": {}, "d": noon.Add(1)} {
			errs = append(errs, tx.PutDevice(ctx, "r", rollout.Row{Device: device, Due: due, Wave: record.Open}))
		}
		return errors.Join(errs...)
	}
	update(t, s, put)
	update(t, s, func(ctx context.Context, tx keeper.Tx) error { return errors.Join(put(ctx, tx), put(ctx, tx)) })
	stop := errors.New("stop")
	err := s.Update(t.Context(), func(tx keeper.Tx) error {
		return errors.Join(tx.PutRollout(t.Context(), rollout.Record{ID: "x"}), tx.Drop(t.Context(), "r"), stop)
	})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	update(t, s, func(ctx context.Context, tx keeper.Tx) error {
		if got, err := tx.Rollout(ctx, "r"); err != nil || !reflect.DeepEqual(got, record) {
			t.Errorf("%+v, %v; want %+v", got, err, record)
		}
		if _, err := tx.Rollout(ctx, "x"); !errors.Is(err, keeper.ErrNotFound) {
			t.Error(err)
		}
		if _, err := tx.Device(ctx, "x", "a"); !errors.Is(err, keeper.ErrNotFound) {
			t.Error(err)
		}
		for limit, want := range map[int][]string{9: {"b", "a"}, 1: {"b"}} {
			due, err := tx.Due(ctx, "r", noon, limit)
			var got []string
			for _, row := range due {
				got = append(got, row.Device)
				err = errors.Join(err, tx.PutDevice(ctx, "r", row))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%v are due, %v; want %v", got, err, want)
			}
		}
		if row, err := tx.Device(ctx, "r", "d"); err != nil || row.Wave != record.Open || !row.Due.Equal(noon.Add(1)) {
			t.Errorf("%+v, %v", row, err)
		}
		if err := tx.Drop(ctx, "r"); err != nil {
			return err
		}
		if _, err := tx.Device(ctx, "r", "a"); !errors.Is(err, keeper.ErrNotFound) {
			t.Error(err)
		}
		return tx.PutDevice(ctx, "r", rollout.Row{Device: "a"}) // it may come again
	})
}

// queue: a job is there once, at the earlier time, and only if its transaction is.
func queue(t *testing.T, open Open) {
	s := &twice{Kept: open(t)}
	look := keeper.Job{Kind: keeper.KindLook, Rollout: "r", At: noon}
	ask := keeper.Job{Kind: keeper.KindAsk, Rollout: "r", At: noon.Add(time.Hour), Wave: 1, Number: 2}
	next := ask
	next.Number++
	later, earlier := look, look
	later.At, earlier.At = noon.Add(time.Minute), noon.Add(-time.Minute)
	update(t, s, func(ctx context.Context, tx keeper.Tx) error {
		return errors.Join(tx.Enqueue(ctx, ask), tx.Enqueue(ctx, look), tx.Enqueue(ctx, later), tx.Enqueue(ctx, next))
	})
	stop := errors.New("stop")
	err := s.Update(t.Context(), func(tx keeper.Tx) error { return errors.Join(tx.Enqueue(t.Context(), earlier), stop) })
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	if got := s.jobs(t); !slices.Equal(got, []keeper.Job{look, ask, next}) {
		t.Errorf("the queue has %+v", got)
	}
	update(t, s, func(ctx context.Context, tx keeper.Tx) error { return tx.Enqueue(ctx, earlier) })
	if got := s.jobs(t); !slices.Equal(got, []keeper.Job{earlier, ask, next}) {
		t.Errorf("the queue has %+v", got)
	}
	if err := s.Take(t.Context(), ask); err != nil || len(s.jobs(t)) != 2 {
		t.Errorf("%v, %+v", err, s.jobs(t))
	}
}

// holder: the active rollout has a device; else the one that granted last.
func holder(t *testing.T, open Open) {
	s := &twice{Kept: open(t)}
	put := func(id string, state rollout.State, row rollout.Row) {
		update(t, s, func(ctx context.Context, tx keeper.Tx) error {
			row.Device = "d"
			return errors.Join(tx.PutRollout(ctx, rollout.Record{ID: id, State: state}), tx.PutDevice(ctx, id, row))
		})
	}
	is := func(want string, wantActive bool) {
		t.Helper()
		update(t, s, func(ctx context.Context, tx keeper.Tx) error {
			if id, active, err := tx.Holder(ctx, "d"); id != want || active != wantActive || err != nil {
				t.Errorf("%q, %v, %v; want %q, %v", id, active, err, want, wantActive)
			}
			id, _, err := tx.Holder(ctx, "other")
			if id != "" {
				t.Errorf("%q has what it has not", id)
			}
			return err
		})
	}
	is("", false)
	put("draft", rollout.Draft, rollout.Row{})
	put("never", rollout.Finished, rollout.Row{First: noon.Add(time.Hour)})
	is("", false)
	put("late", rollout.Aborted, rollout.Row{Try: 1, First: noon.Add(time.Second)})
	put("soon", rollout.Finished, rollout.Row{Try: 9, First: noon})
	is("late", false)
	for _, state := range []rollout.State{rollout.Scheduled, rollout.Running, rollout.Paused} {
		put("a", state, rollout.Row{})
		is("a", true)
	}
	put("a", rollout.RolledBack, rollout.Row{})
	is("late", false)
}

// verdicts: each load once, of each device its own.
func verdicts(t *testing.T, open Open) {
	s := &twice{Kept: open(t)}
	update(t, s, func(ctx context.Context, tx keeper.Tx) error {
		return errors.Join(tx.PutVerdict(ctx, rollout.Verdict{Device: "a", Load: "y", Reason: "one"}),
			tx.PutVerdict(ctx, rollout.Verdict{Device: "a", Load: "x/z"}),
			tx.PutVerdict(ctx, rollout.Verdict{Device: "a", Load: "y", Reason: "two"}),
			tx.PutVerdict(ctx, rollout.Verdict{Device: "b", Load: "y"}))
	})
	update(t, s, func(ctx context.Context, tx keeper.Tx) error {
		for device, want := range map[string][]string{"a": {"x/z", "y"}, "b": {"y"}, "c": nil, "": nil} {
			all, err := tx.Known(ctx, []string{device, "d"})
			got := slices.Sorted(slices.Values(all[device].Bad))
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%q: %v, %v; want %v", device, got, err, want)
			}
		}
		return nil
	})
}
