package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// root is the top of the tree, to which the paths of products lead.
const root = "../.."

// TestFilesAreThere: each file that a package has is in the tree, and each file of the
// folder packaging that is for a package is in one.
func TestFilesAreThere(t *testing.T) {
	used := map[string]bool{}
	for _, p := range products() {
		for _, f := range p.files {
			used[f.src] = true
		}
		for _, scripts := range p.scripts {
			for _, s := range scripts {
				used[s] = true
			}
		}
		used["packaging/man/"+p.name+".1"] = true
	}
	for src := range used {
		if strings.HasPrefix(src, "STAGE/") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, src)); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{"device", "server", "man"} {
		err := filepath.WalkDir(filepath.Join(root, "packaging", dir), func(p string, d os.DirEntry, err error) error {
			rel, rerr := filepath.Rel(root, p)
			if err == nil && !d.IsDir() && !used[filepath.ToSlash(rel)] {
				t.Errorf("%s is in no package", rel)
			}
			return errors.Join(err, rerr)
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// exposure is the most that systemd-analyze may say of a unit, from 0 to 10.
var exposure = map[string]float64{
	"packaging/server/peerload-server.service": 2.5,
	"packaging/device/peerload-agent.service":  4,
}

// TestUnits: systemd understands the units, an old one too: version 252 knows no
// notify-reload. They are told when the service is ready, can reload it, and are
// confined.
func TestUnits(t *testing.T) {
	tiers.Long(t, "it starts many scripts")
	for name, most := range exposure {
		unit := read(t, name)
		if !strings.Contains(unit, "\nType=notify\n") || !strings.Contains(unit, "\nExecReload=/bin/kill -HUP $MAINPID\n") {
			t.Errorf("%s: systemd is not told when the service is ready, or cannot reload it", name)
		}
		if !strings.Contains(unit, "\nRestart=always\n") || !strings.Contains(unit, "\nStartLimitIntervalSec=0\n") {
			t.Errorf("%s: systemd gives it up after some failures", name)
		}
		if got := exposed(t, filepath.Join(root, name)); got > most {
			t.Errorf("%s: exposure %v, at most %v", name, got, most)
		}
	}
	// The measure would see it.
	bare := filepath.Join(t.TempDir(), "bare.service")
	write(t, bare, "[Service]\nType=notify\nExecStart=/bin/true\n")
	if got := exposed(t, bare); got < 9 {
		t.Errorf("a unit that is not confined has exposure %v", got)
	}
	for _, name := range units(t) {
		if said := verify(t, read(t, name), filepath.Base(name)); said != "" {
			t.Errorf("%s: systemd says:\n%s", name, said)
		}
	}
	if said := verify(t, "[Service]\nType=notify-soon\nExecStart=/bin/true\n", "x.service"); said == "" {
		t.Error("systemd-analyze accepts any type")
	}
}

// units are all units of the packages.
func units(t *testing.T) (names []string) {
	t.Helper()
	for _, p := range products() {
		for _, f := range p.files {
			if strings.Contains(f.dst, "/systemd/system/") {
				names = append(names, f.src)
			}
		}
	}
	slices.Sort(names)
	if len(names) < 4 {
		t.Fatalf("only %d units", len(names))
	}
	return names
}

// exposed is what systemd-analyze thinks of how a unit is confined.
func exposed(t *testing.T, path string) float64 {
	t.Helper()
	out, err := exec.Command(analyze(t), "security", "--offline=true", "--no-pager", path).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Skipf("systemd-analyze cannot judge a unit here: %v: %s", err, out)
	}
	level, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return level
}

// verify is what systemd has to say about a unit, "" if it is good.
func verify(t *testing.T, unit, name string) string {
	t.Helper()
	// The programs are not installed here.
	unit = regexp.MustCompile(`/usr/bin/peerload[a-z-]*`).ReplaceAllString(unit, "/bin/true")
	path := filepath.Join(t.TempDir(), name)
	write(t, path, unit)
	if strings.HasSuffix(name, ".socket") { // it wants the unit that it starts beside it
		write(t, strings.Replace(path, ".socket", "@.service", 1), "[Service]\nExecStart=/bin/true\n")
	}
	out, err := exec.Command(analyze(t), "verify", "--man=no", path).CombinedOutput()
	var about []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, name) { // not of the host's own units
			about = append(about, line)
		}
	}
	if err != nil && len(about) == 0 {
		t.Skipf("systemd-analyze cannot verify here: %v: %s", err, out)
	}
	return strings.Join(about, "")
}

func analyze(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd here:", err)
	}
	return program
}

// TestScripts: each shell reads every script.
func TestScripts(t *testing.T) {
	tiers.Long(t, "it starts many scripts")
	for _, p := range products() {
		var all []string
		for _, scripts := range p.scripts {
			for _, s := range scripts {
				all = append(all, s)
			}
		}
		for _, f := range p.files {
			if strings.HasPrefix(f.dst, "/etc/init.d/") || f.dst == "/usr/lib/peerload/hook" {
				all = append(all, f.src)
			}
		}
		for _, s := range all {
			for _, shell := range shells() {
				args := append(shell[1:len(shell):len(shell)], "-n", filepath.Join(root, s))
				if out, err := exec.Command(shell[0], args...).CombinedOutput(); err != nil {
					t.Errorf("%s, %s: %v\n%s", shell, s, err, out)
				}
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-out", "x"}, "-version"},
		{[]string{"-version", "1", "-out", "x"}, "-version"},
		{[]string{"-version", "v0.1.0", "-out", "x"}, "-version"},
		{[]string{"-version", "0.1.0"}, "-out"},
		{[]string{"-version", "0.1.0", "-out", "x", "y"}, "unexpected"},
		{[]string{"-version", "0.1.0", "-out", "x", "-only", "("}, "-only"},
		{[]string{"-version", "0.1.0", "-out", "x", "-programs", "a", "-keep", "b"}, "not both"},
		{[]string{"-version", "0.1.0", "-out", "x", "-date", "today"}, "-date"},
		{[]string{"-version", "0.1.0", "-out", "x", "-maintainer", "a@b.org"}, "-maintainer"},
	} {
		if _, err := parseOptions(t.Context(), c.args, io.Discard); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.args, err, c.says)
		}
	}
	o, err := parseOptions(t.Context(), []string{"-version", "0.2.0-rc.1", "-out", "x",
		"-date", "2026-01-02T15:04:05+01:00"}, io.Discard)
	if err != nil || o.date.Format("15:04 MST") != "14:04 UTC" {
		t.Errorf("%v, %v", o, err)
	}
	if err := run(t.Context(), []string{"-version", "0.1.0", "-out", t.TempDir(), "-only", "nothing"}, io.Discard,
		io.Discard); err == nil {
		t.Error("a run that makes nothing is no success")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
