package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/report"
)

// Stamp formats a time as in events.
func Stamp(t time.Time) string { return t.Format(report.TimeLayout) }

// Limits of what a status keeps.
const (
	keepFiles     = 600 // a daemon sees many loads
	keepDecisions = 40  // per file
	statusEvery   = 500 * time.Millisecond
)

// KindProxy is the kind of an event that stands in a status only: what a proxy does with
// a request for a file, and why, with its URL and a reason.
const KindProxy = "proxy"

// Decision is one explained event.
type Decision struct {
	Time    string `json:"time"`
	Event   string `json:"event"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// MessageJA is the message in Japanese, "" where it is not in words.
	MessageJA string `json:"message_ja,omitempty"`
}

// File is the status of one file.
type File struct {
	report.Event            // the last event of the file, with role, source, peers and bytes
	Since        string     `json:"since"`
	Decisions    []Decision `json:"decisions,omitempty"`
	Done         bool       `json:"done,omitempty"`
	Failed       bool       `json:"failed,omitempty"`
}

// Process is the status of one process.
type Process struct {
	Schema  int     `json:"schema"`
	PID     int     `json:"pid"`
	Born    string  `json:"born,omitempty"` // the process's start by the kernel's clock, since ids are reused
	Device  string  `json:"device"`
	Address string  `json:"address,omitempty"`
	Started string  `json:"started"`
	Updated string  `json:"updated"`
	Command string  `json:"command,omitempty"`
	Ended   bool    `json:"ended,omitempty"`
	Running bool    `json:"running"`
	Files   []*File `json:"files"`
	// FileSets are how the file sets of an agent stand.
	FileSets []report.FileSet `json:"file_sets,omitempty"`
}

// Recorder keeps the status file of this process.
type Recorder struct {
	mu    sync.Mutex
	dir   *Dir
	name  string
	st    Process
	files map[string]*File
	wrote time.Time
}

// Record begins the status file of this process.
func (d *Dir) Record(command string) *Recorder {
	d.sweep()
	now := Stamp(time.Now())
	return &Recorder{
		dir:   d,
		name:  filepath.Join(d.path, "status", fmt.Sprintf("%d.json", os.Getpid())),
		files: map[string]*File{},
		st:    Process{Schema: report.Schema, PID: os.Getpid(), Born: born(os.Getpid()), Command: command, Started: now},
	}
}

// Take takes an event.
func (r *Recorder) Take(e report.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Device = e.Device
	if e.Event == report.KindListening {
		r.st.Address = e.Address
	}
	if e.File != "" {
		r.file(e)
	}
	if time.Since(r.wrote) >= statusEvery || e.Event == report.KindDone || e.Event == report.KindFailed {
		r.write()
	}
}

// Sets takes how the file sets stand.
func (r *Recorder) Sets(all []report.FileSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(r.st.FileSets, all) {
		return
	}
	r.st.FileSets = slices.Clone(all)
	r.write()
}

func (r *Recorder) file(e report.Event) {
	f := r.files[e.File]
	if f == nil {
		if len(r.files) >= keepFiles {
			oldest := r.st.Files[0]
			r.forget(func(f *File) bool { return f == oldest })
		}
		f = &File{Since: e.Time}
		r.files[e.File] = f
		r.st.Files = append(r.st.Files, f)
	}
	old := f.Event
	switch {
	case e.Event == report.KindDone || e.Event == report.KindCommitted || e.Event == report.KindFailed:
		// These report the end; Final says where the bytes came from.
		f.Event = e
		f.Event.Root, f.Event.Parent, f.Event.Children = old.Root, old.Parent, old.Children
		if e.Final != nil {
			f.Event.Root, f.Event.Parent = cmp.Or(old.Root, e.Final.Root), cmp.Or(old.Parent, e.Final.Parent)
		}
		f.Done = f.Done || e.Event != report.KindFailed
		f.Failed = e.Event == report.KindFailed
	case f.Done:
		// It goes on serving; the source of its own bytes is kept.
		f.Event.Time, f.Event.Children = e.Time, e.Children
	default:
		f.Event = e
	}
	if e.Event == report.KindProgress || e.Event == report.KindLog || e.Message == "" {
		return // the console log repeats itself; decisions do not
	}
	f.Decisions = append(f.Decisions, Decision{e.Time, e.Event, e.Reason, e.Message, e.MessageJA})
	if len(f.Decisions) > keepDecisions {
		f.Decisions = append(f.Decisions[:0], f.Decisions[1:]...)
	}
}

// Close writes the last state.
func (r *Recorder) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Ended = true
	r.write()
}

// write replaces the file by rename. The status is for people: an error of the
// disk stops no upgrade, and nothing waits for the write.
func (r *Recorder) write() {
	r.wrote = time.Now()
	r.st.Updated = Stamp(r.wrote)
	b, err := json.Marshal(r.st)
	if err != nil {
		return
	}
	tmp := r.name + ".new"
	if r.dir.write(tmp, b, false) == nil {
		_ = r.dir.fs.Rename(tmp, r.name)
	}
}

// Status returns a copy of the process's current status.
func (r *Recorder) Status() Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.st
	st.Running = !st.Ended
	st.Files, st.FileSets = nil, slices.Clone(r.st.FileSets)
	for _, f := range r.st.Files {
		c := *f
		c.Children, c.Decisions = slices.Clone(f.Children), slices.Clone(f.Decisions)
		st.Files = append(st.Files, &c)
	}
	return st
}

// Forget drops files from the status.
func (r *Recorder) Forget(gone func(*File) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(gone)
}

func (r *Recorder) forget(gone func(*File) bool) {
	r.st.Files = slices.DeleteFunc(r.st.Files, func(f *File) bool {
		if gone(f) {
			delete(r.files, f.File)
			return true
		}
		return false
	})
}
