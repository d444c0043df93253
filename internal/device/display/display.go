// Package display says what a device shows of its upgrade, as the screen of a phone
// does: the icon in its box, the component, the bar, and a failure with what to do.
// The device's page and peerload screen show the same.
//
// What lives here: what is shown, how a terminal of any width shows it, and the style of
// the page. What must not: the texts, which package wording has, and the page.
//
// Read Of first, then draw.go.
package display

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/report"
)

// Screen is what a device shows.
type Screen struct {
	// Name of the model, or of the program where there is none.
	Name string
	// Sharing fills the box: it is empty in an upgrade of the classic way.
	Sharing bool
	// Heading says what the device does.
	Heading string
	// File that it fetches, with its number and how many there are; nil for none.
	File *File
	// Troubles are what went wrong, with what to do.
	Troubles []Trouble
}

// File is the file that is fetched.
type File struct {
	Name   string
	Number int
	Of     int
	// Figure stands beside the bar: a parent has all that it passes on, and shows
	// 100 %; all others show what they have.
	Figure string
	// Filled is the part of the bar that is filled, 0 to 1000.
	Filled int
	// Parent says that the device passes the file on, to Children devices.
	Parent   bool
	Children int
}

// Trouble is something that went wrong.
type Trouble struct {
	What, Why, ToDo string
}

// Of says what a process shows. device is how the device as a whole is, nil where no
// agent runs.
func Of(ja bool, p status.Process, device *report.Device) Screen {
	s := Screen{Name: "peerload", Heading: wording.Say(ja, "screen idle")}
	n, total := 0, 0
	var now *status.File
	for _, f := range p.Files {
		s.Name = cmp.Or(f.Model, s.Name)
		s.Sharing = s.Sharing || shares(f.Role)
		if f.Failed {
			s.add(trouble(ja, "screen failed", f.File, f.Reason, wording.Either(ja, f.Message, f.MessageJA)))
		}
		if whole(f, len(p.Files)) {
			continue
		}
		total++
		if held := f.Source == report.SourceCache && f.Percent == 100; now == nil && !f.Done && !f.Failed && !held {
			now, n = f, total
		}
	}
	switch {
	case now != nil:
		s.Heading, s.File = wording.Say(ja, "screen upgrading"), fileOf(now, n, total)
	case len(s.Troubles) > 0:
		s.Heading = wording.Say(ja, "screen failed")
	case total > 0:
		s.Heading = wording.Fill(wording.Say(ja, "screen held"), total, total)
	}
	if device != nil {
		s.device(ja, *device)
	}
	return s
}

// whole reports whether a file stands for a load as a whole. While that is under way
// its name alone tells.
func whole(f *status.File, files int) bool {
	if f.Final != nil && len(f.Final.Components) > 0 {
		return true
	}
	return files > 1 && (strings.HasSuffix(f.File, ".load") || strings.HasSuffix(f.File, ".loads"))
}

// maxTroubles bounds what is shown of what went wrong: more would have the same cause.
const maxTroubles = 4

func (s *Screen) add(t Trouble) {
	if len(s.Troubles) < maxTroubles {
		s.Troubles = append(s.Troubles, t)
	}
}

// device adds how the device as a whole is, which goes before its files.
func (s *Screen) device(ja bool, d report.Device) {
	s.Name = cmp.Or(d.Model, s.Name)
	if s.File == nil {
		s.Sharing = d.Sharing == "on"
	}
	switch d.State {
	case report.StateFailed, report.StateRolledBack:
		// The files of that upgrade failed for the same reason.
		s.Heading = wording.Say(ja, "state "+d.State)
		load := d.Wanted
		if d.Upgrade != nil {
			load = d.Upgrade.Load
		}
		t := trouble(ja, "screen "+d.State, load, d.Reason, d.Message)
		if d.State == report.StateRolledBack && load != "" {
			t.What = wording.Fill(wording.Say(ja, "screen rolled back from"), load)
		}
		if d.State == report.StateFailed && d.Reason == string(reason.NotConfirmed) { // it runs the load that failed
			t.ToDo = wording.Advice(ja, reason.NoWayBack)
		}
		s.Troubles = append([]Trouble{t}, s.Troubles[:min(len(s.Troubles), maxTroubles-1)]...)
	case "", report.StateIdle, report.StateDownloading:
	default:
		s.Heading = wording.Say(ja, "state "+d.State)
	}
	for _, set := range d.FileSets {
		if set.State == report.StateFailed {
			s.add(trouble(ja, "screen set failed", cmp.Or(set.Wanted, set.Name), set.Reason, set.Message))
		}
	}
}

func trouble(ja bool, key, name, code, message string) Trouble {
	what := wording.Say(ja, key)
	if name != "" {
		what += ": " + name
	}
	return Trouble{what, wording.Why(ja, code, message), wording.Advice(ja, reason.Code(code))}
}

// shares reports whether a role is that of a device that shares.
func shares(role string) bool {
	switch role {
	case report.RoleRoot, report.RoleParent, report.RoleLeaf, report.RoleDetached:
		return true
	}
	return false
}

func fileOf(f *status.File, n, total int) *File {
	out := &File{Name: f.File, Number: n, Of: total, Figure: strconv.FormatInt(f.Bytes/1000, 10) + " kB"}
	if f.Size > 0 {
		out.Filled = int(min(max(f.Bytes, 0), f.Size) * 1000 / f.Size)
	}
	if f.Role == report.RoleRoot || f.Role == report.RoleParent {
		// Who is a child in two trees stands there twice.
		out.Parent, out.Children = true, len(slices.Compact(slices.Sorted(slices.Values(f.Children))))
		out.Figure, out.Filled = "100 %", 1000
	}
	return out
}
