// Package yield keeps whether a device yields: whether it serves others only where
// nobody else can, since its line is needed otherwise, as in a call.
//
// What lives here: who says so, a file and programs of the device. What must not: what
// follows from it (package pdp), and how programs say it (package agent).
package yield

import (
	"context"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the file is looked for: a call that begins is noticed before
// people have said hello.
const lookEvery = 500 * time.Millisecond

// Watch keeps who says that the device yields. The zero Watch has nobody who does. It
// is safe for use by several goroutines.
type Watch struct {
	mu         sync.Mutex
	said, seen bool
	tell       func(on bool)
}

// On reports whether a program or the file says that the device yields.
func (w *Watch) On() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said || w.seen
}

// Tell has each change told from now on, in order, and at once whether the device
// yields. tell must not block; nil: nobody is told.
func (w *Watch) Tell(tell func(on bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tell = tell; tell != nil {
		tell(w.said || w.seen)
	}
}

// Say takes what a program says.
func (w *Watch) Say(on bool) { w.set(&w.said, on) }

func (w *Watch) set(which *bool, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.said || w.seen
	*which = on
	if now := w.said || w.seen; now != before && w.tell != nil {
		w.tell(now)
	}
}

// Follow looks now and then whether the file is there, until ctx ends. file returns its
// path, "" for none.
func (w *Watch) Follow(ctx context.Context, file func() string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		there := false
		if f := file(); f != "" {
			_, err := os.Stat(f)
			there = err == nil
		}
		w.set(&w.seen, there)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
