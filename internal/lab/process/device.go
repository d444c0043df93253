package process

import (
	"sync"

	"github.com/peerload/peerload/internal/lab/site"
)

// Device is one device of a site and the processes that it has had. Its
// methods may be called at any time.
type Device struct {
	Number int // from 1
	Host   site.Host
	Stderr Tail // of all its processes

	mu    sync.Mutex
	procs []*Proc // the last one is of now
}

// Add notes a process as that of now.
func (d *Device) Add(p *Proc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.procs = append(d.procs, p)
}

// All returns the device's processes, the present one last; none before the first Add.
func (d *Device) All() []*Proc {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*Proc(nil), d.procs...)
}

// Now returns the current process; there must be one.
func (d *Device) Now() *Proc {
	procs := d.All()
	return procs[len(procs)-1]
}

// View returns what the device's present process said of a file; the zero
// FileView if nothing.
func (d *Device) View(file string) FileView {
	procs := d.All()
	if len(procs) == 0 {
		return FileView{}
	}
	for _, v := range procs[len(procs)-1].Files() {
		if v.File == file {
			return v
		}
	}
	return FileView{}
}
