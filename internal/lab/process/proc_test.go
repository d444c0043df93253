package process

import (
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/report"
)

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
