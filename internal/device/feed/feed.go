// Package feed connects a device to its controller: it follows the feed of orders,
// has package inbox decide about them, and hands the results over.
//
// What lives here: one long request at a time, the pinned order key, and the record
// of orders on disk. What must not: how an order is carried out, and whether a
// device has a controller at all.
//
// Read first: Follower and Config, then follow.go, and carry.go for lines that come by
// way of another device.
package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/device/seal"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/order"
)

// Names in the state directory.
const (
	// KeyName is the controller's order key, as it was pinned.
	KeyName = "order-key"
	// RecordName is what is remembered of orders.
	RecordName = "orders.json"
)

const (
	ownerOnly = 0o600
	maxKey    = 4096
)

// Config configures a Follower. All fields are required but Follow, Up, Stamp, Watch and
// Life.
type Config struct {
	// State is the directory in which the key and the record are kept.
	State string
	// Files reads there.
	Files slot.FS
	// Disk writes there.
	Disk durable.Writer
	// Device is the device's name.
	Device string
	// Restarted says that the device was started since the program last ran, and not
	// the program alone.
	Restarted bool
	// Controller returns the way to the controller as it is now: it may change.
	Controller func() (Controller, error)
	// Do carries out an order. For one that restarts the device it returns only if
	// that fails.
	Do func(ctx context.Context, e inbox.Entry) (order.Outcome, string)
	// Follow decides how the controller's lines come, until ctx ends; nil: Alone.
	Follow func(ctx context.Context, f *Follower)
	// Up hands results over by way of others, and returns what the controller says,
	// nothing if it cannot; nil: they go to the controller.
	Up func(ctx context.Context, results [][]byte) order.Acks
	// Stamp is that of the file by which the device is provisioned, zero for none. The
	// controller then orders a device whose file has changed to fetch it. nil: it does
	// not.
	Stamp func() order.Stamp
	// Watch is told how much the controller wants to be told. nil: nothing.
	Watch func(order.Watch)
	// Life is how long a feed lasts. 0 means 45 minutes, which a controller relies on:
	// another one is for measurements.
	Life time.Duration
	// Log is told of what goes wrong.
	Log *slog.Logger
}

// Controller is the way to a controller.
type Controller struct {
	// URL of the controller.
	URL string
	// Client sends requests to it.
	Client *http.Client
	// Secret is the device's own.
	Secret string
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.State == "" || c.Files == nil || c.Device == "" || c.Controller == nil || c.Do == nil || c.Log == nil {
		return errors.New("feed: a field is missing")
	}
	return nil
}

// Follower follows the feed of a controller. Use New, then Run once.
type Follower struct {
	cfg Config

	mu  sync.Mutex
	box *inbox.Inbox
	key order.Key // zero if none is pinned
	// beat is the last one of the controller, and when it came; zero if none did.
	beat order.Beat
	came time.Time
	// again are results that the controller has asked for once more.
	again []inbox.Entry
	jobs  chan inbox.Entry
	tick  *time.Timer
	// said wakes who hands over results.
	said chan struct{}
	// pinned is closed once a key is.
	pinned chan struct{}
}

// New reads what is remembered. What is damaged is put aside, and begun anew.
func New(cfg Config) (*Follower, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &Follower{cfg: cfg, jobs: make(chan inbox.Entry, 1), tick: time.NewTimer(time.Hour),
		said: make(chan struct{}, 1), pinned: make(chan struct{}), box: inbox.New(inbox.Record{})}
	err := f.read(RecordName, inbox.MaxRecord, func(text []byte) error {
		r, err := inbox.ParseRecord(text)
		f.box = inbox.New(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = f.read(KeyName, maxKey, func(text []byte) (err error) {
		if f.key, err = order.ParseKey(text); err == nil {
			close(f.pinned)
		}
		return err
	})
	return f, err
}

// read reads a sealed file that need not be there. One that is damaged is put aside;
// what may be read another time is an error, so that no pinned key is forgotten.
func (f *Follower) read(name string, most int64, parse func(text []byte) error) error {
	path := filepath.Join(f.cfg.State, name)
	text, err := slot.ReadBounded(f.cfg.Files, path, most)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil
	case err == nil:
		if err = seal.Check(text); err == nil {
			err = parse(text)
		}
		if err == nil {
			return nil
		}
	case !errors.Is(err, slot.ErrDamaged) && !slot.NoFile(err):
		return fmt.Errorf("read %s: %w", path, err)
	}
	f.cfg.Log.Error("damaged: it is put aside", "file", path, "error", err)
	_, err = slot.PutAside(f.cfg.Files, path)
	return err
}

// now is the time by the controller's clock, or by the device's own while it has
// heard nothing. A device's clock may be wrong; f.mu is held.
func (f *Follower) now() time.Time {
	if f.came.IsZero() {
		return time.Now()
	}
	return f.beat.Time.Add(time.Since(f.came))
}

// Run follows the feed and carries out orders until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	var busy sync.WaitGroup
	defer busy.Wait()
	busy.Go(func() { f.work(ctx) })
	busy.Go(func() { f.answer(ctx) })
	busy.Go(func() { f.keepTime(ctx) })
	f.step(inbox.Started{Restarted: f.cfg.Restarted})
	f.wakeAnswers()
	if f.cfg.Follow == nil {
		f.Alone(ctx)
		return
	}
	f.cfg.Follow(ctx, f)
}

// work carries out one order after the other.
func (f *Follower) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-f.jobs:
			f.cfg.Log.Info("order", "id", e.ID, "kind", e.Kind)
			outcome, text := f.cfg.Do(ctx, e)
			if ctx.Err() != nil {
				return // it begins again with the next start
			}
			for !f.step(inbox.Over{ID: e.ID, Outcome: outcome, Text: text}) && pause(ctx, notWritten) {
			}
		}
	}
}

// keepTime steps when something follows by itself.
func (f *Follower) keepTime(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.tick.C:
			f.step(inbox.Tick{})
		}
	}
}

// notWritten is how long the device waits after its record could not be written.
const notWritten = 10 * time.Second

// step takes an event to the machine and does what follows. It reports whether what
// must be remembered is; if not, nothing has followed.
func (f *Follower) step(in inbox.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.box.Step(f.now(), in) {
		switch a := a.(type) {
		case inbox.Remember:
			if err := f.remember(a.Record); err != nil {
				f.cfg.Log.Error("the record of orders cannot be written", "error", err)
				f.box.Step(f.now(), inbox.NotRemembered{})
				f.tick.Reset(notWritten)
				return false
			}
		case inbox.Do:
			f.jobs <- a.Entry // there is room: one is under way at a time
		case inbox.Answer:
			if a.Entry.Taken {
				f.again = append(f.again[:min(len(f.again), inbox.MaxEntries-1)], a.Entry)
			}
			f.wakeAnswers()
		}
	}
	if at, ok := f.box.Deadline(); ok {
		f.tick.Reset(max(time.Millisecond, at.Sub(f.now())))
	}
	return true
}

func (f *Follower) remember(r inbox.Record) error {
	text, err := seal.Marshal(r)
	if err != nil {
		return err
	}
	return f.cfg.Disk.Replace(filepath.Join(f.cfg.State, RecordName), text, ownerOnly)
}

// pin pins a key; f.mu is held.
func (f *Follower) pin(k order.Key) error {
	text, err := k.Marshal()
	if err == nil {
		text, err = seal.Marshal(json.RawMessage(text))
	}
	if err != nil {
		return err
	}
	if err := f.cfg.Disk.Replace(filepath.Join(f.cfg.State, KeyName), text, ownerOnly); err != nil {
		return fmt.Errorf("the order key cannot be pinned: %w", err)
	}
	if f.key.Version == 0 {
		close(f.pinned)
	}
	f.key = k
	return nil
}

// pause waits; false if ctx ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (f *Follower) wakeAnswers() {
	select {
	case f.said <- struct{}{}:
	default:
	}
}
