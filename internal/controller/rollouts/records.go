// Package rollouts keeps rollouts in the controller's store, and has the use cases
// on them: what people order, what devices are told, what jobs do.
//
// What lives here: which tables of the domain hold what a keeper reads and writes,
// who may give which order, which devices a target has, how an external check is
// asked. What must not: decisions about a device, which package rollout takes;
// SQL, HTTP of the API, a queue: a Queue puts jobs where it likes, in the
// transaction that it is handed.
//
// Read the Store of package keeper, then records.go, service.go (drafts), orders.go,
// target.go (who is in it), checkin.go (devices), work.go (jobs) and check.go (the
// external check).
package rollouts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

// Queue takes jobs.
type Queue interface {
	// Enqueue does what keeper.Tx says of Enqueue, in this transaction: a job of one
	// that comes to nothing is not in the queue.
	Enqueue(ctx context.Context, tx domain.Tx, j keeper.Job) error
}

// Store implements keeper.Store.
type Store struct {
	store domain.Store
	queue Queue
	now   func() time.Time
	// Told is told of a rollout that comes into another state, in that transaction. nil:
	// nobody is.
	Told func(ctx context.Context, tx domain.Tx, before rollout.State, r domain.Rollout) error
}

var _ keeper.Store = (*Store)(nil)

// New returns rollouts as s keeps them. now is the clock of verdicts.
func New(s domain.Store, q Queue, now func() time.Time) *Store {
	return &Store{store: s, queue: q, now: now}
}

// Update implements keeper.Store.
func (s *Store) Update(ctx context.Context, fn func(keeper.Tx) error) error {
	return s.store.Update(ctx, func(of domain.Tx) error { return fn(s.in(of)) })
}

// Removed tells the active rollout that has a device that it is gone; it is
// domain.Config's of that name.
func (s *Store) Removed(ctx context.Context, tx domain.Tx, device string) error {
	return keeper.New(within{s, tx}, rollout.Straight).Remove(ctx, s.now(), device)
}

// within is a store inside a transaction of somebody else, who ends it.
type within struct {
	s  *Store
	of domain.Tx
}

// Update implements keeper.Store.
func (w within) Update(_ context.Context, fn func(keeper.Tx) error) error { return fn(w.s.in(w.of)) }

// in begins no transaction: it goes on in one.
func (s *Store) in(of domain.Tx) keeper.Tx {
	return &tx{of, s, map[string]domain.Rollout{}, map[string]int64{}}
}

// tx implements keeper.Tx.
type tx struct {
	of domain.Tx
	s  *Store
	// rollouts are those that were read or written, devices the versions of such
	// rows, by key. No other transaction changes them meanwhile.
	rollouts map[string]domain.Rollout
	devices  map[string]int64
}

// found makes an error of the domain one of the keeper.
func found(err error) error {
	if errors.Is(err, domain.ErrNotFound) {
		return fmt.Errorf("%w: %w", keeper.ErrNotFound, err)
	}
	return err
}

// Rollout implements keeper.Tx.
func (t *tx) Rollout(ctx context.Context, id string) (rollout.Record, error) {
	r, err := t.of.Rollouts().Get(ctx, id)
	if err != nil {
		return rollout.Record{}, found(err)
	}
	t.rollouts[id] = r
	return r.Record, nil
}

// Device implements keeper.Tx.
func (t *tx) Device(ctx context.Context, id, device string) (rollout.Row, error) {
	key := domain.RolloutDeviceKey(id, device)
	d, err := t.of.RolloutDevices().Get(ctx, key)
	if err != nil {
		return rollout.Row{}, found(err)
	}
	t.devices[key] = d.Version
	return d.Row, nil
}

// PutRollout implements keeper.Tx.
func (t *tx) PutRollout(ctx context.Context, r rollout.Record) error {
	if _, ok := t.rollouts[r.ID]; !ok {
		if _, err := t.Rollout(ctx, r.ID); err != nil && !errors.Is(err, keeper.ErrNotFound) {
			return err
		}
	}
	v := t.rollouts[r.ID] // what people asked for stays
	before := v.Record.State
	v.Record = r
	if err := t.of.Rollouts().Put(ctx, &v); err != nil {
		return err
	}
	t.rollouts[r.ID] = v
	if before == r.State || t.s.Told == nil {
		return nil
	}
	return t.s.Told(ctx, t.of, before, v)
}

// PutDevice implements keeper.Tx.
func (t *tx) PutDevice(ctx context.Context, id string, row rollout.Row) error {
	v := domain.RolloutDevice{Rollout: id, Row: row}
	if _, ok := t.devices[v.Key()]; !ok {
		if _, err := t.Device(ctx, id, row.Device); err != nil && !errors.Is(err, keeper.ErrNotFound) {
			return err
		}
	}
	v.Version = t.devices[v.Key()]
	if err := t.of.RolloutDevices().Put(ctx, &v); err != nil {
		return err
	}
	t.devices[v.Key()] = v.Version
	return nil
}

// PutDevices implements keeper.Tx.
func (t *tx) PutDevices(ctx context.Context, id string, rows []rollout.Row) error {
	all := make([]domain.RolloutDevice, len(rows))
	var keys []string
	for i, row := range rows {
		all[i] = domain.RolloutDevice{Rollout: id, Row: row}
		keys = append(keys, all[i].Key())
	}
	there, err := t.of.RolloutDevices().GetAll(ctx, keys)
	if err != nil {
		return err
	}
	for i, key := range keys {
		all[i].Version = there[key].Version
	}
	if err := t.of.RolloutDevices().PutAll(ctx, all); err != nil {
		return err
	}
	for i, key := range keys {
		t.devices[key] = all[i].Version
	}
	return nil
}

// Drop implements keeper.Tx.
func (t *tx) Drop(ctx context.Context, id string) error {
	clear(t.devices)
	return t.of.RolloutDevices().Drop(ctx, id)
}

// Holder implements keeper.Tx.
func (t *tx) Holder(ctx context.Context, device string) (id string, active bool, err error) {
	all, err := t.of.RolloutDevices().Holders(ctx, []string{device})
	return all[device].Rollout, all[device].Active, err
}

// Known implements keeper.Tx.
func (t *tx) Known(ctx context.Context, devices []string) (map[string]keeper.Known, error) {
	all := make(map[string]keeper.Known, len(devices))
	holders, err := t.of.RolloutDevices().Holders(ctx, devices)
	if err != nil {
		return nil, err
	}
	states, err := t.of.States().GetAll(ctx, devices)
	if err != nil {
		return nil, err
	}
	for _, device := range devices {
		k := keeper.Known{Heard: states[device].LastSeen}
		if h := holders[device]; h.Active {
			k.Claimed = h.Rollout
		}
		all[device] = k
	}
	for v, err := range domain.Each(ctx, t.of.Verdicts(), domain.VerdictFilter{Devices: devices}) {
		if err != nil {
			return nil, err
		}
		k := all[v.Device]
		k.Bad = append(k.Bad, v.Load)
		all[v.Device] = k
	}
	return all, nil
}

// Due implements keeper.Tx.
func (t *tx) Due(ctx context.Context, id string, now time.Time, limit int) ([]rollout.Row, error) {
	due, err := t.of.RolloutDevices().Due(ctx, id, now, limit)
	rows := make([]rollout.Row, 0, len(due))
	for _, d := range due {
		t.devices[d.Key()] = d.Version
		rows = append(rows, d.Row)
	}
	return rows, err
}

// Heard implements keeper.Tx.
func (t *tx) Heard(ctx context.Context, device string) (time.Time, error) {
	s, err := t.of.States().Get(ctx, device)
	if errors.Is(err, domain.ErrNotFound) {
		return time.Time{}, nil
	}
	return s.LastSeen, err
}

// PutVerdict implements keeper.Tx. One that is there stays as it was found first.
func (t *tx) PutVerdict(ctx context.Context, v rollout.Verdict) error {
	row := domain.Verdict{Device: v.Device, Load: v.Load, Reason: v.Reason, At: t.s.now().UTC()}
	err := t.of.Verdicts().Put(ctx, &row)
	if errors.Is(err, domain.ErrExists) {
		return nil
	}
	return err
}

// Enqueue implements keeper.Tx.
func (t *tx) Enqueue(ctx context.Context, j keeper.Job) error { return t.s.queue.Enqueue(ctx, t.of, j) }
