package fabric

import (
	"context"
	"slices"
	"time"
)

// signal wakes all that wait for a change. Guarded by the fabric's mutex.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) raise() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// waitFor waits until done, change or a time; a zero time never comes.
func waitFor(done, change <-chan struct{}, until time.Time) {
	var tick <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-done:
	case <-change:
	case <-tick:
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d > 0 {
		waitFor(ctx.Done(), nil, time.Now().Add(d))
	}
	return ctx.Err()
}

// earlier returns the earlier of two times, where zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// queue holds what is on its way, in the order in which it arrives.
type queue[T any] struct{ items []queued[T] }

type queued[T any] struct {
	due time.Time
	seq uint64
	v   T
}

func (q *queue[T]) push(due time.Time, seq uint64, v T) {
	i, _ := slices.BinarySearchFunc(q.items, queued[T]{due: due, seq: seq}, func(a, b queued[T]) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	q.items = slices.Insert(q.items, i, queued[T]{due, seq, v})
}

func (q *queue[T]) due() (time.Time, bool) {
	if len(q.items) == 0 {
		return time.Time{}, false
	}
	return q.items[0].due, true
}

func (q *queue[T]) pop() T {
	v := q.items[0].v
	q.items = slices.Delete(q.items, 0, 1)
	return v
}

// meter is one direction of a node's port: what passes, passes one after the
// other.
type meter struct {
	// rate in bytes per second, 0 for no limit.
	rate int64
	free time.Time
}

// pass returns when n bytes that come at a time have passed.
func (m *meter) pass(at time.Time, n int) time.Time {
	if m.rate <= 0 {
		return at
	}
	if m.free.Before(at) {
		m.free = at
	}
	m.free = m.free.Add(time.Duration(int64(n) * int64(time.Second) / m.rate))
	return m.free
}
