package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/report"
)

func TestSweep(t *testing.T) {
	base := t.TempDir()
	alive, err := NewRunDir(base, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	killed := filepath.Join(base, runPrefix+"killed")
	young := filepath.Join(base, runPrefix+"young")
	other := filepath.Join(base, "other")
	for _, d := range []string{killed, young, other} {
		if err := os.MkdirAll(filepath.Join(d, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(killed, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := Sweep(base)
	if err != nil {
		t.Fatal(err)
	}
	var here []string
	for _, r := range removed {
		if strings.HasPrefix(r, base) {
			here = append(here, r)
		}
	}
	if len(here) != 1 || here[0] != killed {
		t.Errorf("removed %v, want %s", here, killed)
	}
	for _, d := range []string{alive.Path, young, other} {
		if _, err := os.Stat(d); err != nil {
			t.Error(err)
		}
	}
}

func TestRunDirNeedsRoom(t *testing.T) {
	if d, err := NewRunDir(t.TempDir(), 1<<60); err == nil {
		d.Close()
		t.Error("a run of 2^60 bytes got a directory")
	}
}

func TestLines(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(b []byte) { got = append(got, string(b)) }}
	for _, s := range []string{"a", "b\nc\n", "", "\n", strings.Repeat("x", maxLine), "yz\nrest"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	want := []string{"ab", "c", "", strings.Repeat("x", maxLine)}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("got %d lines of %d bytes", len(got), len(strings.Join(got, "")))
	}
}

func TestDepth(t *testing.T) {
	tree := func(parents ...string) int {
		m := &measurement{left: map[int]bool{}}
		for i, parent := range parents {
			v := &FileView{Parent: parent}
			if parent == "root" {
				v.Parent, v.RootSince = "", time.Now()
			}
			m.procs = append(m.procs, &Proc{
				Host: site.Host{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, order: []string{"f"}, files: map[string]*FileView{"f": v},
			})
		}
		return m.depth()
	}
	for _, c := range []struct {
		want    int
		parents []string
	}{
		{0, []string{"root"}},
		{2, []string{"root", "10.0.0.0:4051", "10.0.0.0", "10.0.0.2:4051"}},
		{-1, []string{"root", ""}},
		{-1, []string{"root", "10.0.0.2", "10.0.0.1"}},
	} {
		if got := tree(c.parents...); got != c.want {
			t.Errorf("%v: depth %d, want %d", c.parents, got, c.want)
		}
	}
}

func TestNote(t *testing.T) {
	p := &Proc{files: map[string]*FileView{}}
	at := func(s int) string {
		return time.Date(2026, 1, 2, 3, 4, s, 0, time.UTC).Format(time.RFC3339Nano)
	}
	for _, ev := range []report.Event{
		{Event: report.KindListening, Time: at(0)},
		{Event: report.KindStart, Time: at(1), File: "a", Size: 10},
		{Event: report.KindRole, Time: at(2), File: "a", Role: report.RoleRoot},
		{Event: report.KindProgress, Time: at(3), File: "a", Bytes: 5, Percent: 50},
		{Event: report.KindRole, Time: at(4), File: "a", Role: report.RoleLeaf, Parent: "10.0.0.1:4051"},
		{Event: report.KindStart, Time: at(4), File: "b"},
		{Event: report.KindCommitted, Time: at(5), File: "a"},
		{Event: report.KindFailed, Time: at(6), File: "b", Reason: "origin", Message: "gone"},
	} {
		p.note(ev)
	}
	files := p.Files()
	if len(files) != 2 || files[1].File != "b" || files[1].Reason != "origin gone" {
		t.Fatalf("%+v", files)
	}
	a := p.File()
	if a.Role != report.RoleLeaf || a.Parent != "10.0.0.1:4051" || a.Percent != 50 || a.Size != 10 ||
		a.RootSince.Second() != 2 || a.Committed.Second() != 5 || a.Started.Second() != 1 {
		t.Errorf("%+v", a)
	}
}
