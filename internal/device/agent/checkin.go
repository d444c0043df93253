package agent

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/trust"
)

// lastGood puts the last good provisioning file in force again: a device that
// starts without its server behaves as before.
func (d *Daemon) lastGood() {
	if d.record_.Provision == "" {
		return
	}
	b, err := readBounded(filepath.Join(d.cfg.State, provisionName), provision.MaxSize)
	if err == nil {
		var f *provision.File
		if f, err = parseProvision(d.record_.Provision, b); err == nil {
			err = d.apply(f, d.record_.Provision)
		}
	}
	if err != nil {
		d.log.Warn("the last provisioning file cannot be read again", "error", err)
	}
}

// checkIn asks how the device is provisioned and tells the controller how it
// is. The error is that of the provisioning: the controller may be away.
func (d *Daemon) checkIn(ctx context.Context) error {
	a, err := d.ask(ctx)
	d.sink.count.checkIn(err)
	d.mu.Lock()
	if a.file != nil || errors.Is(err, provision.ErrFile) {
		d.told.At = time.Now()
	}
	d.told.Err = ""
	if err != nil {
		d.told.Err = err.Error()
	}
	d.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, provision.ErrFile):
		d.log.Error("bad provisioning file: the last good one stays in force", "from", a.from, "error", err)
		d.failure("", "", reasonProvisioning, err)
	case err != nil:
		d.log.Warn("not provisioned", "error", err)
	default:
		if err = d.accept(a); err != nil {
			d.log.Error("the provisioning file is not in force", "from", a.from, "error", err)
		}
	}
	if d.control != nil {
		d.report(ctx)
	}
	return err
}

// accept puts a provisioning file in force and keeps it.
func (d *Daemon) accept(a answer) error {
	if err := d.apply(a.file, a.from); err != nil {
		return err
	}
	assigned, err := a.file.Assigned(policy.Builtin(), d.config().Model)
	if err != nil {
		d.failure("", "", reasonModel, err)
		return err
	}
	kept := filepath.Join(d.config().State, provisionName)
	if old, err := readBounded(kept, provision.MaxSize); err != nil || string(old) != string(a.raw) {
		if err := trust.WriteFile(kept, a.raw); err != nil {
			return err
		}
		d.log.Info("provisioned", "from", a.from, "load", assigned)
	}
	d.mu.Lock()
	d.told.Contact = time.Now()
	d.mu.Unlock()
	return d.change(func(r *record) {
		if assigned != r.Assigned {
			r.Failed = nil
		}
		r.Assigned, r.Server, r.Provision = assigned, a.server, a.from
	})
}

// apply computes the settings of a file.
func (d *Daemon) apply(f *provision.File, from string) error {
	c := d.config()
	set, err := effective(c.Model, f.Levels)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.set, d.file, d.told.From = set, f, from
	d.mu.Unlock()
	// A log server that is away must not keep a device from its load.
	if err := d.sink.logTo(set.value(policy.LogServer), "SEP"+d.mac, c.Address.Addr()); err != nil {
		d.log.Warn("no log server", "error", err)
	}
	return nil
}
