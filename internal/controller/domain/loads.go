package domain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/stepping"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
)

// Load returns a load.
func (c *Controller) Load(ctx context.Context, a Actor, name string) (l Load, err error) {
	if err := a.may(mayRead); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		l, err = find(ctx, tx.Loads(), "load", name)
		return err
	})
	return l, err
}

// Loads lists loads by name.
func (c *Controller) Loads(ctx context.Context, a Actor, f LoadFilter, p Page) (l List[Load], err error) {
	if err := a.may(mayRead); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		l, err = tx.Loads().List(ctx, f, p)
		return err
	})
	return l, err
}

// repository returns the repository, or an error that matches ErrUnavailable.
func (c *Controller) repository() (*repository.Repository, error) {
	if c.cfg.Repository == nil {
		return nil, fmt.Errorf("%w: this controller has no repository", ErrUnavailable)
	}
	return c.cfg.Repository, nil
}

// AddLoad publishes files of the controller's disk as a signed load. The same
// request again changes nothing. Errors match those of package publish, or
// ErrInvalid for what it refuses. An assigned load is not changed by accident:
// a new version of it is ErrRefused unless req.Replace is set, and one that is
// no longer for the model of a device that has it is ErrUnfit.
func (c *Controller) AddLoad(ctx context.Context, a Actor, req publish.Request) (l Load, err error) {
	return c.AddLoadFrom(ctx, a, req, nil)
}

// AddLoadFrom likewise publishes a load that may be installed from versions as these
// patterns say, nil for what was said before.
func (c *Controller) AddLoadFrom(ctx context.Context, a Actor, req publish.Request,
	from []string) (l Load, err error) {
	if err := a.may(mayLoads); err != nil {
		return l, err
	}
	if err := checkFrom(from); err != nil {
		return l, err
	}
	if req.Directory != "" {
		return l, invalid("a load has no directory: add it as a file set")
	}
	repo, err := c.repository()
	if err != nil {
		return l, err
	}
	c.publishing.Lock()
	defer c.publishing.Unlock()
	err = c.view(ctx, a, func(tx Tx) error {
		if err := c.nameModels(ctx, tx, &req); err != nil {
			return err
		}
		return c.checkAssignedBefore(ctx, tx, req)
	})
	if err != nil {
		return l, err
	}
	m, err := c.publish(repo, req)
	if err != nil {
		return l, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if l, err = c.record(ctx, tx, j, m); err != nil || from == nil {
			return err
		}
		return c.setFrom(ctx, tx, j, &l, from)
	})
	return l, err
}

// publish signs the files of a request, and puts them into the repository.
func (c *Controller) publish(repo *repository.Repository, req publish.Request) (*load.Manifest, error) {
	if req.Created.IsZero() {
		req.Created = c.now()
	}
	res, err := publish.Add(repo, req)
	switch {
	case errors.Is(err, publish.ErrRefused):
		return nil, invalid("%w", err)
	case errors.Is(err, publish.ErrExists):
		return nil, fmt.Errorf("%w: %w", ErrExists, err)
	case err != nil:
		return nil, err
	}
	return res.Manifest, nil
}

// checkFrom refuses what are no patterns of versions.
func checkFrom(from []string) error {
	for _, p := range from {
		if err := checkText("pattern", p, stepping.MaxPattern); err != nil {
			return err
		}
	}
	if err := stepping.Check(from); err != nil {
		return invalid("%w", err)
	}
	return nil
}

// setFrom says from which versions a load may be installed.
func (c *Controller) setFrom(ctx context.Context, tx Tx, j *journal, l *Load, from []string) error {
	if slices.Equal(l.From, from) {
		return nil
	}
	before := *l
	l.From = slices.Clone(from)
	c.stamp(&l.Meta)
	j.note("load.from", "load "+l.Name, before, *l)
	return tx.Loads().Put(ctx, l)
}

// SetLoadFrom says from which versions a load may be installed, as patterns; none:
// from any. A device that has it keeps it, and one that should get it goes by the
// new way from its next check-in on.
func (c *Controller) SetLoadFrom(ctx context.Context, a Actor, name string, from []string,
	version int64) (l Load, err error) {
	if err := a.may(mayLoads); err != nil {
		return l, err
	}
	if err := checkFrom(from); err != nil {
		return l, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if l, err = find(ctx, tx.Loads(), "load", name); err != nil {
			return err
		}
		if err := checkVersion(l.Meta, version); err != nil {
			return err
		}
		return c.setFrom(ctx, tx, j, &l, from)
	})
	return l, err
}

// nameModels replaces models by the names of their rows if devices, which have
// the built-in table only, could not know their other names.
func (c *Controller) nameModels(ctx context.Context, tx Tx, req *publish.Request) error {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(req.Models))
	for _, m := range req.Models {
		if known := snap.table.Lookup(m); known.Known() && !policy.Builtin().Lookup(m).Known() {
			m = known.Name
		}
		names = append(names, m)
	}
	req.Models = names
	return nil
}

// checkAssignedBefore refuses to change a load that is assigned. Devices know a
// load by its name: those that run it would keep what they have, and others
// would get something else.
func (c *Controller) checkAssignedBefore(ctx context.Context, tx Tx, req publish.Request) error {
	name := req.Name
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	old, err := snap.load(ctx, name)
	if err != nil || old == nil {
		return err
	}
	if old.Release != req.Version && !req.Replace {
		if err := c.checkUnassigned(ctx, tx, ref{load: name}); err != nil {
			return fmt.Errorf("%w, in version %s; devices that run it would not take another version of the same name: "+
				"publish it under a new name, or replace it all the same with --replace", err, old.Release)
		}
	}
	devices, err := Collect(ctx, tx.Devices(), DeviceFilter{})
	if err != nil {
		return err
	}
	for _, m := range snap.table.Models() {
		if of, err := snap.resolve(ctx, snap.modelRef(m), m.Name); err != nil {
			return err
		} else if of == name {
			devices = append(devices, Device{Name: ModelTarget(m.Name).String(), Model: m.Name})
		}
	}
	next := *old
	next.Models = snap.modelNames(req.Models)
	var unfit []string
	for _, d := range devices {
		a, err := snap.loadFor(ctx, d)
		if err != nil {
			return err
		}
		if a.Load == name && snap.misfit(&next, d.Model) != "" {
			unfit = append(unfit, fmt.Sprintf("%s (%s)", d.Name, d.Model))
		}
	}
	if len(unfit) > 0 {
		return fmt.Errorf(
			"%w: %s is assigned and would no longer be for %s; publish it under another name, or assign another load first",
			ErrUnfit, name, strings.Join(unfit[:min(len(unfit), 5)], ", "))
	}
	return nil
}

// AddFileSet publishes files of the controller's disk as a signed file set, for
// req.Directory. The errors are those of AddLoad; one that is assigned may be replaced,
// but devices that have it keep what they have.
func (c *Controller) AddFileSet(ctx context.Context, a Actor, req publish.Request) (s FileSet, err error) {
	if err := a.may(mayLoads); err != nil {
		return s, err
	}
	if err := load.CheckDirectory(req.Directory); err != nil {
		return s, invalid("%w", err)
	}
	repo, err := c.repository()
	if err != nil {
		return s, err
	}
	c.publishing.Lock()
	defer c.publishing.Unlock()
	err = c.view(ctx, a, func(tx Tx) error { return c.nameModels(ctx, tx, &req) })
	if err != nil {
		return s, err
	}
	m, err := c.publish(repo, req)
	if err != nil {
		return s, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		s, err = c.recordSet(ctx, tx, j, m)
		return err
	})
	return s, err
}

// recordSet stores the contents of a file set's manifest in the database.
func (c *Controller) recordSet(ctx context.Context, tx Tx, j *journal, m *load.Manifest) (FileSet, error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return FileSet{}, err
	}
	s, _, err := lookup(ctx, tx.FileSets(), m.Name)
	if err != nil {
		return s, err
	}
	before := s
	s.Directory = m.Directory
	snap.describe(&s.Load, m)
	if len(diff.Between(before, s)) == 0 {
		return s, nil
	}
	c.stamp(&s.Meta)
	j.note("fileset.record", "fileset "+s.Name, before, s)
	return s, tx.FileSets().Put(ctx, &s)
}

// describe writes what a manifest says.
func (snap *snapshot) describe(l *Load, m *load.Manifest) {
	l.Name, l.Release, l.Signed, l.Missing = m.Name, m.Version, true, false
	l.Models, l.Components, l.Size = snap.modelNames(m.Models), nil, 0
	for _, comp := range m.Components {
		l.Components = append(l.Components, LoadComponent{comp.Name, comp.Size, comp.Digest.String()})
		l.Size += comp.Size
	}
}

// record stores the contents of a manifest in the database.
func (c *Controller) record(ctx context.Context, tx Tx, j *journal, m *load.Manifest) (Load, error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return Load{}, err
	}
	l, _, err := lookup(ctx, tx.Loads(), m.Name)
	if err != nil {
		return l, err
	}
	before := l
	snap.describe(&l, m)
	if len(diff.Between(before, l)) == 0 {
		return l, nil
	}
	c.stamp(&l.Meta)
	j.note("load.record", "load "+l.Name, before, l)
	return l, tx.Loads().Put(ctx, &l)
}

func (snap *snapshot) modelNames(models []string) []string {
	names := make([]string, 0, len(models))
	for _, m := range models {
		names = append(names, snap.table.Lookup(m).Name)
	}
	return names
}

// SyncLoads compares the list of loads with the repository: it adds new ones,
// and marks those that are missing. The server calls it when it starts, since
// the repository may have been changed meanwhile.
func (c *Controller) SyncLoads(ctx context.Context, a Actor) error {
	if err := a.may(mayLoads); err != nil {
		return err
	}
	repo, err := c.repository()
	if err != nil {
		return err
	}
	c.publishing.Lock()
	defer c.publishing.Unlock()
	manifests, err := repo.Loads()
	if err != nil && !errors.Is(err, repository.ErrNoRepository) {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		has := make(map[string]bool, len(manifests))
		for _, m := range manifests {
			has[m.Name] = true
			if m.Directory != "" {
				if _, err := c.recordSet(ctx, tx, j, m); err != nil {
					return err
				}
				continue
			}
			if _, err := c.record(ctx, tx, j, m); err != nil {
				return err
			}
		}
		known, err := Collect(ctx, tx.Loads(), LoadFilter{Retired: true})
		if err != nil {
			return err
		}
		for _, l := range known {
			if !l.Signed || l.Missing || has[l.Name] {
				continue
			}
			before := l
			l.Missing = true
			c.stamp(&l.Meta)
			j.note("load.record", "load "+l.Name, before, l)
			if err := tx.Loads().Put(ctx, &l); err != nil {
				return err
			}
		}
		return nil
	})
}

// UnsignedLoad is a classic, unsigned load that the file server offers.
type UnsignedLoad struct {
	// Name without .loads.
	Name string `json:"name"`
	// Models that it is for, at least one.
	Models []string `json:"models"`
	// Components are file names, in the order of the .loads file; may be empty.
	Components []string `json:"components,omitempty"`
}

// RegisterLoad adds an unsigned classic load to the list, so that it can be
// assigned. Devices run it only if the setting "unsigned" is on.
func (c *Controller) RegisterLoad(ctx context.Context, a Actor, u UnsignedLoad) (l Load, err error) {
	if err := a.may(mayLoads); err != nil {
		return l, err
	}
	if err := load.CheckName(u.Name); err != nil {
		return l, invalid("%w", err)
	}
	if len(u.Models) == 0 || len(u.Models) > load.MaxModels || len(u.Components) > load.MaxComponents {
		return l, invalid("a load is for 1 to %d models and has at most %d components", load.MaxModels, load.MaxComponents)
	}
	for _, m := range u.Models {
		if err := checkText("model", m, load.MaxTextLen); err != nil {
			return l, err
		}
	}
	for _, name := range u.Components {
		if err := load.CheckName(name); err != nil {
			return l, invalid("%w", err)
		}
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		l = Load{Name: u.Name, Models: snap.modelNames(u.Models)}
		for _, name := range u.Components {
			l.Components = append(l.Components, LoadComponent{Name: name})
		}
		c.stamp(&l.Meta)
		if err := create(ctx, tx.Loads(), &l, "load", u.Name); err != nil {
			return err
		}
		j.note("load.register", "load "+l.Name, nil, l)
		return nil
	})
	return l, err
}

// RetireLoad takes a load out of use, or back: a retired one cannot be
// assigned any more. One that is still assigned somewhere is refused.
func (c *Controller) RetireLoad(ctx context.Context, a Actor, name string, retired bool,
	version int64) (l Load, err error) {
	if err := a.may(mayLoads); err != nil {
		return l, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if l, err = find(ctx, tx.Loads(), "load", name); err != nil {
			return err
		}
		if err := checkVersion(l.Meta, version); err != nil {
			return err
		}
		if l.Retired == retired {
			return nil
		}
		if retired {
			if err := c.checkUnassigned(ctx, tx, ref{load: name}); err != nil {
				return err
			}
		}
		before := l
		l.Retired = retired
		c.stamp(&l.Meta)
		j.note("load.retire", "load "+name, before, l)
		return tx.Loads().Put(ctx, &l)
	})
	return l, err
}

// checkUnassigned refuses if a load or a release is assigned anywhere; a load
// also if a release that it is of is.
func (c *Controller) checkUnassigned(ctx context.Context, tx Tx, what ref) error {
	if err := c.checkUnnamed(ctx, tx, what, ""); err != nil || what.load == "" {
		return err
	}
	releases, err := Collect(ctx, tx.Releases(), TextFilter{})
	if err != nil {
		return err
	}
	for _, r := range releases {
		if !slices.Contains(r.Loads, what.load) {
			continue
		}
		because := fmt.Sprintf("; load %q is one of it", what.load)
		if err := c.checkUnnamed(ctx, tx, ref{release: r.Name}, because); err != nil {
			return err
		}
	}
	return nil
}

// checkUnnamed refuses if that very name is assigned anywhere; the error also
// says because.
func (c *Controller) checkUnnamed(ctx context.Context, tx Tx, what ref, because string) error {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	var at []string
	if snap.enterprise.Load.ref() == what {
		at = append(at, EnterpriseTarget().String())
	}
	for _, m := range snap.table.Models() {
		if snap.modelRef(m) == what {
			at = append(at, ModelTarget(m.Name).String())
		}
	}
	profiles, err := Collect(ctx, tx.Profiles(), TextFilter{})
	if err != nil {
		return err
	}
	for _, p := range profiles {
		if p.Load.ref() == what {
			at = append(at, ProfileTarget(p.Name).String())
		}
	}
	devices, err := tx.Devices().List(ctx, DeviceFilter{Load: what.load, Release: what.release}, Page{Limit: 5})
	if err != nil {
		return err
	}
	for _, d := range devices.Items {
		at = append(at, DeviceTarget(d.Name).String())
	}
	if len(at) > 0 {
		kind, name := "load", what.load
		if what.release != "" {
			kind, name = "release", what.release
		}
		return refused("%s %q is assigned to %s%s: assign another there first", kind, name,
			strings.Join(at[:min(len(at), 5)], ", "), because)
	}
	return nil
}

// CheckedLoad is what VerifyLoads found of one load.
type CheckedLoad struct {
	Name string `json:"name"`
	// Problem is "" if every component is as signed.
	Problem string `json:"problem,omitempty"`
}

// VerifyLoads checks the whole repository as a new device would: every
// signature and every byte. The error is about the signatures of the repository
// itself; those of the loads are in their results.
func (c *Controller) VerifyLoads(ctx context.Context, a Actor) ([]CheckedLoad, error) {
	if err := a.may(mayLoads); err != nil {
		return nil, err
	}
	repo, err := c.repository()
	if err != nil {
		return nil, err
	}
	checked, err := repo.Verify(ctx)
	all := make([]CheckedLoad, 0, len(checked))
	for _, k := range checked {
		l := CheckedLoad{Name: k.Name}
		if k.Problem != nil {
			l.Problem = k.Problem.Error()
		}
		all = append(all, l)
	}
	return all, err
}

// errUnpublished says that the repository is not there yet.
var errUnpublished = fmt.Errorf("%w: no load was published yet, and the keys are made with the first: publish one",
	ErrNotFound)

// RotateKeys gives a role of the repository ("root", "targets", "snapshot" or
// "timestamp") a new key.
func (c *Controller) RotateKeys(ctx context.Context, a Actor, role string) error {
	if err := a.may(mayAccess); err != nil {
		return err
	}
	repo, err := c.repository()
	if err != nil {
		return err
	}
	c.publishing.Lock()
	defer c.publishing.Unlock()
	if err := repo.RotateKeys(role); errors.Is(err, repository.ErrNoRepository) {
		return errUnpublished
	} else if err != nil {
		return err
	}
	return c.update(ctx, a, func(_ Tx, j *journal) error {
		j.event("keys.rotate", "repository "+cleanText(role, MaxNameLen))
		return nil
	})
}

// Root returns the repository's newest root, which devices get as their pin,
// and its version. It is public.
func (c *Controller) Root() ([]byte, int64, error) {
	repo, err := c.repository()
	if err != nil {
		return nil, 0, err
	}
	b, version, err := repo.ExportRoot()
	if errors.Is(err, repository.ErrNoRepository) {
		return nil, 0, errUnpublished
	}
	return b, version, err
}
