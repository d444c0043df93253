package trust_test

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

	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/testkit/otheruser"
	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// all are the errors that must not be taken for one another.
var all = []error{trust.ErrNoRoot, trust.ErrExpired, trust.ErrRolledBack, trust.ErrMixed, trust.ErrBadSignature,
	trust.ErrMalformed, trust.ErrUnknownTarget, trust.ErrWrongLength, trust.ErrWrongHash, trust.ErrNotFound,
	trust.ErrStore}

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

// TestRefusals shows each kind of bad repository to a device that knows
// version 2, once as an origin and once as a bundle from a peer.
func TestRefusals(t *testing.T) {
	tiers.Long(t, "it publishes many trees")
	s := publisher.New(t)
	s.Firmware("1")
	v1 := s.Tree()
	s.Firmware("2")
	v2 := s.Tree()
	s.Firmware("3")
	v3 := s.Tree()
	stranger := publisher.New(t)
	stranger.Firmware("9")
	for range 5 {
		must(t, stranger.Repo.Refresh())
	}
	foreign := stranger.Tree()

	snap := func(n int) string { return tuf.MetadataPath(metadata.SNAPSHOT, int64(n)) }
	targ := func(n int) string { return tuf.MetadataPath(metadata.TARGETS, int64(n)) }
	const stamp = "metadata/timestamp.json"
	manifest := ""
	for p := range v3 {
		if _, ok := v2[p]; !ok && strings.HasSuffix(p, "fw.load") {
			manifest = p
		}
	}
	withManifest := func(b []byte) publisher.Files {
		f := v3.Edit(manifest, put(b))
		f["fw.load"] = b
		return f
	}
	// Version n of a load stands in snapshot and targets n+1; the first is empty.
	cases := []struct {
		name string
		f    publisher.Files
		want error
	}{
		{"older state", v1, trust.ErrRolledBack},
		{"older timestamp", v3.With(v1, stamp), trust.ErrRolledBack},
		{"stranger's timestamp", v3.With(foreign, stamp), trust.ErrBadSignature},
		{"stranger's repository", foreign, trust.ErrBadSignature},
		{"stranger's snapshot", v3.Edit(snap(4), put(foreign[snap(2)])), trust.ErrBadSignature},
		{"older snapshot under the new name", v3.Edit(snap(4), put(v2[snap(3)])), trust.ErrMixed},
		{"older targets under the new name", v3.Edit(targ(4), put(v2[targ(3)])), trust.ErrMixed},
		{"timestamp altered", v3.Edit(stamp, publisher.Flip(t, `"version":`)), trust.ErrBadSignature},
		{"snapshot altered", v3.Edit(snap(4), publisher.Flip(t, `"expires":"202`)), trust.ErrBadSignature},
		{"targets altered", v3.Edit(targ(4), publisher.Flip(t, `"sha256":"`)), trust.ErrBadSignature},
		{"timestamp without signature", v3.Edit(stamp, func(b []byte) []byte {
			m, err := metadata.Timestamp().FromBytes(b)
			must(t, err)
			m.Signatures = nil
			b, err = m.ToBytes(false)
			must(t, err)
			return b
		}), trust.ErrBadSignature},
		{"timestamp is a page", v3.Edit(stamp, put([]byte("<html>"))), trust.ErrMalformed},
		{"timestamp is null", v3.Edit(stamp, func([]byte) []byte { return []byte(`{"signed":null,"signatures":null}`) }),
			trust.ErrMalformed},
		{"snapshot is a page", v3.Edit(snap(4), put([]byte("<html>"))), trust.ErrMalformed},
		{"targets are a page", v3.Edit(targ(4), put([]byte("<html>"))), trust.ErrMalformed},
		{"snapshot as timestamp", v3.Edit(stamp, put(v3[snap(4)])), trust.ErrMalformed},
		{"no timestamp", v3.Without(stamp), trust.ErrNotFound},
		{"no snapshot", v3.Without(snap(4)), trust.ErrNotFound},
		{"no manifest", v3.Without(manifest, "fw.load"), trust.ErrNotFound},
		{"manifest altered", withManifest(publisher.Flip(t, `"version": "`)(bytes.Clone(v3[manifest]))), trust.ErrWrongHash},
		{"manifest of before", withManifest(v2["fw.load"]), trust.ErrWrongHash},
		{"manifest shorter", withManifest(v3[manifest][:40]), trust.ErrWrongLength},
		{"manifest longer", withManifest(append(bytes.Clone(v3[manifest]), ' ')), trust.ErrWrongLength},
	}
	for _, c := range cases {
		for _, way := range []struct {
			name string
			f    trust.Fetcher
		}{{"origin", c.f}, {"bundle", bundled(t, c.f)}} {
			d := s.Device()
			if v, err := d.Version(v2); err != nil || v != "2" {
				t.Fatalf("the good state: %q, %v", v, err)
			}
			_, err := d.Version(way.f)
			only(t, c.name+", "+way.name, err, c.want)
			// Whatever was tried, the device goes on with the honest origin,
			// and never back.
			if v, err := d.Version(v3); err != nil || v != "3" {
				t.Errorf("%s, %s: afterwards: %q, %v", c.name, way.name, v, err)
			}
			_, err = d.Version(v2)
			only(t, c.name+": back after a restart", err, trust.ErrRolledBack)
		}
	}
	d := s.Device()
	c := d.Boot()
	must(t, c.Refresh(t.Context(), v3))
	_, _, err := c.Manifest(t.Context(), v3, "other")
	only(t, "unknown load", err, trust.ErrUnknownTarget)
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

// TestSnapshotRolledBack: the publisher's timestamp key is stolen and signs a
// newer timestamp that names an older snapshot.
func TestSnapshotRolledBack(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	v1 := s.Tree()
	s.Firmware("2")
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	ts, err := metadata.Timestamp().FromBytes(v1["metadata/timestamp.json"])
	must(t, err)
	ts.Signed.Version = 50
	forged := s.Tree().Edit("metadata/timestamp.json", put(forge(t, s, metadata.TIMESTAMP, ts)))
	_, err = d.Version(forged)
	only(t, "newer timestamp, older snapshot", err, trust.ErrRolledBack)

	// A stolen snapshot key as well: newer snapshot, older targets.
	sn, err := metadata.Snapshot().FromBytes(v1[tuf.MetadataPath(metadata.SNAPSHOT, 2)])
	must(t, err)
	sn.Signed.Version = 60
	raw := forge(t, s, metadata.SNAPSHOT, sn)
	forged[tuf.MetadataPath(metadata.SNAPSHOT, 60)] = raw
	named := metadata.MetaFile(60)
	digest := load.DigestOf(raw)
	named.Length, named.Hashes = int64(len(raw)), metadata.Hashes{"sha256": digest[:]}
	ts.Signed.Meta["snapshot.json"] = named
	forged["metadata/timestamp.json"] = forge(t, s, metadata.TIMESTAMP, ts)
	_, err = d.Version(forged)
	only(t, "newer snapshot, older targets", err, trust.ErrRolledBack)
}

// TestFastForward: a stolen timestamp key has counted up; a new key frees the
// devices.
func TestFastForward(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	ts, err := metadata.Timestamp().FromBytes(s.Tree()["metadata/timestamp.json"])
	must(t, err)
	ts.Signed.Version = 1 << 60
	if _, err := d.Version(s.Tree().Edit("metadata/timestamp.json",
		put(forge(t, s, metadata.TIMESTAMP, ts)))); err != nil {
		t.Fatal(err)
	}
	s.Firmware("2")
	_, err = d.Version(s.Origin())
	only(t, "counted up", err, trust.ErrRolledBack)
	must(t, s.Repo.RotateKeys(metadata.TIMESTAMP))
	if v, err := d.Version(s.Origin()); err != nil || v != "2" {
		t.Errorf("after the rotation: %q, %v", v, err)
	}
}

func TestExpiryAndClock(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	at := func(offset time.Duration) error {
		s.Now = publisher.Epoch.Add(offset)
		_, err := d.Version(s.Origin())
		s.Now = publisher.Epoch
		return err
	}
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
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
		only(t, fmt.Sprint("after ", c.off), err, trust.ErrExpired)
		if errors.Is(err, trust.ErrClock) != c.clock {
			t.Errorf("after %v: hint at the clock is %v: %v", c.off, !c.clock, err)
		}
	}
	// A client that runs for long looks at the clock again.
	c := d.Boot()
	must(t, c.Refresh(t.Context(), s.Origin()))
	s.Now = publisher.Epoch.Add(40 * day)
	_, _, err := c.Manifest(t.Context(), s.Origin(), "fw")
	only(t, "a client that runs for long", err, trust.ErrExpired)
	// An expired state bricks nothing: one refresh of the publisher mends it.
	must(t, s.Repo.Refresh())
	if m, _, err := c.Manifest(t.Context(), s.Origin(), "fw"); err != nil || m.Version != "1" {
		t.Errorf("after the publisher's refresh: %v", err)
	}
	s.Now = publisher.Epoch.Add(400 * day)
	must(t, s.Repo.Refresh())
	if _, err := d.Version(s.Origin()); err != nil {
		t.Errorf("the publisher refreshed everything late: %v", err)
	}
}

func TestRootRotation(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	old := s.Device()
	if _, err := old.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	for i, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.ROOT, metadata.TIMESTAMP,
		metadata.ROOT} {
		before := s.Tree()
		must(t, s.Repo.RotateKeys(role))
		// A device that reads in the middle has the new root and old files,
		// or old root and new files: both hold.
		after := s.Tree()
		newRoot := tuf.MetadataPath(metadata.ROOT, int64(i+2))
		if _, err := s.Device().Version(after.Without(newRoot)); err != nil {
			t.Errorf("rotation %d (%s): old root, new files: %v", i, role, err)
		}
		if role == metadata.ROOT {
			if _, err := s.Device().Version(before.With(after, newRoot)); err != nil {
				t.Errorf("rotation %d (%s): new root, old files: %v", i, role, err)
			}
		}
	}
	s.Firmware("2")
	for name, d := range map[string]*publisher.Device{"old device": old, "new device, old pin": s.Device(),
		"middle pin": s.DeviceAt(4), "newest pin": s.DeviceAt(7)} {
		if v, err := d.Version(s.Origin()); err != nil || v != "2" {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
	// The roots are kept: the next start needs none of them from the origin.
	f := s.Tree()
	for v := int64(2); v < 8; v++ {
		delete(f, tuf.MetadataPath(metadata.ROOT, v))
	}
	if v, err := old.Version(f); err != nil || v != "2" {
		t.Errorf("roots not kept: %q, %v", v, err)
	}
	// A gap in the chain, a skipped version and a stranger's root are refused.
	f = s.Tree()
	only(t, "skipped root", second(s.Device().Version(f.Edit("metadata/2.root.json", put(f["metadata/3.root.json"])))),
		trust.ErrBadSignature)
	only(t, "root of before", second(s.Device().Version(f.Edit("metadata/2.root.json", put(f["metadata/1.root.json"])))),
		trust.ErrRolledBack)
	only(t, "gap", second(s.Device().Version(f.Without("metadata/2.root.json"))), trust.ErrBadSignature)
	if keys, err := filepath.Glob(filepath.Join(s.Keys, "root.*.pem")); err != nil || len(keys) != 1 {
		t.Errorf("%d root keys are left, %v", len(keys), err)
	}
}

func second[T any](_ T, err error) error { return err }

// endless never ends.
type endless struct{ read int64 }

func (e *endless) Fetch(_ context.Context, p string, max int64) ([]byte, error) {
	if strings.HasSuffix(p, ".root.json") {
		return nil, trust.ErrNotFound
	}
	counted := io.TeeReader(zeroReader{}, (*counter)(&e.read))
	return durable.ReadAll(counted, p, max)
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// careless ignores the bound.
type careless struct{ publisher.Files }

func (c careless) Fetch(_ context.Context, p string, _ int64) ([]byte, error) {
	if b, ok := c.Files[p]; ok {
		return b, nil
	}
	return nil, trust.ErrNotFound
}

func TestEndlessData(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	e := &endless{}
	if _, err := s.Device().Version(e); !errors.Is(err, trust.ErrTooLarge) {
		t.Errorf("endless timestamp: %v", err)
	}
	if e.read > 2*tuf.MaxTimestampSize {
		t.Errorf("%d bytes were read of a timestamp", e.read)
	}
	big := bytes.Repeat([]byte(" "), 1<<20)
	for _, p := range []string{"metadata/timestamp.json", "metadata/2.snapshot.json", "metadata/2.targets.json",
		"metadata/2.root.json"} {
		f := s.Tree()
		f[p] = append(bytes.Clone(f[p]), big...)
		if _, err := s.Device().Version(f); !errors.Is(err, trust.ErrTooLarge) {
			t.Errorf("%s: %v", p, err)
		}
		if _, err := s.Device().Version(careless{f}); !errors.Is(err, trust.ErrTooLarge) {
			t.Errorf("%s, through a fetcher without a bound: %v", p, err)
		}
	}
}

func TestPin(t *testing.T) {
	s := publisher.New(t)
	dir := t.TempDir()
	_, err := trust.New(trust.Config{Dir: dir})
	only(t, "empty directory", err, trust.ErrNoRoot)
	if !strings.Contains(err.Error(), "trust export") {
		t.Errorf("the error does not say how to get a root: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, trust.PinName), []byte("{}"), 0o644))
	_, err = trust.New(trust.Config{Dir: dir})
	only(t, "no root", err, trust.ErrNoRoot)
	_, err = trust.New(trust.Config{Pin: []byte("{}")})
	only(t, "no root as pin", err, trust.ErrNoRoot)

	// A new pin, of another repository: what was kept under the old one must
	// not stand in the way.
	s.Firmware("1")
	must(t, s.Repo.RotateKeys(metadata.ROOT))
	for range 9 {
		must(t, s.Repo.Refresh())
	}
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	other := publisher.New(t)
	other.Firmware("x")
	pin, _, err := other.Repo.ExportRoot()
	must(t, err)
	must(t, os.Remove(filepath.Join(d.Dir, trust.PinName)))
	must(t, os.WriteFile(filepath.Join(d.Dir, trust.PinName), pin, 0o444))
	if v, err := d.Version(other.Origin()); err != nil || v != "x" {
		t.Errorf("under a new pin: %q, %v", v, err)
	}
}

// TestPinWithoutDirectory: a client without a directory remembers as long as
// it lives, and not longer.
func TestPinWithoutDirectory(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	old := s.Tree()
	s.Firmware("2")
	fresh := s.Tree()
	boot := func() *trust.Client {
		c, err := trust.New(trust.Config{Pin: old["metadata/1.root.json"], Now: func() time.Time { return s.Now }})
		must(t, err)
		return c
	}
	c := boot()
	must(t, c.Refresh(t.Context(), fresh))
	only(t, "older state", c.Refresh(t.Context(), old), trust.ErrRolledBack)
	if m, _, err := c.Manifest(t.Context(), fresh, "fw"); err != nil || m.Version != "2" {
		t.Errorf("after the refusal: %v", err)
	}
	if m, _, err := boot().Manifest(t.Context(), old, "fw"); err != nil || m.Version != "1" {
		t.Errorf("a new client: %v", err)
	}
}

// TestDirectoryStates: a power cut leaves each file old or new; whatever the
// mixture, the next refresh works and nothing goes back.
func TestDirectoryStates(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	names := []string{"timestamp.json", "snapshot.json", "targets.json"}
	read := func() (out [][]byte) {
		for _, n := range names {
			b, err := os.ReadFile(filepath.Join(d.Dir, n))
			must(t, err)
			out = append(out, b)
		}
		return out
	}
	old := read()
	oldTree := s.Tree()
	s.Firmware("2")
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	fresh := read()
	for mask := range 27 {
		for i, n := range names {
			p := filepath.Join(d.Dir, n)
			switch mask / []int{1, 3, 9}[i] % 3 {
			case 0:
				must(t, os.WriteFile(p, old[i], 0o644))
			case 1:
				must(t, os.WriteFile(p, fresh[i], 0o644))
			case 2:
				os.Remove(p)
			}
		}
		must(t, os.WriteFile(filepath.Join(d.Dir, ".tmp-123"), []byte("half"), 0o600))
		if mask%3 == 1 {
			_, err := d.Version(oldTree)
			only(t, fmt.Sprint("mixture ", mask, ": older state"), err, trust.ErrRolledBack)
		}
		if v, err := d.Version(s.Origin()); err != nil || v != "2" {
			t.Errorf("mixture %d: %q, %v", mask, v, err)
		}
	}
	s.Firmware("3")
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(d.Dir, ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("unfinished files are left: %v %v", left, err)
	}
}

// TestShared: several clients on one directory agree, and the newest wins.
func TestShared(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	var states []publisher.Files
	for i := range 5 {
		s.Firmware(fmt.Sprint(i))
		states = append(states, s.Tree())
	}
	var wg sync.WaitGroup
	for range 4 {
		c := d.Boot()
		wg.Go(func() {
			for _, f := range states {
				if err := c.Refresh(t.Context(), f); err != nil && !errors.Is(err, trust.ErrRolledBack) &&
					!errors.Is(err, trust.ErrStore) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v, err := d.Version(states[4]); err != nil || v != "4" {
		t.Errorf("at the end: %q, %v", v, err)
	}
	_, err := d.Version(states[3])
	only(t, "back", err, trust.ErrRolledBack)
}

// TestReadOnly: a trust directory that cannot be written serves as long as
// nothing new is to be kept.
func TestReadOnly(t *testing.T) {
	if !otheruser.Runs(t) { // root may write everywhere
		return
	}
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	must(t, os.Chmod(d.Dir, 0o555))
	t.Cleanup(func() { os.Chmod(d.Dir, 0o755) })
	if _, err := d.Version(s.Origin()); err != nil {
		t.Error(err)
	}
	s.Firmware("2")
	_, err := d.Version(s.Origin())
	only(t, "cannot keep", err, trust.ErrStore)
}

// TestForeignTree: a tree that another tool laid out without consistent
// snapshots is read too.
func TestForeignTree(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	root, err := metadata.Root().FromBytes(s.Tree()["metadata/1.root.json"])
	must(t, err)
	root.Signed.ConsistentSnapshot = false
	raw := forge(t, s, metadata.ROOT, root)
	f := publisher.Files{}
	for p, b := range s.Tree() {
		switch {
		case p == "metadata/2.snapshot.json":
			f["metadata/snapshot.json"] = b
		case p == "metadata/2.targets.json":
			f["metadata/targets.json"] = b
		case p == "fw.load" || p == "metadata/timestamp.json":
			f[p] = b
		}
	}
	d := s.Device()
	must(t, os.Remove(filepath.Join(d.Dir, trust.PinName)))
	must(t, os.WriteFile(filepath.Join(d.Dir, trust.PinName), raw, 0o644))
	b, m, err := d.Boot().BuildBundle(t.Context(), f, "fw")
	if err != nil || m.Version != "1" {
		t.Fatal(err)
	}
	if got := strings.Join(b.Paths(),
		" "); got != "fw.load metadata/snapshot.json metadata/targets.json metadata/timestamp.json" {
		t.Errorf("bundle of %s", got)
	}
	if v, err := d.Version(b); err != nil || v != "1" {
		t.Errorf("from the bundle: %q, %v", v, err)
	}
}

// TestConfig: what is missing is named, and is no fault of a directory.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  trust.Config
		says string
	}{
		{trust.Config{}, "give Dir, the trust directory, or Pin"},
		{trust.Config{Dir: "d", Pin: []byte("{}")}, "not both"},
	} {
		_, err := trust.New(c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
		only(t, c.says, err, nil)
	}
}
