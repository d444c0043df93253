// Package filesets has the use cases of file sets but publishing: to list, retire,
// assign and unassign them.
//
// What lives here: what may be assigned where, and how many devices that touches. What
// must not: which of several a device is to have, which package domain answers; SQL;
// HTTP.
//
// Read Service.Change.
package filesets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
)

// MaxAssigned bounds the file sets that one level assigns.
const MaxAssigned = 32

// Service has the use cases.
type Service struct{ ctl *domain.Controller }

// New returns the use cases on a controller.
func New(c *domain.Controller) *Service { return &Service{c} }

// Get returns a file set.
func (s *Service) Get(ctx context.Context, a domain.Actor, name string) (f domain.FileSet, err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return f, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		f, err = find(ctx, tx, name)
		return err
	})
	return f, err
}

func find(ctx context.Context, tx domain.Tx, name string) (domain.FileSet, error) {
	f, err := tx.FileSets().Get(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		err = fmt.Errorf("%w: file set %.60q", domain.ErrNotFound, name)
	}
	return f, err
}

// List lists file sets by name.
func (s *Service) List(ctx context.Context, a domain.Actor, f domain.LoadFilter,
	p domain.Page) (l domain.List[domain.FileSet], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		l, err = tx.FileSets().List(ctx, f, p)
		return err
	})
	return l, err
}

// Retire takes a file set out of use, or back: a retired one cannot be assigned any
// more. One that is still assigned somewhere is refused.
func (s *Service) Retire(ctx context.Context, a domain.Actor, name string, retired bool,
	version int64) (f domain.FileSet, err error) {
	if err := a.Check(domain.ScopeLoads); err != nil {
		return f, err
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		if f, err = find(ctx, tx, name); err != nil {
			return err
		}
		if err := domain.CheckVersion(f.Version, version); err != nil || f.Retired == retired {
			return err
		}
		if retired {
			if at, err := assignedAt(ctx, tx, name); err != nil {
				return err
			} else if len(at) > 0 {
				return fmt.Errorf("%w: file set %q is assigned to %s", domain.ErrRefused, name, strings.Join(at, ", "))
			}
		}
		before := f
		f.Retired = retired
		f.Changed = s.ctl.Time()
		note("fileset.retire", "fileset "+name, before, f)
		return tx.FileSets().Put(ctx, &f)
	})
	return f, err
}

// maxNamed bounds how many places an error names.
const maxNamed = 5

// assignedAt names some of the levels that assign a file set.
func assignedAt(ctx context.Context, tx domain.Tx, name string) (at []string, err error) {
	e, err := tx.Enterprises().Get(ctx, domain.Enterprise{}.Key())
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return nil, err
	}
	if slices.Contains(e.FileSets, name) {
		at = append(at, domain.EnterpriseTarget().String())
	}
	for p, err := range domain.Each(ctx, tx.Profiles(), domain.TextFilter{}) {
		if err != nil {
			return nil, err
		}
		if slices.Contains(p.FileSets, name) {
			at = append(at, domain.ProfileTarget(p.Name).String())
		}
	}
	for d, err := range domain.Each(ctx, tx.Devices(), domain.DeviceFilter{}) {
		if err != nil {
			return nil, err
		}
		if slices.Contains(d.FileSets, name) {
			at = append(at, domain.DeviceTarget(d.Name).String())
		}
	}
	return at[:min(len(at), maxNamed)], nil
}

// Change assigns file sets at a level, or assigns them no more.
type Change struct {
	// Assign are sets to assign. Each takes the place of those at that level which are
	// for its directory and a model that it is for, too.
	Assign []string `json:"assign,omitempty" maxItems:"32"`
	// Unassign are sets to assign no more there.
	Unassign []string `json:"unassign,omitempty" maxItems:"32"`
}

// Result says what was changed, or would be.
type Result struct {
	DryRun  bool          `json:"dry_run"`
	Target  domain.Target `json:"target"`
	Version int64         `json:"version"`
	// FileSets that the level assigns now, in order.
	FileSets []string `json:"file_sets"`
	// Reach are the devices that are to have other file sets than before.
	Reach domain.Reach `json:"reach"`
}

// errDry ends the transaction of a dry run.
var errDry = errors.New("a dry run")

// Change changes what the enterprise, a profile or a device assigns. version is the one
// that the caller has read, 0 for any. A dry run is refused as the change would be, and
// changes nothing.
func (s *Service) Change(ctx context.Context, a domain.Actor, t domain.Target, c Change, version int64,
	dry bool) (out Result, err error) {
	scope := domain.ScopeDevices
	if t.Level == policy.LevelEnterprise {
		scope = domain.ScopeEnterprise
	}
	if err := a.Check(scope); err != nil {
		return out, err
	}
	if len(c.Assign)+len(c.Unassign) == 0 {
		return out, fmt.Errorf("%w: name file sets to assign or to unassign", domain.ErrInvalid)
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		h, err := hold(ctx, tx, t)
		if err != nil {
			return err
		}
		if err := domain.CheckVersion(h.meta.Version, version); err != nil {
			return err
		}
		out = Result{DryRun: dry, Target: h.target, FileSets: []string{}}
		before, err := s.picture(ctx, tx, h.devices)
		if err != nil {
			return err
		}
		type fields struct {
			FileSets []string `json:"file_sets"`
		}
		was := fields{*h.sets}
		if err := s.apply(ctx, tx, h, c); err != nil {
			return err
		}
		out.FileSets, out.Version = append(out.FileSets, *h.sets...), h.meta.Version
		if slices.Equal(was.FileSets, *h.sets) {
			return nil
		}
		if h.meta.Changed = s.ctl.Time(); h.meta.Created.IsZero() {
			h.meta.Created = h.meta.Changed
		}
		if err := h.put(); err != nil {
			return err
		}
		out.Version = h.meta.Version
		after, err := s.picture(ctx, tx, h.devices)
		if err != nil {
			return err
		}
		if out.Reach = reachOf(before, after); dry {
			return errDry
		}
		note("fileset.assign", h.target.String(), was, fields{*h.sets})
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	if out.Reach.Sites == nil {
		out.Reach = reachOf(nil, nil)
	}
	return out, err
}

// holder is what a target names, to read and to write.
type holder struct {
	target  domain.Target
	meta    *domain.Meta
	sets    *[]string
	devices domain.DeviceFilter
	device  *domain.Device
	put     func() error
}

// hold finds what a target names.
func hold(ctx context.Context, tx domain.Tx, t domain.Target) (*holder, error) {
	switch t.Level {
	case policy.LevelEnterprise:
		e, err := tx.Enterprises().Get(ctx, domain.Enterprise{}.Key())
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return nil, err
		}
		return &holder{target: t, meta: &e.Meta, sets: &e.FileSets,
			put: func() error { return tx.Enterprises().Put(ctx, &e) }}, nil
	case policy.LevelProfile:
		p, err := tx.Profiles().Get(ctx, t.Name)
		return &holder{target: t, meta: &p.Meta, sets: &p.FileSets, devices: domain.DeviceFilter{Profile: t.Name},
			put: func() error { return tx.Profiles().Put(ctx, &p) }}, err
	case policy.LevelDevice:
		name, err := domain.DeviceName(t.Name)
		if err != nil {
			return nil, err
		}
		d, err := tx.Devices().Get(ctx, name)
		return &holder{target: domain.DeviceTarget(name), meta: &d.Meta, sets: &d.FileSets, device: &d,
			devices: domain.DeviceFilter{Text: name},
			put:     func() error { return tx.Devices().Put(ctx, &d) }}, err
	}
	return nil, fmt.Errorf("%w: file sets are assigned to the enterprise, a profile or a device, not to a %s",
		domain.ErrInvalid, t.Level)
}

// apply changes what a holder assigns, and refuses what cannot be.
func (s *Service) apply(ctx context.Context, tx domain.Tx, h *holder, c Change) error {
	sets := slices.Clone(*h.sets)
	for _, name := range c.Unassign {
		i := slices.Index(sets, name)
		if i < 0 {
			return fmt.Errorf("%w: file set %.60q is not assigned to %s", domain.ErrNotFound, name, h.target)
		}
		sets = slices.Delete(sets, i, i+1)
	}
	for _, name := range c.Assign {
		f, err := find(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case f.Retired:
			return fmt.Errorf("%w: file set %q is retired", domain.ErrRefused, name)
		case f.Missing:
			return fmt.Errorf("%w: the repository no longer has file set %q", domain.ErrRefused, name)
		case h.device != nil && !slices.Contains(f.Models, h.device.Model):
			return fmt.Errorf("%w: file set %s is for %s, and %s is a %s", domain.ErrUnfit, name,
				strings.Join(f.Models, ", "), h.device.Name, h.device.Model)
		}
		kept := []string{name}
		for _, other := range sets {
			o, err := tx.FileSets().Get(ctx, other)
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return err
			}
			same := o.Directory == f.Directory &&
				slices.ContainsFunc(o.Models, func(m string) bool { return slices.Contains(f.Models, m) })
			if other != name && !same {
				kept = append(kept, other)
			}
		}
		sets = kept
	}
	if len(sets) > MaxAssigned {
		return fmt.Errorf("%w: %d file sets at one level are more than %d", domain.ErrRefused, len(sets), MaxAssigned)
	}
	slices.Sort(sets)
	*h.sets = sets
	return nil
}

// seen is a device in a picture.
type seen struct {
	site, model string
	sets        []domain.FileSetAnswer
}

// picture is which file sets devices are to have.
func (s *Service) picture(ctx context.Context, tx domain.Tx, f domain.DeviceFilter) (map[string]seen, error) {
	of, err := s.ctl.FileSetsOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	all := map[string]seen{}
	for d, err := range domain.Each(ctx, tx.Devices(), f) {
		if err != nil {
			return nil, err
		}
		sets, err := of(d)
		if err != nil {
			return nil, err
		}
		site := d.Site
		if site == "" {
			st, err := tx.States().Get(ctx, d.Name)
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return nil, err
			}
			site = st.Site
		}
		all[d.Name] = seen{site, d.Model, sets}
	}
	return all, nil
}

// reachOf compares two pictures of the same devices. Which level assigns a set does
// not matter to a device.
func reachOf(before, after map[string]seen) domain.Reach {
	r := domain.NoReach()
	plain := func(s seen) map[string]string {
		by := map[string]string{}
		for _, a := range s.sets {
			by[a.Directory] = a.FileSet
		}
		return by
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if d := after[name]; !reflect.DeepEqual(plain(before[name]), plain(d)) {
			r.Add(name, d.model, d.site)
		}
	}
	return r
}
