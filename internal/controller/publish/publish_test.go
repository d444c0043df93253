package publish

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/load"
)

// shop is an administrator's desk: files to publish and a repository.
type shop struct {
	t    *testing.T
	dir  string
	base string
	repo *repository.Repository
}

func newShop(t *testing.T) *shop {
	s := &shop{t: t, dir: t.TempDir(), base: filepath.Join(t.TempDir(), "base")}
	repo, err := repository.Open(repository.Config{Dir: s.base, Keys: filepath.Join(t.TempDir(), "keys")})
	if err != nil {
		t.Fatal(err)
	}
	s.repo = repo
	return s
}

func (s *shop) file(name, content string) string {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func request(version string, files ...string) Request {
	return Request{Name: "fw", Version: version, Models: []string{"linux-arm", "linux-arm64"}, Files: files,
		Created: time.Now()}
}

func TestAdd(t *testing.T) {
	s := newShop(t)
	a, b := s.file("a.bin", "aaa"), s.file("sub/b.bin", "bb")
	res, err := Add(s.repo, request("1", b, a))
	if err != nil || !res.Changed || res.Replaced != "" {
		t.Fatalf("%+v, %v", res, err)
	}
	if c := res.Manifest.Components; len(c) != 2 || c[0].Name != "b.bin" || c[1].Name != "a.bin" {
		t.Errorf("components %+v", c)
	}
	stamp := filepath.Join(s.base, "metadata/timestamp.json")
	before, err := os.ReadFile(stamp)
	if err != nil {
		t.Fatal(err)
	}
	again := request("1", b, a)
	again.Created = time.Now().Add(time.Hour)
	again.Models = []string{"linux-arm64", "linux-arm"}
	if res, err := Add(s.repo, again); err != nil || res.Changed {
		t.Errorf("the same again: %+v, %v", res, err)
	}
	if after, _ := os.ReadFile(stamp); string(after) != string(before) {
		t.Error("the same again has signed anew")
	}
	s.file("a.bin", "AAA")
	if _, err := Add(s.repo, request("1", b, a)); !errors.Is(err, ErrExists) ||
		!strings.Contains(err.Error(), "fw version 1") {
		t.Errorf("other content, same version: %v", err)
	}
	if res, err := Add(s.repo, request("2", b, a)); err != nil || !res.Changed || res.Replaced != "1" {
		t.Errorf("other content, new version: %+v, %v", res, err)
	}
	s.file("a.bin", "xxx")
	forced := request("2", b, a)
	forced.Replace = true
	if res, err := Add(s.repo, forced); err != nil || !res.Changed || res.Replaced != "2" {
		t.Errorf("replace: %+v, %v", res, err)
	}
	checked, err := s.repo.Verify(t.Context())
	if err != nil || len(checked) != 1 || checked[0].Problem != nil {
		t.Errorf("verify: %+v, %v", checked, err)
	}
	other := request("1", a)
	other.Name = "FW"
	if _, err := Add(s.repo, other); !errors.Is(err, ErrRefused) {
		t.Errorf("a name that differs by case: %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	s := newShop(t)
	good := s.file("a.bin", "aaa")
	link := filepath.Join(s.dir, "pipe")
	if err := os.Symlink("/dev/zero", link); err != nil {
		t.Fatal(err)
	}
	named := func(change func(*Request)) Request {
		r := request("1", good)
		change(&r)
		return r
	}
	for what, r := range map[string]Request{
		"no files":        request("1"),
		"directory":       request("1", s.dir),
		"device":          request("1", link),
		"empty":           request("1", s.file("empty.bin", "")),
		"hidden":          request("1", s.file(".hidden", "x")),
		"manifest":        request("1", s.file("x.load", "x")),
		"twice":           request("1", good, good),
		"same but case":   request("1", good, s.file("sub/A.BIN", "x")),
		"bad load name":   named(func(r *Request) { r.Name = "../fw" }),
		"no load name":    named(func(r *Request) { r.Name = "" }),
		"no version":      named(func(r *Request) { r.Version = "" }),
		"no models":       named(func(r *Request) { r.Models = nil }),
		"empty model":     named(func(r *Request) { r.Models = []string{""} }),
		"too many files":  request("1", s.many(load.MaxComponents+1)...),
		"load named load": named(func(r *Request) { r.Name = "fw.load" }),
	} {
		if _, err := Add(s.repo, r); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Add(s.repo, request("1", good, s.dir+"/none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := os.Stat(s.base); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refused load has left something behind")
	}
}

func (s *shop) many(n int) []string {
	var all []string
	for i := range n {
		all = append(all, s.file("many/"+strings.Repeat("x", i/100+1)+string(rune('a'+i%26))+string(rune('a'+i/26%26)), "x"))
	}
	return all
}

// TestKeepFresh runs two years in virtual time: a device that starts anew is
// served on every day of them.
func TestKeepFresh(t *testing.T) {
	s := newShop(t)
	file := s.file("a.bin", "aaa")
	synctest.Test(t, func(t *testing.T) {
		if _, err := Add(s.repo, request("1", file)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go KeepFresh(ctx, s.repo, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		days := 730
		if testing.Short() {
			days = 146 // it signs all the while
		}
		for day := 0; day < days; day += 73 {
			<-time.After(73 * 24 * time.Hour) // virtual
			synctest.Wait()
			if _, err := s.repo.Verify(t.Context()); err != nil {
				t.Fatalf("day %d: %v", day, err)
			}
		}
	})
}

// TestCheckFiles: each thing that makes no load is told by what it is.
func TestCheckFiles(t *testing.T) {
	s := newShop(t)
	pipe := filepath.Join(s.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	good := s.file("a.bin", "aaa")
	for says, files := range map[string][]string{
		"at least one file":  nil,
		"is a directory":     {s.dir},
		"not a regular file": {pipe},
		"is empty":           {s.file("empty.bin", "")},
		"begins with a dot":  {s.file(".hidden", "x")},
		"the same name":      {good, s.file("sub/A.BIN", "x")},
	} {
		if err := CheckFiles(files); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v, want %q", files, err, says)
		}
	}
	if err := CheckFiles([]string{good, s.dir + "/none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	if err := CheckFiles([]string{good}); err != nil {
		t.Error(err)
	}
}

// TestFileChangesAfterItWasDescribed: what is published is what was described, or
// nothing is.
func TestFileChangesAfterItWasDescribed(t *testing.T) {
	s := newShop(t)
	for what, change := range map[string]func(path string){
		"written over": func(p string) { s.file(filepath.Base(p), "bbb") },
		"swapped":      func(p string) { s.swap(p, s.file("other", "bbb")) },
		"longer":       func(p string) { s.file(filepath.Base(p), "aaab") },
		"gone":         func(p string) { s.swap(p, "") },
	} {
		file := s.file("a.bin", "aaa")
		// A repository of its own that does not exist yet: Add makes it when it has
		// described the files, and then waits for the lock of the keys.
		dir := t.TempDir()
		base, keys := filepath.Join(dir, "base"), filepath.Join(dir, "keys")
		repo, err := repository.Open(repository.Config{Dir: base, Keys: keys})
		if err == nil {
			err = os.Mkdir(keys, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := durable.Lock(keys)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { _, err := Add(repo, request("1", file)); ended <- err }()
		for {
			if _, err := os.Stat(filepath.Join(base, "components")); err == nil {
				break
			}
			runtime.Gosched()
		}
		change(file)
		unlock()
		if err := <-ended; !errors.Is(err, repository.ErrChanged) && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
		if l, err := repo.Loads(); err != nil || len(l) > 0 {
			t.Errorf("%s: published %v, %v", what, l, err)
		}
	}
}

// swap puts another file, "" for none, in the place of one.
func (s *shop) swap(path, other string) {
	s.t.Helper()
	err := os.Remove(path)
	if err == nil && other != "" {
		err = os.Rename(other, path)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestFileChangesWhileItIsDescribed: a file that ends before the size that it was
// said to have is refused. The kernel's own files are of that kind.
func TestFileChangesWhileItIsDescribed(t *testing.T) {
	const file = "/sys/kernel/mm/transparent_hugepage/enabled"
	b, err := os.ReadFile(file)
	info, failed := os.Stat(file)
	if err != nil || failed != nil || info.Size() <= int64(len(b)) {
		t.Skipf("%s is not there, or tells its size: %v, %v", file, err, failed)
	}
	s := newShop(t)
	_, err = Add(s.repo, request("1", file))
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "changes while it is read") {
		t.Error(err)
	}
}
