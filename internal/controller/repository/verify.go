package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// ErrNoComponent says that a published component is missing.
var ErrNoComponent = errors.New("component is missing")

// Checked is what Verify found of one load.
type Checked struct {
	// Name of the load.
	Name string
	// Manifest is nil if it could not be verified.
	Manifest *load.Manifest
	// Problem is nil if every component is as signed.
	Problem error
}

// fetcher is a tree as a device reads it.
type fetcher struct{ tree objects.Tree }

// Fetch implements trust.Fetcher.
func (f fetcher) Fetch(ctx context.Context, path string, max int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := f.tree.Read(path, max)
	if err == nil && b == nil {
		err = fmt.Errorf("%s: %w", path, trust.ErrNotFound)
	}
	return b, err
}

// Verify checks the whole tree as a new device would that starts at the first
// root: every root, the metadata, each load's manifest and all bytes of each
// component. The error is about the metadata, and the loads, sorted by name,
// say for themselves.
func (r *Repository) Verify(ctx context.Context) ([]Checked, error) {
	versions, err := r.versions(metadata.ROOT)
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoRepository, r.where)
	}
	f := fetcher{r.tree}
	pin, err := f.Fetch(ctx, tuf.MetadataPath(metadata.ROOT, versions[0]), tuf.MaxRootSize)
	if err != nil {
		return nil, err
	}
	device, err := trust.New(trust.Config{Pin: pin, Now: r.now})
	if err != nil {
		return nil, err
	}
	if err := device.Refresh(ctx, f); err != nil {
		return nil, err
	}
	var all []Checked
	for _, name := range device.Loads() {
		c := Checked{Name: name}
		c.Manifest, _, c.Problem = device.Manifest(ctx, f, name)
		if c.Problem == nil {
			c.Problem = r.verifyComponents(ctx, c.Manifest)
		}
		all = append(all, c)
	}
	return all, ctx.Err()
}

// verifyComponents reads every component of a load.
func (r *Repository) verifyComponents(ctx context.Context, m *load.Manifest) error {
	for i := range m.Components {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.verifyComponent(&m.Components[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) verifyComponent(c *load.Component) error {
	p := tuf.ComponentPath(c.Digest.String(), c.Name)
	f, err := r.tree.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoComponent, p)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := load.Describe(c.Name, f, c.Size)
	if errors.Is(err, load.ErrShort) || errors.Is(err, load.ErrLong) {
		return fmt.Errorf("%w: %s: %w", ErrChanged, p, err)
	}
	if err != nil {
		return err
	}
	if !equalComponent(got, *c) {
		return fmt.Errorf("%w: %s", ErrChanged, p)
	}
	return nil
}
