// Package keeper drives the machines of rollouts in the transactions of a store.
//
// What lives here: which rows a call reads and writes, which jobs follow from it,
// and what a store and a queue must promise. What must not: decisions, which
// package rollout takes; SQL; goroutines and clocks: whoever works the jobs brings
// the time.
//
// A keeper keeps nothing between two calls. So any number of controllers may use
// one store, and each may die at any moment.
//
// Read store.go, then Keeper.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
)

// mostLooks is how many devices one Look takes in a transaction.
const mostLooks = 500

// lookEvery is the distance between two looks for devices that are due: so late
// may be found at most what time brings about.
const lookEvery = time.Minute

// Keeper drives rollouts. It is safe for concurrent use if its store is.
type Keeper struct {
	store Store
	next  rollout.NextStep
}

// New returns a keeper. next says which step leads to a load.
func New(s Store, next rollout.NextStep) *Keeper { return &Keeper{store: s, next: next} }

// Create adds a draft.
func (k *Keeper) Create(ctx context.Context, now time.Time, id, creator string, p rollout.Plan) error {
	r, err := rollout.NewRecord(now, id, creator, p)
	if err != nil {
		return err
	}
	return k.store.Update(ctx, func(tx Tx) error {
		_, err := tx.Rollout(ctx, id)
		switch {
		case err == nil:
			return fmt.Errorf("%w: there is a rollout %s already", rollout.ErrRefused, id)
		case !errors.Is(err, ErrNotFound):
			return err
		}
		return tx.PutRollout(ctx, r)
	})
}

// Order takes an event of a rollout. An error of the machine is the caller's to
// see; what time has brought about until then is kept all the same.
func (k *Keeper) Order(ctx context.Context, now time.Time, id string, e rollout.Event) error {
	var refused error
	err := k.with(ctx, now, id, func(_ Tx, m *rollout.Machine) (actions []rollout.Action, err error) {
		actions, refused = m.Step(now, e)
		return actions, nil
	})
	return errors.Join(err, refused)
}

// List lists a part of the target, each device once. A device that another active
// rollout holds by now is left out.
func (k *Keeper) List(ctx context.Context, now time.Time, id string, part []rollout.Candidate) error {
	return k.with(ctx, now, id, func(tx Tx, m *rollout.Machine) ([]rollout.Action, error) {
		names := make([]string, len(part))
		for i, c := range part {
			names[i] = c.Device
		}
		known, err := tx.Known(ctx, names)
		if err != nil {
			return nil, err
		}
		var rows []rollout.Row
		for _, c := range part {
			known[c.Device].Tell(&c)
			row, listed, err := m.List(now, c)
			if err != nil {
				return nil, err
			}
			if listed {
				rows = append(rows, row)
			}
		}
		return nil, tx.PutDevices(ctx, id, rows)
	})
}

// CheckIn takes what a device says of itself, and returns what it may do. ok is
// false if no rollout has anything to do with it.
func (k *Keeper) CheckIn(ctx context.Context, now time.Time, device string, said rollout.Report, at rollout.Place) (
	out rollout.Outcome, ok bool, err error) {
	err = k.store.Update(ctx, func(tx Tx) error {
		id, _, err := tx.Holder(ctx, device)
		if ok = id != ""; err != nil || !ok {
			return err
		}
		row, err := tx.Device(ctx, id, device)
		if err != nil {
			return err
		}
		return k.in(ctx, now, tx, id, func(m *rollout.Machine) ([]rollout.Action, error) {
			out = m.Heard(now, &row, said, at)
			if out.Judged != nil {
				if err := tx.PutVerdict(ctx, *out.Judged); err != nil {
					return nil, err
				}
			}
			if out.Changed {
				return out.Actions, tx.PutDevice(ctx, id, row)
			}
			return out.Actions, nil
		})
	})
	return out, ok, err
}

// ByHand tries a device again, or skips it with a reason.
func (k *Keeper) ByHand(ctx context.Context, now time.Time, id, device string, retry bool, why string) error {
	return k.with(ctx, now, id, func(tx Tx, m *rollout.Machine) ([]rollout.Action, error) {
		row, err := tx.Device(ctx, id, device)
		if err != nil {
			return nil, err
		}
		var out rollout.Outcome
		if retry {
			out, err = m.Retry(now, &row)
		} else {
			out, err = m.Skip(now, &row, why)
		}
		if err != nil {
			return nil, err
		}
		return out.Actions, tx.PutDevice(ctx, id, row)
	})
}

// Remove takes that a device is no more: the active rollout that has it, if there is
// one, no longer waits for it.
func (k *Keeper) Remove(ctx context.Context, now time.Time, device string) error {
	return k.store.Update(ctx, func(tx Tx) error {
		id, active, err := tx.Holder(ctx, device)
		if err != nil || !active {
			return err
		}
		row, err := tx.Device(ctx, id, device)
		if err != nil {
			return err
		}
		return k.in(ctx, now, tx, id, func(m *rollout.Machine) ([]rollout.Action, error) {
			out, err := m.Skip(now, &row, rollout.ReasonRemoved)
			switch {
			case errors.Is(err, rollout.ErrRefused) || errors.Is(err, rollout.ErrState):
				return out.Actions, nil // it does not wait for it by now
			case err != nil:
				return nil, err
			}
			return out.Actions, tx.PutDevice(ctx, id, row)
		})
	})
}

// Judge takes that a load does not work on a device, or is to go from it, whoever
// says so, and tells the active rollout that has the device.
func (k *Keeper) Judge(ctx context.Context, v rollout.Verdict) error {
	return k.store.Update(ctx, func(tx Tx) error {
		if err := tx.PutVerdict(ctx, v); err != nil {
			return err
		}
		id, active, err := tx.Holder(ctx, v.Device)
		if err != nil || !active {
			return err
		}
		r, err := tx.Rollout(ctx, id)
		if err != nil {
			return err
		}
		row, err := tx.Device(ctx, id, v.Device)
		if err != nil {
			return err
		}
		if out := rollout.New(r, k.next).Judge(&row, v.Load); !out.Changed {
			return nil
		}
		return tx.PutDevice(ctx, id, row)
	})
}

// Look takes what time has brought to devices that are due, and sees to it that
// somebody looks again while the rollout is active.
func (k *Keeper) Look(ctx context.Context, now time.Time, id string) error {
	return k.with(ctx, now, id, func(tx Tx, m *rollout.Machine) (all []rollout.Action, err error) {
		rows, err := tx.Due(ctx, id, now, mostLooks)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			heard, err := tx.Heard(ctx, row.Device)
			if err != nil {
				return nil, err
			}
			out := m.Look(now, &row, heard)
			all = append(all, out.Actions...)
			if err := tx.PutDevice(ctx, id, row); err != nil {
				return nil, err
			}
		}
		again := now.Add(lookEvery)
		if len(rows) == mostLooks {
			again = now
		}
		if m.Status().State.Active() {
			err = tx.Enqueue(ctx, Job{Kind: KindLook, Rollout: id, At: again})
		}
		return all, err
	})
}

// LookAt looks at these devices, whether they are due or not.
func (k *Keeper) LookAt(ctx context.Context, now time.Time, id string, devices []string) error {
	return k.with(ctx, now, id, func(tx Tx, m *rollout.Machine) (all []rollout.Action, err error) {
		for _, device := range devices {
			row, err := tx.Device(ctx, id, device)
			if err != nil {
				return nil, err
			}
			heard, err := tx.Heard(ctx, device)
			if err != nil {
				return nil, err
			}
			if out := m.Look(now, &row, heard); out.Changed {
				all = append(all, out.Actions...)
				if err := tx.PutDevice(ctx, id, row); err != nil {
					return nil, err
				}
			}
		}
		return all, nil
	})
}

// with runs fn on a rollout in a transaction.
func (k *Keeper) with(ctx context.Context, now time.Time, id string,
	fn func(tx Tx, m *rollout.Machine) ([]rollout.Action, error)) error {
	return k.store.Update(ctx, func(tx Tx) error {
		return k.in(ctx, now, tx, id, func(m *rollout.Machine) ([]rollout.Action, error) { return fn(tx, m) })
	})
}

// in runs fn on a rollout, and writes what has changed and the jobs that follow.
func (k *Keeper) in(ctx context.Context, now time.Time, tx Tx, id string,
	fn func(m *rollout.Machine) ([]rollout.Action, error)) error {
	before, err := tx.Rollout(ctx, id)
	if err != nil {
		return err
	}
	m := rollout.New(before, k.next)
	before = m.Record()
	actions, err := fn(m)
	if err != nil {
		return err
	}
	for _, a := range actions {
		if err := k.carryOut(ctx, now, tx, id, a); err != nil {
			return err
		}
	}
	after := m.Record()
	if reflect.DeepEqual(before, after) { // most check-ins touch the device alone
		return nil
	}
	if at, ok := m.Deadline(); ok {
		if err := tx.Enqueue(ctx, Job{Kind: KindTick, Rollout: id, At: at}); err != nil {
			return err
		}
	}
	return tx.PutRollout(ctx, after)
}

// carryOut makes jobs of what a machine wants done.
func (k *Keeper) carryOut(ctx context.Context, now time.Time, tx Tx, id string, a rollout.Action) error {
	switch a := a.(type) {
	case rollout.Drop:
		return tx.Drop(ctx, id)
	case rollout.List:
		return tx.Enqueue(ctx, Job{Kind: KindList, Rollout: id, At: now})
	case rollout.Ask:
		return tx.Enqueue(ctx, Job{Kind: KindAsk, Rollout: id, At: now, Wave: a.Wave, Number: a.Number})
	case rollout.StateChanged:
		if a.To == rollout.Running {
			return tx.Enqueue(ctx, Job{Kind: KindLook, Rollout: id, At: now})
		}
	}
	return nil
}
