// Package filesets has the use cases of the list of file sets: to read it, and to
// retire sets.
//
// What lives here: what keeps a set in use. What must not: assignments, and which of
// several sets a device is to have, which are package domain's; SQL; HTTP.
//
// Read Service.Retire.
package filesets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
)

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
	if more := len(at) - maxNamed; more > 0 {
		at = append(at[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return at, nil
}
