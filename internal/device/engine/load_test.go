package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/signed"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// shelf is a publisher's tree, and counts what is asked of it.
type shelf struct {
	t     *testing.T
	dir   string
	repo  *repository.Repository
	mux   *origin.Mux
	mu    sync.Mutex
	asked []string // the names of the files
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: t.TempDir()}
	var err error
	s.repo, err = repository.Open(repository.Config{Dir: s.dir, Keys: filepath.Join(t.TempDir(), "keys")})
	s.must(err)
	s.must(s.repo.Init())
	s.mux, err = origin.New(origin.Config{})
	s.must(err)
	t.Cleanup(s.mux.Close)
	return s
}

func (s *shelf) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Open and Prepare implement Downloader.
func (s *shelf) Open(ctx context.Context, r origin.Request) (*origin.Body, error) {
	s.mu.Lock()
	s.asked = append(s.asked, path.Base(r.URL.Path))
	s.mu.Unlock()
	return s.mux.Open(ctx, r)
}

func (s *shelf) Prepare(ctx context.Context, u *url.URL) error { return s.mux.Prepare(ctx, u) }

// components are the names of the components that were asked for since the last
// call, in order.
func (s *shelf) components() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.asked {
		if _, name, ok := strings.Cut(n, "."); ok && strings.HasSuffix(name, ".bin") {
			names = append(names, name)
		}
	}
	s.asked = nil
	return names
}

// publish makes a version of the load fw, of files "NAME=TEXT".
func (s *shelf) publish(version string, files ...string) *load.Manifest {
	s.t.Helper()
	m := &load.Manifest{Name: "fw", Version: version, Models: []string{"linux-arm"}}
	texts := map[string]string{}
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		c, err := load.Describe(name, strings.NewReader(text), int64(len(text)))
		s.must(err)
		m.Components, texts[name] = append(m.Components, c), text
	}
	s.must(s.repo.Add(m, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(texts[name])), nil
	}))
	return m
}

// spec is a request of the load by a device that trusts the publisher.
func (s *shelf) spec() LoadSpec {
	s.t.Helper()
	pin, _, err := s.repo.ExportRoot()
	s.must(err)
	trusts := s.t.TempDir()
	s.must(os.WriteFile(filepath.Join(trusts, trust.PinName), pin, 0o644))
	return LoadSpec{URLs: []*url.URL{{Scheme: "file", Path: filepath.Join(s.dir, "fw.load")}},
		Trust: signed.Dir(trusts), Model: "linux-arm", Dir: s.t.TempDir(), Scratch: s.t.TempDir()}
}

// component is where the tree has a component.
func (s *shelf) component(m *load.Manifest, i int) string {
	c := m.Components[i]
	return filepath.Join(s.dir, trust.ComponentPath(c.Digest.String(), c.Name))
}

// fetch fetches on a device without neighbours and returns the report.
func (s *shelf) fetch(spec LoadSpec) (*report.Final, error) {
	s.t.Helper()
	r, err := alone(s.t, s).FetchLoad(s.t.Context(), spec)
	f := r.Final()
	r.Close()
	return f, err
}

// TestLoadRefused: a load whose signatures, model or bytes are not right leaves
// nothing under its names, and says why.
func TestLoadRefused(t *testing.T) {
	tiers.Long(t, "it publishes and fetches many loads")
	t.Parallel()
	other := newShelf(t)
	type change func(s *shelf, m *load.Manifest, spec *LoadSpec)
	as := func(f func(s *shelf, spec *LoadSpec)) change {
		return func(s *shelf, _ *load.Manifest, spec *LoadSpec) { f(s, spec) }
	}
	bytesOf := func(i int, f func(s *shelf, name string)) change {
		return func(s *shelf, m *load.Manifest, _ *LoadSpec) { f(s, s.component(m, i)) }
	}
	lose := func(s *shelf, name string) { s.must(os.Remove(name)) }
	for name, c := range map[string]struct {
		change change
		want   error
		trust  bool // the error is one of trust
	}{
		"right":             {as(func(*shelf, *LoadSpec) {}), nil, false},
		"no model is told":  {as(func(_ *shelf, p *LoadSpec) { p.Model = "" }), nil, false},
		"for another model": {as(func(_ *shelf, p *LoadSpec) { p.Model = "7961" }), ErrModel, false},
		"another publisher's": {as(func(_ *shelf, p *LoadSpec) { p.Trust = other.spec().Trust }),
			trust.ErrBadSignature, true},
		"without a pin":   {as(func(s *shelf, p *LoadSpec) { p.Trust = signed.Dir(s.t.TempDir()) }), trust.ErrNoRoot, true},
		"of no such name": {as(func(_ *shelf, p *LoadSpec) { p.URLs[0].Path += "x.load" }), trust.ErrUnknownTarget, true},
		"where there is none": {as(func(s *shelf, p *LoadSpec) { p.URLs[0].Path = s.t.TempDir() + "/fw.load" }),
			origin.ErrNotFound, false},
		"with another manifest": {func(s *shelf, m *load.Manifest, _ *LoadSpec) { s.alterManifest(m) },
			trust.ErrWrongHash, true},
		"with another first file": {bytesOf(0, (*shelf).alter), origin.ErrWrong, false},
		"with another last file":  {bytesOf(1, (*shelf).alter), origin.ErrWrong, false},
		"without its last file":   {bytesOf(1, lose), origin.ErrNotFound, false},
	} {
		for _, slots := range []bool{false, true} {
			s := newShelf(t)
			m := s.publish("1", "a.bin=aaaa", "b.bin=bbbb")
			spec := s.spec()
			c.change(s, m, &spec)
			spec.Slots = slots
			_, err := s.fetch(spec)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%s, slots %v: %v, want %v", name, slots, err, c.want)
			}
			if _, is := errors.AsType[*TrustError](err); is != c.trust {
				t.Errorf("%s, slots %v: an error of trust: %v: %v", name, slots, is, err)
			}
			if has := committed(t, spec); has != (c.want == nil) {
				t.Errorf("%s, slots %v: committed %v", name, slots, has)
			}
		}
	}
}

// alter changes a byte of a file of the tree.
func (s *shelf) alter(name string) {
	s.t.Helper()
	b, err := os.ReadFile(name)
	s.must(err)
	b[len(b)/2] ^= 1
	s.must(os.WriteFile(name, b, 0o644))
}

// alterManifest changes both copies of the manifest.
func (s *shelf) alterManifest(m *load.Manifest) {
	s.t.Helper()
	text, err := m.Marshal()
	s.must(err)
	s.alter(filepath.Join(s.dir, "fw.load"))
	s.alter(filepath.Join(s.dir, trust.ComponentPath(load.DigestOf(text).String(), "fw.load")))
}

// committed reports whether the load is there for others, whole.
func committed(t *testing.T, spec LoadSpec) bool {
	t.Helper()
	dir := spec.Dir
	if spec.Slots {
		s, err := slot.OpenSlots(slot.OS{}, spec.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a, ok := s.Active()
		if !ok {
			return false
		}
		dir = s.Dir(a.Slot)
	}
	n := 0
	for name, want := range map[string]string{"a.bin": "aaaa", "b.bin": "bbbb"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil {
			n++
		}
		if err == nil && string(b) != want {
			t.Errorf("%s is %q", name, b)
		}
	}
	if n == 1 {
		t.Error("one of the two is there")
	}
	return n == 2
}

// TestLoadInSlots: what the active slot has, whole, is not fetched again; another
// version goes into the other slot, and what both have is taken from the disk.
func TestLoadInSlots(t *testing.T) {
	s := newShelf(t)
	s.publish("1", "a.bin=aaaa", "b.bin=bbbb")
	spec := s.spec()
	spec.Slots = true
	active := func() (slot.Info, string, func()) {
		sl, err := slot.OpenSlots(slot.OS{}, spec.Dir)
		s.must(err)
		a, _ := sl.Active()
		return a, sl.Dir(a.Slot), func() { sl.Close() }
	}
	confirm := func() {
		sl, err := slot.OpenSlots(slot.OS{}, spec.Dir)
		s.must(err)
		s.must(sl.Confirm())
		s.must(sl.Close())
	}
	first := ""
	for _, step := range []struct {
		what    string
		before  func()
		version string
		asked   []string
		moved   bool // into the slot that was not active
	}{
		{"the first time", func() {}, "1", []string{"a.bin", "b.bin"}, true},
		{"again", func() {}, "1", nil, false},
		{"another version of the same bytes", func() { s.publish("1.1", "a.bin=aaaa", "b.bin=bbbb") }, "1.1", nil, true},
		{"another file", func() { s.publish("2", "a.bin=aaaa", "b.bin=cccc") }, "2", []string{"b.bin"}, true},
		{"other names", func() { s.publish("2", "a.bin=aaaa", "c.bin=cccc") }, "2", nil, true},
		{"a rotten file", func() {
			_, dir, end := active()
			end()
			s.alter(filepath.Join(dir, "c.bin"))
		}, "2", []string{"c.bin"}, true},
	} {
		step.before()
		f, err := s.fetch(spec)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		a, dir, end := active()
		end()
		if asked := s.components(); !slices.Equal(asked, step.asked) {
			t.Errorf("%s: asked for %v, want %v", step.what, asked, step.asked)
		}
		if a.Load.Version != step.version || (a.Slot != first) != step.moved {
			t.Errorf("%s: version %s in slot %s, before in %q", step.what, a.Load.Version, a.Slot, first)
		}
		for _, c := range a.Load.Components {
			b, err := os.ReadFile(filepath.Join(dir, c.Name))
			if err != nil || load.DigestOf(b) != c.Digest {
				t.Errorf("%s: %s: %q, %v", step.what, c.Name, b, err)
			}
		}
		if len(f.Components) != 3 || f.BytesFromOrigin+f.BytesFromCache != f.Size {
			t.Errorf("%s: reported %+v", step.what, f)
		}
		if first != a.Slot {
			confirm()
		}
		first = a.Slot
	}
}

// TestPeersCopyRefused: metadata that peers give is held to the same rules. What is
// refused there is asked of the server; only what the server gives is an error.
func TestPeersCopyRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fresh := newShelf(t)
		fresh.publish("1", "a.bin=aaaa", "b.bin=bbbb")
		old := &shelf{t: t, dir: t.TempDir(), mux: fresh.mux}
		fresh.must(os.CopyFS(old.dir, os.DirFS(fresh.dir)))
		spec := fresh.spec()
		fresh.publish("1.1", "a.bin=aaaa", "b.bin=bbbb")
		if _, err := fresh.fetch(spec); err != nil { // so the device knows 1.1
			t.Fatal(err)
		}
		site := newSite(t, 1, 0)
		defer site.end()
		// The other device's server is behind: both call it by one name.
		behind, d := site.joinFrom(moved{old, fresh.dir, old.dir}), site.joinFrom(fresh)
		theirs := fresh.spec()
		r, err := behind.FetchLoad(t.Context(), theirs)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		spec.Dir = t.TempDir()
		mine, err := d.FetchLoad(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		defer mine.Close()
		if got, want := mine.Manifest.Version, "1.1"; got != want || r.Manifest.Version != "1" {
			t.Errorf("versions %s and %s", got, r.Manifest.Version)
		}
		if f := mine.Final(); f.Components[0].BytesFromOrigin != 0 || f.Source != report.SourcePeer {
			t.Errorf("the peers' copy was not looked at: %+v", f)
		}
	})
}

// moved is a server whose files are in another directory.
type moved struct {
	Downloader
	from, to string
}

func (m moved) Open(ctx context.Context, r origin.Request) (*origin.Body, error) {
	u := *r.URL
	u.Path = strings.Replace(u.Path, m.from, m.to, 1)
	r.URL = &u
	return m.Downloader.Open(ctx, r)
}

// TestBundleIsBounded: no server makes a device read more than a bundle may have.
func TestBundleIsBounded(t *testing.T) {
	s := newShelf(t)
	s.publish("1", "a.bin=aaaa")
	stamp := filepath.Join(s.dir, "metadata/timestamp.json")
	s.must(os.WriteFile(stamp, bytes.Repeat([]byte(" "), maxManifest), 0o644))
	if _, err := s.fetch(s.spec()); !errors.Is(err, origin.ErrTooMuch) {
		t.Errorf("a timestamp without end: %v", err)
	}
}
