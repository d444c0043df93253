package teller

import (
	"cmp"
	"net"
	"slices"

	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// Phase is how a device as a whole stands.
type Phase struct {
	// Load that it fetches or runs, State and Reason as report.Device has them.
	Load, State, Reason string
	// Address by which its peers know it, "" while it does not share.
	Address string
}

// own is what the device tells of itself.
type own struct {
	device string
	phase  func() Phase
	load   string
	now    live.Picture
	dirty  bool
	files  map[string]bool // that have changed
	said   Phase
}

func newOwn(device string, phase func() Phase) own {
	return own{device: device, phase: phase, files: map[string]bool{}}
}

// Take takes an event of the device.
func (t *Teller) Take(e report.Event) {
	if e.File == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own.take(e)
}

// take notes what an event changes in what is told of its file.
func (o *own) take(e report.Event) {
	if e.Event == report.KindLog {
		return
	}
	if e.Final != nil && len(e.Final.Components) > 0 { // of a load as a whole
		for _, c := range e.Final.Components {
			o.put(accounted(o.file(c.File), c))
		}
		return
	}
	o.put(changed(o.file(e.File), e))
}

// file is a file as it is told, with its name alone if nothing is known of it.
func (o *own) file(name string) live.File {
	state, _ := o.now.Get(o.device)
	for _, f := range state.Files {
		if f.Name == name {
			return f
		}
	}
	return live.File{Name: short(name)}
}

// put notes a file that may have changed.
func (o *own) put(f live.File) {
	if f.Name == "" {
		return
	}
	if change, ok := o.now.Apply(live.State{Device: o.device, Load: o.load, Files: []live.File{f}}); ok {
		for _, f := range change.Files {
			o.files[f.Name] = true
		}
	}
}

// changed is a file after an event.
func changed(f live.File, e report.Event) live.File {
	switch anew := (e.Source == report.SourceOrigin || e.Source == report.SourcePeer) && e.Bytes < e.Size; {
	case f.End == live.EndDone && anew, f.End == live.EndFailed && e.Event == report.KindStart:
		f = live.File{Name: f.Name}
	case f.End != "":
		return f // it goes on serving what it has
	}
	switch e.Event {
	case report.KindDone, report.KindCommitted:
		f.End, f.Size = live.EndDone, cmp.Or(e.Size, f.Size)
		if f.Source == report.SourceOrigin {
			f.WAN += max(0, f.Size-f.Have)
		}
		f.Have = f.Size
	case report.KindFailed:
		f.End, f.Reason = live.EndFailed, short(e.Reason)
	default:
		// What has come since, by where it comes from now.
		if grown := e.Bytes - f.Have; grown > 0 && e.Source == report.SourceOrigin {
			f.WAN += grown
		}
		f.Size, f.Have = cmp.Or(max(e.Size, 0), f.Size), max(e.Bytes, 0)
		f.Role, f.Source, f.Root = short(e.Role), short(e.Source), host(e.Root)
		f.Parents = nil
		for _, p := range append(slices.Clone(e.Parents), e.Parent) {
			if a := host(p); a != "" && !slices.Contains(f.Parents, a) && len(f.Parents) < live.MaxParents {
				f.Parents = append(f.Parents, a)
			}
		}
		decided := e.Event == report.KindRole || e.Event == report.KindSource || e.Event == report.KindFallback
		if decided && e.Reason != "" && e.Reason != wire.ReasonDone.String() {
			f.Reason = short(e.Reason)
		}
	}
	if n := e.Final; n != nil {
		f.Size, f.WAN = cmp.Or(n.Size, f.Size), n.BytesFromOrigin
		f.Role, f.Source = short(cmp.Or(n.Role, f.Role)), short(cmp.Or(n.Source, f.Source))
		if f.End == live.EndDone {
			f.Have = f.Size
		}
	}
	return f
}

// accounted is a file as the report at the end has it.
func accounted(f live.File, c report.Final) live.File {
	if c.Reason != "" {
		return f // its own events have told
	}
	f.End, f.Size, f.Have, f.WAN = live.EndDone, max(c.Size, 0), max(c.Size, 0), max(c.BytesFromOrigin, 0)
	f.Source = short(c.Source)
	if c.Role != report.RoleNone {
		f.Role = short(c.Role)
	}
	if p := host(c.Parent); p != "" && len(f.Parents) == 0 {
		f.Parents = []string{p}
	}
	return f
}

// short is a word as far as it is told.
func short(s string) string {
	if len(s) > live.MaxName {
		return ""
	}
	return s
}

// host is an address without its port: devices know each other by it.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		address = h
	}
	return short(address)
}

// again has everything told once more, if there is something that goes on.
func (o *own) again() {
	o.dirty = true
	s, _ := o.now.Get(o.device)
	if !s.Busy() {
		return
	}
	for _, f := range s.Files {
		o.files[f.Name] = true
	}
}

// changed is what has changed since it was last asked; false for nothing.
func (o *own) changed() (live.State, bool) {
	p := o.phase()
	if load := short(p.Load); load != o.load {
		// What another load has begun to fetch keeps its files: their events come before
		// the device is known to have changed its mind.
		before, _ := o.now.Get(o.device)
		o.load, o.now = load, live.Picture{}
		var kept []live.File
		for _, f := range before.Files {
			if f.End == "" || o.files[f.Name] {
				kept = append(kept, f)
				o.files[f.Name] = true
			}
		}
		o.now.Apply(live.State{Device: o.device, Load: load, Files: kept})
	}
	if !o.dirty && p == o.said && len(o.files) == 0 {
		return live.State{}, false
	}
	s := live.State{Device: o.device, Address: host(p.Address), Load: o.load, Phase: short(p.State),
		Reason: short(p.Reason)}
	now, _ := o.now.Get(o.device)
	for _, f := range now.Files {
		if o.files[f.Name] {
			s.Files = append(s.Files, f)
		}
	}
	o.said, o.dirty = p, false
	clear(o.files)
	return s, true
}
