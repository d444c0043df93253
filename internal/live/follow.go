package live

import (
	"cmp"
	"slices"
	"strings"

	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// After is a file after an event.
func (f File) After(e report.Event) File {
	switch anew := (e.Source == report.SourceOrigin || e.Source == report.SourcePeer) && e.Bytes < e.Size; {
	case f.End == EndDone && anew, f.End == EndFailed && e.Event == report.KindStart:
		f = File{Name: f.Name}
	case f.End != "":
		return f // it goes on serving what it has
	}
	switch e.Event {
	case report.KindDone, report.KindCommitted:
		f.End, f.Size = EndDone, cmp.Or(e.Size, f.Size)
		if f.Source == report.SourceOrigin {
			f.WAN += max(0, f.Size-f.Have)
		}
		f.Have = f.Size
	case report.KindFailed:
		f.End, f.Reason = EndFailed, Word(e.Reason)
	default:
		// What has come since, by where it comes from now.
		if grown := e.Bytes - f.Have; grown > 0 && e.Source == report.SourceOrigin {
			f.WAN += grown
		}
		f.Size, f.Have = cmp.Or(max(e.Size, 0), f.Size), max(e.Bytes, 0)
		f.Role, f.Source, f.Root = Word(e.Role), Word(e.Source), Host(e.Root)
		f.Parents = nil
		for _, p := range append(slices.Clone(e.Parents), e.Parent) {
			if a := Host(p); a != "" && !slices.Contains(f.Parents, a) && len(f.Parents) < MaxParents {
				f.Parents = append(f.Parents, a)
			}
		}
		decided := e.Event == report.KindRole || e.Event == report.KindSource || e.Event == report.KindFallback
		// Why it is root is told by the election; that a root downloads follows.
		known := e.Event == report.KindSource && f.Role == report.RoleRoot && f.Reason != ""
		if decided && !known && e.Reason != "" && e.Reason != wire.ReasonDone.String() {
			f.Reason = Word(e.Reason)
		}
	}
	if n := e.Final; n != nil {
		f.Size, f.WAN = cmp.Or(n.Size, f.Size), n.BytesFromOrigin
		f.Role, f.Source = Word(cmp.Or(n.Role, f.Role)), Word(cmp.Or(n.Source, f.Source))
		if f.End == EndDone {
			f.Have = f.Size
		}
	}
	return f
}

// Accounted is a file as the report at the end has it.
func (f File) Accounted(c report.Final) File {
	if c.Reason != "" {
		return f // its own events have told
	}
	f.End, f.Size, f.Have, f.WAN = EndDone, max(c.Size, 0), max(c.Size, 0), max(c.BytesFromOrigin, 0)
	f.Source = Word(c.Source)
	if c.Role != report.RoleNone {
		f.Role = Word(c.Role)
	}
	if p := Host(c.Parent); p != "" && len(f.Parents) == 0 {
		f.Parents = []string{p}
	}
	return f
}

// Word is a word as far as it is told.
func Word(s string) string {
	if len(s) > MaxName {
		return ""
	}
	return s
}

// Host is an address without its port: devices know each other by it.
func Host(address string) string {
	if h, _, ok := strings.Cut(address, ":"); ok && strings.Count(address, ":") == 1 {
		address = h
	}
	return Word(address)
}
