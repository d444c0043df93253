package domain

import (
	"context"
	"fmt"
	"strings"

	"github.com/peerload/peerload/internal/policy"
)

// assign sets an assignment and remembers the one before. A load that is not
// known or retired is refused.
func (snap *snapshot) assign(ctx context.Context, at *Assignment, name string) error {
	if name == at.Load {
		return nil
	}
	if name != "" {
		l, err := snap.load(ctx, name)
		switch {
		case err != nil:
			return err
		case l == nil:
			return notFound("load", name)
		case l.Retired:
			return refused("load %q is retired", name)
		case l.Missing:
			return refused("the repository no longer has load %q", name)
		}
	}
	*at = Assignment{Load: name, Previous: at.Load, HasPrevious: true}
	return nil
}

// Assigned is a load that was assigned.
type Assigned struct {
	Target  Target `json:"target"`
	Version int64  `json:"version"`
	Assignment
}

// AssignLoad assigns a load to the enterprise (the default for all), a model, a
// profile or a device; "" assigns none there. It is refused with ErrUnfit if a
// device would get a load that is not for its model. version is the one that
// the caller has read, 0 for any.
func (c *Controller) AssignLoad(ctx context.Context, a Actor, t Target, name string, version int64) (Assigned, error) {
	return c.reassign(ctx, a, t, version, "load.assign",
		func(snap *snapshot, at *Assignment) error { return snap.assign(ctx, at, name) })
}

// RollBackLoad assigns the load that was assigned before.
func (c *Controller) RollBackLoad(ctx context.Context, a Actor, t Target, version int64) (Assigned, error) {
	return c.reassign(ctx, a, t, version, "load.roll-back", func(snap *snapshot, at *Assignment) error {
		if !at.HasPrevious {
			return refused("nothing was assigned to %s before: assign a load by its name", t)
		}
		return snap.assign(ctx, at, at.Previous)
	})
}

func (c *Controller) reassign(ctx context.Context, a Actor, t Target, version int64, action string,
	change func(*snapshot, *Assignment) error) (out Assigned, err error) {
	if err := a.may(t.permission()); err != nil {
		return out, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		h, err := c.holder(ctx, tx, t)
		if err != nil {
			return err
		}
		if err := checkVersion(*h.meta, version); err != nil {
			return err
		}
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		before := *h.load
		if err := change(snap, h.load); err != nil {
			return err
		}
		c.stamp(h.meta)
		if err := h.put(); err != nil {
			return err
		}
		if err := c.checkAssigned(ctx, tx, h); err != nil {
			return err
		}
		j.note(action, h.target.String(), before, *h.load)
		out = Assigned{h.target, h.meta.Version, *h.load}
		return nil
	})
	return out, err
}

// checkAssigned refuses an assignment by which a device would get a load that
// is not for its model.
func (c *Controller) checkAssigned(ctx context.Context, tx Tx, h *holder) error {
	snap, err := c.snapshot(ctx, tx) // sees what was put
	if err != nil || h.load.Load == "" {
		return err
	}
	var devices []Device
	switch h.target.Level {
	case policy.LevelDevice:
		devices = []Device{*h.device}
	case policy.LevelModel:
		devices = []Device{{Name: "every device", Model: h.target.Name}}
	case policy.LevelProfile:
		devices, err = collect(ctx, tx.Devices(), DeviceFilter{Profile: h.target.Name})
	default:
		devices, err = collect(ctx, tx.Devices(), DeviceFilter{})
	}
	if err != nil {
		return err
	}
	var unfit []string
	for _, d := range devices {
		if d.Model == "" {
			continue // registered by itself and silent on its model: it is passed over until that is known
		}
		answer, err := snap.loadFor(ctx, d)
		if err != nil {
			return err
		}
		for _, o := range answer.Others {
			// A load that a stronger level skips reaches no device.
			if o.Level == h.target.Level && o.Skipped != "" && loadRank(o.Level) > loadRank(answer.Level) {
				unfit = append(unfit, fmt.Sprintf("%s (%s)", d.Name, d.Model))
			}
		}
	}
	if len(unfit) == 0 {
		return nil
	}
	l, err := snap.load(ctx, h.load.Load)
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s is for %s, which %s not: %s", ErrUnfit, l.Name, strings.Join(l.Models, ", "),
		plural(len(unfit), "device is", "devices are"), strings.Join(unfit[:min(len(unfit), 5)], ", "))
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
