package rollouts_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

const phone = "SEP001122334455"

// nobody is a queue whose jobs the test does itself.
type nobody struct{}

// Enqueue implements rollouts.Queue.
func (nobody) Enqueue(context.Context, domain.Tx, keeper.Job) error { return nil }

// TestRemovedDevice: who removes a device tells its rollout so.
func TestRemovedDevice(t *testing.T) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := freshdb.Open(ctx, filepath.Join(t.TempDir(), "a.db"))
	must(err)
	defer s.Close()
	now := func() time.Time { return noon }
	kept := rollouts.New(s, nobody{}, now)
	c, err := domain.New(domain.Config{Store: s, Now: now, Removed: kept.Removed})
	must(err)
	admin, model := domain.Local("root"), "7961"
	_, err = c.CreateDevice(ctx, admin, phone, domain.DeviceChange{Model: &model})
	must(err)
	k := keeper.New(kept, rollout.Straight)
	must(k.Create(ctx, noon, "r", "ann", rollout.Default()))
	must(k.Order(ctx, noon, "r", rollout.Start{By: "ann"}))
	must(k.Order(ctx, noon, "r", rollout.Relist{}))
	must(k.List(ctx, noon, "r", []rollout.Candidate{{Device: phone, Load: "new", Runs: "old",
		Place: rollout.Place{Zone: time.UTC}}}))
	must(k.Order(ctx, noon, "r", rollout.Listed{}))
	must(k.Judge(ctx, rollout.Verdict{Device: phone, Load: "worse", Reason: "r"}))

	standing := func() (got rollout.Standing) {
		t.Helper()
		must(kept.Update(ctx, func(tx keeper.Tx) error {
			row, err := tx.Device(ctx, "r", phone)
			got = row.Standing
			return err
		}))
		return got
	}
	if got := standing(); got != rollout.Waiting {
		t.Fatalf("it is %s", got)
	}
	must(s.View(ctx, func(tx domain.Tx) error {
		v, err := tx.Verdicts().Get(ctx, domain.Verdict{Device: phone, Load: "worse"}.Key())
		if !v.At.Equal(noon) || v.Reason != "r" {
			t.Errorf("the verdict is %+v", v)
		}
		return err
	}))
	must(c.DeleteDevice(ctx, admin, phone, 0))
	if got := standing(); got != rollout.Skipped {
		t.Errorf("it is gone, and %s", got)
	}
}

// TestRemovalFails: a device stays if its rollout cannot be told.
func TestRemovalFails(t *testing.T) {
	s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	away := errors.New("away")
	c, err := domain.New(domain.Config{Store: s,
		Removed: func(context.Context, domain.Tx, string) error { return away }})
	if err != nil {
		t.Fatal(err)
	}
	admin, model := domain.Local("root"), "7961"
	if _, err := c.CreateDevice(t.Context(), admin, phone, domain.DeviceChange{Model: &model}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteDevice(t.Context(), admin, phone, 0); !errors.Is(err, away) {
		t.Error(err)
	}
	if _, err := c.Device(t.Context(), admin, phone); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}
