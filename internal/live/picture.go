package live

import (
	"maps"
	"slices"
)

// Picture is how the devices of a site stand, by device. The zero value has none.
type Picture struct{ devices map[string]State }

// Apply takes what a device tells, and returns what has changed by that: it is what
// another picture, which was equal before, needs to be equal again. false: nothing.
func (p *Picture) Apply(s State) (State, bool) {
	if p.devices == nil {
		p.devices = map[string]State{}
	}
	old, known := p.devices[s.Device]
	same := known && old.Address == s.Address && old.Load == s.Load && old.Phase == s.Phase && old.Reason == s.Reason
	now, change := s, s
	now.Files, now.Fresh, change.Files = slices.Clone(old.Files), false, nil
	change.Fresh = s.Fresh || old.Load != s.Load
	if change.Fresh {
		now.Files = nil
	}
	for _, f := range s.Files {
		i := now.file(f.Name)
		switch {
		case i < 0 && len(now.Files) < MaxFiles:
			now.Files = append(now.Files, f)
		case i < 0 || now.Files[i].Equal(f):
			continue
		default:
			now.Files[i] = f
		}
		change.Files = append(change.Files, f)
	}
	if change.Fresh {
		change.Files = now.Files
		same = same && slices.EqualFunc(old.Files, now.Files, File.Equal)
		p.devices[s.Device] = now
		return change, !same
	}
	p.devices[s.Device] = now
	return change, !same || len(change.Files) > 0
}

// file is where a file stands, -1 for nowhere.
func (s State) file(name string) int {
	return slices.IndexFunc(s.Files, func(f File) bool { return f.Name == name })
}

// Join is one change that has the effect of two of the same device, one after the other,
// as Apply has returned them.
func Join(a, b State) State {
	if b.Fresh || a.Load != b.Load {
		b.Fresh = true
		return b
	}
	files := slices.Clone(a.Files)
	for _, f := range b.Files {
		if i := slices.IndexFunc(files, func(g File) bool { return g.Name == f.Name }); i >= 0 {
			files[i] = f
		} else {
			files = append(files, f)
		}
	}
	b.Files, b.Fresh = files, a.Fresh
	return b
}

// Forget drops a device.
func (p *Picture) Forget(device string) { delete(p.devices, device) }

// Get returns how a device stands, with all its files; false if it is not known.
func (p *Picture) Get(device string) (State, bool) {
	s, ok := p.devices[device]
	return s, ok
}

// All returns how all stand, by the names of the devices.
func (p *Picture) All() []State {
	all := make([]State, 0, len(p.devices))
	for _, name := range slices.Sorted(maps.Keys(p.devices)) {
		all = append(all, p.devices[name])
	}
	return all
}

// Len is the number of devices.
func (p *Picture) Len() int { return len(p.devices) }

// Busy reports whether a device is at work: a file is on its way, or a load.
func (s State) Busy() bool {
	switch s.Phase {
	case "", "idle", "failed", "rolled-back":
		return slices.ContainsFunc(s.Files, func(f File) bool { return f.End == "" && f.Have < f.Size })
	}
	return true
}
