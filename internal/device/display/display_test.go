package display

import (
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/report"
)

func file(role string, bytes int64, children ...string) *status.File {
	return &status.File{Event: report.Event{File: "apps41.sbn", Model: "CP-7961G", Role: role, Bytes: bytes,
		Size: 5 << 20, Children: children}}
}

func failed(name string) *status.File {
	return &status.File{Failed: true, Event: report.Event{File: name, Role: report.RoleRoot, Reason: "origin-not-found",
		Message: "404", MessageJA: "ファイルなし"}}
}

// TestScreen: as on the original's phones (docs/ORIGINAL.md, "What it does"): an
// icon while the device shares; a parent shows 100 %, a child the KB it has; the
// classic upgrade looks the same everywhere, with an empty box.
func TestScreen(t *testing.T) {
	done := &status.File{Event: report.Event{File: "dsp.sbn"}, Done: true}
	for name, c := range map[string]struct {
		files  []*status.File
		device *report.Device
		want   []string
	}{
		"parent": {[]*status.File{done, {Event: report.Event{File: "x.loads"}},
			file(report.RoleRoot, 1<<20, "a", "b", "a")}, nil, []string{"CP-7961G", "[<=>]",
			"Component 2 of 2: apps41.sbn", "#] 100 %", "passes it on: 2 children"}},
		"child": {[]*status.File{file(report.RoleLeaf, 3<<20)}, nil, []string{"[<=>]", "Component 1 of 1", "#..",
			".] 3145 kB"}},
		"classic": {[]*status.File{file(report.RoleClassic, 3<<20)}, nil, []string{"[   ]", "] 3145 kB"}},
		"done":    {[]*status.File{done}, nil, []string{"1 of 1 component held"}},
		"nothing": {nil, nil, []string{"[   ]", "Nothing to upgrade"}},
		"failed": {[]*status.File{failed("a.bin")}, nil, []string{"! Upgrade failed: a.bin", "the server does not have",
			"> Put the file on the load server"}},
		"rolled back": {[]*status.File{done}, &report.Device{Model: "CP-7906G", State: report.StateRolledBack,
			Reason: "not-confirmed", Upgrade: &report.Upgrade{Load: "L2"}}, []string{"CP-7906G",
			"! Rolled back from L2: the load from before runs", "> The device runs the load from before."}},
		"file set": {nil, &report.Device{FileSets: []report.FileSet{{Wanted: "jp", State: report.StateFailed,
			Reason: "trust"}}}, []string{"! File set failed: jp", "(trust)", "> Check that the publisher"}},
		"shares, and has nothing to do": {[]*status.File{{Event: report.Event{File: "a", Source: report.SourceCache,
			Percent: 100}}}, &report.Device{Sharing: "on"}, []string{"[<=>]", "1 of 1 component held"}},
		"restarts": {nil, &report.Device{State: report.StateRebooting}, []string{"rebooting"}},
	} {
		s := Of(false, status.Process{Files: c.files}, c.device)
		plain := strings.Join(s.Draw(false, 100, false), "\n")
		for _, w := range c.want {
			if !strings.Contains(plain, w) {
				t.Errorf("%s: %q is not on\n%s", name, w, plain)
			}
		}
		coloured := strings.Join(s.Draw(false, 100, true), "\n")
		if strings.Contains(plain, "\x1b") ||
			regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured, "") != plain {
			t.Errorf("%s: colours change the picture", name)
		}
	}
}

// TestWidths: from 20 cells on every line is as wide as its frame in both languages,
// nothing is missing, and the bar is there.
func TestWidths(t *testing.T) {
	long := file(report.RoleParent, 3<<20, "a")
	long.File = strings.Repeat("長い名前", 20)
	evil := failed("\x1b]0;mine\a\u202e日本")
	for _, files := range [][]*status.File{nil, {file(report.RoleLeaf, 3<<20)}, {long}, {failed("a.bin"), evil}} {
		for _, ja := range []bool{false, true} {
			s := Of(ja, status.Process{Files: files}, nil)
			for width := range 60 {
				all := s.Draw(ja, width, false)
				for _, l := range all {
					if terminal.Width(l) != max(width, Narrowest) || terminal.Printable(l) != l {
						t.Fatalf("%d cells: %d: %q", width, terminal.Width(l), l)
					}
				}
				bare := strings.NewReplacer(" ", "", "|", "", "\n", "").Replace(strings.Join(all, "\n"))
				if s.File != nil && (!strings.Contains(bare, s.File.Name[:9]) || !strings.Contains(bare, "1/1") &&
					!strings.Contains(bare, "1of1") || !strings.Contains(bare, "#")) {
					t.Errorf("%d cells: the file is not shown:\n%s", width, strings.Join(all, "\n"))
				}
			}
		}
	}
}

// TestAdviceIsWhole: what to do stands there to its last word, on the narrowest screen too;
// a text without end does not fill the screen.
func TestAdviceIsWhole(t *testing.T) {
	bare := strings.NewReplacer(" ", "", "|", "", "\n", "")
	for _, code := range reason.All() {
		for _, ja := range []bool{false, true} {
			s := Of(ja, status.Process{}, &report.Device{State: report.StateFailed, Reason: string(code)})
			if drawn := strings.Join(s.Draw(ja, Narrowest, false), "\n"); len(s.Troubles) != 1 ||
				!strings.Contains(bare.Replace(drawn), bare.Replace(s.Troubles[0].ToDo)) {
				t.Errorf("%s: %+v is cut off:\n%s", code, s.Troubles, drawn)
			}
		}
	}
	s := Of(false, status.Process{}, &report.Device{State: report.StateFailed, Message: strings.Repeat("long ", 500)})
	if drawn := s.Draw(false, Narrowest, false); len(drawn) > 60 || !strings.Contains(strings.Join(drawn, ""), "| ...") {
		t.Errorf("%d lines, or nothing says that it is cut", len(drawn))
	}
}

// TestManyTroubles: what many files failed of is told of some.
func TestManyTroubles(t *testing.T) {
	var all []*status.File
	for range 50 {
		all = append(all, failed("a"))
	}
	s := Of(true, status.Process{Files: all}, &report.Device{State: report.StateFailed, Reason: "disk"})
	if len(s.Troubles) != maxTroubles || !strings.Contains(s.Troubles[0].Why, "disk") || s.Troubles[0].ToDo == "" ||
		!strings.Contains(s.Troubles[1].Why, "ファイルなし") {
		t.Errorf("%+v", s.Troubles)
	}
}

// TestBounds: no number of a peer or a server breaks the bar.
func TestBounds(t *testing.T) {
	for bytes, want := range map[int64]int{-5: 0, 0: 0, 5 << 19: 500, 5 << 20: 1000, 1 << 60: 1000} {
		if f := fileOf(file(report.RoleLeaf, bytes), 1, 1); f.Filled != want {
			t.Errorf("%d bytes fill %d", bytes, f.Filled)
		}
	}
	none := file(report.RoleLeaf, 10)
	none.Size = 0
	if f := fileOf(none, 1, 1); f.Filled != 0 {
		t.Errorf("a size that is not known: %d", f.Filled)
	}
}
