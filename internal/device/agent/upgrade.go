package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/report"
)

// Times of an upgrade.
const (
	// confirmEvery is the distance between two questions whether the new load
	// works, lookEvery where nobody but this process has to be asked.
	confirmEvery = 2 * time.Second
	lookEvery    = 100 * time.Millisecond
	// rebootWait is how long the device may take to go down.
	rebootWait = 10 * time.Minute
	// maxStarts is how often the daemon may be started during one trial before
	// the load counts as one that does not stay up.
	maxStarts = 5
)

// booted finds out what the start of the device, or of the daemon, means for
// an upgrade under way. It runs before anything else looks at the slots.
func (d *Daemon) booted() error {
	r := d.saved
	restarted := r.BootID != d.boot
	if restarted {
		// Noted first: told twice, the slots would take one start for two and
		// leave a good load; told never, they give it one start more.
		if err := d.change(func(r *record) { r.BootID = d.boot }); err != nil {
			return err
		}
		rolled, err := d.slots.Boot()
		if err != nil {
			d.log.Error("the load on trial was not confirmed, and there is no way back", "error", err)
			d.failure(r.Load, "", wording.ReasonNoWayBack, err)
		}
		if rolled {
			return d.change(func(r *record) {
				r.Phase, r.Reason, r.Message = phaseRollback, wording.ReasonNotConfirmed, "the device was started again before the load was confirmed"
			})
		}
	}
	a, ok := d.slots.Active()
	trial := ok && a.State == slot.StateTrial
	return d.change(func(r *record) {
		switch {
		case trial && r.Phase == phaseReboot && restarted:
			r.Phase, r.Starts = phaseTrial, 1
		case trial && r.Phase == phaseTrial:
			r.Starts++
		case trial && r.Phase != phaseReboot && r.Phase != phaseRollback:
			// The record was lost or is older than the switch.
			r.Phase, r.Load, r.Version, r.Starts = phaseTrial, a.Name, a.Version, 1
		case !trial && r.Phase == phaseTrial && ok && a.Name == r.Load && a.State == slot.StateConfirmed:
			r.Phase, r.State, r.Reason, r.Message = phaseIdle, report.StateIdle, "", ""
		case !trial && r.Phase == phaseTrial && d.slots.Inactive().State == slot.StateFailed:
			r.Phase, r.Reason = phaseRollback, wording.ReasonNotConfirmed
		}
	})
}

// wanted returns the load to upgrade to, "" if there is nothing to do. The
// caller holds mu.
func (d *Daemon) wanted() string {
	r := &d.saved
	if r.Assigned == "" {
		return ""
	}
	if _, failed := r.failedBefore(r.Assigned); failed {
		return ""
	}
	if a, ok := d.slots.Active(); ok && a.Name == r.Assigned {
		return ""
	}
	return r.Assigned
}

// resume starts the work that is due, if none is under way. A download of a
// load that is no longer assigned is given up.
func (d *Daemon) resume(ctx context.Context, busy *sync.WaitGroup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, want := d.saved, d.wanted()
	if d.working && r.Phase == phaseDownload && want != r.Load {
		d.log.Info("another load is assigned", "load", want, "instead", r.Load)
		d.stop() // the end of it brings the next check-in
		d.Wake()
		return
	}
	if d.working || d.instance == nil {
		return
	}
	if r.Phase == phaseIdle || r.Phase == phaseDownload && want != r.Load {
		if want == "" && r.Phase == phaseIdle {
			return
		}
		next := record{Phase: phaseIdle, State: r.State}
		if want != "" {
			next = record{Phase: phaseDownload, Load: want, Since: stamp()}
		}
		r.Phase, r.Load, r.Version, r.Since = next.Phase, next.Load, "", next.Since
		if err := writeRecord(d.cfg.State, r); err != nil {
			d.log.Error("the state of the device cannot be written", "error", err)
			return
		}
		d.saved = r
		if want == "" {
			return
		}
	}
	work, stop := context.WithCancel(ctx)
	d.working, d.stop = true, stop
	busy.Go(func() {
		defer stop()
		d.work(work)
		d.setProgress(0, "")
		select {
		case d.upgraded <- struct{}{}:
		case <-ctx.Done():
		}
	})
}

func stamp() string { return time.Now().Format(time.RFC3339) }

// work carries an upgrade from phase to phase until it is idle, waits for a
// later try, or ctx ends.
func (d *Daemon) work(ctx context.Context) {
	for ctx.Err() == nil {
		r := d.record()
		var err error
		d.log.Info("upgrade", "phase", r.Phase, "load", r.Load)
		switch r.Phase {
		case phaseDownload:
			err = d.download(ctx, r)
		case phaseInstall:
			err = d.install(ctx, r)
		case phaseReboot:
			err = d.reboot(ctx, r)
		case phaseTrial:
			err = d.trial(ctx, r)
		case phaseRollback:
			err = d.rollback(ctx, r)
		default:
			return
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("upgrade", "phase", r.Phase, "load", r.Load, "error", err)
			return
		}
	}
}

// next writes the phase that follows.
func (d *Daemon) next(phase, state string) error {
	d.setProgress(0, "")
	return d.change(func(r *record) { r.Phase, r.State, r.Since, r.Starts = phase, state, stamp(), 1 })
}

// giveUp ends an upgrade that failed. For good: the load is not tried again
// until another one is assigned.
func (d *Daemon) giveUp(r record, reason string, why error, forGood bool) error {
	d.failure(r.Load, "", reason, why)
	d.sink.count.upgrade("failed")
	d.log.Error("the upgrade failed", "load", r.Load, "reason", reason, "error", why, "final", forGood)
	return d.change(func(r *record) {
		if forGood {
			r.fail(r.Load, reason, time.Now())
		}
		r.Phase, r.State, r.Reason, r.Message, r.Since = phaseIdle, report.StateFailed, reason, why.Error(), stamp()
	})
}

// job describes an upgrade to the installer.
func (d *Daemon) job(r record) Job {
	j := Job{Load: r.Load, Version: r.Version, Progress: d.setProgress}
	a, ok := d.slots.Active()
	i := d.slots.Inactive()
	switch {
	case ok && a.Name == r.Load:
		j.Dir = d.slots.Dir(a.Slot)
		if i.State != slot.StateEmpty {
			j.Previous = d.slots.Dir(i.Slot)
		}
	default:
		j.Dir = d.slots.Dir(i.Slot)
		if ok {
			j.Previous = d.slots.Dir(a.Slot)
		}
	}
	return j
}

func (d *Daemon) setProgress(percent int, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.step = progress{percent, text}
}

func (d *Daemon) download(ctx context.Context, r record) error {
	if err := d.next(phaseDownload, report.StateDownloading); err != nil {
		return err
	}
	if _, err := d.installs().Do(ctx, StepDownload, d.job(r)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return d.giveUp(r, wording.ReasonInstaller, err, false)
	}
	version, err := d.stage(ctx, r.Load)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, engine.ErrActive):
		return d.next(phaseIdle, report.StateIdle)
	case err != nil:
		return d.giveUp(r, reasonOf(err), err, errors.Is(err, engine.ErrModel))
	}
	return d.change(func(r *record) {
		r.Phase, r.Version, r.State, r.Since = phaseInstall, version, report.StateInstalling, stamp()
	})
}

func (d *Daemon) install(ctx context.Context, r record) error {
	restart, err := d.installs().Do(ctx, StepInstall, d.job(r))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		if _, undo := d.installs().Do(ctx, StepRollback, d.job(r)); undo != nil {
			d.log.Error("the installer could not undo its work", "error", undo)
		}
		return d.giveUp(r, wording.ReasonInstaller, err, true)
	}
	// The slot is switched in the next phase: a power cut between finds what
	// is still to be done.
	if restart {
		return d.next(phaseReboot, report.StateRebooting)
	}
	return d.next(phaseTrial, report.StateTrial)
}

// switched makes sure that the slot of the load is active, on trial.
func (d *Daemon) switched(r record) error {
	if a, ok := d.slots.Active(); ok && a.Name == r.Load && a.State == slot.StateTrial {
		return nil
	}
	if i := d.slots.Inactive(); i.Name != r.Load {
		return fmt.Errorf("slot %s holds %q, not %s", i.Slot, i.Name, r.Load)
	}
	return d.slots.SwitchTrial()
}

func (d *Daemon) reboot(ctx context.Context, r record) error {
	if err := d.switched(r); err != nil {
		return d.giveUp(r, wording.ReasonSwitch, err, false)
	}
	if _, err := d.installs().Do(ctx, StepReboot, d.job(r)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return d.back(wording.ReasonReboot, err)
	}
	timer := time.NewTimer(rebootWait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return d.back(wording.ReasonReboot, fmt.Errorf("the device is still up %v after it was told to restart", rebootWait))
	}
}

// trial waits for the new load to be confirmed, and goes back if it is not.
func (d *Daemon) trial(ctx context.Context, r record) error {
	if err := d.switched(r); err != nil {
		return d.giveUp(r, wording.ReasonSwitch, err, false)
	}
	if r.Starts > maxStarts {
		return d.back(wording.ReasonNotConfirmed, fmt.Errorf("the daemon was started %d times during the trial", r.Starts))
	}
	c := d.config()
	began := time.Now()
	every := confirmEvery
	if c.ConfirmCommand == "" {
		every = lookEvery
		d.Wake() // being provisioned is what confirms it
	}
	deadline := time.NewTimer(c.ConfirmTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(min(every, max(c.ConfirmTimeout/4, time.Millisecond)))
	defer tick.Stop()
	why := errors.New("the device was not provisioned during the trial")
	for {
		if why = d.confirmed(ctx, c, r, began); why == nil {
			return d.commit(ctx, r)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-deadline.C:
			return d.back(wording.ReasonNotConfirmed, fmt.Errorf("the load was not confirmed within %v: %w", c.ConfirmTimeout, why))
		}
	}
}

// confirmed asks whether the new load works; nil says that it does.
func (d *Daemon) confirmed(ctx context.Context, c Config, r record, since time.Time) error {
	if c.ConfirmCommand == "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.told.Contact.After(since) {
			return nil
		}
		return errors.New("the device was not provisioned during the trial")
	}
	c.HookTimeout = min(c.HookTimeout, c.ConfirmTimeout)
	status, err := run(ctx, c, d.log, environment(c, d.job(r)), nil, "/bin/sh", "-c", c.ConfirmCommand)
	if err == nil && status != 0 {
		err = fmt.Errorf("confirm-command ended with %d", status)
	}
	return err
}

func (d *Daemon) commit(ctx context.Context, r record) error {
	if _, err := d.installs().Do(ctx, StepCommit, d.job(r)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return d.back(wording.ReasonInstaller, err)
	}
	if err := d.slots.Confirm(); err != nil {
		return err
	}
	if i := d.currentInstance(); i != nil {
		d.offer(i)
	}
	d.sink.count.upgrade("committed")
	d.log.Info("the load is confirmed", "load", r.Load, "version", r.Version)
	return d.change(func(r *record) {
		r.Phase, r.State, r.Reason, r.Message, r.Since = phaseIdle, report.StateIdle, "", "", stamp()
	})
}

// back begins the way back to the load before.
func (d *Daemon) back(reason string, why error) error {
	return d.change(func(r *record) {
		r.Phase, r.Reason, r.Message, r.Since = phaseRollback, reason, why.Error(), stamp()
	})
}

func (d *Daemon) rollback(ctx context.Context, r record) error {
	state := report.StateRolledBack
	if a, ok := d.slots.Active(); ok && a.State == slot.StateTrial {
		err := d.slots.Rollback()
		if errors.Is(err, slot.ErrNoSlot) || errors.Is(err, slot.ErrIncomplete) || errors.Is(err, slot.ErrDamaged) {
			// A load that does not work, and no other: it ends its trial so that
			// the other slot can take the next load, and stays known as failed.
			d.log.Error("there is no load to go back to", "load", r.Load, "error", err)
			d.failure(r.Load, "", wording.ReasonNoWayBack, err)
			state, err = report.StateFailed, d.slots.Confirm()
		}
		if err != nil {
			return err
		}
	}
	restart, err := d.installs().Do(ctx, StepRollback, d.job(r))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		d.log.Error("the installer could not go back", "error", err)
		d.failure(r.Load, "", wording.ReasonInstaller, err)
	}
	d.failure(r.Load, "", r.Reason, errors.New(r.Message))
	d.sink.count.upgrade("rolled-back")
	if err := d.change(func(r *record) {
		r.fail(r.Load, r.Reason, time.Now())
		r.Phase, r.State, r.Since = phaseIdle, state, stamp()
	}); err != nil {
		return err
	}
	d.log.Error("rolled back", "load", r.Load, "reason", r.Reason, "message", r.Message)
	if restart {
		_, err = d.installs().Do(ctx, StepReboot, d.job(d.record()))
	}
	return err
}
