package trust

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

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/load"
)

// epoch is when the tests' repositories are made.
var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// site is a publisher and what devices need.
type site struct {
	t    testing.TB
	base string
	repo *Repository
	now  time.Time // what all clocks show
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, base: t.TempDir(), now: epoch}
	r, err := OpenRepository(RepositoryConfig{Dir: s.base, Keys: filepath.Join(t.TempDir(), "keys"), Now: s.clock})
	if err != nil {
		t.Fatal(err)
	}
	s.repo = r
	s.must(r.Init())
	return s
}

func (s *site) clock() time.Time { return s.now }

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// add publishes load NAME with the given files.
func (s *site) add(name, version string, files map[string]string) *load.Manifest {
	s.t.Helper()
	m := &load.Manifest{Name: name, Version: version, Models: []string{"linux-arm"}}
	for file, content := range files {
		c, err := load.Describe(file, strings.NewReader(content), int64(len(content)))
		s.must(err)
		m.Components = append(m.Components, c)
	}
	s.must(s.repo.Add(m, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(files[name])), nil
	}))
	return m
}

// fw publishes load "fw" of that version.
func (s *site) fw(version string) {
	s.add("fw", version, map[string]string{"app.bin": "app " + version})
}

func (s *site) origin() Fetcher { return DirFetcher(s.base) }

// state is a copy of the published tree, as a mirror that keeps it would offer.
func (s *site) state() files {
	s.t.Helper()
	f := files{}
	s.must(filepath.WalkDir(s.base, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(s.base, p)
		f[filepath.ToSlash(rel)] = b
		return err
	}))
	return f
}

// device makes a trust directory with the first root as pin.
func (s *site) device() *device {
	s.t.Helper()
	return s.deviceAt(1)
}

func (s *site) deviceAt(root int64) *device {
	s.t.Helper()
	pin, err := os.ReadFile(filepath.Join(s.base, metadataPath(metadata.ROOT, root)))
	s.must(err)
	dir := s.t.TempDir()
	s.must(os.WriteFile(filepath.Join(dir, PinName), pin, 0o444))
	return &device{site: s, dir: dir}
}

type device struct {
	site *site
	dir  string
}

// boot starts the device's client anew: all it knows is in its directory.
func (d *device) boot() *Client {
	d.site.t.Helper()
	c, err := New(Config{Dir: d.dir, Now: d.site.clock})
	d.site.must(err)
	return c
}

// version gets the manifest of fw and returns its version.
func (d *device) version(f Fetcher) (string, error) {
	d.site.t.Helper()
	c := d.boot()
	if err := c.Refresh(context.Background(), f); err != nil {
		return "", err
	}
	m, _, err := c.Manifest(context.Background(), f, "fw")
	if err != nil {
		return "", err
	}
	return m.Version, nil
}

// files is a repository in memory.
type files map[string][]byte

func (f files) Fetch(_ context.Context, p string, max int64) ([]byte, error) {
	b, ok := f[p]
	if !ok {
		return nil, fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	return readBounded(bytes.NewReader(b), p, max)
}

// with returns a copy in which some files are of another state.
func (f files) with(other files, paths ...string) files {
	c := maps.Clone(f)
	for _, p := range paths {
		c[p] = other[p]
	}
	return c
}

// edit returns a copy in which one file is changed.
func (f files) edit(p string, change func([]byte) []byte) files {
	c := maps.Clone(f)
	c[p] = change(bytes.Clone(f[p]))
	return c
}

// bundled is the state as a bundle that a dishonest peer made: its metadata
// and every file that looks like a manifest.
func (f files) bundled(t testing.TB) *Bundle {
	t.Helper()
	in := map[string][]byte{}
	for p, b := range f {
		if strings.HasPrefix(p, metadataDir) || strings.HasSuffix(p, load.ManifestSuffix) {
			in[p] = b
		}
	}
	b, err := NewBundle(in)
	if err != nil {
		t.Fatal(err)
	}
	b, err = ParseBundle(PackBundle(b))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
