package agent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
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
		return "", errors.New("no place on the network")
	}
	dir := d.slots.Dir(d.slots.Inactive().Slot)
	i.linger(ctx, dir)
	i.release(dir)
	if a, ok := d.slots.Active(); ok && a.Name == name { // it failed, and is fetched once more
		i.linger(ctx, d.slots.Dir(a.Slot))
		i.release(d.slots.Dir(a.Slot))
	}
	c := d.conf.get()
	_, pin := os.Stat(filepath.Join(c.Trust, trust.PinName))
	if pin == nil {
		// A pinned publisher means that signatures are required: the setting,
		// which comes over the network and is itself unsigned, cannot change
		// that.
		return d.try(ctx, name+load.ManifestSuffix, func(u *url.URL) (string, error) { return d.stageSigned(ctx, i, dir, u) })
	}
	if d.prov.setting(policy.Unsigned) != policy.On {
		return "", &engine.TrustError{Err: fmt.Errorf("%w: put the publisher's %s into %s, or allow unsigned loads",
			trust.ErrNoRoot, trust.PinName, c.Trust)}
	}
	return d.try(ctx, name+".loads", func(u *url.URL) (string, error) { return d.stageClassic(ctx, i, dir, u, name) })
}

// try asks the servers for a file one after the other.
func (d *Daemon) try(ctx context.Context, file string, fetch func(*url.URL) (string, error)) (string, error) {
	urls, err := d.loadURLs(file)
	if err != nil {
		return "", err
	}
	return engine.FirstOf(ctx, urls, fetch)
}

// loadSpec returns what all loads have in common.
func (d *Daemon) loadSpec(u *url.URL, i *instance) engine.LoadSpec {
	c := d.conf.get()
	return engine.LoadSpec{URL: u, Trust: c.Trust, Model: c.Model, Group: i.key.group,
		Scratch: filepath.Join(c.State, scratchName)}
}

func (d *Daemon) stageSigned(ctx context.Context, i *instance, dir string, u *url.URL) (string, error) {
	d.rec.Forget(func(f *status.File) bool { return f.Done || f.Failed })
	run, err := i.dev.StageLoad(ctx, d.loadSpec(u, i), d.slots,
		func(m *load.Manifest) error { return d.affords(m.Size()) })
	d.finished(ctx, run, err)
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
func (d *Daemon) stageClassic(ctx context.Context, i *instance, dir string, u *url.URL, name string) (string, error) {
	spec := d.loadSpec(u, i)
	spec.Dir = filepath.Join(d.conf.get().State, classicName, name)
	if err := d.onlyClassic(name); err != nil {
		return "", err
	}
	d.rec.Forget(func(f *status.File) bool { return f.Done || f.Failed })
	run, err := i.dev.FetchClassic(ctx, spec)
	if err == nil {
		err = d.adopt(run, spec.Dir, dir, name)
	}
	d.finished(ctx, run, err)
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
	return os.MkdirAll(filepath.Join(root, name), 0o755)
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
		if err := os.Remove(to); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Rename(filepath.Join(from, e.Name), to); err != nil {
			return err
		}
	}
	return d.slots.Complete()
}

// finished reports how the fetching of a load ended, unless it was only
// interrupted.
func (d *Daemon) finished(ctx context.Context, run *engine.LoadRun, err error) {
	if ctx.Err() != nil {
		return
	}
	fin := run.Final()
	e := report.Event{File: fin.File, URL: fin.URL, Role: fin.Role, Source: fin.Source, Size: fin.Size, Final: fin}
	if err != nil {
		e.Event, e.Reason, e.Message = report.KindFailed, string(failure.Reason(err)), err.Error()
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
