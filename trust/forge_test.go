package trust_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// forged is a tree whose metadata was changed and signed anew by the right keys:
// what a careless publisher, or a thief with all of them, could offer.
type forged struct {
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	// named is called when what names targets and snapshot is made.
	named func(role string, m *metadata.MetaFiles)
}

// forgeTree changes the first published state of s; the result's root is its
// version 1, for a pin.
func forgeTree(t *testing.T, s *publisher.Publisher, change func(*forged)) publisher.Files {
	t.Helper()
	f := s.Tree()
	c := &forged{named: func(string, *metadata.MetaFiles) {}}
	var err error
	c.root, err = metadata.Root().FromBytes(f["metadata/1.root.json"])
	must(t, err)
	c.targets, err = metadata.Targets().FromBytes(f["metadata/2.targets.json"])
	must(t, err)
	c.snapshot, err = metadata.Snapshot().FromBytes(f["metadata/2.snapshot.json"])
	must(t, err)
	c.timestamp, err = metadata.Timestamp().FromBytes(f["metadata/timestamp.json"])
	must(t, err)
	targets, snapshot := c.snapshot.Signed.Meta, c.timestamp.Signed.Meta
	change(c)
	name := func(role string, raw []byte, meta map[string]*metadata.MetaFiles) {
		f[tuf.MetadataPath(role, 2)] = raw
		digest := load.DigestOf(raw)
		if m := meta[role+".json"]; m != nil {
			m.Length, m.Hashes = int64(len(raw)), metadata.Hashes{"sha256": digest[:]}
			c.named(role, m)
		}
	}
	f["metadata/1.root.json"] = forge(t, s, metadata.ROOT, c.root)
	name(metadata.TARGETS, forge(t, s, metadata.TARGETS, c.targets), targets)
	name(metadata.SNAPSHOT, forge(t, s, metadata.SNAPSHOT, c.snapshot), snapshot)
	f["metadata/timestamp.json"] = forge(t, s, metadata.TIMESTAMP, c.timestamp)
	return f
}

// pinned is a client that holds a forged tree's root.
func pinned(t *testing.T, s *publisher.Publisher, f publisher.Files) *trust.Client {
	t.Helper()
	c, err := trust.New(trust.Config{Pin: f["metadata/1.root.json"], Now: func() time.Time { return s.Now }})
	must(t, err)
	return c
}

// asked notes how much a client was ready to read of each file.
type asked struct {
	publisher.Files
	most map[string]int64
}

func (a asked) Fetch(ctx context.Context, p string, max int64) ([]byte, error) {
	a.most[p] = max
	return a.Files.Fetch(ctx, p, max)
}

// TestSignedNonsense: what the right keys have signed is still held to its
// bounds and its form, and nothing is read beyond them.
func TestSignedNonsense(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	fw := func(c *forged) *metadata.TargetFiles { return c.targets.Signed.Targets["fw.load"] }
	length := func(role string, n int64) func(*forged) {
		return func(c *forged) {
			c.named = func(r string, m *metadata.MetaFiles) {
				if r == role {
					m.Length = n
				}
			}
		}
	}
	digest := func(algorithm string, n int) func(*forged) {
		return func(c *forged) { fw(c).Hashes = metadata.Hashes{algorithm: make([]byte, n)} }
	}
	unnamed := func(c *forged) { delete(c.timestamp.Signed.Meta, "snapshot.json") }
	lost := func(c *forged) { delete(c.snapshot.Signed.Meta, "targets.json") }
	gone := func(c *forged) { delete(c.targets.Signed.Targets, "fw.load") }
	for what, c := range map[string]struct {
		change func(*forged)
		want   error
	}{
		"as it was":                    {func(*forged) {}, nil},
		"a snapshot of any length":     {length(metadata.SNAPSHOT, tuf.MaxSnapshotSize+1), trust.ErrTooLarge},
		"targets of any length":        {length(metadata.TARGETS, tuf.MaxTargetsSize+1), trust.ErrTooLarge},
		"a snapshot of the bound":      {length(metadata.SNAPSHOT, tuf.MaxSnapshotSize), trust.ErrMixed},
		"a snapshot below any length":  {length(metadata.SNAPSHOT, -1), trust.ErrTooLarge},
		"a snapshot of no length":      {length(metadata.SNAPSHOT, 0), nil},
		"a manifest of any length":     {func(c *forged) { fw(c).Length = load.MaxManifestSize + 1 }, trust.ErrWrongLength},
		"a manifest of no length":      {func(c *forged) { fw(c).Length = 0 }, trust.ErrWrongLength},
		"a manifest below any length":  {func(c *forged) { fw(c).Length = -1 }, trust.ErrWrongLength},
		"a manifest without a digest":  {digest("sha512", 64), trust.ErrMalformed},
		"a manifest with a short one":  {digest("sha256", 31), trust.ErrMalformed},
		"a snapshot without targets":   {lost, trust.ErrMalformed},
		"a timestamp without snapshot": {unnamed, trust.ErrMalformed},
		"no manifest of that name":     {gone, trust.ErrUnknownTarget},
	} {
		f := forgeTree(t, s, c.change)
		a := asked{f, map[string]int64{}}
		client := pinned(t, s, f)
		err := client.Refresh(t.Context(), a)
		if err == nil {
			_, _, err = client.Manifest(t.Context(), a, "fw")
		}
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		for p, most := range a.most {
			if most > load.MaxManifestSize || strings.Contains(p, "snapshot") && most > tuf.MaxSnapshotSize ||
				strings.Contains(p, "targets") && most > tuf.MaxTargetsSize {
				t.Errorf("%s: up to %d bytes of %s would have been read", what, most, p)
			}
		}
	}
}

// TestManifestOfAnotherName: a signed target is the manifest of the load that it
// is named after, or none.
func TestManifestOfAnotherName(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	f := forgeTree(t, s, func(c *forged) {
		c.targets.Signed.Targets["other.load"] = c.targets.Signed.Targets["fw.load"]
	})
	f["other.load"] = f["fw.load"]
	client := pinned(t, s, f)
	_, _, err := client.Manifest(t.Context(), f, "other")
	only(t, "the manifest of fw under another name", err, trust.ErrMalformed)
	if m, _, err := client.Manifest(t.Context(), f, "fw"); err != nil || m.Name != "fw" {
		t.Errorf("under its own name: %v", err)
	}
	// What is signed need not be a manifest.
	page := []byte("<html>")
	digest := load.DigestOf(page)
	f = forgeTree(t, s, func(c *forged) {
		fw := c.targets.Signed.Targets["fw.load"]
		fw.Length, fw.Hashes = int64(len(page)), metadata.Hashes{"sha256": digest[:]}
	})
	f["fw.load"] = page
	_, _, err = pinned(t, s, f).Manifest(t.Context(), f, "fw")
	only(t, "a page", err, trust.ErrMalformed)
}

// TestExpiryOfEachFile: whichever file expires first after a refresh, nothing is
// believed on the strength of that refresh any more.
func TestExpiryOfEachFile(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	soon := publisher.Epoch.Add(time.Hour)
	for role, change := range map[string]func(*forged){
		"root":      func(c *forged) { c.root.Signed.Expires = soon },
		"targets":   func(c *forged) { c.targets.Signed.Expires = soon },
		"snapshot":  func(c *forged) { c.snapshot.Signed.Expires = soon },
		"timestamp": func(c *forged) { c.timestamp.Signed.Expires = soon },
	} {
		f := forgeTree(t, s, change)
		client := pinned(t, s, f)
		must(t, client.Refresh(t.Context(), f))
		if _, _, err := client.Manifest(t.Context(), f, "fw"); err != nil {
			t.Errorf("%s: before the end: %v", role, err)
		}
		s.Now = soon.Add(time.Second)
		_, _, err := client.Manifest(t.Context(), f, "fw")
		only(t, role+" has expired since", err, trust.ErrExpired)
		if err != nil && !strings.Contains(err.Error(), role+" was good until") {
			t.Errorf("%s: %v", role, err)
		}
		only(t, role+" has expired, at a refresh", client.Refresh(t.Context(), f), trust.ErrExpired)
		s.Now = publisher.Epoch
	}
}

// meddling runs something the first time, or each time, that a file is asked for.
type meddling struct {
	publisher.Files
	at  string
	run func()
}

func (m *meddling) Fetch(ctx context.Context, p string, max int64) ([]byte, error) {
	if p == m.at {
		m.run()
	}
	return m.Files.Fetch(ctx, p, max)
}

// TestAnotherProcessIsNewer: what another process has accepted while this one
// was at it is not overwritten by what is older.
func TestAnotherProcessIsNewer(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	s.Firmware("2")
	v2 := s.Tree()
	s.Firmware("3")
	v3 := s.Tree()
	slow := &meddling{Files: v2, at: "metadata/timestamp.json"}
	slow.run = func() {
		slow.run = func() {}
		must(t, d.Boot().Refresh(t.Context(), v3))
	}
	only(t, "older than what the other has accepted", d.Boot().Refresh(t.Context(), slow), trust.ErrRolledBack)
	if got, want := kept(t, d)["timestamp.json"], string(v3["metadata/timestamp.json"]); got != want {
		t.Errorf("kept is %s, want %s", got, want)
	}
	// A directory that never comes to rest is not waited for without end.
	turns := 0
	must(t, s.Repo.Refresh())
	restless := &meddling{Files: s.Tree(), at: "metadata/timestamp.json"}
	restless.run = func() {
		turns++
		must(t, os.WriteFile(filepath.Join(d.Dir, "9"+strconv.Itoa(turns)+".root.json"), []byte("{}"), 0o644))
	}
	only(t, "a directory that changes at each try", d.Boot().Refresh(t.Context(), restless), trust.ErrStore)
	if turns != 3 {
		t.Errorf("%d tries", turns)
	}
}

// TestRootsAreBounded: no refresh walks more roots than it may, and of those in
// the directory the newest are read.
func TestRootsAreBounded(t *testing.T) {
	tiers.Long(t, "it signs and reads many roots")
	s := publisher.New(t)
	s.Firmware("1")
	f := s.Tree()
	root, err := metadata.Root().FromBytes(f["metadata/1.root.json"])
	must(t, err)
	const last = tuf.MaxRootRotations + 2
	path := func(v int64) string { return tuf.MetadataPath(metadata.ROOT, v) }
	d := s.Device()
	for v := int64(2); v <= last; v++ {
		root.Signed.Version = v
		f[path(v)] = forge(t, s, metadata.ROOT, root)
		must(t, os.WriteFile(filepath.Join(d.Dir, filepath.Base(path(v))), f[path(v)], 0o644))
	}
	a := asked{f, map[string]int64{}}
	must(t, pinned(t, s, f).Refresh(t.Context(), a))
	if a.most[path(last)] > 0 || a.most[path(last-1)] == 0 {
		t.Errorf("root %d was asked for, or %d was not", last, last-1)
	}
	for _, stray := range []string{"01", "0", "-1", "+5", "x", "5.root.json"} {
		long := bytes.Repeat([]byte("x"), tuf.MaxRootSize+1)
		must(t, os.WriteFile(filepath.Join(d.Dir, stray+".root.json"), long, 0o644))
	}
	a.most = map[string]int64{}
	must(t, d.Boot().Refresh(t.Context(), a))
	for v := int64(1); v <= last; v++ {
		if got, want := a.most[path(v)] > 0, v == 2; got != want {
			t.Errorf("root %d was asked for: %v", v, got)
		}
	}
}

// TestSnapshotOfTheSameVersion: a snapshot of the right version that the right key
// has signed is still the one that the timestamp names, byte for byte, whether it
// is fetched or was kept; and what is kept is not fetched again.
func TestSnapshotOfTheSameVersion(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	f := s.Tree()
	const path = "metadata/2.snapshot.json"
	snapshot, err := metadata.Snapshot().FromBytes(f[path])
	must(t, err)
	snapshot.Signed.Expires = snapshot.Signed.Expires.Add(time.Hour)
	other := forge(t, s, metadata.SNAPSHOT, snapshot)
	only(t, "another one is fetched", s.Device().Boot().Refresh(t.Context(), f.Edit(path, put(other))), trust.ErrMixed)
	d := s.Device()
	must(t, d.Boot().Refresh(t.Context(), f))
	a := asked{f, map[string]int64{}}
	must(t, d.Boot().Refresh(t.Context(), a))
	for p := range a.most {
		if p != "metadata/timestamp.json" && p != "metadata/2.root.json" {
			t.Errorf("%s was kept, and was fetched again", p)
		}
	}
	must(t, os.WriteFile(filepath.Join(d.Dir, "snapshot.json"), other, 0o644))
	must(t, d.Boot().Refresh(t.Context(), a))
	if _, fetched := a.most[path]; !fetched || kept(t, d)["snapshot.json"] != string(f[path]) {
		t.Errorf("another one was kept, and is still (fetched: %v)", fetched)
	}
}

// TestLargeRoots: of roots that are too large for one bundle the newest are packed,
// as far as they fit.
func TestLargeRoots(t *testing.T) {
	tiers.Long(t, "it reads the largest roots")
	s := publisher.New(t)
	s.Firmware("1")
	f := s.Tree()
	root, err := metadata.Root().FromBytes(f["metadata/1.root.json"])
	must(t, err)
	sized := func(v int64, size int) []byte {
		root.Signed.Version = v
		root.Signed.UnrecognizedFields = map[string]any{"pad": ""}
		room := size - len(forge(t, s, metadata.ROOT, root))
		root.Signed.UnrecognizedFields["pad"] = strings.Repeat("x", room)
		return forge(t, s, metadata.ROOT, root)
	}
	const last = 12
	most := trust.MaxBundleSize / tuf.MaxRootSize
	for what, c := range map[string]struct{ size, fit int }{
		"with room for the other files": {tuf.MaxRootSize - 10_000, most},
		// So many roots alone would fit, to a few bytes.
		"without": {trust.MaxBundleSize/(most+1) - 200, most},
	} {
		for v := int64(2); v <= last; v++ {
			f[tuf.MetadataPath(metadata.ROOT, v)] = sized(v, c.size)
		}
		b, _, err := pinned(t, s, f).BuildBundle(t.Context(), f, "fw")
		must(t, err)
		packed := len(trust.PackBundle(b))
		for v := int64(2); v <= last; v++ {
			if got, want := slices.Contains(b.Paths(), tuf.MetadataPath(metadata.ROOT, v)), v > last-int64(c.fit); got != want {
				t.Errorf("%s: root %d is in a bundle of %d bytes: %v", what, v, packed, got)
			}
		}
		if packed > trust.MaxBundleSize {
			t.Errorf("%s: the bundle has %d bytes", what, packed)
		}
	}
}

// TestManifestOfTheBound: a manifest may be as long as any may be, and as short.
func TestManifestOfTheBound(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	for _, n := range []int64{1, load.MaxManifestSize} {
		f := forgeTree(t, s, func(c *forged) { c.targets.Signed.Targets["fw.load"].Length = n })
		a := asked{f, map[string]int64{}}
		_, _, err := pinned(t, s, f).Manifest(t.Context(), a, "fw")
		only(t, "a manifest of another length than is signed", err, trust.ErrWrongLength)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(a.most)), func(p string) bool {
			return strings.HasSuffix(p, "fw.load") && a.most[p] == n
		}) {
			t.Errorf("%d bytes were not asked for: %v", n, a.most)
		}
	}
}

// TestNamesInErrors: who asks for a load that there is not is told which there
// are, a few of them.
func TestNamesInErrors(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	for n, want := range []string{"it has none", "it has l0", "it has l0, l1", "", "", "it has l0, l1, l2, l3, l4",
		"it has l0, l1, l2, l3, l4 and 1 more", "it has l0, l1, l2, l3, l4 and 2 more"} {
		f := forgeTree(t, s, func(c *forged) {
			fw := c.targets.Signed.Targets["fw.load"]
			clear(c.targets.Signed.Targets)
			for i := range n {
				c.targets.Signed.Targets["l"+strconv.Itoa(i)+".load"] = fw
			}
		})
		_, _, err := pinned(t, s, f).Manifest(t.Context(), f, "fw")
		if !errors.Is(err, trust.ErrUnknownTarget) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// TestDirectoryGone: a client whose directory cannot be read any more says so,
// and trusts nothing that it fetches.
func TestDirectoryGone(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	d := s.Device()
	c := d.Boot()
	must(t, os.RemoveAll(d.Dir))
	only(t, "refresh", c.Refresh(t.Context(), s.Origin()), trust.ErrNoRoot)
	if got := c.Loads(); got != nil {
		t.Errorf("loads %v", got)
	}
}

// TestTrustDirectoryIsBounded: a file there that is too long, or a directory in
// its place, is not believed in part. The pin is needed; what was accepted is
// accepted anew, and not from anything else.
func TestTrustDirectoryIsBounded(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	for name, most := range map[string]int{trust.PinName: tuf.MaxRootSize, "2.root.json": tuf.MaxRootSize,
		"timestamp.json": tuf.MaxTimestampSize, "snapshot.json": tuf.MaxSnapshotSize, "targets.json": tuf.MaxTargetsSize} {
		d := s.Device()
		p := filepath.Join(d.Dir, name)
		for _, how := range []string{"too long", "directory"} {
			must(t, os.RemoveAll(p))
			if how == "directory" {
				must(t, os.MkdirAll(filepath.Join(p, "x"), 0o755))
			} else {
				must(t, os.WriteFile(p, bytes.Repeat([]byte(" "), most+1), 0o644))
			}
			c, err := trust.New(trust.Config{Dir: d.Dir})
			if name == trust.PinName {
				only(t, name+" is no file: "+how, err, trust.ErrStore)
				continue
			}
			must(t, err)
			must(t, c.Refresh(t.Context(), trust.DirFetcher(s.Dir)))
			if b, err := os.ReadFile(p); name != "2.root.json" && (err != nil || len(b) > most) {
				t.Errorf("%s, %s: is not there again: %v", name, how, err)
			}
		}
	}
	_, err := trust.New(trust.Config{Dir: filepath.Join(t.TempDir(), "none")})
	only(t, "no directory", err, trust.ErrNoRoot)
}

// TestDirFetcher: nothing outside the directory is read, and nothing beyond the
// bound.
func TestDirFetcher(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("1234"), 0o644))
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("s"), 0o644))
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	f := trust.DirFetcher(dir)
	if b, err := f.Fetch(t.Context(), "a", 4); err != nil || string(b) != "1234" {
		t.Errorf("%q, %v", b, err)
	}
	for p, want := range map[string]error{"a": trust.ErrTooLarge, "none": trust.ErrNotFound} {
		if _, err := f.Fetch(t.Context(), p, 3); !errors.Is(err, want) {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"link", "../" + filepath.Base(filepath.Dir(outside)) + "/secret", outside} {
		if b, err := f.Fetch(t.Context(), p, 9); err == nil || errors.Is(err, trust.ErrNotFound) {
			t.Errorf("%s: %q, %v", p, b, err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	b := bundled(t, publisher.Files{"metadata/a": nil})
	for _, f := range []trust.Fetcher{f, b} {
		if _, err := f.Fetch(over, "a", 9); !errors.Is(err, context.Canceled) {
			t.Errorf("%T, when it is over: %v", f, err)
		}
	}
	if _, err := b.Fetch(t.Context(), "metadata/a", -1); !errors.Is(err, trust.ErrTooLarge) {
		t.Errorf("a bundle's file beyond the bound: %v", err)
	}
}
