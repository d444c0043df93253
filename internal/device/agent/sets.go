package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/fileset"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// fileSets are the file sets of the device. They come and go beside whatever else it
// does.
type fileSets struct {
	*fileset.Store
	keeper *fileset.Keeper
	// tick rings when a hook is to be told again; rested says that something has
	// changed, or is to be tried again.
	tick   *time.Timer
	rested chan struct{}

	mu      sync.Mutex
	stop    context.CancelFunc // of the work under way, nil if none is
	wanted  map[string]string  // by the work under way
	skipped bool               // something may have changed since it began
	sound   map[string]string  // of a file that was verified: what it looked like
}

func newFileSets(s *fileset.Store) *fileSets {
	f := &fileSets{Store: s, tick: time.NewTimer(time.Hour), rested: make(chan struct{}, 1)}
	f.tick.Stop()
	return f
}

// wantedSets are the file sets that the device is to have: while nobody has said it,
// those that it has.
func (d *Daemon) wantedSets() map[string]string {
	if by, told := d.prov.fileSets(); told {
		return by
	}
	by := map[string]string{}
	for _, p := range d.sets.List() {
		if !p.Removed {
			by[p.Directory] = p.Name
		}
	}
	return by
}

// bringSets brings the file sets to where they belong. Work that is under way for
// others than are wanted now is cut short.
func (d *Daemon) bringSets(ctx context.Context, busy *sync.WaitGroup) {
	s := d.sets
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := d.wantedSets()
	if s.stop != nil {
		if s.skipped = true; !maps.Equal(wanted, s.wanted) {
			s.stop()
		}
		return
	}
	within, stop := context.WithCancel(ctx)
	s.stop, s.wanted, s.skipped = stop, wanted, false
	busy.Go(func() {
		defer stop()
		before := d.setsReport()
		d.rec.Sets(before)
		s.keeper.Work(within, wanted)
		after := d.setsReport()
		d.rec.Sets(after)
		s.mu.Lock()
		again := s.skipped
		s.stop, s.skipped = nil, false
		s.mu.Unlock()
		if at, ok := s.keeper.Next(); ok {
			s.tick.Reset(max(0, at.Sub(d.now())))
		}
		if ctx.Err() != nil {
			return
		}
		if again {
			d.bringSets(ctx, busy)
		}
		if !slices.Equal(before, after) || s.unfinished() != nil {
			select {
			case s.rested <- struct{}{}:
			default:
			}
		}
	})
}

// unfinished returns why a file set is not in place that is to be tried again soon.
func (s *fileSets) unfinished() error {
	for _, err := range s.keeper.Errors() {
		var trusted *engine.TrustError
		if !errors.Is(err, engine.ErrModel) && !errors.Is(err, engine.ErrKind) && !errors.Is(err, failure.ErrBudget) &&
			!errors.As(err, &trusted) {
			return err
		}
	}
	return nil
}

// setsReport is how the file sets stand.
func (d *Daemon) setsReport() (all []report.FileSet) {
	for _, s := range d.sets.keeper.States(d.wantedSets()) {
		r := report.FileSet{Directory: s.Directory, Wanted: s.Wanted, State: report.StateIdle}
		if !s.Removed {
			r.Name, r.Version = s.Name, s.Version
		}
		switch {
		case s.Fetching:
			r.State = report.StateDownloading
		case s.Err != nil:
			r.State, r.Reason, r.Message = report.StateFailed, string(failure.Reason(s.Err)), s.Err.Error()
		case s.Pending && s.Tries > 0:
			r.State, r.Reason, r.Message = report.StateInstalling, string(reason.FileHook), s.Why
			if s.GivenUp() {
				r.State = report.StateFailed
			}
		case s.Pending:
			r.State = report.StateInstalling
		case !s.Settled():
			r.State = report.StateDownloading
		}
		all = append(all, r)
	}
	return all
}

// offerSets serves the file sets that are in place.
func (d *Daemon) offerSets(i *instance) {
	for _, p := range d.sets.List() {
		if p.Removed || p.Name == "" {
			continue
		}
		if err := i.hold(d.sets.Content(p.Directory, p.ID), slot.Info{Load: p.Load}); err != nil {
			d.lostSet(p, err)
		}
	}
}

// lostSet notes that a file of a set is not what it should be.
func (d *Daemon) lostSet(p fileset.Placed, err error) {
	d.log.Error("a file of a file set is not what it should be", "set", p.Name, "error", err)
	d.out.failure(p.Name, "", reason.Damaged, err)
	d.sets.keeper.Lost(p.Directory)
}

// examineSets verifies the sets of which a file does not look as it did when it was
// verified.
func (d *Daemon) examineSets() {
	d.sets.mu.Lock()
	defer d.sets.mu.Unlock()
	sound := map[string]string{}
	for _, p := range d.sets.List() {
		if p.Removed || p.Name == "" {
			continue
		}
		now, same := map[string]string{}, true
		for _, e := range p.Components {
			name := filepath.Join(d.sets.Content(p.Directory, p.ID), e.Name)
			now[name] = looks(name)
			same = same && now[name] != "" && d.sets.sound[name] == now[name]
		}
		if !same {
			if err := d.sets.Sound(p.Directory); err != nil {
				d.lostSet(p, err)
				continue
			}
		}
		maps.Copy(sound, now)
	}
	d.sets.sound = sound
}

// setWorld is the device as a keeper of file sets needs it.
type setWorld struct{ *Daemon }

// Fetch implements fileset.World. File sets are always signed.
func (w setWorld) Fetch(ctx context.Context, name string,
	begin func(fileset.Set) (string, []slot.Entry, error)) (keep func(), err error) {
	i, c := w.place.current(), w.conf.get()
	if i == nil {
		return nil, errNoPlace
	}
	if !w.pin(c) {
		return nil, &engine.TrustError{Err: fmt.Errorf("%w: file sets are signed: put the publisher's %s into %s",
			trust.ErrNoRoot, trust.PinName, c.Trust)}
	}
	if err := noRoot(c); err != nil {
		return nil, err
	}
	w.rec.Sets(w.setsReport())
	spec, err := w.loadSpec(name+load.ManifestSuffix, i)
	if err != nil {
		return nil, err
	}
	w.rec.Forget(func(f *status.File) bool { return f.Done || f.Failed })
	for _, p := range w.sets.List() {
		if p.Name == name { // it is fetched anew, its metadata too
			i.release(w.sets.Content(p.Directory, p.ID))
		}
	}
	var dir string
	run, err := i.dev.FetchSet(ctx, spec, func(m *load.Manifest) (to string, missing []slot.Entry, err error) {
		w.proxy.learn(spec.URLs, m)
		set := fileset.Set{Directory: m.Directory, Load: slot.Load{Name: m.Name, Version: m.Version}}
		for _, c := range m.Components {
			set.Components = append(set.Components, slot.Entry{Name: c.Name, Size: c.Size, Digest: c.Digest})
		}
		if err := w.affordsSet(set, m.Size()); err != nil {
			return "", nil, err
		}
		dir, missing, err = begin(set)
		return dir, missing, err
	})
	switch {
	case err != nil && i.left():
		run.Close()
		return nil, errNoPlace // and the next instance begins anew
	case err != nil:
		w.finished(ctx, name, run, err)
		run.Close()
		w.offerSets(i)
		return nil, err
	}
	w.finished(ctx, name, run, nil)
	return func() {
		i.keep(dir, run.Files, run.Close)
		w.offerSets(i) // what was there before, too
	}, nil
}

// errNoPlace says that the device cannot fetch anything now.
var errNoPlace = errors.New("no place on the network")

// affordsSet refuses a file set that does not fit beside the others and the running
// load.
func (d *Daemon) affordsSet(set fileset.Set, size int64) error {
	for _, p := range d.sets.List() {
		for _, e := range p.Components {
			if p.Directory != set.Directory {
				size += e.Size
			}
		}
	}
	return d.affords(size)
}

// Hook implements fileset.World.
func (w setWorld) Hook(ctx context.Context, step fileset.Step, p fileset.Placed, path, previous string) error {
	c := w.conf.get()
	w.log.Info("file set", "step", step, "set", p.Name, "version", p.Version, "directory", p.Directory)
	if c.FileHook == "" {
		return nil
	}
	env := []string{"PEERLOAD_SET=" + p.Name, "PEERLOAD_VERSION=" + p.Version, "PEERLOAD_MODEL=" + c.Model,
		"PEERLOAD_DIRECTORY=" + p.Directory, "PEERLOAD_DIR=" + path, "PEERLOAD_PREVIOUS=" + previous,
		"PEERLOAD_STATE=" + c.State}
	status, said, err := programs{c, w.log, &w.conf.lines}.run(ctx, env, nil, c.FileHook, string(step))
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d", status)
	}
	if err != nil {
		return fmt.Errorf("file-hook, %s: %w", step, after(err, said))
	}
	return nil
}

// Release implements fileset.World.
func (w setWorld) Release(ctx context.Context, content string) {
	if i := w.place.current(); i != nil {
		i.linger(ctx, content)
		i.release(content)
	}
}

// Failed implements fileset.World.
func (w setWorld) Failed(set string, hook bool, err error) {
	code := failure.Reason(err)
	if hook {
		code = reason.FileHook
	}
	if errors.Is(err, errNoPlace) || errors.Is(err, context.Canceled) {
		return
	}
	w.log.Error("file set", "set", set, "reason", code, "error", err)
	w.out.failure(set, "", code, err)
}

// Now implements fileset.World.
func (w setWorld) Now() time.Time { return w.now() }
