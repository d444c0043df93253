package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/signed"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// stage fetches a load into the inactive slot and returns its version: signed
// if a publisher is pinned, else the classic way if the settings allow it.
func (d *Daemon) stage(ctx context.Context, name string) (version string, err error) {
	i := d.place.current()
	if i == nil {
		return "", errNoPlace
	}
	dir := d.slots.Dir(d.slots.Inactive().Slot)
	i.linger(ctx, dir)
	i.release(dir)
	if a, ok := d.slots.Active(); ok && a.Name == name { // it failed, and is fetched once more
		i.linger(ctx, d.slots.Dir(a.Slot))
		i.release(d.slots.Dir(a.Slot))
	}
	c := d.conf.get()
	if d.pin(c) {
		// A pinned publisher means that signatures are required: the setting,
		// which comes over the network and is itself unsigned, cannot change
		// that.
		if err := noRoot(c); err != nil {
			return "", err
		}
		return d.stageSigned(ctx, i, dir, name)
	}
	if d.prov.setting(policy.Unsigned) != policy.On {
		return "", &engine.TrustError{Err: fmt.Errorf("%w: put the publisher's %s into %s, or allow unsigned loads",
			trust.ErrNoRoot, trust.PinName, c.Trust)}
	}
	return d.stageClassic(ctx, i, dir, name)
}

// loadSpec returns what all loads have in common; file is what to ask the
// servers for first.
func (d *Daemon) loadSpec(file string, i *instance) (engine.LoadSpec, error) {
	urls, err := d.loadURLs(file)
	c := d.conf.get()
	return engine.LoadSpec{URLs: urls, Trust: signed.Dir(c.Trust), Model: c.Model, Group: i.key.group,
		Scratch: filepath.Join(c.State, scratchName)}, err
}

func (d *Daemon) stageSigned(ctx context.Context, i *instance, dir, name string) (string, error) {
	spec, err := d.loadSpec(name+load.ManifestSuffix, i)
	if err != nil {
		return "", err
	}
	d.rec.Forget(func(f *status.File) bool { return f.Done || f.Failed })
	run, err := i.dev.StageLoad(ctx, spec, d.slots,
		func(m *load.Manifest) error {
			d.proxy.learn(spec.URLs, m)
			return d.affords(m.Size())
		})
	d.finished(ctx, name, run, err)
	if err != nil {
		run.Close()
		return "", err
	}
	i.keep(dir, run.Files, run.Close)
	return run.Manifest.Version, nil
}

// affords refuses a load that does not fit beside the running one. Files that
// both have count twice: the limit is the administrator's, not the disk's.
func (d *Daemon) affords(size int64) error {
	budget, err := parse.Size(d.prov.setting(policy.Retention))
	if err != nil || budget == 0 {
		return err
	}
	held := int64(0)
	a, ok := d.slots.Active()
	for _, c := range a.Components {
		if ok {
			held += c.Size
		}
	}
	if held+size > budget {
		return fmt.Errorf("%w: %s beside the %s of %s are more than %s", failure.ErrBudget, terminal.Bytes(size),
			terminal.Bytes(held), a.Name,
			terminal.Bytes(budget))
	}
	return nil
}

// unsignedVersion is the version of a load that states none.
const unsignedVersion = "unsigned"

// stageClassic fetches an unsigned load: first into a directory of its own,
// then, when its bytes are known, into the slot.
func (d *Daemon) stageClassic(ctx context.Context, i *instance, dir, name string) (string, error) {
	spec, err := d.loadSpec(name+".loads", i)
	if err != nil {
		return "", err
	}
	spec.Dir = filepath.Join(d.conf.get().State, classicName, name)
	if err := d.onlyClassic(name); err != nil {
		return "", err
	}
	d.rec.Forget(func(f *status.File) bool { return f.Done || f.Failed })
	run, err := i.dev.FetchClassic(ctx, spec)
	if err == nil {
		err = d.adopt(run, spec.Dir, dir, name)
	}
	d.finished(ctx, name, run, err)
	if err != nil {
		run.Close()
		return "", err
	}
	i.keep(dir, run.Files, run.Close)
	return unsignedVersion, nil
}

// onlyClassic makes the directory of a classic load and removes those of
// others.
func (d *Daemon) onlyClassic(name string) error {
	root := filepath.Join(d.conf.get().State, classicName)
	others, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Name() != name {
			if err := os.RemoveAll(filepath.Join(root, o.Name())); err != nil {
				return err
			}
		}
	}
	return durable.MkdirAll(d.files, filepath.Join(root, name), 0o755)
}

// adopt takes a classic load into the slot.
func (d *Daemon) adopt(run *engine.LoadRun, from, dir, name string) error {
	l := slot.Load{Name: name, Version: unsignedVersion}
	size := int64(0)
	for _, f := range run.Files {
		fin := f.Final()
		digest, err := load.ParseDigest(fin.SHA256)
		if err != nil {
			return err
		}
		size += fin.Size
		l.Components = append(l.Components, slot.Entry{Name: fin.File, Size: fin.Size, Digest: digest})
	}
	if err := d.affords(size); err != nil {
		return err
	}
	if a, ok := d.slots.Active(); ok && a.Name == l.Name && slices.Equal(a.Components, l.Components) {
		return engine.ErrActive
	}
	lacking, err := d.slots.Begin(l)
	if err != nil {
		return err
	}
	for _, e := range lacking {
		// An interrupted attempt may have left a file of that name with other
		// bytes.
		to := filepath.Join(dir, e.Name)
		if err := d.files.Remove(to); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := d.files.Rename(filepath.Join(from, e.Name), to); err != nil {
			return err
		}
	}
	return d.slots.Complete()
}

// finished reports how the fetching of a load or file set ended, unless it was only
// interrupted.
func (d *Daemon) finished(ctx context.Context, name string, run *engine.LoadRun, err error) {
	if ctx.Err() != nil {
		return
	}
	fin := run.Final()
	fin.Load = name // before others have it: they keep it
	if err != nil {
		fin.Reason = string(failure.Reason(err))
	}
	e := report.Event{File: fin.File, URL: fin.URL, Role: fin.Role, Source: fin.Source, Size: fin.Size, Final: fin}
	if err != nil {
		e.Event, e.Reason, e.Message = report.KindFailed, fin.Reason, err.Error()
		e.MessageJA = failure.InJapanese(err)
	} else {
		e.Event, e.Bytes, e.Percent = report.KindDone, fin.Size, 100
		e.Message = fmt.Sprintf("%s: %s, %s from peers, %s from the server, %s held before", fin.File,
			terminal.Bytes(fin.Size), terminal.Bytes(fin.BytesFromPeers), terminal.Bytes(fin.BytesFromOrigin),
			terminal.Bytes(fin.BytesFromCache))
	}
	d.event(e)
	d.out.file(*fin)
}

// health is what is known of the files of the active load.
type health struct {
	mu      sync.Mutex
	sound   map[string]string // of a file that was verified: what it looked like
	turn    int               // which is verified next, whatever it looks like
	bad     []slot.Entry
	mending bool
	skipped bool // a check-in came meanwhile
}

// looks is what a change of a file changes: size, times and inode. A file that
// cannot be looked at has none.
func looks(name string) string {
	fi, err := os.Lstat(name)
	if err != nil {
		return ""
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprint(fi.Size(), st.Ino, st.Mtim, st.Ctim)
}

// examine verifies the components of the active load, and reports those that are
// missing or not what they should be. One that looks as it did when it was
// verified is taken for sound, but for one in turn: a medium may rot where
// nobody writes.
func (d *Daemon) examine() {
	h := &d.health
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := d.slots.Active()
	if h.skipped = h.mending; !ok || h.mending {
		return
	}
	sound := map[string]string{}
	h.bad = nil
	for n, e := range a.Components {
		name := filepath.Join(d.slots.Dir(a.Slot), e.Name)
		now := looks(name)
		if now != "" && h.sound[name] == now && n != h.turn {
			sound[name] = now
			continue
		}
		err := d.slots.Sound(a.Slot, e)
		if err == nil {
			sound[name] = now
			continue
		}
		d.log.Error("a component of the active load is not what it should be", "load", a.Name, "file", e.Name, "error", err)
		d.out.failure(a.Name, e.Name, reason.Damaged, err)
		if errors.Is(err, slot.ErrDamaged) || errors.Is(err, slot.ErrIncomplete) {
			h.bad = append(h.bad, e)
		}
	}
	h.sound = sound
	h.turn = (h.turn + 1) % max(1, len(a.Components))
}

// unmended returns an error while a component of the active load is not what it
// should be, or is being mended.
func (h *health) unmended() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.bad) > 0 || h.mending {
		return errors.New("the active load is damaged")
	}
	return nil
}

// mendMost bounds how long the device tries to mend a load.
const mendMost = 30 * time.Minute

// mend fetches the bad components of the active load anew, from the peers or the
// server, beside whatever else goes on. What fails is tried again after the next
// check-in, which is soon: a peer may have been away for a moment only.
func (d *Daemon) mend(ctx context.Context, busy *sync.WaitGroup) {
	h := &d.health
	h.mu.Lock()
	defer h.mu.Unlock()
	i := d.place.current()
	a, ok := d.slots.Active()
	if len(h.bad) == 0 || h.mending || i == nil || !ok {
		return
	}
	bad := h.bad
	h.bad, h.mending = nil, true
	busy.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, mendMost)
		defer cancel()
		i.release(d.slots.Dir(a.Slot))
		for _, e := range bad {
			err := d.mendOne(ctx, i, a, e)
			switch {
			case err == nil:
				d.log.Info("a component of the active load is mended", "load", a.Name, "file", e.Name)
			case !i.left() && ctx.Err() == nil:
				d.log.Error("a component of the active load cannot be mended", "load", a.Name, "file", e.Name, "error", err)
				d.out.failure(a.Name, e.Name, reason.Damaged, err)
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mending = false
		if h.skipped {
			d.Wake()
		}
		if !i.left() {
			d.offer(i)
		}
	})
}

// mendOne fetches one component of a load into the slot that it is active in.
func (d *Daemon) mendOne(ctx context.Context, i *instance, a slot.Info, e slot.Entry) error {
	file := e.Name
	if a.Version != unsignedVersion {
		file = trust.ComponentPath(e.Digest.String(), e.Name)
	}
	urls, err := d.loadURLs(file)
	if err != nil {
		return err
	}
	dir := d.slots.Dir(a.Slot)
	target := filepath.Join(dir, e.Name)
	if fi, err := os.Lstat(target); err == nil && !fi.Mode().IsRegular() {
		if _, err := slot.PutAside(d.files, target); err != nil {
			return err
		}
	}
	f, err := i.dev.Fetch(engine.Spec{Name: e.Name, Model: i.key.model, Group: i.key.group, Sources: urls,
		Target: target, Size: e.Size, Digest: slot.Expect(e.Digest)})
	if err != nil {
		return err
	}
	err = f.Wait(ctx)
	if now, _ := d.slots.Active(); err == nil && (now.Slot != a.Slot || now.Name != a.Name) {
		err = errors.New("another load is active by now")
	}
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	i.keep(dir, []*engine.File{f}, func() { _ = f.Close() })
	return nil
}
