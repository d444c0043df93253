package repository_test

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

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// keepVersions is how many versions of targets and snapshot stay.
const keepVersions = 10

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignClient: go-tuf's own updater, over HTTP, takes what we publish.
func TestForeignClient(t *testing.T) {
	s := publisher.New(t)
	s.Now = time.Now()
	s.Firmware("1")
	must(t, s.Repo.RotateKeys(metadata.ROOT))
	must(t, s.Repo.RotateKeys(metadata.TIMESTAMP))
	s.Firmware("2")
	srv := httptest.NewServer(http.FileServer(http.Dir(s.Dir)))
	defer srv.Close()
	pin, err := os.ReadFile(filepath.Join(s.Dir, "metadata/1.root.json"))
	must(t, err)
	cfg, err := config.New(srv.URL+"/metadata", pin)
	must(t, err)
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
	cfg.RemoteTargetsURL = srv.URL + "/components"
	u, err := updater.New(cfg)
	must(t, err)
	must(t, u.Refresh())
	info, err := u.GetTargetInfo("fw.load")
	must(t, err)
	_, text, err := u.DownloadTarget(info, "", "")
	must(t, err)
	m, err := load.ParseManifest(text)
	if err != nil || m.Version != "2" {
		t.Fatalf("%+v, %v", m, err)
	}
	if plain, _ := os.ReadFile(filepath.Join(s.Dir, "fw.load")); !bytes.Equal(plain, text) {
		t.Error("fw.load is not the signed manifest")
	}
}

func TestKeysAreKept(t *testing.T) {
	s := publisher.New(t)
	dir := s.Keys
	modeOf := func(p string) fs.FileMode {
		info, err := os.Stat(p)
		must(t, err)
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
	must(t, os.Chmod(dir, 0o750))
	if err := s.Repo.Refresh(); !errors.Is(err, repository.ErrKeys) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("directory that others can read: %v", err)
	}
	must(t, os.Chmod(dir, 0o700))
	for _, k := range keys {
		must(t, os.Chmod(k, 0o640))
	}
	if err := s.Repo.Refresh(); !errors.Is(err, repository.ErrKeys) {
		t.Errorf("keys that others can read: %v", err)
	}
	for _, k := range keys {
		must(t, os.Chmod(k, 0o600))
	}
	// The root key may be kept elsewhere: only what changes the root needs it.
	k, err := filepath.Glob(filepath.Join(dir, "root.*.pem"))
	if err != nil || len(k) != 1 {
		t.Fatal(k, err)
	}
	away := filepath.Join(t.TempDir(), "root.pem")
	must(t, os.Rename(k[0], away))
	s.Firmware("1")
	must(t, s.Repo.Refresh())
	if err := s.Repo.RotateKeys(metadata.TARGETS); !errors.Is(err, repository.ErrKeys) {
		t.Errorf("rotation without the root's key: %v", err)
	}
	must(t, os.Rename(away, k[0]))
	must(t, s.Repo.RotateKeys(metadata.TARGETS))
	if err := s.Repo.RotateKeys("mirrors"); err == nil {
		t.Error("a role that does not exist")
	}
	// Keys of another repository sign nothing here.
	other := publisher.New(t)
	wrong, err := repository.Open(repository.Config{Dir: s.Dir, Keys: other.Keys})
	must(t, err)
	if err := wrong.Refresh(); !errors.Is(err, repository.ErrKeys) {
		t.Errorf("another repository's keys: %v", err)
	}
	// Keys under the served directory would be offered to everyone.
	for _, k := range []string{s.Dir, filepath.Join(s.Dir, "keys"), filepath.Join(s.Dir, "a", "..", "b")} {
		if _, err := repository.Open(repository.Config{Dir: s.Dir, Keys: k}); !errors.Is(err, repository.ErrKeys) {
			t.Errorf("keys in %s: %v", k, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	before := s.Tree()
	c, err := load.Describe("a.bin", strings.NewReader("abc"), 3)
	must(t, err)
	m := &load.Manifest{Name: "bad", Version: "1", Models: []string{"x"}, Components: []load.Component{c}}
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		open func(string) (io.ReadCloser, error)
		want error
	}{
		"altered": {func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abd")), nil },
			repository.ErrChanged},
		"shorter": {func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("ab")), nil },
			repository.ErrChanged},
		"longer": {func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abcd")), nil },
			repository.ErrChanged},
		"unopened": {func(string) (io.ReadCloser, error) { return nil, boom }, boom},
	} {
		if err := s.Repo.Add(m, tc.open); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := s.Tree(); len(after) != len(before) ||
		!bytes.Equal(after["metadata/timestamp.json"], before["metadata/timestamp.json"]) {
		t.Error("something was published, or left behind")
	}
	none, err := repository.Open(repository.Config{Dir: t.TempDir(), Keys: filepath.Join(t.TempDir(), "k")})
	must(t, err)
	if err := none.Add(m, nil); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("no repository: %v", err)
	}
	if _, err := none.Verify(t.Context()); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("verify without a repository: %v", err)
	}
	// Init was interrupted before it signed a timestamp.
	half := publisher.New(t)
	must(t, os.Remove(filepath.Join(half.Dir, tuf.MetadataPath(metadata.TIMESTAMP, 0))))
	abc := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abc")), nil }
	if err := half.Repo.Add(m, abc); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("half a repository: %v", err)
	}
	if all, err := half.Repo.Loads(); err != nil || len(all) > 0 {
		t.Errorf("the loads of half a repository: %v, %v", all, err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	s := publisher.New(t)
	m := s.Add("fw", "1", map[string]string{"a.bin": "aaaa", "b.bin": "bbbb"})
	s.Add("good", "1", map[string]string{"c.bin": "cccc"})
	check := func(name string, want error) {
		t.Helper()
		got, err := s.Repo.Verify(t.Context())
		if err != nil || len(got) != 2 || got[0].Name != "fw" || got[1].Problem != nil || !errors.Is(got[0].Problem, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	check("intact", nil)
	c := m.Components[0]
	p := filepath.Join(s.Dir, tuf.ComponentPath(c.Digest.String(), c.Name))
	good, err := os.ReadFile(p)
	must(t, err)
	for name, tc := range map[string]struct {
		data string
		want error
	}{"flipped": {"aaab", repository.ErrChanged}, "cut": {"aa", repository.ErrChanged},
		"longer": {"aaaaa", repository.ErrChanged}} {
		must(t, os.WriteFile(p, []byte(tc.data), 0o644))
		check(name, tc.want)
	}
	must(t, os.Remove(p))
	check("missing", repository.ErrNoComponent)
	must(t, os.Symlink("/etc/passwd", p))
	if got, err := s.Repo.Verify(t.Context()); err != nil || got[0].Problem == nil {
		t.Errorf("a link out of the tree: %v, %v", got, err)
	}
	must(t, os.Remove(p))
	must(t, os.WriteFile(p, good, 0o644))
	check("mended", nil)
	stamp := filepath.Join(s.Dir, "metadata/timestamp.json")
	raw, err := os.ReadFile(stamp)
	must(t, err)
	must(t, os.WriteFile(stamp, publisher.Flip(t, `"version":`)(raw), 0o644))
	if _, err := s.Repo.Verify(t.Context()); !errors.Is(err, trust.ErrBadSignature) {
		t.Errorf("altered timestamp: %v", err)
	}
}

// TestReaderDuringPublishing: after each single file that a publication
// writes, a device sees the old state or the new one.
func TestReaderDuringPublishing(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	before := s.Tree()
	s.Firmware("2")
	after := s.Tree()
	order := []string{}
	for p := range after {
		if _, ok := before[p]; !ok && strings.HasPrefix(p, tuf.ComponentsDir) {
			order = append(order, p)
		}
	}
	order = append(order, "fw.load", "metadata/3.targets.json", "metadata/3.snapshot.json", "metadata/timestamp.json")
	f := before
	for i, p := range order {
		f = f.With(after, p)
		want := "1"
		if i == len(order)-1 {
			want = "2"
		}
		if v, err := s.Device().Version(f); err != nil || v != want {
			t.Errorf("after %s: %q, %v", p, v, err)
		}
	}
}

func TestOldVersionsArePruned(t *testing.T) {
	s := publisher.New(t)
	for i := range 3 * keepVersions {
		s.Firmware(fmt.Sprint(i))
	}
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT} {
		for v, want := range map[int]bool{2*keepVersions + 1: false, 2*keepVersions + 2: true, 3*keepVersions + 1: true} {
			if _, ok := s.Tree()[tuf.MetadataPath(role, int64(v))]; ok != want {
				t.Errorf("%s version %d is there: %v", role, v, ok)
			}
		}
	}
	if got, err := s.Repo.Loads(); err != nil || len(got) != 1 || got[0].Version != fmt.Sprint(3*keepVersions-1) {
		t.Errorf("%v, %v", got, err)
	}
}

// alone is the lock of the only replica, which may lose it.
type alone struct{ lost error }

func (a *alone) Lock() (func(), error) { return func() {}, nil }
func (a *alone) Held() error           { return a.lost }
func (a *alone) Keep() error           { return nil }

// TestLostLock: a replica that loses the lock while it copies signs nothing, as another
// one may have published under the same versions; it may try again.
func TestLostLock(t *testing.T) {
	s, lock := publisher.New(t), &alone{}
	s.Firmware("1")
	before := s.Tree()
	repo, err := repository.Open(repository.Config{Dir: s.Dir, Keys: s.Keys, Shared: lock})
	must(t, err)
	c, err := load.Describe("a.bin", strings.NewReader("abc"), 3)
	must(t, err)
	m := &load.Manifest{Name: "new", Version: "1", Models: []string{"x"}, Components: []load.Component{c}}
	lost := errors.New("lost")
	open := func(string) (io.ReadCloser, error) {
		lock.lost = lost
		return io.NopCloser(strings.NewReader("abc")), nil
	}
	if err := repo.Add(m, open); !errors.Is(err, lost) {
		t.Errorf("published without the lock: %v", err)
	}
	for p, text := range s.Tree() {
		if strings.HasPrefix(p, "metadata/") && !bytes.Equal(text, before[p]) {
			t.Errorf("%s was signed without the lock", p)
		}
	}
	lock.lost = nil
	abc := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abc")), nil }
	must(t, repo.Add(m, abc))
	if all, err := repo.Loads(); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestInitIsResumed: Init stopped after any file completes on the next try.
func TestInitIsResumed(t *testing.T) {
	for _, lost := range [][]string{{"timestamp.json"}, {"timestamp.json", "1.snapshot.json"},
		{"timestamp.json", "1.snapshot.json", "1.targets.json"},
		{"timestamp.json", "1.snapshot.json", "1.targets.json", "root.json", "1.root.json"}} {
		s := publisher.New(t)
		for _, n := range lost {
			must(t, os.Remove(filepath.Join(s.Dir, tuf.MetadataDir, n)))
		}
		must(t, s.Repo.Init())
		s.Firmware("1")
		if v, err := s.Device().Version(s.Origin()); err != nil || v != "1" {
			t.Errorf("without %v: %q, %v", lost, v, err)
		}
		if keys, err := filepath.Glob(filepath.Join(s.Keys, "*.pem")); err != nil || len(keys) != 4 {
			t.Errorf("without %v: %d keys", lost, len(keys))
		}
	}
}

// TestReadersWhilePublishing: devices read the real directory as fast as they
// can while loads are published, and never meet a state that does not hold.
func TestReadersWhilePublishing(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("0")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		d := s.Device()
		wg.Go(func() {
			last := 0
			for {
				v, err := d.Version(s.Origin())
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
		s.Firmware(fmt.Sprint(i))
	}
	close(done)
	wg.Wait()
}
