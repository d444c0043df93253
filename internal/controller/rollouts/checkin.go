package rollouts

import (
	"context"
	"errors"
	"reflect"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/report"
)

// Told is what the rollout of a device says to it, beside what is assigned.
type Told struct {
	// Grant is what it may do; nil is nothing.
	Grant *rollout.Grant
	// Load takes the place of the one that is assigned, "" for none: the device
	// runs it because of the rollout.
	Load string
}

// checkIn is one device's visit.
type checkIn struct {
	device string
	id     string // of the rollout that it belongs to
	active bool
	r      domain.Rollout
	row    rollout.Row
	state  domain.DeviceState
	at     rollout.Place
}

// visit reads what a check-in of a device needs; nil if no rollout has anything to
// do with it.
func (s *Service) visit(ctx context.Context, tx domain.Tx, device string) (*checkIn, error) {
	all, err := tx.RolloutDevices().Holders(ctx, []string{device})
	holder := all[device]
	if err != nil || holder.Rollout == "" {
		return nil, err
	}
	v := &checkIn{device: device, id: holder.Rollout, active: holder.Active}
	if v.r, err = tx.Rollouts().Get(ctx, v.id); err != nil {
		return nil, err
	}
	row, err := tx.RolloutDevices().Get(ctx, domain.RolloutDeviceKey(v.id, device))
	if err != nil {
		return nil, err
	}
	v.row = row.Row
	if v.state, err = tx.States().Get(ctx, device); err != nil && !errors.Is(err, domain.ErrNotFound) {
		return nil, err
	}
	d, err := tx.Devices().Get(ctx, device)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return nil, err
	}
	site := d.Site
	if site == "" {
		site = v.state.Site
	}
	v.at, err = placeOf(ctx, tx, site)
	return v, err
}

// Told answers a device that fetches its provisioning file. Anybody may fetch it,
// so it is no sign of life: nothing becomes of a device that is accounted for. What
// the device may do is renewed if it is time, by the last that it said of itself.
// If that cannot be written, it is told what it holds.
func (s *Service) Told(ctx context.Context, device string) (Told, error) {
	var v *checkIn
	changes := false
	now := s.ctl.Time()
	var out rollout.Outcome
	err := s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) (err error) {
		if v, err = s.visit(ctx, tx, device); err != nil || v == nil || !open(v.row.Standing) {
			return err
		}
		if v.state.Reported.IsZero() {
			return nil // nobody knows yet what it runs
		}
		next, err := s.ctl.NextStep(ctx, tx)
		if err != nil {
			return err
		}
		row, m := v.row, rollout.New(v.r.Record, next)
		before := m.Record()
		out = m.Heard(now, &row, reported(v.state, false), v.at)
		changes = out.Changed || !reflect.DeepEqual(before, m.Record())
		return nil
	})
	if err != nil || v == nil {
		return Told{}, err
	}
	if changes {
		err := s.ctl.Update(ctx, domain.Actor{}, func(tx domain.Tx, _ domain.Note) error {
			out, err = s.hear(ctx, tx, device, false)
			return err
		})
		if err != nil {
			s.cfg.Log.Warn("what a device may do was not renewed", "device", device, "error", err)
			return v.held(s), nil
		}
	}
	return v.told(out.Grant), nil
}

// held is what a device was handed and still holds.
func (v *checkIn) held(s *Service) Told {
	if v.r.Record.State != rollout.Running || !s.ctl.Time().Before(v.row.Download.Until) &&
		!s.ctl.Time().Before(v.row.Activate.Until) {
		return v.told(nil)
	}
	return v.told(&rollout.Grant{Rollout: v.id, Device: v.device, Load: v.row.Step, Try: v.row.Try,
		Download: v.row.Download, Activate: v.row.Activate})
}

// told is what a device is told that holds a grant, nil for none.
func (v *checkIn) told(g *rollout.Grant) Told {
	t := Told{Grant: g}
	if !v.active || g != nil {
		return t
	}
	switch v.row.Standing {
	case rollout.Done:
		t.Load = v.row.Step
	case rollout.Had:
		t.Load = v.row.Load
	}
	return t
}

func open(s rollout.Standing) bool {
	return s == rollout.Waiting || s == rollout.Granted || s == rollout.Began
}

// Reported takes that devices have reported; it is domain.Config's of that name.
func (s *Service) Reported(ctx context.Context, tx domain.Tx, devices []string) error {
	holders, err := tx.RolloutDevices().Holders(ctx, devices)
	if err != nil {
		return err
	}
	for _, device := range devices {
		if holders[device].Rollout == "" {
			continue
		}
		if _, err := s.hear(ctx, tx, device, true); err != nil {
			return err
		}
	}
	return nil
}

// hear takes to a device's rollout what it said last, in the transaction in which
// that is written: now, or before. What a device has come to run because of a rollout becomes its
// assignment.
func (s *Service) hear(ctx context.Context, tx domain.Tx, device string, now bool) (out rollout.Outcome, err error) {
	v, err := s.visit(ctx, tx, device)
	if err != nil || v == nil {
		return out, err
	}
	k, err := s.stepper(ctx, tx)
	if err != nil {
		return out, err
	}
	said := reported(v.state, now)
	if out, _, err = k.CheckIn(ctx, s.ctl.Time(), device, said, v.at); err != nil {
		return out, err
	}
	before := v.row
	row, err := tx.RolloutDevices().Get(ctx, domain.RolloutDeviceKey(v.id, device))
	if err != nil {
		return out, err
	}
	runs := ""
	switch after := row.Row; {
	case after.Standing == rollout.Done && before.Standing != rollout.Done, after.Steps > before.Steps:
		runs = said.Runs
	case after.Standing == rollout.Had && v.active && v.r.Record.State == rollout.Running && v.untouched(ctx, tx):
		runs = said.Runs
	}
	if runs == "" {
		return out, nil
	}
	who := domain.Actor{Kind: domain.ActorSystem, Name: target(v.id), From: "local", Role: domain.RoleAdmin}
	return out, s.ctl.Settle(ctx, tx, who, device, runs, v.r.Ask.Release)
}

// untouched reports whether nobody has changed a device's row since its wave
// opened: then what it runs may become its assignment.
func (v *checkIn) untouched(ctx context.Context, tx domain.Tx) bool {
	if v.row.Wave >= v.r.Record.Open {
		return false
	}
	d, err := tx.Devices().Get(ctx, v.device)
	return err == nil && !d.Changed.After(v.r.Record.Waves[v.row.Wave].Opened)
}

// reported is what a device said last, as the machine takes it: now, or before.
func reported(s domain.DeviceState, now bool) rollout.Report {
	d := s.Last
	out := rollout.Report{Runs: d.Active, Load: d.Wanted, Reason: d.Reason}
	told := d.Upgrade != nil // else it does not tell which load its state is about
	if told {
		out.Load, out.Rollout, out.Try = d.Upgrade.Load, d.Upgrade.Rollout, d.Upgrade.Try
	}
	switch d.State {
	case report.StateDownloading, report.StateReady:
		out.Activity = rollout.Fetching
	case report.StateInstalling, report.StateRebooting, report.StateTrial:
		out.Activity = rollout.Installing
	case report.StateRolledBack:
		out.Activity = rollout.Rejecting
	case report.StateFailed:
		out.Activity = rollout.Giving
		if d.Active == out.Load { // it runs, and there was none to go back to
			out.Activity = rollout.Rejecting
		}
	}
	// A device that does not tell says each failure for as long as its state lasts,
	// and may have been told another load since.
	first := now && s.Since.Equal(s.Reported)
	if !told && (out.Activity == rollout.Giving && !first || out.Activity == rollout.Rejecting && d.Active == out.Load) {
		out.Activity = rollout.Resting
	}
	return out
}
