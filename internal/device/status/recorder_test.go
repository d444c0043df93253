package status

import (
	"fmt"
	"testing"

	"github.com/peerload/peerload/report"
)

func recorder(t *testing.T) *Recorder {
	t.Helper()
	d := Dir{newDisk(t, ""), "/d"}
	return d.Record("test")
}

func (r *Recorder) only(t *testing.T) *File {
	t.Helper()
	st := r.Status()
	if len(st.Files) != 1 {
		t.Fatalf("%d files", len(st.Files))
	}
	return st.Files[0]
}

// TestBounds: a status that is kept for years does not grow.
func TestBounds(t *testing.T) {
	r := recorder(t)
	for n := range keepFiles + 5 {
		r.Take(report.Event{Event: report.KindStart, File: fmt.Sprint(n)})
	}
	st := r.Status()
	if len(st.Files) != keepFiles || len(r.files) != keepFiles || st.Files[0].File != "5" {
		t.Errorf("%d files, the first is %s", len(st.Files), st.Files[0].File)
	}
	for n := range keepDecisions + 5 {
		r.Take(report.Event{Event: report.KindElection, File: "700", Message: fmt.Sprint(n)})
	}
	st = r.Status()
	last := st.Files[len(st.Files)-1]
	if n := len(last.Decisions); n != keepDecisions || last.Decisions[0].Message != "5" ||
		last.Decisions[n-1].Message != fmt.Sprint(keepDecisions+4) {
		t.Errorf("%d decisions: %+v", n, last.Decisions)
	}
	r.Forget(func(f *File) bool { return f.File != "700" })
	if f := r.only(t); f.File != "700" || len(r.files) != 1 {
		t.Errorf("left is %s, and %d by name", f.File, len(r.files))
	}
}

// TestWhatIsNoDecision: the console log repeats itself, and progress is not
// explained.
func TestWhatIsNoDecision(t *testing.T) {
	r := recorder(t)
	for _, e := range []report.Event{
		{Event: report.KindListening, Address: "192.0.2.1:4051", Message: "of no file"},
		{Event: report.KindStart, File: "f", Time: "1"},
		{Event: report.KindProgress, File: "f", Message: "progress"},
		{Event: report.KindLog, File: "f", Message: "log"},
		{Event: report.KindRole, File: "f", Address: "192.0.2.9:1"},
		{Event: report.KindParent, File: "f", Reason: "root-placed", Message: "why", MessageJA: "理由", Time: "2"},
	} {
		r.Take(e)
	}
	f := r.only(t)
	want := Decision{"2", report.KindParent, "root-placed", "why", "理由"}
	if len(f.Decisions) != 1 || f.Decisions[0] != want || f.Since != "1" {
		t.Errorf("since %s: %+v", f.Since, f.Decisions)
	}
	if a := r.Status().Address; a != "192.0.2.1:4051" {
		t.Errorf("address %q", a)
	}
}

// TestEnd: where a file's bytes came from stays true while it is served on, and
// a failure is one until the file comes after all.
func TestEnd(t *testing.T) {
	r := recorder(t)
	r.Take(report.Event{Event: report.KindParent, File: "f", Root: "root", Parent: "parent", Children: []string{"c"}})
	r.Take(report.Event{Event: report.KindFailed, File: "f", Reason: "disk"})
	if f := r.only(t); !f.Failed || f.Done || f.Root != "root" || f.Parent != "parent" || len(f.Children) != 1 {
		t.Errorf("failed: %+v", f)
	}
	r.Take(report.Event{Event: report.KindDone, File: "f", Role: "leaf", Final: &report.Final{Root: "x", Parent: "y"}})
	if f := r.only(t); f.Failed || !f.Done || f.Root != "root" || f.Parent != "parent" {
		t.Errorf("done: %+v", f)
	}
	r.Take(report.Event{Event: report.KindRole, File: "f", Role: "none", Children: []string{"c", "d"}, Time: "9"})
	if f := r.only(t); !f.Done || f.Role != "leaf" || f.Root != "root" || len(f.Children) != 2 || f.Time != "9" {
		t.Errorf("served on: %+v", f)
	}
	r.Take(report.Event{Event: report.KindCommitted, File: "g", Final: &report.Final{Root: "x", Parent: "y"}})
	if f := r.Status().Files[1]; !f.Done || f.Failed || f.Root != "x" || f.Parent != "y" {
		t.Errorf("done at once: %+v", f)
	}
}

// TestClose: the last state is on the disk, and a copy of it changes nothing.
func TestClose(t *testing.T) {
	d := Dir{newDisk(t, ""), "/d"}
	r := d.Record("test")
	r.Take(report.Event{Event: report.KindStart, File: "f", Device: "d1", Message: "m", Children: []string{"c"}})
	st := r.Status()
	if !st.Running || st.Ended || st.Device != "d1" {
		t.Errorf("before: %+v", st)
	}
	st.Files[0].Children[0], st.Files[0].Decisions[0].Message = "changed", "changed"
	r.Close()
	ps, err := d.Processes()
	if err != nil || len(ps) != 1 || ps[0].Running || !ps[0].Ended || ps[0].Updated == "" {
		t.Fatalf("after: %+v, %v", ps, err)
	}
	if f := ps[0].Files[0]; f.Children[0] != "c" || f.Decisions[0].Message != "m" {
		t.Errorf("a copy was written: %+v", f)
	}
}

// TestBorn: a process that is not there was not born.
func TestBorn(t *testing.T) {
	if b := born(-1); b != "" {
		t.Errorf("process -1 was born at %q", b)
	}
	for _, pid := range []int{0, -1} {
		if alive(pid) {
			t.Errorf("process %d is alive", pid)
		}
	}
}
