package domain

import (
	"context"
	"fmt"

	"github.com/peerload/peerload/internal/policy"
)

// modelOf is a model as people see it.
func (snap *snapshot) modelOf(m policy.Model) Model {
	e := snap.models[m.Name]
	out := Model{ModelRow: policy.ToRow(m), GroupName: m.GroupName(), Known: m.Known(), Custom: e.Row != nil, Load: e.Load,
		Version: e.Version}
	for _, s := range policy.Settings() {
		v, ok := m.Defaults[s.Name]
		if !ok {
			v = s.Default
		}
		out.Settings = append(out.Settings, ModelSetting{s.Name, v, m.Lacking(s)})
	}
	return out
}

// Models returns the whole model table.
func (c *Controller) Models(ctx context.Context, a Actor) (all []Model, err error) {
	if err := a.may(mayRead); err != nil {
		return nil, err
	}
	err = c.view(ctx, func(tx Tx) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		all = nil
		for _, m := range snap.table.Models() {
			all = append(all, snap.modelOf(m))
		}
		return nil
	})
	return all, err
}

// Model returns a model in any spelling of its name, even one that no table
// has.
func (c *Controller) Model(ctx context.Context, a Actor, name string) (m Model, err error) {
	if err := a.may(mayRead); err != nil {
		return m, err
	}
	err = c.view(ctx, func(tx Tx) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		m = snap.modelOf(snap.table.Lookup(name))
		return nil
	})
	return m, err
}

// Table returns the model table in effect: for file servers and tools that
// ask what shares with what. It holds no secret.
func (c *Controller) Table(ctx context.Context) (t *policy.Table, err error) {
	err = c.view(ctx, func(tx Tx) error {
		snap, err := c.snapshot(ctx, tx)
		if err == nil {
			t = snap.table
		}
		return err
	})
	return t, err
}

// PutModels adds rows to the model table, or replaces rows of the same name,
// all or none. It refuses if a device's load would not fit any more.
func (c *Controller) PutModels(ctx context.Context, a Actor, rows []policy.ModelRow) ([]Model, error) {
	if err := a.may(mayEnterprise); err != nil {
		return nil, err
	}
	if _, err := (policy.ModelFile{Model: rows}).Models(); err != nil {
		return nil, invalid("%w", err)
	}
	var out []Model
	err := c.update(ctx, a, func(tx Tx, j *journal) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		for _, r := range rows {
			m, err := r.Row()
			if err != nil {
				return invalid("%w", err)
			}
			if r.DefaultLoad != "" {
				if _, err := find(ctx, tx.Loads(), "load", r.DefaultLoad); err != nil {
					return err
				}
			}
			if err := c.putModel(ctx, snap, j, m); err != nil {
				return err
			}
		}
		// The table is built again, as every later reader will do.
		if snap, err = c.snapshot(ctx, tx); err != nil {
			return invalid("%w", err)
		}
		out = nil
		for _, r := range rows {
			out = append(out, snap.modelOf(snap.table.Lookup(r.Name)))
		}
		return snap.renameDevices(ctx, c)
	})
	return out, err
}

func (c *Controller) putModel(ctx context.Context, snap *snapshot, j *journal, m policy.Model) error {
	if _, err := snap.table.Extend([]policy.Model{m}); err != nil {
		return invalid("%w", err)
	}
	if old := snap.table.Lookup(m.Name); old.Known() && old.Name != m.Name {
		return refused("%q is another name of model %s: change the row of that name", m.Name, old.Name)
	}
	e := snap.models[m.Name]
	before := e
	row := policy.ToRow(m)
	e.Name, e.Row = m.Name, &row
	c.stamp(&e.Meta)
	if err := snap.tx.Models().Put(ctx, &e); err != nil {
		return err
	}
	snap.models[m.Name] = e
	j.note("model.put", ModelTarget(m.Name).String(), before, e)
	return nil
}

// renameDevices gives devices the name of their model as the new table writes
// it, and refuses a table with which a device's load would not fit.
func (snap *snapshot) renameDevices(ctx context.Context, c *Controller) error {
	all, err := collect(ctx, snap.tx.Devices(), DeviceFilter{})
	if err != nil {
		return err
	}
	for _, d := range all {
		if err := snap.checkFit(ctx, d); err != nil {
			return err
		}
		name := snap.table.Lookup(d.Model).Name
		if name == d.Model {
			continue
		}
		d.Model = name
		c.stamp(&d.Meta)
		if err := snap.tx.Devices().Put(ctx, &d); err != nil {
			return err
		}
	}
	return nil
}

// DeleteModel removes a row that was added, or brings the built-in row back.
// Devices of a model that no table has are treated as an unknown model.
func (c *Controller) DeleteModel(ctx context.Context, a Actor, name string) error {
	if err := a.may(mayEnterprise); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		m := snap.table.Lookup(name)
		e, ok := snap.models[m.Name]
		if !ok || e.Row == nil {
			return fmt.Errorf("%w: no row was added for model %q", ErrNotFound, name)
		}
		if c.cfg.Table.Lookup(m.Name).Known() && e.Load != (Assignment{}) {
			before := e
			e.Row = nil // and keep the load that is assigned
			c.stamp(&e.Meta)
			j.note("model.delete", ModelTarget(m.Name).String(), before, e)
			err = tx.Models().Put(ctx, &e)
		} else {
			j.note("model.delete", ModelTarget(m.Name).String(), e, nil)
			err = tx.Models().Delete(ctx, m.Name, e.Version)
		}
		if err != nil {
			return err
		}
		if snap, err = c.snapshot(ctx, tx); err != nil {
			return err
		}
		return snap.renameDevices(ctx, c)
	})
}
