package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/peerload/peerload/load"
)

// TestForeignClient: go-tuf's own updater, over HTTP, takes what we publish.
func TestForeignClient(t *testing.T) {
	s := newSite(t)
	s.now = time.Now()
	s.fw("1")
	s.must(s.repo.RotateKeys(metadata.ROOT))
	s.must(s.repo.RotateKeys(metadata.TIMESTAMP))
	s.fw("2")
	srv := httptest.NewServer(http.FileServer(http.Dir(s.base)))
	defer srv.Close()
	pin, err := os.ReadFile(filepath.Join(s.base, "metadata/1.root.json"))
	s.must(err)
	cfg, err := config.New(srv.URL+"/metadata", pin)
	s.must(err)
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
	cfg.RemoteTargetsURL = srv.URL + "/components"
	u, err := updater.New(cfg)
	s.must(err)
	s.must(u.Refresh())
	info, err := u.GetTargetInfo("fw.load")
	s.must(err)
	_, text, err := u.DownloadTarget(info, "", "")
	s.must(err)
	m, err := load.ParseManifest(text)
	if err != nil || m.Version != "2" {
		t.Fatalf("%+v, %v", m, err)
	}
	if plain, _ := os.ReadFile(filepath.Join(s.base, "fw.load")); !bytes.Equal(plain, text) {
		t.Error("fw.load is not the signed manifest")
	}
}

// TestForeignTree: a tree that another tool laid out without consistent
// snapshots is read too.
func TestForeignTree(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	c := &catalog{}
	s.must(readRole(s.repo, &c.root, metadataPath(metadata.ROOT, 1), MaxRootSize))
	k, err := s.repo.keys.find(c.root, metadata.ROOT)
	s.must(err)
	c.root.Signed.ConsistentSnapshot = false
	raw, err := sign(c.root, []*key{k})
	s.must(err)
	f := files{}
	for p, b := range s.state() {
		switch {
		case p == "metadata/2.snapshot.json":
			f["metadata/snapshot.json"] = b
		case p == "metadata/2.targets.json":
			f["metadata/targets.json"] = b
		case p == "fw.load" || p == "metadata/timestamp.json":
			f[p] = b
		}
	}
	d := s.device()
	s.must(os.Remove(filepath.Join(d.dir, PinName)))
	s.must(os.WriteFile(filepath.Join(d.dir, PinName), raw, 0o644))
	b, m, err := d.boot().BuildBundle(t.Context(), f, "fw")
	if err != nil || m.Version != "1" {
		t.Fatal(err)
	}
	if got := strings.Join(b.Paths(), " "); got != "fw.load metadata/snapshot.json metadata/targets.json metadata/timestamp.json" {
		t.Errorf("bundle of %s", got)
	}
	if v, err := d.version(b); err != nil || v != "1" {
		t.Errorf("from the bundle: %q, %v", v, err)
	}
}

func TestKeysAreKept(t *testing.T) {
	s := newSite(t)
	dir := string(s.repo.keys)
	modeOf := func(p string) fs.FileMode {
		info, err := os.Stat(p)
		s.must(err)
		return info.Mode().Perm()
	}
	if m := modeOf(dir); m != 0o700 {
		t.Errorf("keys directory has mode %o", m)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil || len(keys) != 4 {
		t.Fatalf("%v %v", keys, err)
	}
	for _, k := range keys {
		if m := modeOf(k); m != 0o600 {
			t.Errorf("%s has mode %o", k, m)
		}
	}
	s.must(os.Chmod(dir, 0o750))
	if err := s.repo.Refresh(); !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("directory that others can read: %v", err)
	}
	s.must(os.Chmod(dir, 0o700))
	for _, k := range keys {
		s.must(os.Chmod(k, 0o640))
	}
	if err := s.repo.Refresh(); !errors.Is(err, ErrKeys) {
		t.Errorf("keys that others can read: %v", err)
	}
	for _, k := range keys {
		s.must(os.Chmod(k, 0o600))
	}
	// The root key may be kept elsewhere: only what changes the root needs it.
	k, err := filepath.Glob(filepath.Join(dir, "root.*.pem"))
	if err != nil || len(k) != 1 {
		t.Fatal(k, err)
	}
	away := filepath.Join(t.TempDir(), "root.pem")
	s.must(os.Rename(k[0], away))
	s.fw("1")
	s.must(s.repo.Refresh())
	if err := s.repo.RotateKeys(metadata.TARGETS); !errors.Is(err, ErrKeys) {
		t.Errorf("rotation without the root's key: %v", err)
	}
	s.must(os.Rename(away, k[0]))
	s.must(s.repo.RotateKeys(metadata.TARGETS))
	if err := s.repo.RotateKeys("mirrors"); err == nil {
		t.Error("a role that does not exist")
	}
	// Keys of another repository sign nothing here.
	other := newSite(t)
	wrong := *s.repo
	wrong.keys = other.repo.keys
	if err := wrong.Refresh(); !errors.Is(err, ErrKeys) {
		t.Errorf("another repository's keys: %v", err)
	}
	// Keys under the served directory would be offered to everyone.
	for _, k := range []string{s.base, filepath.Join(s.base, "keys"), filepath.Join(s.base, "a", "..", "b")} {
		if _, err := OpenRepository(RepositoryConfig{Dir: s.base, Keys: k}); !errors.Is(err, ErrKeys) {
			t.Errorf("keys in %s: %v", k, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	before := s.state()
	c, err := load.Describe("a.bin", strings.NewReader("abc"), 3)
	s.must(err)
	m := &load.Manifest{Name: "bad", Version: "1", Models: []string{"x"}, Components: []load.Component{c}}
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		open func(string) (io.ReadCloser, error)
		want error
	}{
		"altered":  {func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abd")), nil }, ErrChanged},
		"shorter":  {func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("ab")), nil }, ErrChanged},
		"longer":   {func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abcd")), nil }, ErrChanged},
		"unopened": {func(string) (io.ReadCloser, error) { return nil, boom }, boom},
	} {
		if err := s.repo.Add(m, tc.open); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := s.state(); len(after) != len(before) || !bytes.Equal(after["metadata/timestamp.json"], before["metadata/timestamp.json"]) {
		t.Error("something was published, or left behind")
	}
	none, err := OpenRepository(RepositoryConfig{Dir: t.TempDir(), Keys: filepath.Join(t.TempDir(), "k")})
	s.must(err)
	if err := none.Add(m, nil); !errors.Is(err, ErrNoRepository) {
		t.Errorf("no repository: %v", err)
	}
	if _, err := none.Verify(t.Context()); !errors.Is(err, ErrNoRepository) {
		t.Errorf("verify without a repository: %v", err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	s := newSite(t)
	m := s.add("fw", "1", map[string]string{"a.bin": "aaaa", "b.bin": "bbbb"})
	s.add("good", "1", map[string]string{"c.bin": "cccc"})
	check := func(name string, want error) {
		t.Helper()
		got, err := s.repo.Verify(t.Context())
		if err != nil || len(got) != 2 || got[0].Name != "fw" || got[1].Problem != nil || !errors.Is(got[0].Problem, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	check("intact", nil)
	c := m.Components[0]
	p := filepath.Join(s.base, ComponentPath(c.Digest.String(), c.Name))
	good, err := os.ReadFile(p)
	s.must(err)
	for name, tc := range map[string]struct {
		data string
		want error
	}{"flipped": {"aaab", ErrChanged}, "cut": {"aa", ErrChanged}, "longer": {"aaaaa", ErrChanged}} {
		s.must(os.WriteFile(p, []byte(tc.data), 0o644))
		check(name, tc.want)
	}
	s.must(os.Remove(p))
	check("missing", ErrNoComponent)
	s.must(os.Symlink("/etc/passwd", p))
	if got, err := s.repo.Verify(t.Context()); err != nil || got[0].Problem == nil {
		t.Errorf("a link out of the tree: %v, %v", got, err)
	}
	s.must(os.Remove(p))
	s.must(os.WriteFile(p, good, 0o644))
	check("mended", nil)
	stamp := filepath.Join(s.base, "metadata/timestamp.json")
	raw, err := os.ReadFile(stamp)
	s.must(err)
	s.must(os.WriteFile(stamp, flip(`"version":`)(raw), 0o644))
	if _, err := s.repo.Verify(t.Context()); !errors.Is(err, ErrBadSignature) {
		t.Errorf("altered timestamp: %v", err)
	}
}

// TestReaderDuringPublishing: after each single file that a publication
// writes, a device sees the old state or the new one.
func TestReaderDuringPublishing(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	before := s.state()
	s.fw("2")
	after := s.state()
	order := []string{}
	for p := range after {
		if _, ok := before[p]; !ok && strings.HasPrefix(p, componentsDir) {
			order = append(order, p)
		}
	}
	order = append(order, "fw.load", "metadata/3.targets.json", "metadata/3.snapshot.json", "metadata/timestamp.json")
	f := before
	for i, p := range order {
		f = f.with(after, p)
		want := "1"
		if i == len(order)-1 {
			want = "2"
		}
		if v, err := s.device().version(f); err != nil || v != want {
			t.Errorf("after %s: %q, %v", p, v, err)
		}
	}
}

func TestOldVersionsArePruned(t *testing.T) {
	s := newSite(t)
	for i := range 3 * keepVersions {
		s.fw(fmt.Sprint(i))
	}
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT} {
		v, err := s.repo.versions(role)
		if err != nil || len(v) != keepVersions || v[0] != 2*keepVersions+2 {
			t.Errorf("%s: %v, %v", role, v, err)
		}
	}
	if got, err := s.repo.Loads(); err != nil || len(got) != 1 || got[0].Version != fmt.Sprint(3*keepVersions-1) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestInitIsResumed: Init stopped after any file completes on the next try.
func TestInitIsResumed(t *testing.T) {
	for _, lost := range [][]string{{"timestamp.json"}, {"timestamp.json", "1.snapshot.json"},
		{"timestamp.json", "1.snapshot.json", "1.targets.json"},
		{"timestamp.json", "1.snapshot.json", "1.targets.json", "root.json", "1.root.json"}} {
		s := newSite(t)
		for _, n := range lost {
			s.must(os.Remove(filepath.Join(s.base, metadataDir, n)))
		}
		s.must(s.repo.Init())
		s.fw("1")
		if v, err := s.device().version(s.origin()); err != nil || v != "1" {
			t.Errorf("without %v: %q, %v", lost, v, err)
		}
		if keys, err := filepath.Glob(filepath.Join(string(s.repo.keys), "*.pem")); err != nil || len(keys) != 4 {
			t.Errorf("without %v: %d keys", lost, len(keys))
		}
	}
}

// TestReadersWhilePublishing: devices read the real directory as fast as they
// can while loads are published, and never meet a state that does not hold.
func TestReadersWhilePublishing(t *testing.T) {
	s := newSite(t)
	s.fw("0")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		d := s.device()
		wg.Go(func() {
			last := 0
			for {
				v, err := d.version(s.origin())
				n, _ := strconv.Atoi(v)
				if err != nil || n < last {
					t.Errorf("version %q after %d: %v", v, last, err)
					return
				}
				last = n
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := 1; i < keepVersions; i++ {
		s.fw(fmt.Sprint(i))
	}
	close(done)
	wg.Wait()
}
