package domain

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/policy"
)

// SettingsChange changes the settings of one level: Set gives values, Unset
// removes them, which leaves these settings to the other levels.
type SettingsChange struct {
	Set   policy.Values `json:"set,omitempty"`
	Unset []string      `json:"unset,omitempty"`
}

// apply returns the values after the change, or an error that matches
// ErrInvalid and policy.ErrSetting.
func (s SettingsChange) apply(v policy.Values) (policy.Values, error) {
	set, err := s.Set.Admit()
	if err != nil {
		return nil, invalid("%w", err)
	}
	n := maps.Clone(v)
	if n == nil {
		n = policy.Values{}
	}
	for _, name := range s.Unset {
		if _, err := policy.Lookup(name); err != nil {
			return nil, invalid("%w", err)
		}
		if _, both := set[name]; both {
			return nil, invalid("%s is both set and unset: do one of the two", name)
		}
		delete(n, name)
	}
	maps.Copy(n, set)
	return n, nil
}

// LevelSettings are the settings of one level.
type LevelSettings struct {
	Target  Target `json:"target"`
	Version int64  `json:"version"`
	// Settings are all settings in the order of policy.Settings, set or not.
	Settings []LevelSetting `json:"settings"`
}

// LevelSetting is one setting at one level.
type LevelSetting struct {
	Name    string      `json:"name"`
	Kind    policy.Kind `json:"kind"`
	Choices []string    `json:"choices,omitempty"`
	Label   string      `json:"label"`
	LabelJA string      `json:"label_ja"`
	Help    string      `json:"help"`
	HelpJA  string      `json:"help_ja"`
	// Value at this level, nil if it is unset there.
	Value *string `json:"value"`
	// Effective is the answer for a device, nil at other levels.
	Effective *policy.Answer `json:"effective,omitempty"`
}

// Settings returns the settings of a level: the enterprise, a profile, or a
// device, which comes with the effective values.
func (c *Controller) Settings(ctx context.Context, a Actor, t Target) (out LevelSettings, err error) {
	if err := a.may(mayRead); err != nil {
		return out, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		out, err = c.settingsOf(ctx, tx, t)
		return err
	})
	return out, err
}

func (c *Controller) settingsOf(ctx context.Context, tx Tx, t Target) (out LevelSettings, err error) {
	h, err := c.holder(ctx, tx, t)
	if err != nil {
		return out, err
	}
	if h.settings == nil {
		return out, invalid("there are no settings at level %s: a model's defaults stand in its row", t.Level)
	}
	out = LevelSettings{Target: h.target, Version: h.meta.Version}
	var answers []policy.Answer
	if h.device != nil {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return out, err
		}
		levels, err := snap.levels(ctx, *h.device)
		if err != nil {
			return out, err
		}
		if answers, err = policy.EffectiveAll(snap.table.Lookup(h.device.Model), levels); err != nil {
			return out, err
		}
	}
	for i, s := range policy.Settings() {
		l := LevelSetting{Name: s.Name, Kind: s.Kind, Choices: s.Choices, Label: s.Label, LabelJA: s.LabelJA, Help: s.Help,
			HelpJA: s.HelpJA}
		if v, ok := (*h.settings)[s.Name]; ok {
			v = s.Shown(v)
			l.Value = &v
		}
		if answers != nil {
			shown := shownAnswer(s, answers[i])
			l.Effective = &shown
		}
		out.Settings = append(out.Settings, l)
	}
	return out, nil
}

// shownAnswer is an answer for people: an address that was set long ago may hold a
// password.
func shownAnswer(s policy.Setting, a policy.Answer) policy.Answer {
	a.Value, a.Others = s.Shown(a.Value), slices.Clone(a.Others)
	for i := range a.Others {
		a.Others[i].Value = s.Shown(a.Others[i].Value)
	}
	return a
}

// shownValues likewise.
func shownValues(v policy.Values) policy.Values {
	n := maps.Clone(v)
	for name, value := range n {
		if s, err := policy.Lookup(name); err == nil {
			n[name] = s.Shown(value)
		}
	}
	return n
}

// ChangeSettings changes the settings of a level and returns them as they were
// read back. version is that which the caller has read, 0 for any.
func (c *Controller) ChangeSettings(ctx context.Context, a Actor, t Target, change SettingsChange,
	version int64) (LevelSettings, error) {
	if err := a.may(t.permission()); err != nil {
		return LevelSettings{}, err
	}
	err := c.update(ctx, a, func(tx Tx, j *journal) error {
		h, err := c.holder(ctx, tx, t)
		if err != nil {
			return err
		}
		if h.settings == nil {
			return invalid("there are no settings at level %s: a model's defaults stand in its row", t.Level)
		}
		if err := checkVersion(*h.meta, version); err != nil {
			return err
		}
		before := struct {
			S policy.Values `json:"settings"`
		}{*h.settings}
		after := before
		if after.S, err = change.apply(*h.settings); err != nil {
			return err
		}
		if len(diff.Between(before, after)) == 0 {
			return nil
		}
		*h.settings = after.S
		c.stamp(h.meta)
		j.note("settings.change", h.target.String(), before, after)
		return h.put()
	})
	if err != nil {
		return LevelSettings{}, err
	}
	var out LevelSettings
	err = c.view(ctx, a, func(tx Tx) error {
		out, err = c.settingsOf(ctx, tx, t)
		return err
	})
	return out, err
}

// holder is what a target names, to read and to write.
type holder struct {
	target   Target
	meta     *Meta
	settings *policy.Values // nil: the level has none
	load     *Assignment
	sets     *[]string // nil: the level assigns none
	device   *Device   // of a device
	put      func() error
}

// holder finds what a target names. The enterprise always exists, and a model
// needs no entry.
func (c *Controller) holder(ctx context.Context, tx Tx, t Target) (*holder, error) {
	switch t.Level {
	case policy.LevelEnterprise:
		if t.Name != "" {
			return nil, invalid("the enterprise has no name")
		}
		e, _, err := lookup(ctx, tx.Enterprises(), Enterprise{}.Key())
		return &holder{target: t, meta: &e.Meta, settings: &e.Settings, load: &e.Load, sets: &e.FileSets,
			put: func() error { return tx.Enterprises().Put(ctx, &e) }}, err
	case policy.LevelModel:
		return c.modelHolder(ctx, tx, t)
	case policy.LevelProfile:
		p, err := find(ctx, tx.Profiles(), "profile", t.Name)
		return &holder{target: t, meta: &p.Meta, settings: &p.Settings, load: &p.Load, sets: &p.FileSets,
			put: func() error { return tx.Profiles().Put(ctx, &p) }}, err
	case policy.LevelDevice:
		name, err := DeviceName(t.Name)
		if err != nil {
			return nil, err
		}
		d, err := find(ctx, tx.Devices(), "device", name)
		return &holder{target: DeviceTarget(name), meta: &d.Meta, settings: &d.Settings, load: &d.Load, device: &d,
			sets: &d.FileSets, put: func() error { return tx.Devices().Put(ctx, &d) }}, err
	}
	return nil, invalid("nothing can be set at level %s", t.Level)
}

func (c *Controller) modelHolder(ctx context.Context, tx Tx, t Target) (*holder, error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return nil, err
	}
	m := snap.table.Lookup(t.Name)
	if !m.Known() {
		return nil, notFound("model", t.Name)
	}
	e := snap.models[m.Name]
	e.Name = m.Name
	return &holder{target: ModelTarget(m.Name), meta: &e.Meta, load: &e.Load,
		put: func() error { return tx.Models().Put(ctx, &e) }}, nil
}

// EnterpriseChange changes the switches of the controller; what is nil stays.
type EnterpriseChange struct {
	AutoRegistration *bool   `json:"auto_registration,omitempty"`
	RegisterProfile  *string `json:"register_profile,omitempty"`
}

// Enterprise returns what applies to all devices, and the switches.
func (c *Controller) Enterprise(ctx context.Context, a Actor) (e Enterprise, err error) {
	if err := a.may(mayRead); err != nil {
		return e, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		e, _, err = lookup(ctx, tx.Enterprises(), Enterprise{}.Key())
		e.Settings = shownValues(e.Settings)
		return err
	})
	return e, err
}

// UpdateEnterprise changes the switches.
func (c *Controller) UpdateEnterprise(ctx context.Context, a Actor, change EnterpriseChange,
	version int64) (e Enterprise, err error) {
	if err := a.may(mayEnterprise); err != nil {
		return e, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if e, _, err = lookup(ctx, tx.Enterprises(), Enterprise{}.Key()); err != nil {
			return err
		}
		if err := checkVersion(e.Meta, version); err != nil {
			return err
		}
		before := e
		if change.AutoRegistration != nil {
			e.AutoRegistration = *change.AutoRegistration
		}
		if p := change.RegisterProfile; p != nil {
			if *p != "" {
				if _, err := find(ctx, tx.Profiles(), "profile", *p); err != nil {
					return err
				}
			}
			e.RegisterProfile = *p
		}
		c.stamp(&e.Meta)
		j.note("enterprise.update", EnterpriseTarget().String(), before, e)
		return tx.Enterprises().Put(ctx, &e)
	})
	e.Settings = shownValues(e.Settings)
	return e, err
}

// ProfileChange changes a profile; what is nil stays.
type ProfileChange struct {
	Description *string        `json:"description,omitempty"`
	Settings    SettingsChange `json:"settings,omitzero"`
}

// CreateProfile makes a common profile.
func (c *Controller) CreateProfile(ctx context.Context, a Actor, name string,
	change ProfileChange) (p Profile, err error) {
	if err := a.may(mayDevices); err != nil {
		return p, err
	}
	if err := checkName("profile", name); err != nil {
		return p, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		p = Profile{Name: name}
		if err := c.changeProfile(&p, change); err != nil {
			return err
		}
		if err := create(ctx, tx.Profiles(), &p, "profile", name); err != nil {
			return err
		}
		j.note("profile.create", ProfileTarget(name).String(), nil, p)
		return nil
	})
	return p, err
}

func (c *Controller) changeProfile(p *Profile, change ProfileChange) (err error) {
	if d := change.Description; d != nil {
		if err := checkText("description", *d, MaxDescriptionLen); err != nil {
			return err
		}
		p.Description = *d
	}
	c.stamp(&p.Meta)
	p.Settings, err = change.Settings.apply(p.Settings)
	return err
}

// UpdateProfile changes a profile.
func (c *Controller) UpdateProfile(ctx context.Context, a Actor, name string, change ProfileChange,
	version int64) (p Profile, err error) {
	if err := a.may(mayDevices); err != nil {
		return p, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if p, err = find(ctx, tx.Profiles(), "profile", name); err != nil {
			return err
		}
		if err := checkVersion(p.Meta, version); err != nil {
			return err
		}
		before := p
		if err := c.changeProfile(&p, change); err != nil {
			return err
		}
		if len(diff.Between(before, p)) == 0 {
			p = before
			return nil
		}
		j.note("profile.update", ProfileTarget(name).String(), before, p)
		return tx.Profiles().Put(ctx, &p)
	})
	p.Settings = shownValues(p.Settings)
	return p, err
}

// DeleteProfile removes a profile that no device has any more.
func (c *Controller) DeleteProfile(ctx context.Context, a Actor, name string, version int64) error {
	if err := a.may(mayDevices); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		p, err := find(ctx, tx.Profiles(), "profile", name)
		if err != nil {
			return err
		}
		if err := checkVersion(p.Meta, version); err != nil {
			return err
		}
		used, err := tx.Devices().List(ctx, DeviceFilter{Profile: name}, Page{Limit: 1})
		if err != nil {
			return err
		}
		if used.Total > 0 {
			return refused("profile %q is that of %s, %s among them: give them another first", name,
				plural(used.Total, "device", "devices"), used.Items[0].Name)
		}
		j.note("profile.delete", ProfileTarget(name).String(), p, nil)
		return tx.Profiles().Delete(ctx, name, p.Version)
	})
}

// Profile returns a profile.
func (c *Controller) Profile(ctx context.Context, a Actor, name string) (p Profile, err error) {
	if err := a.may(mayRead); err != nil {
		return p, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		p, err = find(ctx, tx.Profiles(), "profile", name)
		p.Settings = shownValues(p.Settings)
		return err
	})
	return p, err
}

// Profiles lists profiles by name.
func (c *Controller) Profiles(ctx context.Context, a Actor, f TextFilter, p Page) (l List[Profile], err error) {
	if err := a.may(mayRead); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		l, err = tx.Profiles().List(ctx, f, p)
		for i := range l.Items {
			l.Items[i].Settings = shownValues(l.Items[i].Settings)
		}
		return err
	})
	return l, err
}

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
	err = c.view(ctx, a, func(tx Tx) error {
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
	err = c.view(ctx, a, func(tx Tx) error {
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
	err = c.viewAll(ctx, func(tx Tx) error {
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
	all, err := Collect(ctx, snap.tx.Devices(), DeviceFilter{})
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
			return fmt.Errorf("%w: model %q among the rows that were added", ErrNotFound, name)
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
