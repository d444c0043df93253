package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/choice"
)

// Fault is something that happens to a site.
type Fault struct {
	// Name is one of FaultNames.
	Name string
	// At is how much of all bytes the server has sent when it happens, 0 to
	// 1.
	At float64
}

// away is how long a site's passing faults last.
const away = 10 * time.Second

// faults are the faults by name; each gets the subnet when its time has come.
// The network's and the liars' switch the check of the budget off.
var faults = map[string]struct {
	do      func(sub *Subnet, f *File)
	overlap bool
}{
	"crash-root":    {do: func(sub *Subnet, f *File) { withRoot(sub, f, (*Device).Crash) }},
	"poweroff-root": {do: func(sub *Subnet, f *File) { withRoot(sub, f, (*Device).PowerOff) }},
	"restart-root": {do: func(sub *Subnet, f *File) {
		withRoot(sub, f, func(d *Device) { restart(d, true) })
	}},
	"erase-root": {do: func(sub *Subnet, f *File) {
		withRoot(sub, f, func(d *Device) { restart(d, false) })
	}},
	"crash-inner":    {do: func(sub *Subnet, f *File) { withInner(sub, f, (*Device).Crash) }},
	"call-root":      {do: func(sub *Subnet, f *File) { withRoot(sub, f, speak) }},
	"call-inner":     {do: func(sub *Subnet, f *File) { withInner(sub, f, speak) }},
	"disk-full-root": {do: func(sub *Subnet, f *File) { withRoot(sub, f, fill) }},
	"disk-full":      {do: func(sub *Subnet, f *File) { withInner(sub, f, fill) }},
	"bad-medium": {do: func(sub *Subnet, f *File) {
		withInner(sub, f, func(d *Device) { d.Rots = func(i int) bool { return i%11 == 5 } })
	}},
	// Whoever sleeps cannot hear whose turn it is.
	"stop-root": {overlap: true, do: func(sub *Subnet, f *File) { withRoot(sub, f, func(d *Device) { d.Stop(away) }) }},
	"stop-inner": {overlap: true,
		do: func(sub *Subnet, f *File) { withInner(sub, f, func(d *Device) { d.Stop(away) }) }},
	"suspend-root": {overlap: true,
		do: func(sub *Subnet, f *File) { withRoot(sub, f, func(d *Device) { d.Suspend(away) }) }},
	"clock-forward": {do: func(sub *Subnet, f *File) {
		withRoot(sub, f, func(d *Device) { d.Jump(time.Hour) })
		withInner(sub, f, func(d *Device) { d.Jump(time.Hour) })
	}},
	"clock-back": {do: func(sub *Subnet, f *File) {
		withRoot(sub, f, func(d *Device) { d.Jump(-away / 2) })
		withInner(sub, f, func(d *Device) { d.Jump(-away / 2) })
	}},
	"one-id": {do: func(sub *Subnet, f *File) {
		withInner(sub, f, func(d *Device) {
			x := sub.Device(f)
			x.Peer.ID = d.Peer.ID
			x.Start()
		})
	}},
	"wan-outage": {do: func(sub *Subnet, _ *File) {
		sub.Server.Dark = true
		sub.s.After(away, func() { sub.Server.Dark = false; sub.Server.Wake() })
	}},
	"partition": {overlap: true, do: func(sub *Subnet, _ *File) {
		sub.s.After(away, sub.Partition(Side(2)))
	}},
	"deaf": {overlap: true, do: func(sub *Subnet, _ *File) {
		sub.s.After(away, sub.Deafen(sub.devices[len(sub.devices)-1], 0.9))
	}},
	"slow": {do: func(sub *Subnet, _ *File) {
		d := sub.devices[len(sub.devices)-1]
		d.Up, d.Down = 1e6, 1e6
	}},
	"liar-parent": {overlap: true, do: func(sub *Subnet, f *File) {
		withRoot(sub, f, func(d *Device) { d.Lies = func(i int) bool { return i%7 == 3 } })
	}},
	"liar-root": {overlap: true, do: func(sub *Subnet, f *File) {
		x := sub.Device(f)
		x.Liar = NewRogueRoot(true)
		x.Start()
	}},
	"liar-holder": {overlap: true, do: func(sub *Subnet, f *File) {
		x := sub.Device(f)
		x.Liar = NewFalseHolder(0, func(i int) bool { return i%7 == 3 })
		x.Start()
	}},
	"liar-size": {overlap: true, do: func(sub *Subnet, f *File) {
		x := sub.Device(f)
		x.Liar = NewFalseHolder(f.Size/2+1, func(int) bool { return false })
		x.Start()
	}},
	"replay": {overlap: true, do: func(sub *Subnet, _ *File) { sub.Replay(time.Second) }},
}

// FaultNames returns the names of all faults in order.
func FaultNames() []string {
	var names []string
	for n := range faults {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// ParseFault reads NAME or NAME@PERCENT, such as crash-root@50; without a
// percentage it is 30.
func ParseFault(s string) (Fault, error) {
	name, at, given := strings.Cut(s, "@")
	f := Fault{Name: name, At: 0.3}
	if err := choice.Check("fault", name, FaultNames()); err != nil {
		return f, err
	}
	if given {
		p, err := strconv.ParseFloat(strings.TrimSuffix(at, "%"), 64)
		if err != nil || !(p >= 0 && p <= 99) {
			return f, fmt.Errorf("fault %q: write a percentage of 0 to 99 behind the @", s)
		}
		f.At = p / 100
	}
	return f, nil
}

func withRoot(sub *Subnet, f *File, do func(*Device)) {
	if d := sub.root(f); d != nil {
		do(d)
	}
}

// withInner does something to a device whose parent is the root and which has
// children, if there is one.
func withInner(sub *Subnet, f *File, do func(*Device)) {
	if d := sub.belowRoot(f); d != nil {
		do(d)
	}
}

func fill(d *Device) { d.Full = true }

func speak(d *Device) { d.Yield(true) }

func restart(d *Device, keep bool) {
	d.Crash()
	d.sub.s.After(2*time.Second, func() { d.Restart(keep) })
}

// root returns the device that is root of a file, nil if there is none.
func (sub *Subnet) root(f *File) *Device {
	for _, d := range sub.devices {
		if x := d.Task(f); d.on && x.m != nil && x.actor != nil && x.m.IsRoot() {
			return d
		}
	}
	return nil
}

// belowRoot returns a device whose parent is the root and which has children.
func (sub *Subnet) belowRoot(f *File) *Device {
	r := sub.root(f)
	if r == nil {
		return nil
	}
	for _, d := range sub.devices {
		if x := d.Task(f); d.on && x.m != nil && (x.parent(0) == r.Task(f) || x.parent(1) == r.Task(f)) &&
			x.m.Status().Children > 0 {
			return d
		}
	}
	return nil
}
