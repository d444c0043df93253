// Package keepersuite is the suite that every keeper.Store passes: keepers take
// fleets through rollouts on it, and die in the midst.
//
// What must not be here: claims about what only one store does.
package keepersuite

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

// Kept is a store, with what happens to it from outside.
type Kept interface {
	keeper.Store
	// Hear notes when a device was last heard of.
	Hear(ctx context.Context, device string, at time.Time) error
	// Jobs lists what is in the queue. Take takes a job out.
	Jobs(ctx context.Context) ([]keeper.Job, error)
	Take(ctx context.Context, j keeper.Job) error
}

// Open returns a new, empty store, which the test closes.
type Open func(t *testing.T) Kept

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"Rows", rows}, {"Queue", queue}, {"Holder", holder}, {"Verdicts", verdicts}, {"Story", story},
		{"CheckInWritesLittle", checkInWritesLittle}, {"OneActive", oneActive}, {"ByHand", byHand}, {"Removed", removed},
		{"RefusedListing", refusedListing},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// twice runs each transaction twice, as one that met another: what the first run
// wrote is thrown away.
type twice struct {
	Kept
	// fails is how many writes succeed until one fails, once; 0: all do.
	fails   int
	written int
}

var (
	errDisk  = errors.New("the disk is full")
	errAgain = errors.New("again")
)

// Update implements keeper.Store.
func (s *twice) Update(ctx context.Context, fn func(keeper.Tx) error) error {
	err := s.Kept.Update(ctx, func(tx keeper.Tx) error {
		if err := fn(&counted{tx, s, false}); err != nil {
			return err
		}
		return errAgain
	})
	if !errors.Is(err, errAgain) {
		return err
	}
	return s.Kept.Update(ctx, func(tx keeper.Tx) error { return fn(&counted{tx, s, true}) })
}

// jobs lists the queue, that first which is to be worked first.
func (s *twice) jobs(t *testing.T) []keeper.Job {
	t.Helper()
	all, err := s.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(all, func(a, b keeper.Job) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Rollout, b.Rollout))
	})
	return all
}

// counted counts the writes of the run that stays.
type counted struct {
	keeper.Tx
	s     *twice
	stays bool
}

func (t *counted) write(err error) error {
	if t.stays {
		t.s.written++
	}
	if t.s.fails > 0 {
		if t.s.fails--; t.s.fails == 0 {
			return errDisk
		}
	}
	return err
}

// PutRollout implements keeper.Tx.
func (t *counted) PutRollout(ctx context.Context, r rollout.Record) error {
	return t.write(t.Tx.PutRollout(ctx, r))
}

// PutDevice implements keeper.Tx.
func (t *counted) PutDevice(ctx context.Context, id string, row rollout.Row) error {
	return t.write(t.Tx.PutDevice(ctx, id, row))
}

// PutDevices implements keeper.Tx.
func (t *counted) PutDevices(ctx context.Context, id string, rows []rollout.Row) error {
	return t.write(t.Tx.PutDevices(ctx, id, rows))
}

// Drop implements keeper.Tx.
func (t *counted) Drop(ctx context.Context, id string) error { return t.write(t.Tx.Drop(ctx, id)) }

// PutVerdict implements keeper.Tx.
func (t *counted) PutVerdict(ctx context.Context, v rollout.Verdict) error {
	return t.write(t.Tx.PutVerdict(ctx, v))
}

// Enqueue implements keeper.Tx.
func (t *counted) Enqueue(ctx context.Context, j keeper.Job) error {
	return t.write(t.Tx.Enqueue(ctx, j))
}
