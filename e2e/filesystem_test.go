package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/filesystem"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// onDisk is a device whose output and state lie on a file system.
type onDisk struct {
	t   *testing.T
	dir string
	srv *server
}

// get runs peerload get alone, and returns how it ended and what it said, and
// how many requests there were.
func (d *onDisk) get(args ...string) (code int, said string, asked int) {
	d.t.Helper()
	requests := func() (n int) {
		d.srv.set(func(s *server) { n = len(s.requests) })
		return n
	}
	before := requests()
	c := exec.Command(peerload, append([]string{"get", "--peers", "off", "--state", filepath.Join(d.dir, "State")},
		args...)...)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		d.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out), requests() - before
}

// TestFileSystems: on each kind of file system a file and a load are fetched, and
// found again; what cannot be is refused before anything is asked for.
func TestFileSystems(t *testing.T) {
	t.Parallel()
	for _, k := range filesystem.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			tiers.Long(t, "it starts many devices or waits long")
			if err := sources(); err != nil {
				t.Fatal(err)
			}
			dir := k.Mount(t, foreign.Program)
			t.Run("file", func(t *testing.T) { fileOn(t, k, dir) })
			t.Run("load", func(t *testing.T) { loadOn(t, k, dir) })
		})
	}
}

func fileOn(t *testing.T, k filesystem.Kind, dir string) {
	body := content(31, 300_000)
	d := &onDisk{t, dir, newServer(t, body)}
	out := filepath.Join(dir, "App.bin")
	for n := range 2 {
		code, said, asked := d.get(d.srv.url(), "--sha256", shaOf(body), "-o", out)
		if got, err := os.ReadFile(out); code != 0 || err != nil || shaOf(got) != shaOf(body) {
			t.Errorf("run %d: %d after %d requests, %v: %s", n, code, asked, err, said)
		}
		if n > 0 && asked > 0 {
			t.Errorf("what is there was asked for: %d requests", asked)
		}
	}
	id, err := os.ReadFile(filepath.Join(dir, "State", "id"))
	if err != nil || len(id) == 0 {
		t.Errorf("the id: %q, %v", id, err)
	}
	for _, word := range []string{"status", "explain"} {
		if b, err := exec.Command(peerload, word, "--state", filepath.Join(dir, "State")).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", word, err, b)
		}
	}
	// Two names that differ in case alone are two files, or refused at once.
	for _, name := range []string{"/fw/two.bin", "/fw/TWO.bin"} {
		d.srv.set(func(s *server) { s.files[name] = []byte(name) })
	}
	url := "http://" + d.srv.host + "/fw/"
	code, said, asked := d.get(url+"two.bin", url+"TWO.bin", "--unsigned", "-o", filepath.Join(dir, "both")+"/")
	if k.Lacks.Case {
		if code != 5 || asked != 0 || !strings.Contains(said, "upper from lower case") {
			t.Errorf("two names of one file: %d after %d requests: %s", code, asked, said)
		}
	} else if got, _ := os.ReadFile(filepath.Join(dir, "both", "TWO.bin")); code != 0 || string(got) != "/fw/TWO.bin" {
		t.Errorf("two names: %d, %q: %s", code, got, said)
	}
}

func loadOn(t *testing.T, k filesystem.Kind, dir string) {
	v := newVendor(t, nil)
	files := firmware(32)
	v.add("1.0", files)
	d := &onDisk{t, dir, v.serve()}
	url, trusted := "http://"+d.srv.host+"/fw.load", v.trustDir()
	get := func(to string, more ...string) (int, string, int) {
		return d.get(append([]string{url, "--trust", trusted, "--model", "7961", "-o", filepath.Join(dir, to) + "/"},
			more...)...)
	}
	code, said, asked := get("Slots", "--slots")
	switch {
	case k.Lacks.Symlinks == 0 && code == 0:
		inDir(t, filepath.Join(dir, "Slots", "current"), files)
		code, said, asked = get("Slots", "--slots")
		if code != 0 {
			t.Errorf("slots again: %d after %d requests: %s", code, asked, said)
		}
	case k.Lacks.Symlinks != 0 && code == 5 && asked == 0 && strings.Contains(said, "symbolic links"):
	default:
		t.Errorf("slots: %d after %d requests: %s", code, asked, said)
	}
	code, said, _ = get("Load")
	if code != 0 {
		t.Fatalf("a load: %d: %s", code, said)
	}
	inDir(t, filepath.Join(dir, "Load"), files)
	left, err := filepath.Glob(filepath.Join(dir, "*", ".*.part*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
