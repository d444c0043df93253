package keeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/testkit/keepersuite"
)

func TestMemory(t *testing.T) {
	keepersuite.Run(t, func(*testing.T) keepersuite.Kept {
		return &memory{heard: map[string]time.Time{}, state: state{rollouts: map[string]string{},
			devices: map[string]string{}, verdicts: map[string][]string{}}}
	})
}

// memory is a store in memory, of JSON, as an SQL one has it.
type memory struct {
	mu    sync.Mutex
	state state
	heard map[string]time.Time
}

type state struct {
	rollouts, devices map[string]string // JSON by key
	verdicts          map[string][]string
	jobs              []keeper.Job
}

// Update implements keeper.Store.
func (m *memory) Update(_ context.Context, fn func(keeper.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := state{rollouts: maps.Clone(m.state.rollouts), devices: maps.Clone(m.state.devices),
		verdicts: maps.Clone(m.state.verdicts), jobs: slices.Clone(m.state.jobs)}
	err := fn(&tx{m, &s})
	if err == nil {
		m.state = s
	}
	return err
}

// Hear implements keepersuite.Kept.
func (m *memory) Hear(_ context.Context, device string, at time.Time) error {
	m.heard[device] = at
	return nil
}

// Jobs implements keepersuite.Kept.
func (m *memory) Jobs(context.Context) ([]keeper.Job, error) { return slices.Clone(m.state.jobs), nil }

// Take implements keepersuite.Kept.
func (m *memory) Take(_ context.Context, j keeper.Job) error {
	m.state.jobs = slices.DeleteFunc(m.state.jobs, func(o keeper.Job) bool { return o == j })
	return nil
}

type tx struct {
	m *memory
	*state
}

func get[T any](all map[string]string, key string) (v T, err error) {
	text, ok := all[key]
	if !ok {
		return v, fmt.Errorf("%w: %s", keeper.ErrNotFound, key)
	}
	return v, json.Unmarshal([]byte(text), &v)
}

func (t *tx) put(all map[string]string, key string, v any) error {
	b, err := json.Marshal(v)
	all[key] = string(b)
	return err
}

func (t *tx) Rollout(_ context.Context, id string) (rollout.Record, error) {
	return get[rollout.Record](t.rollouts, id)
}

func (t *tx) Device(_ context.Context, id, device string) (rollout.Row, error) {
	return get[rollout.Row](t.devices, id+" "+device)
}

func (t *tx) PutRollout(_ context.Context, r rollout.Record) error { return t.put(t.rollouts, r.ID, r) }

func (t *tx) PutDevice(_ context.Context, id string, row rollout.Row) error {
	return t.put(t.devices, id+" "+row.Device, row)
}

func (t *tx) Drop(ctx context.Context, id string) error {
	rows, err := t.rows(id)
	for _, row := range rows {
		delete(t.devices, id+" "+row.Device)
	}
	return err
}

func (t *tx) rows(id string) (rows []rollout.Row, err error) {
	for _, key := range slices.Sorted(maps.Keys(t.devices)) {
		if len(key) > len(id) && key[:len(id)+1] == id+" " {
			row, err := get[rollout.Row](t.devices, key)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (t *tx) Holder(ctx context.Context, device string) (last string, active bool, err error) {
	var since time.Time
	for _, id := range slices.Sorted(maps.Keys(t.rollouts)) {
		row, err := t.Device(ctx, id, device)
		if errors.Is(err, keeper.ErrNotFound) {
			continue
		}
		r, err2 := t.Rollout(ctx, id)
		if err = errors.Join(err, err2); err != nil {
			return "", false, err
		}
		if r.State.Active() {
			return id, true, nil
		}
		if row.Try > 0 && !row.First.Before(since) {
			last, since = id, row.First
		}
	}
	return last, false, nil
}

func (t *tx) Due(_ context.Context, id string, now time.Time, limit int) ([]rollout.Row, error) {
	rows, err := t.rows(id)
	rows = slices.DeleteFunc(rows, func(r rollout.Row) bool { return r.Due.IsZero() || r.Due.After(now) })
	slices.SortStableFunc(rows, func(a, b rollout.Row) int { return a.Due.Compare(b.Due) })
	return rows[:min(limit, len(rows))], err
}

func (t *tx) Heard(_ context.Context, device string) (time.Time, error) {
	return t.m.heard[device], nil
}

func (t *tx) Known(ctx context.Context, devices []string) (map[string]keeper.Known, error) {
	all := map[string]keeper.Known{}
	for _, device := range devices {
		holder, active, err := t.Holder(ctx, device)
		if err != nil {
			return nil, err
		}
		k := keeper.Known{Bad: t.verdicts[device], Heard: t.m.heard[device]}
		if active {
			k.Claimed = holder
		}
		all[device] = k
	}
	return all, nil
}

func (t *tx) PutDevices(ctx context.Context, id string, rows []rollout.Row) error {
	for _, row := range rows {
		if err := t.PutDevice(ctx, id, row); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) PutVerdict(_ context.Context, v rollout.Verdict) error {
	if slices.Contains(t.verdicts[v.Device], v.Load) {
		return nil
	}
	t.verdicts[v.Device] = append(slices.Clone(t.verdicts[v.Device]), v.Load)
	return nil
}

func (t *tx) Enqueue(_ context.Context, j keeper.Job) error {
	same := j
	for i, o := range t.jobs {
		if same.At = o.At; o == same {
			if j.At.Before(o.At) {
				t.jobs[i].At = j.At
			}
			return nil
		}
	}
	t.jobs = append(t.jobs, j)
	return nil
}
