package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
)

// ErrActive says that the active slot holds the very load already.
var ErrActive = errors.New("the active slot holds this load already")

// ErrNotHeld says that a file is not in place, or not what it should be.
var ErrNotHeld = errors.New("not held")

// ErrKind says that a file set was to be started as a load, or a load to be put in
// place as a file set.
var ErrKind = errors.New("not of the kind that was asked for")

// StageLoad fetches a load into the inactive slot of s and marks it complete;
// switching is left to the caller, who keeps s open. accept may refuse a load
// once its manifest is verified; nil takes all. LoadSpec.Dir and Slots are not
// used. If the active slot holds the load already, and its trial has not failed,
// nothing is changed and the error is ErrActive.
func (d *Device) StageLoad(ctx context.Context, spec LoadSpec, s *slot.Slots,
	accept func(*load.Manifest) error) (*LoadRun, error) {
	r, err := d.verifiedRun(ctx, spec)
	if err != nil {
		return r, err
	}
	if err := r.isLoad(); err != nil {
		return r, err
	}
	if accept != nil {
		if err := accept(r.Manifest); err != nil {
			return r, err
		}
	}
	l := slot.Load{Name: r.Manifest.Name, Version: r.Manifest.Version}
	for _, c := range r.Manifest.Components {
		l.Components = append(l.Components, slot.Entry{Name: c.Name, Size: c.Size, Digest: c.Digest})
	}
	a, ok := s.Active()
	if ok && a.State != slot.StateFailed && a.Name == l.Name && a.Version == l.Version &&
		slices.Equal(a.Components, l.Components) {
		return r, ErrActive
	}
	missing, err := s.Begin(l)
	if err != nil {
		return r, err
	}
	if err := r.fill(ctx, s.Dir(s.Inactive().Slot), missing); err != nil {
		return r, err
	}
	return r, s.Complete()
}

// isLoad refuses a file set.
func (r *LoadRun) isLoad() error {
	if r.Manifest.Directory != "" {
		return fmt.Errorf("%w: %s is a file set, and cannot be started", ErrKind, r.Manifest.Name)
	}
	return nil
}

// FetchSet fetches a file set. begin takes its manifest, once that is verified, and
// returns the directory that its components go to, and those that are lacking there.
// LoadSpec.Dir and Slots are not used.
func (d *Device) FetchSet(ctx context.Context, spec LoadSpec,
	begin func(*load.Manifest) (dir string, missing []slot.Entry, err error)) (*LoadRun, error) {
	r, err := d.verifiedRun(ctx, spec)
	if err != nil {
		return r, err
	}
	if r.Manifest.Directory == "" {
		return r, fmt.Errorf("%w: %s is a load, not a file set", ErrKind, r.Manifest.Name)
	}
	dir, missing, err := begin(r.Manifest)
	if err != nil {
		return r, err
	}
	return r, r.fill(ctx, dir, missing)
}

// fill fetches what is missing of a load into a directory that has the rest.
func (r *LoadRun) fill(ctx context.Context, dir string, missing []slot.Entry) error {
	var want []load.Component
	for _, c := range r.Manifest.Components {
		if slices.ContainsFunc(missing, func(e slot.Entry) bool { return e.Name == c.Name }) {
			want = append(want, c)
		} else {
			r.cached(c, filepath.Join(dir, c.Name))
		}
	}
	files, err := r.fetchAll(ctx, r.specsOf(want, dir))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// Hold offers a file that is in place to the peers, until Close. Unlike Fetch
// it never downloads: a file that is missing or not what Spec.Digest says is
// ErrNotHeld.
func (d *Device) Hold(spec Spec) (*File, error) {
	s := slot.Spec{Key: spec.key(), Geometry: load.Geometry{Size: spec.Size}, Table: spec.Table, Digest: spec.Digest}
	p, err := slot.OpenHeld(d.cfg.Files, spec.Target, s, d.cfg.Slot)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, slot.ErrDamaged) {
		return nil, fmt.Errorf("%w: %w", ErrNotHeld, err)
	}
	if err != nil {
		return nil, err
	}
	f := d.newFile(spec, p, true)
	if err := d.begin(f, true); err != nil {
		return nil, err
	}
	return f, nil
}

// Alive reports whether the loop answers before ctx ends.
func (d *Device) Alive(ctx context.Context) bool {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		d.call(func(time.Duration) {})
	}()
	select {
	case <-answered:
		return true
	case <-ctx.Done():
		return false
	}
}
