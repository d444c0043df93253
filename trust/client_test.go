package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/load"
)

// all are the errors that must not be taken for one another.
var all = []error{ErrNoRoot, ErrExpired, ErrRolledBack, ErrMixed, ErrBadSignature, ErrMalformed, ErrUnknownTarget,
	ErrWrongLength, ErrWrongHash, ErrNotFound, ErrStore}

// only reports whether err is of that kind and of no other.
func only(t *testing.T, what string, err, kind error) {
	t.Helper()
	for _, k := range all {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("%s: got %v, want %q and nothing else", what, err, kind)
			return
		}
	}
}

func flip(sub string) func([]byte) []byte {
	return func(b []byte) []byte {
		i := bytes.Index(b, []byte(sub))
		if i < 0 {
			panic("no " + sub)
		}
		b[i+len(sub)] ^= 1
		return b
	}
}

// TestRefusals shows each kind of bad repository to a device that knows
// version 2, once as an origin and once as a bundle from a peer.
func TestRefusals(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	v1 := s.state()
	s.fw("2")
	v2 := s.state()
	s.fw("3")
	v3 := s.state()
	stranger := newSite(t)
	stranger.fw("9")
	for range 5 {
		stranger.must(stranger.repo.Refresh())
	}
	foreign := stranger.state()

	snap := func(n int) string { return metadataPath(metadata.SNAPSHOT, int64(n)) }
	targ := func(n int) string { return metadataPath(metadata.TARGETS, int64(n)) }
	const stamp = "metadata/timestamp.json"
	manifest := ""
	for p := range v3 {
		if _, ok := v2[p]; !ok && strings.HasSuffix(p, "fw.load") {
			manifest = p
		}
	}
	withManifest := func(b []byte) files {
		f := v3.edit(manifest, func([]byte) []byte { return b })
		f["fw.load"] = b
		return f
	}
	// Version n of a load stands in snapshot and targets n+1; the first is empty.
	cases := []struct {
		name string
		f    files
		want error
	}{
		{"older state", v1, ErrRolledBack},
		{"older timestamp", v3.with(v1, stamp), ErrRolledBack},
		{"stranger's timestamp", v3.with(foreign, stamp), ErrBadSignature},
		{"stranger's repository", foreign, ErrBadSignature},
		{"stranger's snapshot", v3.edit(snap(4), func([]byte) []byte { return foreign[snap(2)] }), ErrBadSignature},
		{"older snapshot under the new name", v3.edit(snap(4), func([]byte) []byte { return v2[snap(3)] }), ErrMixed},
		{"older targets under the new name", v3.edit(targ(4), func([]byte) []byte { return v2[targ(3)] }), ErrMixed},
		{"timestamp altered", v3.edit(stamp, flip(`"version":`)), ErrBadSignature},
		{"snapshot altered", v3.edit(snap(4), flip(`"expires":"202`)), ErrBadSignature},
		{"targets altered", v3.edit(targ(4), flip(`"sha256":"`)), ErrBadSignature},
		{"timestamp without signature", v3.edit(stamp, func(b []byte) []byte {
			m, err := metadata.Timestamp().FromBytes(b)
			s.must(err)
			m.Signatures = nil
			b, err = m.ToBytes(false)
			s.must(err)
			return b
		}), ErrBadSignature},
		{"timestamp is a page", v3.edit(stamp, func([]byte) []byte { return []byte("<html>") }), ErrMalformed},
		{"timestamp is null", v3.edit(stamp, func([]byte) []byte { return []byte(`{"signed":null,"signatures":null}`) }), ErrMalformed},
		{"snapshot as timestamp", v3.edit(stamp, func([]byte) []byte { return v3[snap(4)] }), ErrMalformed},
		{"no timestamp", without(v3, stamp), ErrNotFound},
		{"no snapshot", without(v3, snap(4)), ErrNotFound},
		{"no manifest", without(v3, manifest, "fw.load"), ErrNotFound},
		{"manifest altered", withManifest(flip(`"version": "`)(bytes.Clone(v3[manifest]))), ErrWrongHash},
		{"manifest of before", withManifest(v2["fw.load"]), ErrWrongHash},
		{"manifest shorter", withManifest(v3[manifest][:40]), ErrWrongLength},
		{"manifest longer", withManifest(append(bytes.Clone(v3[manifest]), ' ')), ErrWrongLength},
	}
	for _, c := range cases {
		for _, way := range []struct {
			name string
			f    Fetcher
		}{{"origin", c.f}, {"bundle", c.f.bundled(t)}} {
			d := s.device()
			if v, err := d.version(v2); err != nil || v != "2" {
				t.Fatalf("the good state: %q, %v", v, err)
			}
			_, err := d.version(way.f)
			only(t, c.name+", "+way.name, err, c.want)
			// Whatever was tried, the device goes on with the honest origin,
			// and never back.
			if v, err := d.version(v3); err != nil || v != "3" {
				t.Errorf("%s, %s: afterwards: %q, %v", c.name, way.name, v, err)
			}
			_, err = d.version(v2)
			only(t, c.name+": back after a restart", err, ErrRolledBack)
		}
	}
	d := s.device()
	c := d.boot()
	s.must(c.Refresh(t.Context(), v3))
	_, _, err := c.Manifest(t.Context(), v3, "other")
	only(t, "unknown load", err, ErrUnknownTarget)
	if _, _, err := c.Manifest(t.Context(), v3, "../fw"); !errors.Is(err, load.ErrName) {
		t.Errorf("a path as name: %v", err)
	}
	if m, _, err := c.Manifest(t.Context(), v3, "fw.load"); err != nil || m.Version != "3" {
		t.Errorf("by file name: %v", err)
	}
	if got := c.Loads(); len(got) != 1 || got[0] != "fw" {
		t.Errorf("loads %v", got)
	}
}

func without(f files, paths ...string) files {
	c := f.with(nil)
	for _, p := range paths {
		delete(c, p)
	}
	return c
}

// TestSnapshotRolledBack: the publisher's timestamp key is stolen and signs a
// newer timestamp that names an older snapshot.
func TestSnapshotRolledBack(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	v1 := s.state()
	s.fw("2")
	d := s.device()
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	old := &catalog{}
	s.must(readRole(s.repo, &old.root, metadataPath(metadata.ROOT, 1), MaxRootSize))
	ts, err := metadata.Timestamp().FromBytes(v1["metadata/timestamp.json"])
	s.must(err)
	ts.Signed.Version = 50
	k, err := s.repo.keys.find(old.root, metadata.TIMESTAMP)
	s.must(err)
	raw, err := sign(ts, []*key{k})
	s.must(err)
	forged := s.state().edit("metadata/timestamp.json", func([]byte) []byte { return raw })
	_, err = d.version(forged)
	only(t, "newer timestamp, older snapshot", err, ErrRolledBack)

	// A stolen snapshot key as well: newer snapshot, older targets.
	sn, err := metadata.Snapshot().FromBytes(v1[metadataPath(metadata.SNAPSHOT, 2)])
	s.must(err)
	sn.Signed.Version = 60
	k2, err := s.repo.keys.find(old.root, metadata.SNAPSHOT)
	s.must(err)
	snapRaw, err := sign(sn, []*key{k2})
	s.must(err)
	ts.Signed.Meta["snapshot.json"] = metaFile(60, snapRaw)
	raw, err = sign(ts, []*key{k})
	s.must(err)
	forged["metadata/timestamp.json"] = raw
	forged[metadataPath(metadata.SNAPSHOT, 60)] = snapRaw
	_, err = d.version(forged)
	only(t, "newer snapshot, older targets", err, ErrRolledBack)
}

// TestFastForward: a stolen timestamp key has counted up; a new key frees the
// devices.
func TestFastForward(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	d := s.device()
	root := &catalog{}
	s.must(readRole(s.repo, &root.root, metadataPath(metadata.ROOT, 1), MaxRootSize))
	k, err := s.repo.keys.find(root.root, metadata.TIMESTAMP)
	s.must(err)
	ts, err := metadata.Timestamp().FromBytes(s.state()["metadata/timestamp.json"])
	s.must(err)
	ts.Signed.Version = 1 << 60
	raw, err := sign(ts, []*key{k})
	s.must(err)
	if _, err := d.version(s.state().edit("metadata/timestamp.json", func([]byte) []byte { return raw })); err != nil {
		t.Fatal(err)
	}
	s.fw("2")
	_, err = d.version(s.origin())
	only(t, "counted up", err, ErrRolledBack)
	s.must(s.repo.RotateKeys(metadata.TIMESTAMP))
	if v, err := d.version(s.origin()); err != nil || v != "2" {
		t.Errorf("after the rotation: %q, %v", v, err)
	}
}

func TestExpiryAndClock(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	d := s.device()
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	at := func(offset time.Duration) error {
		s.now = epoch.Add(offset)
		_, err := d.version(s.origin())
		s.now = epoch
		return err
	}
	const year = 365 * day
	for _, ok := range []time.Duration{-10 * year, -day, 0, 29 * day} {
		if err := at(ok); err != nil {
			t.Errorf("clock off by %v: %v", ok, err)
		}
	}
	for _, c := range []struct {
		off   time.Duration
		clock bool
	}{{31 * day, false}, {100 * day, false}, {2 * year, true}, {10 * year, true}} {
		err := at(c.off)
		only(t, fmt.Sprint("after ", c.off), err, ErrExpired)
		if errors.Is(err, ErrClock) != c.clock {
			t.Errorf("after %v: hint at the clock is %v: %v", c.off, !c.clock, err)
		}
	}
	// A client that runs for long looks at the clock again.
	c := d.boot()
	s.must(c.Refresh(t.Context(), s.origin()))
	s.now = epoch.Add(40 * day)
	_, _, err := c.Manifest(t.Context(), s.origin(), "fw")
	only(t, "a client that runs for long", err, ErrExpired)
	// An expired state bricks nothing: one refresh of the publisher mends it.
	s.must(s.repo.Refresh())
	if m, _, err := c.Manifest(t.Context(), s.origin(), "fw"); err != nil || m.Version != "1" {
		t.Errorf("after the publisher's refresh: %v", err)
	}
	s.now = epoch.Add(400 * day)
	s.must(s.repo.Refresh())
	if _, err := d.version(s.origin()); err != nil {
		t.Errorf("the publisher refreshed everything late: %v", err)
	}
}

func TestRootRotation(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	old := s.device()
	if _, err := old.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	for i, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.ROOT, metadata.TIMESTAMP, metadata.ROOT} {
		before := s.state()
		s.must(s.repo.RotateKeys(role))
		// A device that reads in the middle has the new root and old files,
		// or old root and new files: both hold.
		after := s.state()
		newRoot := metadataPath(metadata.ROOT, int64(i+2))
		if _, err := s.device().version(without(after, newRoot)); err != nil {
			t.Errorf("rotation %d (%s): old root, new files: %v", i, role, err)
		}
		if role == metadata.ROOT {
			if _, err := s.device().version(before.with(after, newRoot)); err != nil {
				t.Errorf("rotation %d (%s): new root, old files: %v", i, role, err)
			}
		}
	}
	s.fw("2")
	for name, d := range map[string]*device{"old device": old, "new device, old pin": s.device(), "middle pin": s.deviceAt(4), "newest pin": s.deviceAt(7)} {
		if v, err := d.version(s.origin()); err != nil || v != "2" {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
	// The roots are kept: the next start needs none of them from the origin.
	f := s.state()
	for v := int64(2); v < 8; v++ {
		delete(f, metadataPath(metadata.ROOT, v))
	}
	if v, err := old.version(f); err != nil || v != "2" {
		t.Errorf("roots not kept: %q, %v", v, err)
	}
	// A gap in the chain, a skipped version and a stranger's root are refused.
	f = s.state()
	only(t, "skipped root", second(s.device().version(f.edit("metadata/2.root.json", func([]byte) []byte { return f["metadata/3.root.json"] }))), ErrBadSignature)
	only(t, "root of before", second(s.device().version(f.edit("metadata/2.root.json", func([]byte) []byte { return f["metadata/1.root.json"] }))), ErrRolledBack)
	only(t, "gap", second(s.device().version(without(f, "metadata/2.root.json"))), ErrBadSignature)
	if keys, err := s.repo.keys.list(metadata.ROOT); err != nil || len(keys) != 1 {
		t.Errorf("%d root keys are left, %v", len(keys), err)
	}
}

func second[T any](_ T, err error) error { return err }

// endless never ends.
type endless struct{ read int64 }

func (e *endless) Fetch(_ context.Context, p string, max int64) ([]byte, error) {
	if strings.HasSuffix(p, ".root.json") {
		return nil, ErrNotFound
	}
	counted := io.TeeReader(zeroReader{}, (*counter)(&e.read))
	return readBounded(counted, p, max)
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// careless ignores the bound.
type careless struct{ files }

func (c careless) Fetch(_ context.Context, p string, _ int64) ([]byte, error) {
	if b, ok := c.files[p]; ok {
		return b, nil
	}
	return nil, ErrNotFound
}

func TestEndlessData(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	e := &endless{}
	if _, err := s.device().version(e); !errors.Is(err, ErrTooLarge) {
		t.Errorf("endless timestamp: %v", err)
	}
	if e.read > 2*MaxTimestampSize {
		t.Errorf("%d bytes were read of a timestamp", e.read)
	}
	big := bytes.Repeat([]byte(" "), 1<<20)
	for _, p := range []string{"metadata/timestamp.json", "metadata/2.snapshot.json", "metadata/2.targets.json", "metadata/2.root.json"} {
		f := s.state()
		f[p] = append(bytes.Clone(f[p]), big...)
		if _, err := s.device().version(f); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", p, err)
		}
		if _, err := s.device().version(careless{f}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s, through a fetcher without a bound: %v", p, err)
		}
	}
}

func TestPin(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	_, err := New(Config{Dir: dir})
	only(t, "empty directory", err, ErrNoRoot)
	if !strings.Contains(err.Error(), "trust export") {
		t.Errorf("the error does not say how to get a root: %v", err)
	}
	s.must(os.WriteFile(filepath.Join(dir, PinName), []byte("{}"), 0o644))
	_, err = New(Config{Dir: dir})
	only(t, "no root", err, ErrNoRoot)
	if _, err := New(Config{}); err == nil {
		t.Error("no directory is accepted")
	}

	// A new pin, of another repository: what was kept under the old one must
	// not stand in the way.
	s.fw("1")
	s.must(s.repo.RotateKeys(metadata.ROOT))
	for range 9 {
		s.must(s.repo.Refresh())
	}
	d := s.device()
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	other := newSite(t)
	other.fw("x")
	pin, _, err := other.repo.ExportRoot()
	s.must(err)
	s.must(os.Remove(filepath.Join(d.dir, PinName)))
	s.must(os.WriteFile(filepath.Join(d.dir, PinName), pin, 0o444))
	if v, err := d.version(other.origin()); err != nil || v != "x" {
		t.Errorf("under a new pin: %q, %v", v, err)
	}
}

// TestDirectoryStates: a power cut leaves each file old or new; whatever the
// mixture, the next refresh works and nothing goes back.
func TestDirectoryStates(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	d := s.device()
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	names := []string{"timestamp.json", "snapshot.json", "targets.json"}
	read := func() (out [][]byte) {
		for _, n := range names {
			b, err := os.ReadFile(filepath.Join(d.dir, n))
			s.must(err)
			out = append(out, b)
		}
		return out
	}
	old := read()
	oldTree := s.state()
	s.fw("2")
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	fresh := read()
	for mask := range 27 {
		for i, n := range names {
			p := filepath.Join(d.dir, n)
			switch mask / []int{1, 3, 9}[i] % 3 {
			case 0:
				s.must(os.WriteFile(p, old[i], 0o644))
			case 1:
				s.must(os.WriteFile(p, fresh[i], 0o644))
			case 2:
				os.Remove(p)
			}
		}
		s.must(os.WriteFile(filepath.Join(d.dir, tempPrefix+"123"), []byte("half"), 0o600))
		if mask%3 == 1 {
			_, err := d.version(oldTree)
			only(t, fmt.Sprint("mixture ", mask, ": older state"), err, ErrRolledBack)
		}
		if v, err := d.version(s.origin()); err != nil || v != "2" {
			t.Errorf("mixture %d: %q, %v", mask, v, err)
		}
	}
	s.fw("3")
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(d.dir, tempPrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("unfinished files are left: %v %v", left, err)
	}
}

// TestShared: several clients on one directory agree, and the newest wins.
func TestShared(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	d := s.device()
	var states []files
	for i := range 5 {
		s.fw(fmt.Sprint(i))
		states = append(states, s.state())
	}
	var wg sync.WaitGroup
	for range 4 {
		c := d.boot()
		wg.Go(func() {
			for _, f := range states {
				if err := c.Refresh(t.Context(), f); err != nil && !errors.Is(err, ErrRolledBack) && !errors.Is(err, ErrStore) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v, err := d.version(states[4]); err != nil || v != "4" {
		t.Errorf("at the end: %q, %v", v, err)
	}
	_, err := d.version(states[3])
	only(t, "back", err, ErrRolledBack)
}

// TestReadOnly: a trust directory that cannot be written serves as long as
// nothing new is to be kept.
func TestReadOnly(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	s := newSite(t)
	s.fw("1")
	d := s.device()
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	s.must(os.Chmod(d.dir, 0o555))
	t.Cleanup(func() { os.Chmod(d.dir, 0o755) })
	if _, err := d.version(s.origin()); err != nil {
		t.Error(err)
	}
	s.fw("2")
	_, err := d.version(s.origin())
	only(t, "cannot keep", err, ErrStore)
}
