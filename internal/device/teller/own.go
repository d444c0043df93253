package teller

import (
	"github.com/peerload/peerload/internal/live"
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
			o.put(o.file(c.File).Accounted(c))
		}
		return
	}
	o.put(o.file(e.File).After(e))
}

// file is a file as it is told, with its name alone if nothing is known of it.
func (o *own) file(name string) live.File {
	state, _ := o.now.Get(o.device)
	for _, f := range state.Files {
		if f.Name == name {
			return f
		}
	}
	return live.File{Name: live.Word(name)}
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
	if load := live.Word(p.Load); load != o.load {
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
	s := live.State{Device: o.device, Address: live.Host(p.Address), Load: o.load, Phase: live.Word(p.State),
		Reason: live.Word(p.Reason)}
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
