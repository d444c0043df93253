// Package publisher makes published trees for tests, and devices that look at
// them: as they are, altered, or as they were before.
//
// What must not be here: how a tree is made or verified; that is what the tests
// look at.
package publisher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// Epoch is when the repositories are made.
var Epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Publisher is a repository, and the clock of all who take part.
type Publisher struct {
	// Dir is the published tree, Keys the directory of the signing keys.
	Dir, Keys string
	Repo      *repository.Repository
	// Now is what all clocks show.
	Now time.Time

	t testing.TB
}

// New makes an empty repository.
func New(t testing.TB) *Publisher {
	t.Helper()
	p := &Publisher{t: t, Dir: t.TempDir(), Keys: filepath.Join(t.TempDir(), "keys"), Now: Epoch}
	r, err := repository.Open(repository.Config{Dir: p.Dir, Keys: p.Keys, Now: p.clock})
	p.must(err)
	p.Repo = r
	p.must(r.Init())
	return p
}

func (p *Publisher) clock() time.Time { return p.Now }

func (p *Publisher) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// Add publishes load NAME with the given files.
func (p *Publisher) Add(name, version string, content map[string]string) *load.Manifest {
	p.t.Helper()
	m := &load.Manifest{Name: name, Version: version, Models: []string{"linux-arm"}}
	for file, text := range content {
		c, err := load.Describe(file, strings.NewReader(text), int64(len(text)))
		p.must(err)
		m.Components = append(m.Components, c)
	}
	p.must(p.Repo.Add(m, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content[name])), nil
	}))
	return m
}

// Firmware publishes load "fw" of that version.
func (p *Publisher) Firmware(version string) {
	p.t.Helper()
	p.Add("fw", version, map[string]string{"app.bin": "app " + version})
}

// Origin is the tree as it is.
func (p *Publisher) Origin() trust.Fetcher { return trust.DirFetcher(p.Dir) }

// Tree is a copy of the tree, as a mirror that keeps it would offer.
func (p *Publisher) Tree() Files {
	p.t.Helper()
	f := Files{}
	p.must(filepath.WalkDir(p.Dir, func(at string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(at)
		rel, _ := filepath.Rel(p.Dir, at)
		f[filepath.ToSlash(rel)] = b
		return err
	}))
	return f
}

// Device makes a trust directory with the first root as pin.
func (p *Publisher) Device() *Device {
	p.t.Helper()
	return p.DeviceAt(1)
}

// DeviceAt makes a trust directory with a root of that version as pin.
func (p *Publisher) DeviceAt(root int64) *Device {
	p.t.Helper()
	pin, err := os.ReadFile(filepath.Join(p.Dir, tuf.MetadataPath("root", root)))
	p.must(err)
	dir := p.t.TempDir()
	p.must(os.WriteFile(filepath.Join(dir, trust.PinName), pin, 0o444))
	return &Device{Dir: dir, of: p}
}

// DeviceIn is a device with a trust directory that is there.
func (p *Publisher) DeviceIn(dir string) *Device { return &Device{Dir: dir, of: p} }

// Device is a trust directory, and a client that starts anew each time.
type Device struct {
	Dir string
	of  *Publisher
}

// Boot starts the device's client anew: all it knows is in its directory.
func (d *Device) Boot() *trust.Client {
	d.of.t.Helper()
	c, err := trust.New(trust.Config{Dir: d.Dir, Now: d.of.clock})
	d.of.must(err)
	return c
}

// Version gets the manifest of load "fw" and returns its version.
func (d *Device) Version(f trust.Fetcher) (string, error) {
	d.of.t.Helper()
	c := d.Boot()
	if err := c.Refresh(context.Background(), f); err != nil {
		return "", err
	}
	m, _, err := c.Manifest(context.Background(), f, "fw")
	if err != nil {
		return "", err
	}
	return m.Version, nil
}

// Files is a tree in memory, by paths.
type Files map[string][]byte

// Fetch implements trust.Fetcher.
func (f Files) Fetch(_ context.Context, p string, max int64) ([]byte, error) {
	b, ok := f[p]
	if !ok {
		return nil, fmt.Errorf("%s: %w", p, trust.ErrNotFound)
	}
	return durable.ReadAll(bytes.NewReader(b), p, max)
}

// With returns a copy in which some files are those of another tree.
func (f Files) With(other Files, paths ...string) Files {
	c := maps.Clone(f)
	for _, p := range paths {
		c[p] = other[p]
	}
	return c
}

// Without returns a copy in which some files are missing.
func (f Files) Without(paths ...string) Files {
	c := maps.Clone(f)
	for _, p := range paths {
		delete(c, p)
	}
	return c
}

// Edit returns a copy in which one file is changed.
func (f Files) Edit(p string, change func([]byte) []byte) Files {
	c := maps.Clone(f)
	c[p] = change(bytes.Clone(f[p]))
	return c
}

// Flip changes the byte behind the first sub; the test fails if there is none.
func Flip(t testing.TB, sub string) func([]byte) []byte {
	return func(b []byte) []byte {
		t.Helper()
		i := bytes.Index(b, []byte(sub))
		if i < 0 {
			t.Fatalf("no %s in %q", sub, b)
		}
		b[i+len(sub)] ^= 1
		return b
	}
}
